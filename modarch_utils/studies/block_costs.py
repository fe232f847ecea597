"""What MBConv, Fused-MBConv and depthwise kernels cost in training (chapter 03_efficientnetv2).

FLOPs, by which vision papers mean multiply-adds, say how much arithmetic a layer does, not how
long it takes. Everything here is one forward and backward on noise, on a CPU with one thread; two
things are timed in turns, so that a slow moment of the machine meets both.
"""

import ctypes
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields

import numpy as np
import torch
from matplotlib.axes import Axes
from torch import nn

from modarch_utils import measure
from modarch_utils.models.efficientnetv2 import FusedMBConv, MBConv, Stage
from modarch_utils.plots import PALETTE

WIDTHS = (16, 24, 32, 48, 64, 96, 128, 192, 256)
SIDES = (7, 14, 28, 56, 112)
EXPAND = 4
SE = 0.25
"""Of MBConv; the paper's Fused-MBConv has no squeeze-and-excitation (table 4)."""
KERNELS = (3, 5, 7, 9, 11)
REPEATS = 9

NUMBERS = {"cpu": 1e6, "cuda": 5e7}
"""Numbers in the widest feature map of a step (batch · 4C · side²), about; the batch follows."""
MANY_NUMBERS = 4e6
"""A larger batch, to show what memory does; see :func:`keep_memory`."""
LARGEST = 2.5
"""A cell where one image alone has more than so many times the numbers is left out."""


@dataclass(frozen=True)
class Live:
    """The part of the map that the chapter times itself."""

    widths: tuple[int, ...]
    """Channels."""
    sides: tuple[int, ...]
    """Of the feature maps."""
    half: bool = False
    """In half precision, as networks are trained on GPUs."""


LAPTOP = Live((16, 48, 128), (14, 28, 56))
GPU = Live((16, 24, 32, 48, 64, 96, 128, 160, 192, 256), SIDES, half=True)

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # options of mallopt, from glibc's malloc.h


@dataclass(frozen=True)
class Cell:
    """MBConv against Fused-MBConv at one place of a network."""

    width: int
    """Channels that enter and leave the block."""
    side: int
    """Height and width of the feature map."""
    batch: int
    """Images in the step."""
    ratio: float
    """Time of MBConv divided by that of Fused-MBConv: above 1 the fused block is faster."""
    q1: float
    q3: float
    """Quartiles of the ratio over the pairs of steps."""
    mac_ratio: float
    """The same ratio of multiply-adds."""
    mbconv_s: float
    fused_s: float
    """Seconds of a step."""


@dataclass(frozen=True)
class Kernel:
    """One convolution, ``C`` channels to ``C``, forward and backward."""

    name: str
    macs: int
    """Multiply-adds of the forward pass."""
    seconds: float
    """Of a step, forward and backward."""
    relative: float
    """Seconds divided by those of the 1×1 convolution, timed in turns with it."""
    q1: float
    q3: float
    """Quartiles of ``relative``."""


def clock(device: torch.device | str = "cpu") -> Callable[[], float]:
    """The clock for a device.

    On a CPU it counts only the time that this process had a core; a GPU works while the process
    waits, so there it is the clock on the wall.
    """
    return time.process_time if torch.device(device).type == "cpu" else time.perf_counter


def keep_memory() -> bool:
    """Ask glibc to keep large blocks of memory in this process instead of returning them.

    By default it may give a large tensor's memory back to the system after use, and fetch it anew,
    page by page, in the next step. Whether it does depends on sizes and on what ran before, and it
    costs MBConv more, as it has more large tensors. It cannot be undone in this process.

    Returns:
        Whether it was done; other systems than Linux with glibc have no such call.
    """
    library = ctypes.CDLL(None) if sys.platform == "linux" else None
    mallopt = getattr(library, "mallopt", None)
    if mallopt is None:
        return False
    return all(mallopt(option, 2**30) == 1 for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD))


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one CPU thread, and put the number back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def training_step(
    layer: nn.Module,
    shape: tuple[int, ...],
    device: torch.device | str = "cpu",
    half: bool = False,
) -> measure.Step:
    """One forward and backward of a layer in the middle of a network.

    Args:
        layer: what to run; it is moved to ``device`` and put into training mode.
        shape: of the noise that enters, ``(N, C, H, W)``; it needs a gradient too.
        device: where.
        half: autocast to 16 bits, float16 on a GPU and bfloat16 on a CPU.
    """
    device = torch.device(device)
    layer.to(device).train()
    # Channels last, as everywhere in our EfficientNetV2.
    x = torch.randn(shape, device=device).contiguous(memory_format=torch.channels_last)
    cast = torch.bfloat16 if device.type == "cpu" else torch.float16

    def forward() -> torch.Tensor:
        with torch.autocast(device.type, cast, enabled=half):
            return layer(x)

    with torch.no_grad():
        if half:  # a layer in the middle of a network is given 16 bits
            x = x.to(cast)
        out = forward()
    x.requires_grad_()
    # Not a mean of squares: the gradient that comes back shall cost nothing to make.
    gradient = torch.randn_like(out)

    def step() -> None:
        layer.zero_grad(set_to_none=True)
        x.grad = None
        forward().backward(gradient)

    return step


def blocks(width: int, se: float = SE) -> tuple[MBConv, FusedMBConv]:
    """The two blocks that are compared: stride 1, expansion 4, 3×3, SE in MBConv or nowhere."""
    return MBConv(width, width, expand=EXPAND, se=se), FusedMBConv(width, width, expand=EXPAND)


def batch_size(width: int, side: int, numbers: float) -> int:
    """Images for a step with about ``numbers`` in its widest map; 0: one is too many."""
    one = EXPAND * width * side**2
    return 0 if one > LARGEST * numbers else max(1, round(numbers / one))


def cell(
    width: int,
    side: int,
    *,
    device: torch.device | str = "cpu",
    numbers: float | None = None,
    repeats: int = REPEATS,
    se: float = SE,
    half: bool = False,
) -> Cell | None:
    """Time the two blocks in turns.

    Args:
        width: channels.
        side: positions along each side of the feature map.
        device: where; on a CPU one thread works.
        numbers: in the widest feature map; by default the device's of :data:`NUMBERS`.
        repeats: pairs of steps.
        se: of MBConv; 0 leaves squeeze-and-excitation out.
        half: see :func:`training_step`.

    Returns:
        The cell, or None where one image alone is too large.

    Raises:
        ValueError: a width or side below 1.
    """
    if width < 1 or side < 1:
        raise ValueError(f"A block needs a width and a side from 1, not {width} and {side}.")
    batch = batch_size(width, side, numbers or _numbers(device))
    if batch == 0:
        return None
    torch.manual_seed(0)
    mbconv, fused = blocks(width, se)
    shape = (batch, width, side, side)
    macs = [measure.count_macs(block, shape) for block in (mbconv, fused)]
    with one_thread():
        times = measure.compare(
            training_step(fused, shape, device, half),
            training_step(mbconv, shape, device, half),
            repeats=repeats,
            clock=clock(device),
        )
    return Cell(
        width,
        side,
        batch,
        times.ratio,
        times.q1,
        times.q3,
        macs[0] / macs[1],
        times.reference_s,
        times.ours_s,
    )


def grid(widths: Sequence[int] = WIDTHS, sides: Sequence[int] = SIDES, **options) -> Iterator[Cell]:
    """Every :func:`cell` of a grid that is not left out, one after the other."""
    for side in sides:
        for width in widths:
            if (found := cell(width, side, **options)) is not None:
                yield found


def recorded(record: dict, kind: str) -> list[Cell]:
    """The cells of one kind that the record of ``python -m recipes.fused_map`` has."""
    names = [f.name for f in fields(Cell)]
    rows = [r for r in record["results"] if r["kind"] == kind]
    return [Cell(**{name: row[name] for name in names}) for row in rows]


def crossing_bands(cells: Sequence[Cell]) -> dict[int, tuple[float, float]]:
    """For each side, between which widths the fused block stops being the faster one.

    The band begins where the lower quartile of the ratio first falls below 1 and ends where the
    upper one is above 1 for the last time: left of it the fused block is faster, right of it
    slower. Between two widths a ratio's logarithm is taken to be a straight line in the width's.

    Returns:
        ``{side: (first, last)}`` in channels. A quartile that begins below 1 has its end of the
        band at the first width; one that is above 1 to the last width gives NaN, as a map that ends
        too early shows no crossing.
    """
    found = {}
    for side in sorted({c.side for c in cells}):
        row = sorted((c for c in cells if c.side == side), key=lambda c: c.width)
        widths = [c.width for c in row]
        falls = [_falls(widths, [getattr(c, q) for c in row]) for q in ("q1", "q3")]
        found[side] = falls[0][0], falls[1][-1]
    return found


def _falls(widths: Sequence[float], ratios: Sequence[float]) -> list[float]:
    """Where rising widths see their ratios fall below 1."""
    found = [] if ratios[0] > 1 else [float(widths[0])]
    points = [(math.log(w), math.log(r)) for w, r in zip(widths, ratios, strict=True)]
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        if y0 > 0 >= y1:
            found.append(math.exp(x0 + (x1 - x0) * y0 / (y0 - y1)))
    return found if ratios[-1] <= 1 else [*found[:1], math.nan]


def draw_map(
    axis: Axes,
    cells: Sequence[Cell],
    bands: Mapping[int, tuple[float, float]] | None = None,
    stages: Sequence[Stage] = (),
) -> None:
    """Colour and write the ratio of each cell: orange where the fused block is faster.

    Args:
        axis: to draw on.
        cells: of a grid, which may have holes.
        bands: of :func:`crossing_bands`, drawn in grey.
        stages: of a network for 224 to 300 pixels, each a numbered circle.
    """
    widths, sides = (sorted({getattr(c, name) for c in cells}) for name in ("width", "side"))

    def place(value: float, ticks: Sequence[int]) -> float:
        return float(np.interp(math.log(value), np.log(ticks), range(len(ticks))))

    ratios = np.full((len(sides), len(widths)), np.nan)
    for c in cells:
        row, column = sides.index(c.side), widths.index(c.width)
        ratios[row, column] = c.ratio
        box = {"fc": "w", "alpha": 0.6, "lw": 0, "pad": 1.5}
        style = {"ha": "center", "va": "center", "fontsize": 9, "bbox": box}
        axis.text(column, row - 0.3, f"{c.ratio:.2f}", **style)
    colours = {"cmap": "PuOr_r", "vmin": -1.6, "vmax": 1.6}
    axis.imshow(np.log2(ratios), origin="lower", aspect="auto", **colours)
    if bands:
        low, high = ([place(bands[s][k], widths) for s in sides] for k in (0, 1))
        shade = {"color": PALETTE["ink"], "alpha": 0.35, "lw": 0, "label": "as fast as each other"}
        axis.fill_betweenx(range(len(sides)), low, high, **shade)
    side = (224 + 300) / 2 / 2  # between the sizes of training and of use, after the stem
    for number, stage in enumerate(stages, start=1):
        side /= stage.stride
        if stage.expand > 1:  # else there is no MBConv to compare with
            x, y = place(stage.channels, widths), place(side, sides)
            colour = PALETTE["amber" if stage.op == "fused" else "pink"]
            axis.plot(x, y, "o", ms=15, color=colour, mec="k")
            axis.text(x, y, number, ha="center", va="center_baseline", fontweight="bold")
    axis.set_xticks(range(len(widths)), widths)
    axis.set_yticks(range(len(sides)), [f"{s}×{s}" for s in sides])
    axis.grid(visible=False)
    axis.set(xlabel="channels", ylabel="feature map")


def draw_lines(axis: Axes, lines: Mapping[str, tuple[Sequence[Cell], str, str]]) -> None:
    """Draw the ratio against the channels, with its quartiles.

    Args:
        axis: to draw on.
        lines: by name: cells of one side, a colour of the palette, and a line's style, or ``"*"``
            for stars with bars, which the legend leaves out.
    """
    for name, (cells, colour, style) in lines.items():
        x, y = [c.width for c in cells], [c.ratio for c in cells]
        low, high = [c.q1 for c in cells], [c.q3 for c in cells]
        look = {"color": PALETTE[colour], "label": name if style != "*" else None}
        if style == "*":
            bars = np.abs(np.subtract((low, high), y))
            axis.errorbar(x, y, bars, fmt="*", ms=12, mec="k", capsize=3, **look)
        else:
            axis.plot(x, y, style, **look)
            axis.fill_between(x, low, high, color=PALETTE[colour], alpha=0.2, lw=0)
    axis.axhline(1, color=PALETTE["ink"], lw=1)
    axis.set(xscale="log", xlabel="channels", ylabel="MBConv / Fused-MBConv")
    ticks = sorted({c.width for cells, *_ in lines.values() for c in cells})
    axis.set_xticks(ticks, ticks)
    axis.minorticks_off()


def kernels(
    width: int = 96,
    side: int = 28,
    batch: int = 16,
    *,
    device: torch.device | str = "cpu",
    repeats: int = REPEATS,
) -> list[Kernel]:
    """Time depthwise convolutions, a 1×1 and a full 3×3 of one width, each against the 1×1.

    Args:
        width, side, batch: of the features ``(batch, width, side, side)``.
        device: where; on a CPU one thread works.
        repeats: pairs of steps.

    Returns:
        The 1×1, the full 3×3, and the depthwise ones with :data:`KERNELS`.
    """
    torch.manual_seed(0)
    shape = (batch, width, side, side)

    def convolution(kernel: int, groups: int = 1) -> nn.Conv2d:
        return nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=groups, bias=False)

    layers = {"1×1": convolution(1), "full 3×3": convolution(3)}
    layers |= {f"depthwise {k}×{k}": convolution(k, width) for k in KERNELS}
    found = []
    with one_thread():
        one = training_step(convolution(1), shape, device)
        for name, layer in layers.items():
            macs = measure.count_macs(layer, shape)
            step = training_step(layer, shape, device)
            # "Ours" is the 1×1, so that the ratio is the other's time divided by its.
            times = measure.compare(one, step, repeats=repeats, clock=clock(device))
            found.append(Kernel(name, macs, times.reference_s, times.ratio, times.q1, times.q3))
    return found


def _numbers(device: torch.device | str) -> float:
    return NUMBERS["cpu" if torch.device(device).type == "cpu" else "cuda"]
