"""From ResNet-50 to ConvNeXt-T in the paper's own steps (arXiv 2201.03545, section 2, table 10).

One configurable network; a :class:`Design` holds its settings, and :data:`LADDER` lists the
paper's steps in order. Each step changes one setting.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from .layers import DropPath, LayerNorm2d, drop_path_rates, init_convnext


@dataclass(frozen=True)
class Design:
    """The settings that the paper changes, with ResNet-50's values."""

    depths: tuple[int, ...] = (3, 4, 6, 3)
    """Blocks in each stage (section 2.2)."""
    stem: str = "resnet"
    """``"resnet"``: 7×7 stride 2 and max-pooling. ``"patchify"``: 4×4 stride 4 (section 2.2)."""
    depthwise: bool = False
    """One group for each channel in the k×k convolution (section 2.3)."""
    width: int = 64
    """Channels of the stem (section 2.3)."""
    block: str = "bottleneck"
    """``"bottleneck"``: 4C → C → 4C. ``"inverted"``: C → 4C → C (section 2.4). ``"moved_up"``:
    inverted, with the depthwise convolution first (section 2.5)."""
    kernel_size: int = 3
    """Side of the k×k convolution (section 2.5)."""
    activation: str = "relu"
    """``"relu"`` or ``"gelu"`` (section 2.6)."""
    fewer_activations: bool = False
    """Keep only the activation between the two 1×1 convolutions (section 2.6)."""
    fewer_norms: bool = False
    """Keep only the norm in front of the 1×1 convolutions (section 2.6)."""
    norm: str = "batch"
    """``"batch"`` or ``"layer"`` (section 2.6)."""
    separate_downsampling: bool = False
    """Norm and 2×2 stride 2 convolution between stages instead of a strided block; a norm after
    the stem and one before the classifier (section 2.6)."""

    @property
    def dims(self) -> tuple[int, ...]:
        """Channels at the end of each stage."""
        first = self.width * (4 if self.block == "bottleneck" else 1)
        return tuple(first * 2**i for i in range(len(self.depths)))


@dataclass(frozen=True)
class Step:
    """One rung: what changed, the network after the change, and how it is trained."""

    key: str
    """Short name, also the key of the paper's figures in ``papers/convnext.toml``."""
    title: str
    """Label in figures and tables."""
    design: Design
    recipe: str
    """``"2015"`` (SGD-era training) or ``"modern"`` (section 2.1)."""
    kept: bool = True
    """False for a kernel size that the paper tried and did not keep."""


def _ladder() -> tuple[Step, ...]:
    design = Design()
    steps = [
        Step("resnet50", "ResNet-50", design, "2015"),
        Step("recipe", "training recipe", design, "modern"),
    ]

    def climb(key: str, title: str, kept: bool = True, **change) -> None:
        nonlocal design
        changed = replace(design, **change)
        steps.append(Step(key, title, changed, "modern", kept))
        if kept:
            design = changed

    climb("stage_ratio", "stage ratio 3:3:9:3", depths=(3, 3, 9, 3))
    climb("patchify", "patchify stem", stem="patchify")
    climb("depthwise", "depthwise conv", depthwise=True)
    climb("width", "width 64 → 96", width=96)
    climb("inverted", "inverted bottleneck", block="inverted")
    climb("moved_up", "move up depthwise", block="moved_up")
    climb("kernel5", "kernel 5", kept=False, kernel_size=5)
    climb("kernel7", "kernel 7", kernel_size=7)
    climb("kernel9", "kernel 9", kept=False, kernel_size=9)
    climb("kernel11", "kernel 11", kept=False, kernel_size=11)
    climb("gelu", "ReLU → GELU", activation="gelu")
    climb("fewer_activations", "fewer activations", fewer_activations=True)
    climb("fewer_norms", "fewer norms", fewer_norms=True)
    climb("layer_norm", "BN → LN", norm="layer")
    climb("separate_downsampling", "separate downsampling", separate_downsampling=True)
    return tuple(steps)


LADDER: tuple[Step, ...] = _ladder()
"""The seventeen rows of the paper's table 10, from ResNet-50 to ConvNeXt-T."""


def _norm(design: Design, dim: int) -> nn.Module:
    return nn.BatchNorm2d(dim) if design.norm == "batch" else LayerNorm2d(dim, eps=1e-6)


def _activation(design: Design) -> nn.Module:
    return nn.ReLU() if design.activation == "relu" else nn.GELU()


class LadderBlock(nn.Module):
    """Three convolutions and a shortcut, arranged as a :class:`Design` says (fig. 3, fig. 4).

    Args:
        in_dim, out_dim: channels that come in and go out.
        stride: stride of the k×k convolution and of the shortcut.
        design: the settings.
        drop_path: probability of dropping the residual branch.
        layer_scale: first value of the per-channel scale of the branch; None leaves it out.
    """

    def __init__(
        self,
        in_dim: int,
        out_dim: int,
        stride: int,
        design: Design,
        drop_path: float = 0.0,
        layer_scale: float | None = None,
    ):
        super().__init__()
        hidden = out_dim // 4 if design.block == "bottleneck" else 4 * out_dim
        # (in, out, kernel size, stride) of the three convolutions, in order.
        if design.block == "moved_up":
            spatial = 0
            convs = [(in_dim, in_dim), (in_dim, hidden), (hidden, out_dim)]
        else:
            spatial = 1
            convs = [(in_dim, hidden), (hidden, hidden), (hidden, out_dim)]
        batch_norm = design.norm == "batch"
        layers: list[nn.Module] = []
        for i, (d_in, d_out) in enumerate(convs):
            has_norm = not design.fewer_norms or i == 0
            kernel, step = (design.kernel_size, stride) if i == spatial else (1, 1)
            groups = d_in if i == spatial and design.depthwise else 1
            # A BatchNorm right behind a convolution makes its bias useless.
            bias = not (batch_norm and has_norm)
            layers.append(
                nn.Conv2d(d_in, d_out, kernel, step, kernel // 2, groups=groups, bias=bias)
            )
            if has_norm:
                layers.append(_norm(design, d_out))
            if i == 1 or (i == 0 and not design.fewer_activations):
                layers.append(_activation(design))
        self.branch = nn.Sequential(*layers)
        self.gamma = None
        if layer_scale is not None:
            self.gamma = nn.Parameter(torch.full((out_dim, 1, 1), layer_scale))
        self.drop_path = DropPath(drop_path)
        self.shortcut = nn.Identity()
        if stride != 1 or in_dim != out_dim:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_dim, out_dim, 1, stride, bias=not batch_norm), _norm(design, out_dim)
            )
        self.act = nn.Identity() if design.fewer_activations else _activation(design)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_dim, H, W)`` to ``(N, out_dim, H / stride, W / stride)``."""
        branch = self.branch(x)
        if self.gamma is not None:
            branch = self.gamma * branch
        return self.act(self.shortcut(x) + self.drop_path(branch))


class LadderNet(nn.Module):
    """The network of one rung.

    Args:
        design: the settings.
        num_classes: outputs of the classifier.
        in_chans: channels of the image.
        stem_stride: 4 as in the paper, or 2 for small images (no max-pooling, 2×2 patches).
        drop_path_rate: stochastic depth of the last block, growing linearly from 0.
        layer_scale: see :class:`LadderBlock`.

    Raises:
        ValueError: ``stem_stride`` is neither 2 nor 4.
    """

    def __init__(
        self,
        design: Design,
        num_classes: int = 1000,
        in_chans: int = 3,
        stem_stride: int = 4,
        drop_path_rate: float = 0.0,
        layer_scale: float | None = None,
    ):
        super().__init__()
        if stem_stride not in (2, 4):
            raise ValueError(f"The stem's stride is 2 or 4, but {stem_stride} was asked for.")
        self.design = design
        self.stem = self._stem(in_chans, stem_stride)
        layers: list[nn.Module] = []
        dim = design.width
        for i, rates in enumerate(drop_path_rates(design.depths, drop_path_rate)):
            out_dim = design.dims[i]
            stride = 1 if i == 0 else 2
            if design.separate_downsampling and i > 0:
                layers += [_norm(design, dim), nn.Conv2d(dim, out_dim, 2, 2)]
                dim, stride = out_dim, 1
            for rate in rates:
                layers.append(LadderBlock(dim, out_dim, stride, design, rate, layer_scale))
                dim, stride = out_dim, 1
        self.stages = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(dim, eps=1e-6) if design.separate_downsampling else nn.Identity()
        self.head = nn.Linear(dim, num_classes)
        self.apply(init_convnext)

    def _stem(self, in_chans: int, stride: int) -> nn.Sequential:
        design = self.design
        bias = design.norm == "layer"
        if design.stem == "patchify":
            layers = [nn.Conv2d(in_chans, design.width, stride, stride, bias=bias)]
        else:
            layers = [nn.Conv2d(in_chans, design.width, 7, 2, padding=3, bias=bias)]
        layers.append(_norm(design, design.width))
        if not design.fewer_activations:
            layers.append(_activation(design))
        if design.stem == "resnet" and stride == 4:
            layers.append(nn.MaxPool2d(3, 2, padding=1))
        return nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(N, in_chans, H, W)`` to logits ``(N, num_classes)``."""
        x = self.stages(self.stem(x))
        return self.head(self.norm(x.mean((2, 3))))


def small(design: Design, width: int) -> Design:
    """Shrink a design so that a laptop trains it in a minute, keeping what its step is about.

    The first width becomes ``width`` · (design.width / 96), rounded to a multiple of 4, and the
    stages a third as deep: 3:4:6:3 becomes 1:1:2:1, and 3:3:9:3 becomes 1:1:3:1.

    Args:
        design: a rung at the paper's size.
        width: channels that stand for the paper's 96.
    """
    narrow = 4 * round(width * design.width / 96 / 4)
    return replace(design, width=narrow, depths=tuple(max(1, d // 3) for d in design.depths))
