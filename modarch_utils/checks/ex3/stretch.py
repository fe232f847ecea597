"""Exercise 3, stretch parts: an object by the first principal component, partners by similarity."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from modarch_utils.checks.core import (
    Part,
    Row,
    Unusable,
    as_check,
    combined,
    each,
    given,
    mutants,
    part_of_rows,
    tensor,
)

GRID, DIM = (7, 10), 6
ONE, TWO = (3, 4), (6, 9)
"""The grids of two pictures."""


def _cut_out(x: Tensor) -> Tensor:
    """Where the first component is above 0, with the sign that leaves the last corner out."""
    apart = (x - x.mean((0, 1))).flatten(0, 1)
    _, vectors = torch.linalg.eigh(apart.T @ apart)
    return _without_corner((apart @ vectors[:, -1] > 0).view(GRID))


def _without_corner(mask: Tensor) -> Tensor:
    return mask ^ mask[-1, -1]


@as_check
def check_foreground(seed: int = 0) -> Part:
    """Findings on an object cut out by the first principal component (Oquab et al., figure 1).

    Args:
        function: from ``(rows, columns, dim)`` to ``(rows, columns)`` bool.
        seed: decides the features, centred and with a vector added, and the objects' places.
    """
    random = torch.Generator().manual_seed(seed)
    noise = partial(torch.randn, generator=random)
    scenes, shifted = [], []
    for number in range(6):
        mask = torch.zeros(*GRID, 1)
        top, left = (int(torch.randint(1, 4, (), generator=random)) for _ in range(2))
        mask[top : top + 3, left : left + 4] = 6
        mask[0, 0] = 6 * (number % 2)  # the first patch decides the sign that LAPACK gives
        x = mask * F.normalize(noise(DIM), dim=0) + 0.15 * noise(*GRID, DIM)
        scenes.append(given(x - x.mean((0, 1))))
        shifted.append(given(x - x.mean((0, 1)) + 30 * noise(DIM)))
    either = each(_without_corner)
    rows = {
        "runs": Row("(rows, columns) bool", view=len),
        "object": Row(
            "cut out by the component along which patches differ most",
            "The first component is the first row of Vh (or of components_): project each patch on "
            "it, and cut at 0.",
            view=either,
        ),
        "centred": Row(
            "a vector that all patches share changes nothing",
            "The mean over all patches is not subtracted: then the first direction is the mean's.",
            view=either,
            after=("object",),
            cases=shifted,
        ),
        "sign": Row(
            "the object is True, and what touches the border is not",
            "A component's sign is arbitrary: turn it where more of the border than of the inner "
            "patches is True.",
            {"It is the wrong way round.": lambda x: ~_cut_out(x)},
            after=("object",),
        ),
    }
    return part_of_rows("foreground", rows, _cut_out, scenes, read=_mask)


def _mask(result: object, args: tuple) -> Tensor:
    mask = tensor(result, GRID, _mask_shape)
    if mask.dtype != torch.bool:
        raise Unusable(f"{mask.dtype}", "Return where it is above 0: component > 0.")
    return mask


def _mask_shape(came: tuple[int, ...]) -> str:
    if came == (GRID[0] * GRID[1],):
        return "Patches stand in one row: reshape to (rows, columns)."
    if came[:1] == (DIM,):
        return "This is a number for each channel: patches are the samples, channels the variables."
    return "One bool for each patch, (rows, columns)."


def _cosine(a: Tensor, b: Tensor) -> Tensor:
    return F.normalize(a, dim=1) @ F.normalize(b, dim=1).mT


def _pairs(
    alike: Callable[[Tensor, Tensor], Tensor] = _cosine,
    place: Callable = lambda i, one, two: (i // two[1], i % two[1]),
) -> Callable[[Tensor, Tensor], Tensor]:
    """The partners, by another similarity, or with another way from a number to a place."""

    def function(a: Tensor, b: Tensor) -> Tensor:
        best = alike(a.flatten(0, 1), b.flatten(0, 1)).argmax(1)
        places = place(best, a.shape, b.shape)
        return torch.stack(places, dim=-1).view(*a.shape[:2], 2)

    return function


PARTNERS = combined(
    _pairs,
    alike=mutants(
        "partner",
        {
            "The second picture's vectors are not normalised: the longest win.": (
                lambda a, b: a @ b.mT
            ),
            "cdist looks at the vectors' tips: compare directions.": (
                lambda a, b: -torch.cdist(a, b)
            ),
            "These are the least similar: argmax, not argmin.": lambda a, b: -_cosine(a, b),
        },
    ),
    place=mutants(
        "place",
        {
            "Column and row are swapped: (row, column).": (
                lambda i, one, two: (i % two[1], i // two[1])
            ),
            "Divide by the second grid's columns, not by its rows.": (
                lambda i, one, two: (i // two[0], i % two[0])
            ),
            "The place is in the second grid: divide by its columns, not by the first one's.": (
                lambda i, one, two: (i // one[1], i % one[1])
            ),
        },
    ),
)


@as_check
def check_partners(seed: int = 0) -> Part:
    """Findings on the most similar patch of another picture.

    Args:
        function: from ``(rows, columns, dim)`` and ``(rows2, columns2, dim)`` to
            ``(rows, columns, 2)`` whole numbers: row and column in the second grid.
        seed: decides the features, of unequal length; each of the first are like one of the second.
    """
    random = torch.Generator().manual_seed(seed)
    noise = partial(torch.randn, generator=random)
    b = noise(*TWO, DIM) * (1.5 * noise(*TWO, 1)).exp()
    a = b.flatten(0, 1)[torch.randperm(TWO[0] * TWO[1], generator=random)[: ONE[0] * ONE[1]]]
    a = F.normalize(a, dim=1) + 0.05 * noise(len(a), DIM)
    rows = {
        "runs": Row("(rows, columns, 2), whole numbers", view=len),
        "partner": Row(
            "the patch with the largest cosine",
            "Not the most similar ones: one row of cosines for each patch, its largest entry.",
            PARTNERS,
        ),
        "place": Row("its row and column in the second grid"),
    }
    return part_of_rows("partners", rows, _pairs(), [given(a.view(*ONE, DIM), b)], read=_whole)


def _whole(result: object, args: tuple) -> Tensor:
    alone = "A patch's number is not its place: give row and column."
    known = {
        (*TWO, 2): "This is the way back: for each patch of the *first* picture one of the second.",
        ONE: alone,
        (ONE[0] * ONE[1],): alone,
        (2, *ONE): "Row and column come last: stack with dim=-1.",
    }
    other = "Row and column for each patch of the first picture: (rows, columns, 2)."
    places = tensor(result, (*ONE, 2), lambda came: known.get(came, other))
    if places.is_floating_point():
        raise Unusable(f"{places.dtype}", "A place is counted: divide with //.")
    return places
