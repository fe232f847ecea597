"""What each part of a ConvNeXt block does, and the words for each mistake in it."""

import math

from torch import Tensor

from modarch_utils.checks.core import AFTER, RIGHT, Seen, wrong
from modarch_utils.checks.ex1.probe import CENTRE, FAR, LEAK, BlockProbe, extent, sizes

SPATIAL = ("H,W", "C,H,W", "W")


class Parts:
    """What the branch does, each measured once."""

    def __init__(self, probe: BlockProbe):
        self.probe = probe
        x = probe.input()
        self.silent = not probe.branch(x).abs().max() > 0
        self.layer: tuple[Tensor, Tensor] | None = None
        self.kernel: list[Tensor] = []
        if self.silent:
            return
        self.moved = probe.reach()[0]
        self.over = self._normalised_over()
        self.window = self.moved > LEAK
        self.side = extent(self.window)
        count = int(self.window.sum())
        if self.over in SPATIAL:  # every position moves: only the sizes tell the kernel
            count = next((k * k for k in (3, 5, 7, 9, 11) if self._divisible(k * k)), 1)
            self.side = (math.isqrt(count),) * 2
        self.kernel = self._divisible(count) if count > 1 else []
        self.layer = probe.first_layer()

    def _divisible(self, count: int) -> list[Tensor]:
        """Parameters that can hold `count` weights for each channel."""
        params = self.probe.params
        return [p for p in params if p.numel() % count == 0 and p.numel() >= count * self.probe.dim]

    @property
    def middle(self) -> bool:
        """Whether the kernel has a channel for each one inside of the bottleneck."""
        numbers = [p.numel() // (self.side[0] * self.side[1]) for p in self.kernel]
        return self._hidden() in numbers and self._hidden() != self.probe.dim

    def depthwise(self) -> Seen:
        if self.silent:
            return AFTER
        high, wide = self.side
        came = f"{high}×{wide} window"
        if high * wide <= 1:
            return wrong("each position by itself", "No layer looks at neighbours: 7×7 is missing.")
        if (high, wide) != (7, 7):
            return wrong(came, "The kernel has another size: kernel_size=7 with padding=3.")
        if self.over not in SPATIAL:
            if self.window.sum() < 49:
                came += f", but {int(self.window.sum())} of its positions count"
                return wrong(came, "The kernel is dilated: dilation=1 with kernel_size=7.")
            if self.window.nonzero().double().mean(0).tolist() != list(CENTRE):
                came += " beside its position"
                return wrong(came, "The padding is not the same on all sides: padding=3.")
        channels = max(p.numel() // 49 for p in self.kernel) if self.kernel else 0
        mixing = self.over not in SPATIAL and self.probe.mixing(self.window) > 0.1
        if channels <= self.probe.dim and not mixing:
            return RIGHT
        came = "channels mix while it looks at neighbours"
        if self.middle:
            return wrong(
                came,
                "The depthwise convolution sits between the 1×1 layers, as in MBConv: in ConvNeXt "
                "it comes first, on C channels.",
            )
        if channels <= self.probe.dim:
            return wrong(
                came,
                "A layer that mixes channels (the norm or a 1×1) stands before the depthwise "
                "convolution: that one comes first.",
            )
        return wrong(came, "The convolution is dense: groups=dim keeps the channels apart.")

    def _normalised_over(self) -> str:
        """The axes of the statistics: "C", "H,W", "C,H,W", "W", "batch" or "none"."""
        probe = self.probe
        if probe.reach(train=True)[1].max() > LEAK:
            return "batch"
        rows, columns = self.moved[: CENTRE[0] - FAR], self.moved[:, : CENTRE[1] - FAR]
        if rows.max() > LEAK:
            return "H,W" if probe.ignores_scale(channel=0) else "C,H,W"
        if columns.max() > LEAK:
            return "W"
        return "C" if probe.ignores_scale() else "none"

    def normalisation(self) -> Seen:
        if self.silent:
            return AFTER
        return {
            "C": RIGHT,
            "H,W": wrong(
                "over H and W, each channel by itself",
                "The norm averages over positions (an InstanceNorm): in (N, H, W, C) normalise the "
                "last axis alone.",
            ),
            "C,H,W": wrong(
                "over C, H and W together",
                "The norm averages over the whole picture, as GroupNorm(1, C) does: in "
                "(N, H, W, C) normalise the last axis alone.",
            ),
            "W": wrong(
                "over W",
                "The last axis of (N, C, H, W) is W, not C: permute first. It raises no error.",
            ),
            "batch": wrong(
                "over the samples of the batch, in training",
                "That is a BatchNorm: one sample must not depend on the others.",
            ),
            "none": wrong(
                "an input 100 times as large gives another branch",
                "The LayerNorm is missing between the depthwise and the first 1×1 layer.",
            ),
        }[self.over]

    def _hidden(self) -> int | None:
        """Width between the two 1×1 layers."""
        if self.layer:
            return self.layer[1].numel()
        kernel = {id(p) for p in self.kernel}
        numbers = [p.numel() for p in self.probe.params if id(p) not in kernel]
        pairs = {n for n in numbers if n > self.probe.dim and numbers.count(n) == 2}
        pairs = {n for n in pairs if n % self.probe.dim == 0}
        return max(pairs) // self.probe.dim if pairs else None

    def bottleneck(self) -> Seen:
        if self.silent:
            return AFTER
        hidden, dim = self._hidden(), self.probe.dim
        if hidden == 4 * dim:
            return RIGHT
        if hidden is None:
            shapes = sizes(self.probe.params)
            return wrong(
                f"no pair of layers that widens and comes back, in {shapes}",
                "One of the two 1×1 layers is missing, or it is not registered: assign each to "
                "self in `__init__`.",
            )
        if hidden < dim:
            return wrong(
                f"narrows C={dim} to {hidden}",
                "The bottleneck is the wrong way round, as in ResNet: ConvNeXt's is wide inside.",
            )
        return wrong(f"widens C={dim} to {hidden}", "The expansion is another: it is 4.")

    def activation(self) -> Seen:
        if self.silent or self.layer is None or self.middle:
            return AFTER
        unlike, name = self.probe.curve(*self.layer)
        if not unlike < 1e-4:
            return wrong(
                "the output bends a second time",
                "A second activation follows the last 1×1 layer: there is only one, between the "
                "two.",
            )
        if name == "GELU":
            if self.over == "C" and not self.probe.odd_before(self.layer[0]):
                return wrong(
                    "x and -x differ by more than their sign before the 1×1 layers",
                    "A second activation stands before the norm, after the depthwise convolution.",
                )
            return RIGHT
        if name == "no activation":
            return wrong(name, "Without a GELU the two 1×1 layers are one linear map.")
        if name == "GELU twice":
            return wrong(name, "The activation is called two times in a row.")
        return wrong(name, "Use the exact GELU, nn.GELU() as it is.")

    def parameters(self) -> Seen:
        probe, dim = self.probe, self.probe.dim
        hidden = None if self.silent else self._hidden()
        if hidden is None or self.middle:
            return AFTER
        known = {id(p) for p in self.kernel} | {id(probe.gamma)}
        rest = [p for p in probe.params if id(p) not in known]
        known |= {id(p) for p in rest if p.numel() == hidden * dim}
        rest = [p for p in probe.params if id(p) not in known]
        # What the rows above have named is not counted against the block again.
        should = 4 * dim + hidden
        count = sum(p.numel() for p in rest)
        if count == should or (count == should - 2 * dim and self.over not in ("C", "batch")):
            return RIGHT
        total = 8 * dim**2 + 58 * dim
        came = f"{total + count - should} for C={dim}, where {total} are right"
        if count < should:
            return wrong(
                came,
                "A bias is switched off, the norm has no weight, or a layer sits in a plain list "
                "or is made in `forward`, where nothing registers it.",
            )
        return wrong(came, "There is a layer, or a parameter, that the block does not need.")
