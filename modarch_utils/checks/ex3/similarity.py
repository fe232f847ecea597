"""Exercise 3, similarity: the matrix of all pairs of patches."""

import math
import re
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from modarch_utils.checks.core import RIGHT, Report, Rows, Seen, call, near, wrong
from modarch_utils.checks.ex3.guess import Guess, named, tensor

MATRIX = {
    "runs": "(patches, patches) from (rows, columns, dim)",
    "lengths": "of vectors do not matter, only their directions",
    "pairs": "each is a matter of its two patches alone",
    "ends": "1 for the same direction, 0 for a right angle, -1 for opposite directions",
    "order": "patches row by row, as they are read",
    "same numbers": "as the reference, within 1e-5",
    "float64": "stays float64",
    "input": "is the same after the call as before",
}
OTHER_ORDERS = {
    "column by column": "Flatten (rows, columns, dim) as it is: row by row.",
    "backwards": "Rows and columns of the matrix have one order, that of the patches.",
    "from right to left": "Rows and columns of the matrix have one order, that of the patches.",
}
GRID, SIZE = (4, 7), 11


def _noise(random: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=random)


def check_cosine(function: Callable[[Tensor], Tensor], seed: int = 0) -> Report:
    """All findings on pairwise cosine similarity.

    Args:
        function: from ``(rows, columns, dim)`` to ``(rows · columns, rows · columns)``.
        seed: decides the vectors.
    """
    random = torch.Generator().manual_seed(seed)
    # Vectors of very different lengths, none of them centred.
    x = _noise(random, *GRID, SIZE) + 0.7 * _noise(random, SIZE)
    x = x * (2 * torch.rand(*GRID, 1, generator=random) - 1).exp()
    rows = Rows(MATRIX)

    def run(features: Tensor) -> Tensor:
        raw = call(function, features.clone(), hint=_matrix_hint)
        return tensor(raw, (math.prod(GRID),) * 2, _matrix_shape)

    def say(otherwise: Seen) -> Seen:
        return named(run(x), _formulas(x), otherwise)

    def lengths() -> Seen:
        if _order(run(x), x) in OTHER_ORDERS:
            return RIGHT
        longer = x * (1 + _noise(random, *GRID, 1).abs())
        if near(run(x), run(longer), 1e-3):
            return RIGHT
        return say(
            wrong("longer vectors, other numbers", "Divide each patch's vector by its own length."),
        )

    def pairs() -> Seen:
        other = x.clone()
        other[1, 2] = -3 * x[2, 3]
        came, after = run(x), run(other)
        if _order(came, x) in OTHER_ORDERS:
            return RIGHT
        changed = (came - after).abs() > 1e-3 * came.abs().max()
        theirs = changed.sum(0).argmax()  # wherever that patch is
        changed[theirs], changed[:, theirs] = False, False
        return say(_SHARED) if changed.any() else RIGHT

    def ends() -> Seen:
        if _order(run(x), x) in OTHER_ORDERS:
            return RIGHT
        return _ends(run, random, say)

    def order() -> Seen:
        found = _order(run(x), x)
        if found not in OTHER_ORDERS:
            return RIGHT
        return wrong(f"patches {found}", OTHER_ORDERS[found])

    def numbers() -> Seen:
        if near(run(x).double(), _cosines(x.double()), 1e-5):
            return RIGHT
        return wrong(
            "almost the same numbers",
            "Something is rounded, in half precision, or an epsilon is added that is too large.",
        )

    def float64() -> Seen:
        dtype = run(x.double()).dtype
        if dtype == torch.float64:
            return RIGHT
        return wrong(f"{dtype}", "Convert nothing: the dtype that comes in goes out.")

    rows.add("runs", lambda: run(x) is not None and RIGHT)
    rows.add("lengths", lengths, ("runs",))
    rows.add("pairs", pairs, ("runs", "lengths"))
    rows.add("ends", ends, ("runs", "lengths", "pairs"))
    values = ("runs", "lengths", "pairs", "ends")
    rows.add("order", order, values)
    rows.add("same numbers", numbers, (*values, "order"))
    rows.add("float64", float64, ("runs",))
    rows.add("input", lambda: kept(lambda y: call(function, y, hint=_matrix_hint), x), ("runs",))
    return rows.report("cosine_similarity")


_SHARED = wrong(
    "another patch, other numbers for the rest",
    "Something is taken over all patches (a mean, a largest value, a softmax): a pair's "
    "similarity needs its two vectors and nothing else.",
)


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.square().sum(-1, keepdim=True).sqrt()


def _cosines(x: Tensor) -> Tensor:
    unit = _unit(x.flatten(0, 1))
    return torch.stack([unit @ one for one in unit])


def _order(came: Tensor, x: Tensor) -> str:
    """In which order the patches of a matrix of cosines are; "" for another matrix."""
    right = _cosines(x)
    orders = {
        "row by row": right,
        "column by column": _cosines(x.transpose(0, 1)),
        "backwards": right.flip(0),
        "from right to left": right.flip(1),
    }
    return next((name for name, matrix in orders.items() if near(came, matrix, 1e-3)), "")


def kept(run: Callable[[Tensor], object], x: Tensor) -> Seen:
    """Whether a call leaves its argument as it was."""
    given = x.clone()
    run(given)
    if torch.equal(given, x):
        return RIGHT
    return wrong(
        "the caller's tensor has changed",
        "An operation in place (/=, *=, fill_) writes into it, or into a view: make a new one.",
    )


def _formulas(x: Tensor) -> list[Guess]:
    """Matrices that are no cosine similarities of the patches, each with what it is."""
    v = x.flatten(0, 1)
    dot, unit, apart = v @ v.T, _unit(v), torch.cdist(v, v)
    cosine, squares = unit @ unit.T, v.square().sum(1, keepdim=True)
    low, high = cosine.min(), cosine.max()

    def own(w: Tensor) -> Callable[[], Tensor]:
        return lambda: w.view(len(v), -1) @ w.view(len(v), -1).T

    one_side = (
        "one vector of each pair keeps its length",
        "Only one side is normalised: divide both by their lengths.",
    )
    axis = "The length is taken along the wrong axis, {}: sum over the last one, dim."
    tips = "It is the distance of the vectors' tips: take the cosine of their angle."
    weights = "A softmax makes weights of them: leave cosines as they are."
    return [
        Guess(
            lambda: dot,
            "dot products",
            "Nothing is normalised: divide each vector by its length first.",
        ),
        Guess(lambda: unit @ v.T, *one_side),
        Guess(lambda: v @ unit.T, *one_side),
        Guess(
            own(F.normalize(v, dim=0)),
            "channels of length 1, not patches",
            axis.format("over all patches"),
        ),
        Guess(
            own(F.normalize(x, dim=0)),
            "columns of length 1, not patches",
            axis.format("over rows"),
        ),
        Guess(
            own(F.normalize(x, dim=1)),
            "rows of length 1, not patches",
            axis.format("over columns (F.normalize has dim=1 by default)"),
        ),
        Guess(
            lambda: dot / SIZE**0.5,
            "dot products over the root of dim",
            "This is attention's scale: divide by the vectors' lengths instead.",
        ),
        Guess(
            lambda: dot / dot.max(),
            "dot products over their largest",
            "One number for the whole matrix is not enough: each vector has its own length.",
        ),
        Guess(
            lambda: dot / v.norm() ** 2,
            "dot products over the whole picture's length",
            "`norm()` without `dim` is one number for all: each vector has its own length.",
        ),
        Guess(
            own(v / squares),
            "vectors over their squared length",
            "The root is missing: the length is the root of the sum of squares.",
        ),
        Guess(
            own(F.normalize(v, p=1, dim=1)),
            "vectors whose absolute numbers sum to 1",
            "This is another length (p=1): the root of the sum of squares is meant.",
        ),
        Guess(lambda: apart, "distances", "This is cdist. " + tips),
        Guess(lambda: apart.square(), "squared distances", tips),
        Guess(lambda: -apart, "negative distances", tips),
        Guess(lambda: 1 / (1 + apart), "inverse distances", tips),
        Guess(
            own(_unit(v - v.mean(0))),
            "cosines of centred vectors",
            "The mean over all patches is subtracted: the cosine takes vectors as they are.",
        ),
        Guess(
            lambda: (cosine - low) / (high - low),
            "numbers from 0 to 1",
            "They are stretched to 0 and 1 by the smallest and largest: leave cosines as they are.",
        ),
        Guess(lambda: dot.softmax(-1), "rows that sum to 1", weights),
        Guess(lambda: cosine.softmax(-1), "rows that sum to 1", weights),
    ]


def _ends(run: Callable, random: torch.Generator, say: Callable) -> Seen:
    x = _noise(random, *GRID, SIZE) + 0.7
    v = x[0, 0]
    x[0, 1] = -2 * v
    x[0, 2] -= (x[0, 2] @ v) / (v @ v) * v
    came = run(x)[0, :3].double()
    distance = "A distance grows where similarity shrinks: the cosine itself is meant."
    ends = {
        (1, -1, 0): ("", ""),
        (0, -1, 0): (
            "0 for a patch and itself",
            "The diagonal is emptied, but a patch is like itself: 1.",
        ),
        (1, 0, 0.5): (
            "0 for opposite directions",
            "Similarity is shifted to 0 to 1: leave it between -1 and 1.",
        ),
        (1, 0, 0): (
            "0 for opposite directions",
            "Negative similarities are cut off (clamp, relu): -1 says something else than 0.",
        ),
        (1, 1, 0): (
            "1 for opposite directions",
            "The sign is lost (abs, a square): opposite directions are not alike.",
        ),
        (0, 2, 1): ("0 for the same direction", f"This is 1 less the cosine. {distance}"),
        (0, 2, 2**0.5): ("0 for the same direction", f"This is Euclid's. {distance}"),
        (0, 4, 2): ("0 for the same direction", f"This is Euclid's, squared. {distance}"),
        (-1, 1, 0): ("-1 for the same direction", "The sign is the wrong way round."),
        (0, math.pi, math.pi / 2): (
            "angles",
            "acos makes angles of them: leave cosines as they are.",
        ),
        (0, 180, 90): ("angles", "acos makes angles of them: leave cosines as they are."),
    }
    for numbers, words in ends.items():
        # acos is steep at its ends: there a rounding error is large.
        if (came - torch.tensor(numbers, dtype=torch.float64)).abs().max() < 2e-3:
            return wrong(*words) if words[0] else RIGHT
    if (came[:2] - torch.tensor([1.0, -1.0])).abs().max() < 1e-3:
        return wrong(
            f"{came[2]:.2f} for a right angle",
            "Each vector's own mean is subtracted (a correlation): the cosine takes vectors as "
            "they are.",
        )
    few = ", ".join(f"{n:.3g}" for n in came.tolist())
    return say(wrong(f"{few} for 1, -1, 0", "Try it with (1, 0), (-1, 0) and (0, 1)."))


def _matrix_shape(came: tuple[int, ...]) -> str:
    rows, columns = GRID
    if came == (SIZE, SIZE):
        return "Channels are compared, not patches: the transpose is on the wrong side."
    if came == (rows, columns, rows, columns):
        return "One row for each patch: flatten the grid's two axes to one."
    if came in ((rows, columns, columns), (rows, rows), (columns, columns), (columns, rows, rows)):
        return "Only patches of one row or column meet: flatten the grid's two axes to one first."
    if came == (rows, columns):
        return "This is one patch's map: compare every patch with every other."
    return "Flatten (rows, columns, dim) to (patches, dim) first, and print the shapes."


def _matrix_hint(message: str) -> str:
    if {"28", "11"} <= set(re.findall(r"\d+", message)):
        return "keepdim=True keeps the lengths' axis, so that they divide the vectors row by row."
    signs = "must match the size", "cannot be multiplied", "must be 2D", "must be a matrix", "batch"
    if any(sign in message for sign in signs):
        return "Flatten (rows, columns, dim) to (patches, dim) first; the second one is transposed."
    return ""
