"""Exercise 3, similarity: the matrix of all pairs of patches, and one patch's map."""

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from modarch_utils.checks.core import (
    Part,
    Row,
    agree,
    as_check,
    combined,
    given,
    hints,
    keeps_arguments,
    mutants,
    part_of_rows,
    same_dtype,
    tensor,
)

GRID, SIZE = (4, 7), 11
SAME = "is the same after the call as before"
SAME_DTYPE = "Convert nothing: the dtype that comes in goes out."
IN_PLACE = "An operation in place (/=, *=, fill_) writes into it, or into a view: make a new one."


# The matrix, and others that are taken for it: from (rows, columns, dim) to (patches, patches).


def _dot(x: Tensor, other: Tensor | None = None) -> Tensor:
    other = x if other is None else other
    return x.reshape(-1, x.shape[-1]) @ other.reshape(-1, x.shape[-1]).mT


def _unit(x: Tensor) -> Tensor:
    return x / x.square().sum(-1, keepdim=True).sqrt()


def _cosines(x: Tensor) -> Tensor:
    return _dot(_unit(x))


def _apart(x: Tensor) -> Tensor:
    return (x.flatten(0, 1)[:, None] - x.flatten(0, 1)).norm(dim=-1)


def _stretch(c: Tensor) -> Tensor:
    return (c - c.min()) / (c.max() - c.min())


AXIS = "The length is taken along the wrong axis, {}: sum over the last one, dim."
TIPS = "It is the distance of the vectors' tips: take the cosine of their angle."
WEIGHTS = "A softmax makes weights of them: leave cosines as they are."
LENGTHS = {
    "Nothing is normalised: divide each vector by its length first.": _dot,
    "Only one side is normalised: divide both by their lengths.": (
        lambda x: _dot(_unit(x), x),
        lambda x: _dot(x, _unit(x)),
    ),
    AXIS.format("over all patches"): lambda x: _dot(F.normalize(x.flatten(0, 1), dim=0)),
    AXIS.format("over rows"): lambda x: _dot(F.normalize(x, dim=0)),
    AXIS.format("over columns (F.normalize has dim=1 by default)"): lambda x: _dot(F.normalize(x)),
    "This is attention's scale: divide by the vectors' lengths instead.": (
        lambda x: _dot(x) / SIZE**0.5
    ),
    "One number for the whole matrix is not enough: each vector has its own length.": (
        lambda x: _dot(x) / _dot(x).max()
    ),
    "`norm()` without `dim` is one number for all: each vector has its own length.": (
        lambda x: _dot(x / x.norm())
    ),
    "The root is missing: the length is the root of the sum of squares.": (
        lambda x: _dot(x / x.square().sum(-1, keepdim=True))
    ),
    f"This is cdist. {TIPS}": _apart,
    TIPS: (lambda x: _apart(x) ** 2, lambda x: -_apart(x), lambda x: 1 / (1 + _apart(x))),
    "The mean over all patches is subtracted: the cosine takes vectors as they are.": (
        lambda x: _cosines(x - x.mean((0, 1)))
    ),
    WEIGHTS: lambda x: _dot(x).softmax(-1),
}
PAIRS = {
    "They are stretched to 0 and 1 by the smallest and largest: leave cosines as they are.": (
        lambda x: _stretch(_cosines(x))
    ),
    WEIGHTS: lambda x: _cosines(x).softmax(-1),
}
DISTANCE = "A distance grows where similarity shrinks: the cosine itself is meant."
ENDS = {
    "This is another length (p=1): the root of the sum of squares is meant.": (
        lambda x: _dot(F.normalize(x, p=1, dim=-1))
    ),
    "The diagonal is emptied, but a patch is like itself: 1.": (
        lambda x: _cosines(x).fill_diagonal_(0)
    ),
    "Similarity is shifted to 0 to 1: leave it between -1 and 1.": lambda x: (_cosines(x) + 1) / 2,
    "Negative similarities are cut off (clamp, relu): -1 says something else than 0.": (
        lambda x: _cosines(x).relu()
    ),
    "The sign is lost (abs, a square): opposite directions are not alike.": (
        lambda x: _cosines(x).abs(),
        lambda x: _cosines(x) ** 2,
    ),
    f"This is 1 less the cosine. {DISTANCE}": lambda x: 1 - _cosines(x),
    f"This is Euclid's. {DISTANCE}": lambda x: _apart(_unit(x)),
    f"This is Euclid's, squared. {DISTANCE}": lambda x: _apart(_unit(x)) ** 2,
    "The sign is the wrong way round.": lambda x: -_cosines(x),
    "acos makes angles of them: leave cosines as they are.": (
        lambda x: _cosines(x).clamp(-1, 1).acos(),
        lambda x: _cosines(x).clamp(-1, 1).acos().rad2deg(),
    ),
    "Each vector's own mean is subtracted (a correlation): the cosine takes vectors as they "
    "are.": lambda x: _cosines(x - x.mean(-1, keepdim=True)),
}
ORDER = {
    "Flatten (rows, columns, dim) as it is: row by row.": lambda x: _cosines(x.transpose(0, 1)),
    "Rows and columns of the matrix have one order, that of the patches.": (
        lambda x: _cosines(x).flip(0),
        lambda x: _cosines(x).flip(1),
    ),
}


def _change(results: list[Tensor]) -> dict[str, Tensor]:
    """What of the first matrix is otherwise in the second; rounding is nothing."""
    one, other = results
    change = other - one
    return {"changed by": change.where(change.abs() > 1e-3 * one.abs().max(), 0)}


def _change_elsewhere(results: list[Tensor]) -> dict[str, Tensor]:
    """Without the row and the column that change most: wherever the other patch's are."""
    (change,) = _change(results).values()
    change[(change != 0).sum(1).argmax()] = 0
    change[:, (change != 0).sum(0).argmax()] = 0
    return {"other pairs changed by": change}


MATRIX_HINT = hints(
    {
        r"\b28\b.*\b11\b|\b11\b.*\b28\b": (
            "keepdim=True keeps the lengths' axis, so that they divide the vectors row by row."
        ),
        "must match the size|cannot be multiplied|must be 2D|must be a matrix|batch": (
            "Flatten (rows, columns, dim) to (patches, dim) first; the second one is transposed."
        ),
    }
)


@as_check
def check_cosine(seed: int = 0) -> Part:
    """All findings on pairwise cosine similarity.

    Args:
        function: from ``(rows, columns, dim)`` to ``(rows · columns, rows · columns)``.
        seed: decides the vectors: of very different lengths, not centred; three have known angles.
    """
    random = torch.Generator().manual_seed(seed)
    noise = partial(torch.randn, generator=random)
    x = noise(*GRID, SIZE) + 0.7 * noise(SIZE)
    x = x * (2 * torch.rand(*GRID, 1, generator=random) - 1).exp()
    longer = x * (1 + noise(*GRID, 1).abs())
    other = x.clone()
    other[1, 2] = -3 * x[2, 3]
    known = noise(*GRID, SIZE) + 0.7
    first = known[0, 0]
    known[0, 1] = -2 * first
    known[0, 2] -= (known[0, 2] @ first) / (first @ first) * first
    roughly = partial(agree, tolerance=1e-3)
    rows = {
        "runs": Row("(patches, patches) from (rows, columns, dim)", view=len),
        "lengths": Row(
            "of vectors do not matter, only their directions",
            "Divide each patch's vector by its own length.",
            LENGTHS,
            _change,
            same=roughly,
            cases=[given(x), given(longer)],
        ),
        "pairs": Row(
            "each is a matter of its two patches alone",
            "Something is taken over all patches (a mean, a largest value, a softmax): a pair's "
            "similarity needs its two vectors and nothing else.",
            PAIRS,
            _change_elsewhere,
            ("lengths",),
            roughly,
            [given(x), given(other)],
        ),
        "ends": Row(
            "1 for the same direction, 0 for a right angle, -1 for opposite directions",
            "Try it with (1, 0), (-1, 0) and (0, 1).",
            mutants("ends", ENDS) + mutants("order", ORDER),
            after=("pairs",),
            same=roughly,
            cases=[given(known)],
        ),
        "order": Row("patches row by row, as they are read"),
        "same numbers": Row(
            "as the reference, within 1e-5",
            "Something is rounded, in half precision, or an epsilon is added that is too large.",
            after=("ends", "order"),
            same=partial(agree, tolerance=1e-5),
        ),
        "float64": Row("stays float64", look=same_dtype(given(x.double()), SAME_DTYPE)),
        "input": Row(SAME, look=keeps_arguments(given(x), changed=IN_PLACE)),
    }
    cases = [given(x)]
    return part_of_rows("cosine_similarity", rows, _cosines, cases, read=_matrix, hint=MATRIX_HINT)


def _matrix(result: object, args: tuple) -> Tensor:
    rows, columns = GRID
    one_line = "Only patches of one row or column meet: flatten the grid's two axes to one first."
    known = {
        (SIZE, SIZE): "Channels are compared, not patches: the transpose is on the wrong side.",
        (*GRID, *GRID): "One row for each patch: flatten the grid's two axes to one.",
        (rows, columns, columns): one_line,
        (columns, rows, rows): one_line,
        (rows, rows): one_line,
        (columns, columns): one_line,
        GRID: "This is one patch's map: compare every patch with every other.",
    }
    other = "Flatten (rows, columns, dim) to (patches, dim) first, and print the shapes."
    return tensor(result, (rows * columns,) * 2, lambda came: known.get(came, other))


# The map: a patch's number, its row of the matrix, and how that is laid out.

Grid = tuple[int, int]


def _number(rows: int, columns: int, row: int, column: int) -> int:
    return row * columns + column


def _map(
    number: Callable = _number,
    values: Callable = lambda row, number: row,
    layout: Callable = lambda row, grid: row.view(grid),
) -> Callable[[Tensor, Grid, Grid], Tensor]:
    """The map, with another patch's number, other values or another layout."""

    def function(similarity: Tensor, grid: Grid, place: Grid) -> Tensor:
        index = number(*grid, *place)
        return layout(values(similarity[index], index), grid)

    return function


def _put(value: Callable) -> Callable:
    """Another value at the patch itself."""
    return lambda row, number: row.where(torch.arange(len(row)) != number, value(row))


NUMBERS = {
    "Row and column are swapped: the place is (row, column), not (x, y).": (
        lambda rows, columns, row, column: column * columns + row
    ),
    "Counted down the columns: patches are counted row by row.": (
        lambda rows, columns, row, column: column * rows + row
    ),
    "A row has as many patches as there are columns: row * columns + column.": (
        lambda rows, columns, row, column: row * rows + column
    ),
    "Class token and registers are counted, but the matrix has patches alone.": (
        lambda *place: _number(*place) + 1,
        lambda *place: _number(*place) + 5,
    ),
    "Off by one: rows and columns count from 0.": lambda *place: _number(*place) - 1,
}
VALUES = {
    "The patch itself is left out: its own similarity, 1, belongs to the map.": (
        _put(lambda row: 0),
        _put(torch.min),
    ),
    "Values are shifted: leave them between -1 and 1.": lambda row, _: (row + 1) / 2,
    "Values are stretched to 0 and 1: then no two maps can be compared.": (
        lambda row, _: _stretch(row)
    ),
    "Negative values are cut off.": lambda row, _: row.relu(),
    "This is a distance: leave similarities as they are.": lambda row, _: 1 - row,
}
LAYOUTS = {
    "Patches come row by row: reshape to (rows, columns).": (
        lambda row, grid: row.view(grid[::-1]).T,
        lambda row, grid: row.view(grid).flip(0),
        lambda row, grid: row.view(grid).flip(1),
    )
}
MAPS = combined(
    _map,
    number=mutants("which patch", NUMBERS),
    values=mutants("values", VALUES),
    layout=mutants("places", LAYOUTS),
)


MAP_HINT = hints(
    {
        "is invalid for input of size": (
            "The grid is given: its number of patches alone does not tell rows and columns."
        ),
        "out of bounds": (
            "The matrix has a row for each patch: number row * columns + column, from 0."
        ),
    }
)


@as_check
def check_patch_map(seed: int = 0) -> Part:
    """All findings on the map of one patch's similarities.

    Args:
        function: ``function(similarity, grid, place)`` with the matrix ``(P, P)``, the grid's
            (rows, columns) and the patch's (row, column), both from 0; it returns
            ``(rows, columns)``. Each place is one with row and column swapped, too.
        seed: decides the matrix.
    """
    random = torch.Generator().manual_seed(seed)
    cases = []
    for grid, place in (((5, 8), (3, 2)), ((5, 8), (1, 4)), ((9, 4), (2, 1))):
        half = 2 * torch.rand(math.prod(grid), math.prod(grid), generator=random) - 1
        matrix = half.triu(1) + half.triu(1).T
        cases.append(given(matrix.fill_diagonal_(1), grid, place))
    rows = {
        "runs": Row("(rows, columns) from the matrix", view=len),
        "which patch": Row(
            "the one in the given row and column",
            "One row of the matrix, reshaped, is all: number row * columns + column.",
            MAPS,
        ),
        "places": Row("each value where its patch lies"),
        "values": Row("are the matrix's own"),
        "input": Row(SAME, look=keeps_arguments(cases[0], changed=IN_PLACE)),
    }
    return part_of_rows("patch_map", rows, _map(), cases, read=_one_map, hint=MAP_HINT)


def _one_map(result: object, args: tuple) -> Tensor:
    _, grid, _ = args
    known = {
        grid[::-1]: "Rows and columns are swapped: reshape to (rows, columns).",
        (math.prod(grid),): "The values stand in one row: reshape them to (rows, columns).",
        (): "This is one pair's similarity: take the whole row of the matrix.",
    }
    other = "One row of the matrix, reshaped to (rows, columns)."
    return tensor(result, grid, lambda came: known.get(came, other))
