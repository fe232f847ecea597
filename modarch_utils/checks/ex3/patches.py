"""Exercise 3, one patch's map: a row of the matrix, laid out as the picture is."""

import math
import re
from collections.abc import Callable

import torch
from torch import Tensor

from modarch_utils.checks.core import RIGHT, Report, Rows, Seen, call, near, wrong
from modarch_utils.checks.ex3.guess import tensor
from modarch_utils.checks.ex3.similarity import kept

EXPECTED = {
    "runs": "(rows, columns) from the matrix",
    "which patch": "the one in the given row and column",
    "places": "each value where its patch lies",
    "values": "are the matrix's own",
    "input": "is the same after the call as before",
}


def check_patch_map(
    function: Callable[[Tensor, tuple[int, int], tuple[int, int]], Tensor], seed: int = 0
) -> Report:
    """All findings on the map of one patch's similarities.

    Args:
        function: ``function(similarity, grid, place)`` with the matrix ``(P, P)``, the grid's
            (rows, columns) and the patch's (row, column), both from 0; it returns
            ``(rows, columns)``.
        seed: decides the matrix.
    """
    random = torch.Generator().manual_seed(seed)
    cases = []
    for grid, place in (((5, 8), (3, 2)), ((5, 8), (1, 6)), ((9, 4), (2, 1))):
        half = 2 * torch.rand(math.prod(grid), math.prod(grid), generator=random) - 1
        matrix = half.triu(1) + half.triu(1).T
        cases.append((matrix.fill_diagonal_(1), grid, place))
    rows = Rows(EXPECTED)
    maps = []

    def one(matrix: Tensor, grid: tuple[int, int], place: tuple[int, int]) -> Tensor:
        raw = call(function, matrix.clone(), grid, place, hint=lambda m: _map_hint(m, grid, place))
        return tensor(raw, grid, lambda came: _map_shape(came, grid))

    def runs() -> Seen:
        for case in cases:
            maps.append(one(*case))
        return RIGHT

    if rows.add("runs", runs).passed:
        found = [_find(came, *case) for came, case in zip(maps, cases, strict=True)]
        for k, what in enumerate(("which patch", "places", "values")):
            rows.add(what, lambda k=k: next((f[k] for f in found if not f[k].passed), RIGHT))
        matrix, *rest = cases[0]
        rows.add("input", lambda: kept(lambda m: call(function, m, *rest), matrix))
    return rows.report("patch_map")


def _values(row: Tensor, index: int) -> list[tuple[Tensor, Seen]]:
    """The values of one row of the matrix, as they are and otherwise."""
    zero, nan = row.clone(), row.clone()
    zero[index], nan[index] = 0, row.min()
    low, high = row.min(), row.max()
    own = "The patch itself is left out: its own similarity, 1, belongs to the map."
    return [
        (row, RIGHT),
        (zero, wrong("0 at the patch itself", own)),
        (nan, wrong("another number at the patch itself", own)),
        (
            (row + 1) / 2,
            wrong("numbers from 0 to 1", "Values are shifted: leave them between -1 and 1."),
        ),
        (
            (row - low) / (high - low),
            wrong(
                "numbers from 0 to 1",
                "Values are stretched to 0 and 1: then no two maps can be compared.",
            ),
        ),
        (row.clamp(min=0), wrong("no negative numbers", "Negative values are cut off.")),
        (
            1 - row,
            wrong("1 less the values", "This is a distance: leave similarities as they are."),
        ),
    ]


def _find(
    came: Tensor, matrix: Tensor, grid: tuple[int, int], place: tuple[int, int]
) -> tuple[Seen, Seen, Seen]:
    """Which patch's map it is, how it is laid out, and what was done to its values."""
    layouts = {
        "": lambda row: row.view(grid),
        "column by column": lambda row: row.view(grid[::-1]).T,
        "upside down": lambda row: row.view(grid).flip(0),
        "mirrored": lambda row: row.view(grid).flip(1),
    }
    right = place[0] * grid[1] + place[1]
    for index in sorted(range(len(matrix)), key=lambda index: index != right):
        for values, seen in _values(matrix[index], index):
            for words, arrange in layouts.items():
                if not near(came, arrange(values), 1e-6):
                    continue
                laid = wrong(
                    f"values {words}", "Patches come row by row: reshape to (rows, columns)."
                )
                return (
                    RIGHT if index == right else _wrong_index(index, grid, place),
                    laid if words else RIGHT,
                    seen,
                )
    other = wrong("numbers of no single patch", "One row of the matrix, reshaped, is all.")
    return other, other, other


def _wrong_index(index: int, grid: tuple[int, int], place: tuple[int, int]) -> Seen:
    (rows, columns), (row, column) = grid, place
    right = row * columns + column
    came = f"patch number {index} for {place} in a grid of {rows} × {columns}"
    if index == column * columns + row:
        return wrong(came, "Row and column are swapped: the place is (row, column), not (x, y).")
    if index == column * rows + row:
        return wrong(came, "Counted down the columns: patches are counted row by row.")
    if index == row * rows + column:
        return wrong(
            came, "A row has as many patches as there are columns: row * columns + column."
        )
    if index > right and index - right in (1, 5):
        return wrong(
            came, "Class token and registers are counted, but the matrix has patches alone."
        )
    if index == right - 1:
        return wrong(came, "Off by one: rows and columns count from 0.")
    return wrong(came, f"It is number {right}: row * columns + column.")


def _map_shape(came: tuple[int, ...], grid: tuple[int, int]) -> str:
    rows, columns = grid
    if came == (columns, rows):
        return "Rows and columns are swapped: reshape to (rows, columns)."
    if came == (rows * columns,):
        return "The values stand in one row: reshape them to (rows, columns)."
    if came == ():
        return "This is one pair's similarity: take the whole row of the matrix."
    return "One row of the matrix, reshaped to (rows, columns)."


def _map_hint(message: str, grid: tuple[int, int], place: tuple[int, int]) -> str:
    numbers = [int(n) for n in re.findall(r"\d+", message)]
    if "out of bounds" in message and numbers:
        return _wrong_index(numbers[0], grid, place).likely
    if "is invalid for input of size" in message:
        return "The grid is given: its number of patches alone does not tell rows and columns."
    return ""
