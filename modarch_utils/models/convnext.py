"""ConvNeXt (Liu et al. 2022, arXiv 2201.03545) and ConvNeXt V2 (Woo et al. 2023, 2301.00808).

Names follow the authors' repositories, so that their checkpoints load as they are and
``timm.models.convnext.checkpoint_filter_fn`` translates ours into timm's.
"""

import torch
from torch import Tensor, nn

from .layers import DropPath, LayerNorm2d, drop_path_rates, init_convnext


class GRN(nn.Module):
    """Global Response Normalization (V2, section 4.2), on ``(N, H, W, C)``.

    Each channel is scaled by its norm as a multiple of the mean norm, so that channels compete:
    ``gamma · (x · N(x)) + beta + x``. With gamma = beta = 0, as at the start, it is the identity.

    Args:
        dim: channels C.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, dim))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, H, W, C)`` to ``(N, H, W, C)``."""
        norm = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)  # G(x): (N, 1, 1, C)
        ratio = norm / (norm.mean(dim=-1, keepdim=True) + 1e-6)  # N(x)
        # One multiplication of the large tensor instead of two: x·(1 + gamma·N) + beta.
        return torch.addcmul(self.beta, x, 1 + self.gamma * ratio)


class Block(nn.Module):
    """Depthwise k×k, LayerNorm, 1×1 to 4C, GELU, (GRN,) 1×1 to C, plus the shortcut (fig. 4).

    The 1×1 convolutions are linear layers on ``(N, H, W, C)``: the same numbers, and faster.

    Args:
        dim: channels C.
        kernel_size: side of the depthwise kernel.
        drop_path: probability of dropping the residual branch.
        layer_scale: first value of the per-channel scale gamma; None leaves it out (as V2 does).
        use_grn: put GRN after the GELU (V2).
    """

    def __init__(
        self,
        dim: int,
        kernel_size: int = 7,
        drop_path: float = 0.0,
        layer_scale: float | None = 1e-6,
        use_grn: bool = False,
    ):
        super().__init__()
        self.dwconv = nn.Conv2d(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pwconv1 = nn.Linear(dim, 4 * dim)
        self.act = nn.GELU()
        self.grn = GRN(4 * dim) if use_grn else nn.Identity()
        self.pwconv2 = nn.Linear(4 * dim, dim)
        self.gamma = None if layer_scale is None else nn.Parameter(torch.full((dim,), layer_scale))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C, H, W)``.

        Args:
            x: features.
            visible: ``(N, 1, H, W)`` of ones and zeros, or None. Positions marked 0 behave as if
                they were not there (masked pre-training): they send nothing and stay zero.
        """
        shortcut = x
        x = self.dwconv(x).permute(0, 2, 3, 1)  # (N, H, W, C)
        x = self.act(self.pwconv1(self.norm(x)))
        if visible is not None:  # before GRN, which looks at all positions together
            x = x * visible.permute(0, 2, 3, 1)
        x = self.drop_path(self.pwconv2(self.grn(x)).permute(0, 3, 1, 2))
        if self.gamma is None:
            x = shortcut + x
        else:  # shortcut + gamma · x in one pass over memory
            x = torch.addcmul(shortcut, self.gamma[:, None, None], x)
        return x if visible is None else x * visible


class ConvNeXt(nn.Module):
    """Patchify stem, four stages with 2×2 downsampling between them, LayerNorm, classifier.

    Args:
        depths: blocks in each stage.
        dims: channels of each stage.
        num_classes: outputs of the classifier.
        in_chans: channels of the image.
        patch_size: side and stride of the stem's convolution.
        kernel_size: side of the depthwise kernels.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0.
        layer_scale: see :class:`Block`.
        use_grn: V2's block.
    """

    def __init__(
        self,
        depths: tuple[int, ...] = (3, 3, 9, 3),
        dims: tuple[int, ...] = (96, 192, 384, 768),
        num_classes: int = 1000,
        in_chans: int = 3,
        patch_size: int = 4,
        kernel_size: int = 7,
        drop_path_rate: float = 0.0,
        layer_scale: float | None = 1e-6,
        use_grn: bool = False,
    ):
        super().__init__()
        self.patch_size = patch_size
        self.downsample_layers = nn.ModuleList(
            [
                nn.Sequential(
                    nn.Conv2d(in_chans, dims[0], patch_size, patch_size),
                    LayerNorm2d(dims[0], eps=1e-6),
                )
            ]
        )
        for dim, next_dim in zip(dims, dims[1:], strict=False):
            self.downsample_layers.append(
                nn.Sequential(LayerNorm2d(dim, eps=1e-6), nn.Conv2d(dim, next_dim, 2, 2))
            )
        self.stages = nn.ModuleList(
            nn.Sequential(*[Block(dim, kernel_size, rate, layer_scale, use_grn) for rate in rates])
            for dim, rates in zip(dims, drop_path_rates(depths, drop_path_rate), strict=True)
        )
        self.norm = nn.LayerNorm(dims[-1], eps=1e-6)
        self.head = nn.Linear(dims[-1], num_classes)
        self.apply(init_convnext)

    @property
    def stride(self) -> int:
        """Pixels of the image that one feature position stands for, along a side."""
        return self.patch_size * 2 ** (len(self.stages) - 1)

    def features(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Map images ``(N, 3, H, W)`` to features ``(N, C, H / stride, W / stride)``.

        Args:
            x: images.
            visible: ``(N, 1, H / stride, W / stride)`` of ones and zeros, or None; see
                :meth:`Block.forward`.
        """
        for i, (downsample, stage) in enumerate(
            zip(self.downsample_layers, self.stages, strict=True)
        ):
            # Memory laid out as (N, H, W, C) makes every permute in the blocks free.
            x = downsample(x).contiguous(memory_format=torch.channels_last)
            here = None
            if visible is not None:
                repeat = 2 ** (len(self.stages) - 1 - i)
                here = visible.repeat_interleave(repeat, 2).repeat_interleave(repeat, 3)
                x = x * here
            for block in stage:
                x = block(x, here)
        return x

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images ``(N, 3, H, W)`` to pooled, normalised features ``(N, C)``."""
        return self.norm(self.features(x).mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(N, 3, H, W)`` to logits ``(N, num_classes)``."""
        return self.head(self.forward_features(x))


def convnext_tiny(**kwargs) -> ConvNeXt:
    """ConvNeXt-T: 28,589,128 parameters (table 9)."""
    return ConvNeXt(depths=(3, 3, 9, 3), dims=(96, 192, 384, 768), **kwargs)


def convnext_small(**kwargs) -> ConvNeXt:
    """ConvNeXt-S: 50M parameters (table 9)."""
    return ConvNeXt(depths=(3, 3, 27, 3), dims=(96, 192, 384, 768), **kwargs)


def convnext_base(**kwargs) -> ConvNeXt:
    """ConvNeXt-B: 89M parameters (table 9)."""
    return ConvNeXt(depths=(3, 3, 27, 3), dims=(128, 256, 512, 1024), **kwargs)


def convnextv2_tiny(**kwargs) -> ConvNeXt:
    """ConvNeXt V2-T: GRN in every block, no LayerScale (V2, section 4.2)."""
    return convnext_tiny(layer_scale=None, use_grn=True, **kwargs)
