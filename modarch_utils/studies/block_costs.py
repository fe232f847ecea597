"""What MBConv, Fused-MBConv and depthwise kernels cost in training (chapter 03_efficientnetv2).

FLOPs, by which vision papers mean multiply-adds, say how much arithmetic a layer does, not how
long it takes. Everything here is one forward and backward on noise, on a CPU with one thread; two
things are timed in turns, so that a slow moment of the machine meets both.
"""

import ctypes
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from modarch_utils import measure
from modarch_utils.models.efficientnetv2 import FusedMBConv, MBConv

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


LAPTOP = Live((16, 48, 128), (14, 28, 56))
GPU = Live((16, 24, 32, 48, 64, 96, 128, 160, 192, 256), SIDES)

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
    layer: nn.Module, shape: tuple[int, ...], device: torch.device | str = "cpu"
) -> measure.Step:
    """One forward and backward of a layer in the middle of a network.

    Args:
        layer: what to run; it is moved to ``device`` and put into training mode.
        shape: of the noise that enters, ``(N, C, H, W)``; it needs a gradient too.
        device: where.
    """
    layer.to(device).train()
    # Channels last, as everywhere in our EfficientNetV2.
    x = torch.randn(shape, device=device).contiguous(memory_format=torch.channels_last)
    x.requires_grad_()
    with torch.no_grad():
        out = layer(x)
    # Not a mean of squares: the gradient that comes back shall cost nothing to make.
    gradient = torch.randn_like(out)

    def step() -> None:
        layer.zero_grad(set_to_none=True)
        x.grad = None
        layer(x).backward(gradient)

    return step


def blocks(width: int) -> tuple[MBConv, FusedMBConv]:
    """The two blocks that are compared: stride 1, expansion 4, 3×3, SE only in MBConv."""
    return MBConv(width, width, expand=EXPAND, se=SE), FusedMBConv(width, width, expand=EXPAND)


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
) -> Cell | None:
    """Time the two blocks in turns.

    Args:
        width: channels.
        side: positions along each side of the feature map.
        device: where; on a CPU one thread works.
        numbers: in the widest feature map; by default the device's of :data:`NUMBERS`.
        repeats: pairs of steps.

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
    mbconv, fused = blocks(width)
    shape = (batch, width, side, side)
    macs = [measure.count_macs(block, shape) for block in (mbconv, fused)]
    with one_thread():
        times = measure.compare(
            training_step(fused, shape, device),
            training_step(mbconv, shape, device),
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


def crossing(widths: Sequence[float], ratios: Sequence[float]) -> float:
    """The width from which on the fused block is slower.

    Between two widths the ratio's logarithm is taken to be a straight line in the width's.

    Args:
        widths: rising.
        ratios: MBConv's time divided by Fused-MBConv's at each.

    Returns:
        Where the ratio passes 1, and where noise makes it do so several times, the middle one of
        these places. NaN where the ratio does not begin above 1 and end below it: a map that ends
        too early shows no crossing.

    Raises:
        ValueError: not one positive ratio for each width, or widths that do not rise.
    """
    if len(widths) != len(ratios) or min(ratios, default=1) <= 0:
        raise ValueError("A crossing needs one positive ratio for each width.")
    if any(b <= a for a, b in zip(widths, widths[1:], strict=False)):
        raise ValueError(f"The widths must rise, unlike {list(widths)}.")
    if not ratios or ratios[0] < 1 or ratios[-1] >= 1:
        return math.nan
    found = []
    points = [(math.log(w), math.log(r)) for w, r in zip(widths, ratios, strict=True)]
    for (x0, y0), (x1, y1) in zip(points, points[1:], strict=False):
        if (y0 >= 0) != (y1 >= 0):
            found.append(math.exp(x0 + (x1 - x0) * y0 / (y0 - y1)))
    return found[len(found) // 2]  # an odd number of places, as it begins above and ends below


def crossings(cells: Sequence[Cell]) -> dict[int, float]:
    """For each side, the width from which on the fused block is slower (:func:`crossing`)."""
    found = {}
    for side in sorted({c.side for c in cells}):
        row = sorted((c for c in cells if c.side == side), key=lambda c: c.width)
        found[side] = crossing([c.width for c in row], [c.ratio for c in row])
    return found


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
