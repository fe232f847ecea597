"""Exercise 3, stretch parts: an object by the first principal component, partners by similarity."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from modarch_utils.checks.core import RIGHT, Report, Rows, Seen, Unusable, call, wrong
from modarch_utils.checks.ex3.guess import tensor

GRID, DIM = (7, 10), 6


def _noise(random: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=random)


def check_foreground(function: Callable[[Tensor], Tensor], seed: int = 0) -> Report:
    """Findings on an object cut out by the first principal component (Oquab et al., figure 1).

    Args:
        function: from ``(rows, columns, dim)`` to ``(rows, columns)`` bool.
        seed: decides the features and the objects' places.
    """
    random = torch.Generator().manual_seed(seed)
    rows = Rows(
        {
            "runs": "(rows, columns) bool",
            "object": "cut out by the component along which patches differ most",
            "centred": "a vector that all patches share changes nothing",
            "sign": "the object is True, and what touches the border is not",
        }
    )

    def scene() -> tuple[Tensor, Tensor]:
        """Centred features of a scene, and where its object is."""
        mask = torch.zeros(GRID, dtype=torch.bool)
        top, left = (int(torch.randint(1, 4, (), generator=random)) for _ in range(2))
        mask[top : top + 3, left : left + 4] = True
        direction = F.normalize(_noise(random, DIM), dim=0)
        x = 6 * mask[..., None] * direction + 0.15 * _noise(random, *GRID, DIM)
        return x - x.mean((0, 1)), mask

    def run(x: Tensor) -> Tensor:
        result = tensor(call(function, x.clone()), GRID, _mask_shape)
        if result.dtype != torch.bool:
            raise Unusable(f"{result.dtype}", "Return where it is above 0: component > 0.")
        return result

    def share(shift: float = 0.0) -> list[float]:
        """Patches that are right in each of six scenes."""
        found = []
        for _ in range(6):
            x, mask = scene()
            come = run(x + shift * _noise(random, DIM))
            found.append((come == mask).float().mean().item())
        return found

    def found_object() -> Seen:
        if all(max(s, 1 - s) > 0.99 for s in share()):
            return RIGHT
        return wrong(
            "other patches than the object's",
            "The first component is the first row of Vh (or of components_): project each patch on "
            "it, and cut at 0.",
        )

    def centred() -> Seen:
        if all(max(s, 1 - s) > 0.99 for s in share(30.0)):
            return RIGHT
        return wrong(
            "other patches as soon as all share a vector",
            "The mean over all patches is not subtracted: then the first direction is the mean's.",
        )

    def sign() -> Seen:
        shares = share()
        if min(shares) > 0.5:
            return RIGHT
        if max(shares) < 0.5:
            return wrong("the background, always", "It is the wrong way round.")
        return wrong(
            "now the object, now the background",
            "A component's sign is arbitrary: turn it where more of the border than of the inner "
            "patches is True.",
        )

    rows.add("runs", lambda: run(scene()[0]) is not None and RIGHT)
    rows.add("object", found_object, ("runs",))
    rows.add("centred", centred, ("runs", "object"))
    rows.add("sign", sign, ("runs", "object"))
    return rows.report("foreground")


def _mask_shape(came: tuple[int, ...]) -> str:
    if came == (GRID[0] * GRID[1],):
        return "Patches stand in one row: reshape to (rows, columns)."
    if came[:1] == (DIM,):
        return "This is a number for each channel: patches are the samples, channels the variables."
    return "One bool for each patch, (rows, columns)."


def check_partners(function: Callable[[Tensor, Tensor], Tensor], seed: int = 0) -> Report:
    """Findings on the most similar patch of another picture.

    Args:
        function: from ``(rows, columns, dim)`` and ``(rows2, columns2, dim)`` to
            ``(rows, columns, 2)`` whole numbers: row and column in the second grid.
        seed: decides the features.
    """
    random = torch.Generator().manual_seed(seed)
    one, two = (3, 4), (6, 9)
    b = _noise(random, *two, DIM) * (1.5 * _noise(random, *two, 1)).exp()
    a = b.flatten(0, 1)[torch.randperm(two[0] * two[1], generator=random)[: one[0] * one[1]]]
    a = F.normalize(a, dim=1) + 0.05 * _noise(random, len(a), DIM)
    lengths = b.flatten(0, 1).norm(dim=1)
    cosines = F.normalize(a, dim=1) @ F.normalize(b.flatten(0, 1), dim=1).mT
    ways = {
        "": cosines,
        "Nothing is normalised: the longest vectors win.": a @ b.flatten(0, 1).mT,
        "Only the first picture's vectors are normalised: the longest of the second win.": (
            cosines * lengths
        ),
        "cdist looks at the vectors' tips: compare directions.": -torch.cdist(a, b.flatten(0, 1)),
        "These are the least similar: argmax, not argmin.": -cosines,
    }
    codes = {
        "": lambda i: (i // two[1], i % two[1]),
        "Column and row are swapped: (row, column).": lambda i: (i % two[1], i // two[1]),
        "Divide by the second grid's columns, not by its rows.": lambda i: (
            i // two[0],
            i % two[0],
        ),
        "The place is in the second grid: divide by its columns, not by the first one's.": (
            lambda i: (i // one[1], i % one[1])
        ),
    }
    rows = Rows(
        {
            "runs": "(rows, columns, 2), whole numbers",
            "partner": "the patch with the largest cosine",
            "place": "its row and column in the second grid",
        }
    )
    came = None

    def runs() -> Seen:
        nonlocal came
        shape = (*one, 2)
        raw = call(function, a.view(*one, DIM).clone(), b.clone())
        came = tensor(raw, shape, lambda other: _partners_shape(other, one, two))
        if came.is_floating_point():
            return wrong(f"{came.dtype}", "A place is counted: divide with //.")
        return RIGHT

    if rows.add("runs", runs).passed:
        found = None
        for way, matrix in ways.items():
            for code, decode in codes.items():
                places = torch.stack(decode(matrix.argmax(1)), dim=-1).view(came.shape)
                if torch.equal(places, came.long()):
                    found = found or (way, code)
        other = "Not the most similar ones: one row of cosines for each patch, its largest entry."
        way, code = found or (other, "")
        rows.add("partner", lambda: wrong("other patches", way) if way else RIGHT)
        rows.add("place", lambda: wrong("other places", code) if code else RIGHT, ("partner",))
    return rows.report("partners")


def _partners_shape(came: tuple[int, ...], one: tuple, two: tuple) -> str:
    if came == (*two, 2):
        return "This is the way back: for each patch of the *first* picture one of the second."
    if came in (one, (one[0] * one[1],)):
        return "A patch's number is not its place: give row and column."
    if came == (2, *one):
        return "Row and column come last: stack with dim=-1."
    return "Row and column for each patch of the first picture: (rows, columns, 2)."
