"""Exercise 3, the drawing: what a student's map over a picture looks like, pixel by pixel.

The function draws on an axis, again and again, with one thing changed at a time. What changes on
the canvas tells where the picture and the map lie and how a value becomes a colour, whichever of
matplotlib's functions has drawn them.
"""

from collections.abc import Callable
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from modarch_utils.checks.core import RIGHT, Report, Rows, Seen, Unusable, call, hints, wrong

EXPECTED = {
    "runs": "draws on the axis that it is given",
    "picture": "is seen through the map, upright",
    "map": "is seen over the picture, and covers it exactly",
    "places": "each value's colour lies on its own patch",
    "scale": "a value has one colour, whatever the other values are",
    "range": "colours tell values from -1 to 1 apart",
}
SIDE = 6  # pixels of a patch
GRID = (5, 8)
EVEN = (0, 0, -1), (-1, -1, 1)  # all values equal have no scale of their own
TOLERANCE = 2  # pixels of the canvas, a thirtieth of a patch's size on it


MEET = (
    "The map has one number for each patch, the picture one for each pixel: they meet only when "
    "drawn, or after the map is enlarged."
)
HINT = hints({"Invalid shape|operands could not be broadcast": MEET})


class Box(NamedTuple):
    """Pixels of the canvas."""

    top: int
    bottom: int
    left: int
    right: int


def check_draw_map(function: Callable[[Axes, np.ndarray, Tensor], object], seed: int = 0) -> Report:
    """All findings on a function that draws a map over a picture.

    Args:
        function: ``function(axis, picture, values)`` with a matplotlib axis, a picture
            ``(H, W, 3)`` uint8 and values ``(rows, columns)`` between -1 and 1.
        seed: decides pictures and values.
    """
    return _Drawing(function, np.random.default_rng(seed)).report()


class _Drawing:
    def __init__(self, function: Callable, random: np.random.Generator):
        self.function = function
        shape = (GRID[0] * SIDE, GRID[1] * SIDE, 3)
        self.picture = random.integers(60, 110, shape, dtype=np.uint8)
        self.lighter = self.picture + np.uint8(110)
        self.values = torch.from_numpy(random.uniform(-0.6, 0.6, GRID)).float()
        self.box: Box | None = None

    def report(self) -> Report:
        rows = Rows(EXPECTED)
        rows.add("runs", self._runs)
        rows.add("picture", self._picture, ("runs",))
        rows.add("map", self._map, ("runs",))
        rows.add("places", self._places, ("picture", "map"))
        rows.add("scale", self._scale, ("map", "places"))
        rows.add("range", self._range, ("map", "places", "scale"))
        return rows.report("draw_map")

    def _canvas(self, picture: np.ndarray | None = None, values: Tensor | None = None):
        """What is seen in the axis after one call, ``(height, width, 3)``."""
        picture = self.picture if picture is None else picture
        values = self.values if values is None else values
        before = plt.get_fignums()
        with plt.rc_context({"figure.constrained_layout.use": False, "figure.dpi": 100}):
            figure = plt.figure(figsize=(5, 4))
            axis = figure.add_axes((0.05, 0.05, 0.9, 0.7))
            # The newest axis is another one, as in every figure with two of them.
            figure.add_axes((0.05, 0.8, 0.9, 0.15)).set_visible(False)
            try:
                call(self.function, axis, picture.copy(), values.clone(), hint=HINT)
                for ticks in (axis.xaxis, axis.yaxis):
                    ticks.set_visible(False)  # no part of what is measured, and slow to draw
                figure.canvas.draw()
                seen = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
                frame = axis.get_window_extent()
            finally:
                for number in set(plt.get_fignums()) - set(before):
                    plt.close(number)
        height = len(seen)
        # A pixel less at each edge: the axis's spines are none of it.
        top, bottom = round(height - frame.y1) + 2, round(height - frame.y0) - 2
        return seen[top:bottom, round(frame.x0) + 2 : round(frame.x1) - 2]

    @cached_property
    def first(self) -> np.ndarray:
        return self._canvas()

    def _runs(self) -> Seen:
        if np.ptp(self.first.reshape(-1, 3), axis=0).max() > 0:
            return RIGHT
        return wrong(
            "an axis that is still empty",
            "plt.imshow draws on the newest axis, whichever that is: axis.imshow draws on this "
            "one.",
        )

    def _picture(self) -> Seen:
        box = _box(self.first, self._canvas(self.lighter))
        if not box:
            return wrong(
                "no trace of the picture",
                "The map hides it, or it is not drawn: draw the picture first, then the map with "
                "alpha between 0 and 1.",
            )
        first, last = map(self._corner, (slice(0, 2 * SIDE), slice(-2 * SIDE, None)))
        if not first or not last:
            return wrong(
                "only a part of the picture",
                "imshow makes each patch one pixel large, and shows no more of the picture: give "
                "the map extent=(0, W, H, 0), and the picture too.",
            )
        upright = first.top - box.top <= TOLERANCE < box.bottom - first.bottom
        if upright and first.left - box.left <= TOLERANCE < box.right - first.right:
            self.box = box
            return RIGHT
        return wrong(
            "a picture upside down or turned",
            "origin='lower' or a transpose: row 0 of the picture is at the top.",
        )

    def _corner(self, part: slice) -> Box | None:
        """Where a corner of the picture is seen."""
        changed = self.picture.copy()
        changed[part, part] = self.lighter[part, part]
        return _box(self.first, self._canvas(changed))

    def _map(self) -> Seen:
        low = self._canvas(values=_values(-0.8, (0, 0, 1), (-1, -1, 1)))
        high = self._canvas(values=_values(0.3, (0, 0, -1), (-1, -1, -1)))
        box, right = _box(low, high), self.box
        if not box:
            return wrong(
                "no trace of the values",
                "The picture lies over the map, or the map is not drawn: the map comes last.",
            )
        if not right or max(abs(a - b) for a, b in zip(box, right, strict=True)) <= TOLERANCE:
            return RIGHT
        if box.bottom - box.top < 0.5 * (right.bottom - right.top):
            return wrong(
                "a map in one corner of the picture",
                "imshow makes each patch one pixel large: extent=(0, W, H, 0) spreads the map over "
                "the picture.",
            )
        return wrong(
            "a map of another size than the picture's",
            "Its edges are not the picture's: with imshow, the extent is (-0.5, W - 0.5, H - 0.5, "
            "-0.5) or, for both, (0, W, H, 0).",
        )

    def _places(self) -> Seen:
        rows, columns = GRID
        height, width = self.box.bottom - self.box.top, self.box.right - self.box.left
        before = self._canvas(values=_values(0, *EVEN))
        for row, column in ((1, 2), (3, 6), (1, 5)):
            after = self._canvas(values=_values(0, *EVEN, (row, column, 0.9)))
            change = _change(before, after)
            if not change.any():
                return wrong("no trace of one patch's value", "Draw each patch's own value.")
            y, x = (np.average(at, weights=change[change > 0]) for at in np.nonzero(change))
            y = (y - self.box.top) / height * rows - 0.5
            x = (x - self.box.left) / width * columns - 0.5
            if abs(y - row) < 0.5 and abs(x - column) < 0.5:
                continue
            came = f"the value of {row, column} lies at ({y:.1f}, {x:.1f})"
            if abs(y - (rows - 1 - row)) < 0.5 and abs(x - column) < 0.5:
                return wrong(
                    came, "The map is upside down (origin='lower', extent): row 0 is on top."
                )
            turned = column * rows / columns, row * columns / rows
            if abs(y - turned[0]) < 1 and abs(x - turned[1]) < 1.2:
                return wrong(came, "The map is transposed: rows go down, columns to the right.")
            return wrong(came, "Rows go down, columns to the right, each as large as its patch.")
        return RIGHT

    def _colour(self, values: Tensor) -> np.ndarray:
        """The colour in the middle of patch (2, 3)."""
        top, bottom, left, right = self.box
        y, x = int(top + 0.5 * (bottom - top)), int(left + 3.5 / GRID[1] * (right - left))
        return self._canvas(values=values)[y - 1 : y + 2, x - 1 : x + 2].mean((0, 1))

    def _scale(self) -> Seen:
        one, *others = (
            self._colour(_values(0.2, (2, 3, 0.5), (4, 7, other), (0, 0, 0)))
            for other in (0.6, 1, -1)
        )
        if max(np.abs(one - colour).max() for colour in others) < 4:
            return RIGHT
        return wrong(
            "another colour for the same value, as another patch changes",
            "The colours stretch from each map's smallest to its largest value, so no two maps can "
            "be compared: fix them with vmin=-1 and vmax=1.",
        )

    def _range(self) -> Seen:
        levels = -0.9, -0.5, 0.0, 0.5, 0.9
        seen = [(level, self._colour(_values(0, *EVEN, (2, 3, level)))) for level in levels]
        for (a, one), (b, other) in combinations(seen, 2):
            if np.abs(one - other).max() < 4:
                return wrong(
                    f"one colour for {a} and {b}",
                    "The scale ends too early, or the sign is lost: vmin=-1 and vmax=1.",
                )
        return RIGHT


def _values(base: float, *patches: tuple[int, int, float]) -> Tensor:
    """A map of one value, but for some patches (row, column, value)."""
    values = torch.full(GRID, float(base))
    for row, column, value in patches:
        values[row, column] = value
    return values


def _change(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.shape != b.shape:
        came = "an axis of another size at each call"
        raise Unusable(came, "Let the axis's size be independent of data.")
    return np.abs(a - b).sum(-1)


def _box(a: np.ndarray, b: np.ndarray) -> Box | None:
    """Around all that differs."""
    change = _change(a, b)
    rows, columns = np.nonzero(change.any(1))[0], np.nonzero(change.any(0))[0]
    return Box(rows[0], rows[-1], columns[0], columns[-1]) if len(rows) else None
