"""EfficientNetV2 (Tan & Le 2021, arXiv 2104.00298).

Names follow timm, so that its weights load without renaming. The paper's table of V2-S exists in
two versions: some copies end with 272 and 1792 channels (23.9M parameters); the authors' code, and
this file, with 256 and 1280 (21.5M).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import DropPath, drop_path_rates

OPS = ("mbconv", "fused")
PADDINGS = ("same", "symmetric")


@dataclass(frozen=True)
class Stage:
    """One row of the paper's architecture table (table 4).

    Raises:
        ValueError: a value that no such stage can have.
    """

    op: str
    """``"mbconv"`` or ``"fused"`` (:class:`MBConv`, :class:`FusedMBConv`)."""
    kernel: int
    """Side of the k×k convolution."""
    stride: int
    """Stride of the stage's first block; the others have 1."""
    channels: int
    """Channels that come out."""
    layers: int
    """Blocks."""
    expand: int
    """Channels inside a block divided by those that enter it."""
    se: float = 0.0
    """Width of squeeze-and-excitation divided by the channels that enter the block; 0: none."""

    def __post_init__(self):
        if self.op not in OPS:
            raise ValueError(f"A stage's op must be one of {OPS}, not {self.op!r}.")
        for name in ("kernel", "stride", "channels", "layers", "expand"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"A stage's {name} must be a whole number from 1, not {value!r}.")
        if self.kernel % 2 == 0:
            raise ValueError(f"A stage's kernel must be odd to have a middle, not {self.kernel}.")
        if not 0 <= self.se <= 1:
            raise ValueError(f"A stage's se must lie in [0, 1], not {self.se}.")


STAGES = {
    "s": (
        Stage("fused", 3, 1, 24, layers=2, expand=1),
        Stage("fused", 3, 2, 48, layers=4, expand=4),
        Stage("fused", 3, 2, 64, layers=4, expand=4),
        Stage("mbconv", 3, 2, 128, layers=6, expand=4, se=0.25),
        Stage("mbconv", 3, 1, 160, layers=9, expand=6, se=0.25),
        Stage("mbconv", 3, 2, 256, layers=15, expand=6, se=0.25),
    ),
    "m": (
        Stage("fused", 3, 1, 24, layers=3, expand=1),
        Stage("fused", 3, 2, 48, layers=5, expand=4),
        Stage("fused", 3, 2, 80, layers=5, expand=4),
        Stage("mbconv", 3, 2, 160, layers=7, expand=4, se=0.25),
        Stage("mbconv", 3, 1, 176, layers=14, expand=6, se=0.25),
        Stage("mbconv", 3, 2, 304, layers=18, expand=6, se=0.25),
        Stage("mbconv", 3, 1, 512, layers=5, expand=6, se=0.25),
    ),
    "l": (
        Stage("fused", 3, 1, 32, layers=4, expand=1),
        Stage("fused", 3, 2, 64, layers=7, expand=4),
        Stage("fused", 3, 2, 96, layers=7, expand=4),
        Stage("mbconv", 3, 2, 192, layers=10, expand=4, se=0.25),
        Stage("mbconv", 3, 1, 224, layers=19, expand=6, se=0.25),
        Stage("mbconv", 3, 2, 384, layers=25, expand=6, se=0.25),
        Stage("mbconv", 3, 1, 640, layers=7, expand=6, se=0.25),
    ),
}
"""Stages 1 to 6 or 7 of the three sizes (table 4 for S; the authors' code for M and L)."""


class SameConv2d(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: ``ceil(size / stride)`` positions come out.

    It pads by just what the last window lacks, half of it in front, the odd one *behind*. A 3×3
    kernel with stride 2 on an even side lacks one: 0 in front, 1 behind, and the first window
    covers pixels 0, 1, 2. Symmetric padding, PyTorch's, puts 1 on both sides, and the first window
    covers -1, 0, 1. So the same weights look one pixel further up and left, at every stride of 2.
    With stride 1, or an odd side, the two agree.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C', ceil(H / stride), ceil(W / stride))``."""
        (height, width), stride, kernel = x.shape[2:], self.stride[0], self.kernel_size[0]
        if stride == 1:  # an odd kernel: as much in front as behind
            return F.conv2d(x, self.weight, self.bias, 1, kernel // 2, 1, self.groups)
        above, below = _same_padding(height, kernel, stride)
        left, right = _same_padding(width, kernel, stride)
        if above == below and left == right:  # the convolution can pad by itself, without a copy
            return F.conv2d(x, self.weight, self.bias, stride, (above, left), 1, self.groups)
        x = F.pad(x, (left, right, above, below))
        return F.conv2d(x, self.weight, self.bias, stride, 0, 1, self.groups)


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros in front of and behind a side of ``size`` pixels."""
    lack = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return lack // 2, lack - lack // 2


def _conv(
    in_dim: int, out_dim: int, kernel: int, stride: int = 1, groups: int = 1, padding: str = "same"
) -> nn.Conv2d:
    """A convolution without bias, as BatchNorm follows."""
    if padding not in PADDINGS:
        raise ValueError(f"padding must be one of {PADDINGS}, not {padding!r}.")
    if padding == "same" and stride > 1:
        return SameConv2d(in_dim, out_dim, kernel, stride, groups=groups, bias=False)
    return nn.Conv2d(in_dim, out_dim, kernel, stride, kernel // 2, groups=groups, bias=False)


def _norm(dim: int, padding: str) -> nn.BatchNorm2d:
    """BatchNorm with the epsilon of TensorFlow's code, or of PyTorch."""
    return nn.BatchNorm2d(dim, eps=1e-3 if padding == "same" else 1e-5)


def _silu(x: Tensor) -> Tensor:
    """SiLU, ``x · sigmoid(x)``.

    Its gradient needs the input, so in training "in place" would copy that first and save nothing.
    """
    return F.silu(x, inplace=not torch.is_grad_enabled())


class SqueezeExcite(nn.Module):
    """Scale each channel by a number in (0, 1) that depends on all channels' means.

    Hu et al. 2018, arXiv 1709.01507, with SiLU instead of ReLU.

    Args:
        dim: channels C.
        width: channels of the bottleneck in between.
    """

    def __init__(self, dim: int, width: int):
        super().__init__()
        self.conv_reduce = nn.Conv2d(dim, width, 1)
        self.conv_expand = nn.Conv2d(width, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C, H, W)``."""
        squeezed = _silu(self.conv_reduce(x.mean((2, 3), keepdim=True)))  # (N, width, 1, 1)
        return x * self.conv_expand(squeezed).sigmoid()


class _Block(nn.Module):
    """What the two blocks share: squeeze-and-excitation, and the shortcut where shapes allow it."""

    def __init__(self, in_dim: int, dim: int, stride: int, mid: int, se: float, drop_path: float):
        super().__init__()
        self.has_skip = stride == 1 and in_dim == dim
        self.se = SqueezeExcite(mid, max(1, round(in_dim * se))) if se else nn.Identity()
        self.drop_path = DropPath(drop_path)

    def branch(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_dim, H, W)`` to ``(N, dim, H / stride, W / stride)``, rounded up."""
        if not self.has_skip:
            return self.branch(x)
        return self.drop_path(self.branch(x)).add_(x)  # in place: one tensor of full size less


class MBConv(_Block):
    """1×1 up, depthwise k×k, squeeze-and-excitation, 1×1 down, plus the shortcut (fig. 2 left).

    BatchNorm follows each convolution, SiLU all but the last.

    Args:
        in_dim: channels that come in.
        dim: channels that come out; the block has a shortcut if they are equal and stride is 1.
        kernel: side of the depthwise kernel.
        stride: stride of the depthwise convolution.
        expand: channels inside the block, divided by ``in_dim``; 1 leaves out the first 1×1.
        se: width of squeeze-and-excitation, divided by ``in_dim``; 0 leaves it out.
        drop_path: probability of dropping the residual branch, if there is a shortcut.
        padding: ``"same"`` or ``"symmetric"``, see :class:`EfficientNetV2`.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        kernel: int = 3,
        stride: int = 1,
        expand: int = 4,
        se: float = 0.25,
        drop_path: float = 0.0,
        padding: str = "same",
    ):
        mid = in_dim * expand
        super().__init__(in_dim, dim, stride, mid, se, drop_path)
        self.expand = expand
        if expand > 1:
            self.conv_pw = _conv(in_dim, mid, 1, padding=padding)
            self.bn1 = _norm(mid, padding)
        self.conv_dw = _conv(mid, mid, kernel, stride, groups=mid, padding=padding)
        self.bn2 = _norm(mid, padding)
        self.conv_pwl = _conv(mid, dim, 1, padding=padding)
        self.bn3 = _norm(dim, padding)

    def branch(self, x: Tensor) -> Tensor:
        """The block without its shortcut."""
        if self.expand > 1:
            x = _silu(self.bn1(self.conv_pw(x)))
        x = self.se(_silu(self.bn2(self.conv_dw(x))))
        return self.bn3(self.conv_pwl(x))


class FusedMBConv(_Block):
    """MBConv with one full k×k in place of the 1×1 up and the depthwise k×k (fig. 2 right).

    More multiplications, but of the kind that processors do fast: in early stages, where channels
    are few, the step is shorter (section 3.2). With ``expand=1`` the 1×1 down goes too, and a
    single k×k convolution with SiLU remains.

    Args:
        in_dim, dim, kernel, stride, expand, se, drop_path, padding: see :class:`MBConv`; kernel
            and stride are those of the full convolution.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        kernel: int = 3,
        stride: int = 1,
        expand: int = 4,
        se: float = 0.0,
        drop_path: float = 0.0,
        padding: str = "same",
    ):
        mid = dim if expand == 1 else in_dim * expand
        super().__init__(in_dim, dim, stride, mid, se, drop_path)
        self.expand = expand
        conv = _conv(in_dim, mid, kernel, stride, padding=padding)
        if expand == 1:
            self.conv = conv
            self.bn1 = _norm(mid, padding)
        else:
            self.conv_exp = conv
            self.bn1 = _norm(mid, padding)
            self.conv_pwl = _conv(mid, dim, 1, padding=padding)
            self.bn2 = _norm(dim, padding)

    def branch(self, x: Tensor) -> Tensor:
        """The block without its shortcut."""
        if self.expand == 1:
            return self.se(_silu(self.bn1(self.conv(x))))
        x = self.se(_silu(self.bn1(self.conv_exp(x))))
        return self.bn2(self.conv_pwl(x))


class EfficientNetV2(nn.Module):
    """A 3×3 stem with stride 2, the stages, a 1×1 to ``head`` channels, pooling, classifier.

    The authors' weights come from TensorFlow, and timm offers the network in two forms:
    ``tf_efficientnetv2_s`` computes what the authors' code does, ``efficientnetv2_s`` what one
    writes in PyTorch. Two things differ, and no parameter:

    * the padding of the convolutions with stride 2, see :class:`SameConv2d`;
    * the epsilon of BatchNorm: 1e-3 against 1e-5. (The momentum is the same: TensorFlow's 0.9,
      the share of the old mean that stays, is PyTorch's 0.1, the share of the new one that comes.)

    So weights of one form load into the other without an error, and classify worse.

    Args:
        stages: the rows of the architecture table, see :data:`STAGES`.
        stem: channels after the stem.
        head: channels before pooling.
        num_classes: outputs of the classifier.
        in_chans: channels of the image.
        dropout: probability of dropping a pooled feature. Progressive learning changes it:
            ``model.dropout.p`` is open to that.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0 (the paper:
            0.2, section 5.1).
        padding: ``"same"`` as in the authors' code, or ``"symmetric"``; sets the epsilon too.

    Raises:
        ValueError: an unknown padding, or no stage.
    """

    def __init__(
        self,
        stages: tuple[Stage, ...] = STAGES["s"],
        stem: int = 24,
        head: int = 1280,
        num_classes: int = 1000,
        in_chans: int = 3,
        dropout: float = 0.0,
        drop_path_rate: float = 0.0,
        padding: str = "same",
    ):
        super().__init__()
        if not stages:
            raise ValueError("EfficientNetV2 needs at least one Stage, but stages is empty.")
        self.conv_stem = _conv(in_chans, stem, 3, stride=2, padding=padding)
        self.bn1 = _norm(stem, padding)
        self.blocks = nn.Sequential()
        dim = stem
        rates = drop_path_rates(tuple(stage.layers for stage in stages), drop_path_rate)
        for stage, stage_rates in zip(stages, rates, strict=True):
            make = MBConv if stage.op == "mbconv" else FusedMBConv
            blocks = nn.Sequential()
            for i, rate in enumerate(stage_rates):
                stride = stage.stride if i == 0 else 1
                blocks.append(
                    make(
                        dim,
                        stage.channels,
                        stage.kernel,
                        stride,
                        stage.expand,
                        stage.se,
                        rate,
                        padding,
                    )
                )
                dim = stage.channels
            self.blocks.append(blocks)
        self.conv_head = _conv(dim, head, 1, padding=padding)
        self.bn2 = _norm(head, padding)
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(head, num_classes)
        self.apply(self._init_weights)

    @staticmethod
    def _init_weights(module: nn.Module) -> None:
        """As in the authors' code: what goes backward keeps its variance (fan-out)."""
        if isinstance(module, nn.Conv2d):
            fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            bound = 1 / math.sqrt(module.out_features)
            nn.init.uniform_(module.weight, -bound, bound)
            nn.init.zeros_(module.bias)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images ``(N, in_chans, H, W)`` to ``(N, head, H / 32, W / 32)``, rounded up."""
        # Channels last: a position's channels lie together in memory, as convolutions want them.
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.blocks(_silu(self.bn1(self.conv_stem(x))))
        return _silu(self.bn2(self.conv_head(x)))

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(N, in_chans, H, W)``, of any size, to logits ``(N, num_classes)``."""
        return self.classifier(self.dropout(self.forward_features(x).mean((2, 3))))


def efficientnetv2_s(**kwargs) -> EfficientNetV2:
    """EfficientNetV2-S: 21,458,488 parameters."""
    return EfficientNetV2(STAGES["s"], stem=24, **kwargs)


def efficientnetv2_m(**kwargs) -> EfficientNetV2:
    """EfficientNetV2-M: 54,139,356 parameters."""
    return EfficientNetV2(STAGES["m"], stem=24, **kwargs)


def efficientnetv2_l(**kwargs) -> EfficientNetV2:
    """EfficientNetV2-L: 118,515,272 parameters."""
    return EfficientNetV2(STAGES["l"], stem=32, **kwargs)
