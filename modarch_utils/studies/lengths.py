"""What one layer costs, forward and backward, as its input grows (chapter 01_timeline).

Every layer mixes the same ``L`` positions of ``DIM`` channels: as a sequence, or as an image of
``side · side`` positions. Time is that of one CPU thread; memory is what is alive beyond the
input, see :func:`modarch_utils.measure.peak_memory`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import linregress
from torch import Tensor, nn

from modarch_utils import measure
from modarch_utils.models.hyena import Hyena, ShortConv
from modarch_utils.models.mamba import Mamba
from modarch_utils.models.swin import WindowAttention, window_partition, window_reverse
from modarch_utils.models.transformer import MultiHeadAttention

DIM = 64
HEADS = 4
LENGTHS = (256, 512, 1024, 2048, 4096)
SIDES = (16, 24, 32, 48, 64)
WINDOW = 8  # a window of 8 × 8 positions in an image, of 64 in a sequence


class WindowedSequence(nn.Module):
    """Attention inside stretches of ``WINDOW²`` positions, on ``(N, L, DIM)``."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(DIM, HEADS)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, L, DIM)`` to ``(N, L, DIM)``; L is a multiple of ``WINDOW²``."""
        windows = x.reshape(-1, WINDOW * WINDOW, DIM)
        return self.attention(windows).reshape(x.shape)


class WindowedImage(nn.Module):
    """Swin's attention inside windows, on ``(N, side, side, DIM)``."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = WindowAttention(DIM, HEADS, (WINDOW, WINDOW))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, side, side, DIM)`` to itself; the side is a multiple of ``WINDOW``."""
        windows = self.attention(window_partition(x, WINDOW))
        return window_reverse(windows, WINDOW, *x.shape[1:3])


class WrittenOut(MultiHeadAttention):
    """Attention that holds its L × L weights, as in the formula."""

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, L, DIM)`` to ``(N, L, DIM)``."""
        out = self.attention_weights(x) @ self.heads(x)[2]
        return self.proj(out.transpose(1, 2).flatten(2))


class FlatImage(nn.Module):
    """A mixer of sequences on an image, row by row."""

    def __init__(self, mixer: nn.Module):
        super().__init__()
        self.mixer = mixer

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, side, side, DIM)`` to itself."""
        return self.mixer(x.flatten(1, 2)).reshape(x.shape)


def _convolution() -> nn.Module:
    """ConvNeXt's 7×7 depthwise convolution, and a 1×1; on ``(N, DIM, side, side)``."""
    return nn.Sequential(nn.Conv2d(DIM, DIM, 7, padding=3, groups=DIM), nn.Conv2d(DIM, DIM, 1))


SEQUENCE: dict[str, Callable[[int], nn.Module]] = {
    "attention, weights kept": lambda length: WrittenOut(DIM, HEADS),
    "attention": lambda length: MultiHeadAttention(DIM, HEADS),
    "window attention": lambda length: WindowedSequence(),
    "convolution": lambda length: nn.Sequential(ShortConv(DIM, 7), nn.Linear(DIM, DIM)),
    "Mamba": lambda length: Mamba(DIM),
    "Hyena": lambda length: Hyena(DIM, max_length=length),
}
"""Layers for ``(1, L, DIM)``, made for a length."""

IMAGE: dict[str, Callable[[int], nn.Module]] = {
    "attention": lambda side: FlatImage(MultiHeadAttention(DIM, HEADS)),
    "window attention": lambda side: WindowedImage(),
    "convolution": lambda side: _convolution(),
    "Mamba": lambda side: FlatImage(Mamba(DIM)),
    "Hyena": lambda side: FlatImage(Hyena(DIM, max_length=side * side)),
}
"""Layers for ``(1, side, side, DIM)``, made for a side; the convolution has its channels first."""


def step(kind: str, name: str, size: int) -> measure.Step:
    """One forward and backward of a layer on noise.

    Args:
        kind: ``"sequence"`` or ``"image"``.
        name: a key of :data:`SEQUENCE` or :data:`IMAGE`.
        size: the length, or the side.
    """
    torch.manual_seed(0)
    layer = (SEQUENCE if kind == "sequence" else IMAGE)[name](size)
    shape = (1, size, DIM) if kind == "sequence" else (1, size, size, DIM)
    if kind == "image" and name == "convolution":
        shape = (1, DIM, size, size)
    x = torch.randn(shape, requires_grad=True)

    def forward_and_backward() -> None:
        layer.zero_grad(set_to_none=True)
        x.grad = None
        layer(x).square().mean().backward()

    return forward_and_backward


@dataclass(frozen=True)
class PowerLaw:
    """``y = factor · x ** exponent``, fitted to measurements."""

    factor: float
    exponent: float
    error: float
    """Standard error of the exponent."""

    def __call__(self, x: Sequence[float]) -> np.ndarray:
        return self.factor * np.asarray(x, dtype=float) ** self.exponent


def fit_power_law(x: Sequence[float], y: Sequence[float]) -> PowerLaw:
    """Least squares on logarithms: a straight line there is a power law.

    Args:
        x, y: positive, at least three each.

    Raises:
        ValueError: fewer than three points, or one that is not positive.
    """
    if len(x) != len(y) or len(x) < 3 or min(*x, *y) <= 0:
        raise ValueError("A power law needs three points or more, an x and a y each, all positive.")
    line = linregress(np.log(x), np.log(y))
    return PowerLaw(float(np.exp(line.intercept)), float(line.slope), float(line.stderr))
