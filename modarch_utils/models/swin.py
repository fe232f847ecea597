"""Swin Transformer (Liu et al. 2021, arXiv 2103.14030): attention inside windows that shift.

Names follow timm, so that its weights load without renaming. Features are ``(N, H, W, C)``.
"""

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import DropPath, drop_path_rates
from .transformer import FeedForward, init_linear


def window_partition(x: Tensor, window: int | tuple[int, int]) -> Tensor:
    """Cut feature maps into windows that do not overlap.

    Args:
        x: ``(N, H, W, C)``.
        window: side of a window, or (height, width) Mh × Mw; must divide H and W.

    Returns:
        ``(N, windows, Mh·Mw, C)``, windows and the positions in them row by row.

    Raises:
        ValueError: the windows do not fill the map.
    """
    n, height, width, dim = x.shape
    mh, mw = _pair(window)
    if height % mh or width % mw:
        raise ValueError(f"Windows of {mh}×{mw} do not fill a map of {height}×{width}; pad it.")
    x = x.reshape(n, height // mh, mh, width // mw, mw, dim)
    return x.transpose(2, 3).reshape(n, -1, mh * mw, dim)


def window_reverse(
    windows: Tensor, window: int | tuple[int, int], height: int, width: int
) -> Tensor:
    """Put windows back together, undoing :func:`window_partition`.

    Args:
        windows: ``(N, windows, Mh·Mw, C)``.
        window: side of a window, or (height, width).
        height, width: size of the map.

    Returns:
        ``(N, height, width, C)``.
    """
    mh, mw = _pair(window)
    n, _, _, dim = windows.shape
    x = windows.reshape(n, height // mh, width // mw, mh, mw, dim)
    return x.transpose(2, 3).reshape(n, height, width, dim)


@functools.lru_cache(maxsize=64)
def shift_mask(
    height: int,
    width: int,
    window: tuple[int, int],
    shift: tuple[int, int],
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Who may look at whom in the windows of a shifted map (section 3.2, figure 4).

    The cyclic shift brings the map's first rows and columns to its far end, next to positions that
    are no neighbours of theirs. Such pairs share a window but must not see each other.

    Args:
        height, width: size of the shifted map, multiples of the window's.
        window: height and width Mh × Mw of a window.
        shift: rows and columns by which the map was shifted.
        device, dtype: where the mask is added.

    Returns:
        ``(windows, Mh·Mw, Mh·Mw)``: 0 where the query (row) sees the key (column), else -inf.
    """

    def brought(side: int, shift: int) -> Tensor:
        return torch.arange(side, device=device) >= side - shift

    # Four regions, as rows and columns may each be brought from the other end.
    region = 2 * brought(height, shift[0])[:, None] + brought(width, shift[1])[None, :]
    region = window_partition(region[None, :, :, None], window)[0, :, :, 0]  # (windows, Mh·Mw)
    apart = region[:, :, None] != region[:, None, :]
    return torch.zeros(apart.shape, device=device, dtype=dtype).masked_fill(apart, -math.inf)


class WindowAttention(nn.Module):
    """Multi-head attention inside each window, with a bias for each relative position.

    ``softmax(Q Kᵀ / √d + B) V`` (equation 4). B depends only on how many rows and columns the key
    lies from the query, -(M-1) to M-1 each, so a head learns (2Mh-1)·(2Mw-1) numbers.

    Args:
        dim: channels; a multiple of ``num_heads``.
        num_heads: heads.
        window: height and width Mh × Mw of a window.
    """

    def __init__(self, dim: int, num_heads: int, window: tuple[int, int]):
        super().__init__()
        self.num_heads = num_heads
        mh, mw = window
        self.relative_position_bias_table = nn.Parameter(
            torch.empty((2 * mh - 1) * (2 * mw - 1), num_heads)
        )
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        row, column = torch.meshgrid(torch.arange(mh), torch.arange(mw), indexing="ij")
        row, column = row.flatten(), column.flatten()
        down = row[:, None] - row[None, :] + mh - 1  # query minus key, from 0 on
        right = column[:, None] - column[None, :] + mw - 1
        self.register_buffer("index", down * (2 * mw - 1) + right, persistent=False)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def relative_position_bias(self) -> Tensor:
        """B: ``(num_heads, Mh·Mw, Mh·Mw)``, query by key."""
        return self.relative_position_bias_table[self.index].permute(2, 0, 1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map ``(N, windows, Mh·Mw, dim)`` to the same shape.

        Args:
            x: windows.
            mask: ``(windows, Mh·Mw, Mh·Mw)`` to add to the scores; see :func:`shift_mask`.
        """
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(3, 0, 1, 4, 2, 5).unbind(0)  # each (N, windows, heads, Mh·Mw, d)
        bias = self.relative_position_bias()
        if mask is not None:
            bias = bias + mask[:, None]  # (windows, heads, Mh·Mw, Mh·Mw)
        scores = torch.add(bias, q @ k.transpose(-2, -1), alpha=q.shape[-1] ** -0.5)
        return self.proj((scores.softmax(dim=-1) @ v).transpose(2, 3).flatten(3))


class Block(nn.Module):
    """Window attention and a feed-forward network, each with a shortcut (figure 3b).

    Args:
        dim: channels.
        num_heads: heads of the attention.
        window: height and width Mh × Mw of a window.
        shift: rows and columns by which the windows are shifted; (0, 0) for every second block.
        mlp_ratio: hidden channels of the feed-forward network, as a multiple of ``dim``.
        drop_path: probability of dropping a residual branch.
        pad_first: see :class:`SwinTransformer`.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        window: tuple[int, int] = (7, 7),
        shift: tuple[int, int] = (0, 0),
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        pad_first: bool = False,
    ):
        super().__init__()
        self.window = window
        self.shift = shift
        self.pad_first = pad_first
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, num_heads, window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = FeedForward(dim, int(mlp_ratio * dim), F.gelu)
        self.drop_path = DropPath(drop_path)

    def window_attention(self, x: Tensor) -> Tensor:
        """Shift, cut into windows, attend, and put back: ``(N, H, W, C)`` to the same shape."""
        height, width = x.shape[1:3]
        pad = (-height % self.window[0], -width % self.window[1])
        shifted, mask = any(self.shift), None
        if self.pad_first:
            x = _pad(x, pad)
        if shifted:  # the paper's efficient batch computation: roll the map, not the windows
            x = x.roll((-self.shift[0], -self.shift[1]), dims=(1, 2))
        if not self.pad_first:
            x = _pad(x, pad)
        padded = x.shape[1:3]
        if shifted:
            mask = shift_mask(*padded, self.window, self.shift, x.device, x.dtype)
        x = self.attn(window_partition(x, self.window), mask)
        x = window_reverse(x, self.window, *padded)
        if not self.pad_first:
            x = x[:, :height, :width]
        if shifted:
            x = x.roll(self.shift, dims=(1, 2))
        return x[:, :height, :width]

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, H, W, C)`` to ``(N, H, W, C)``."""
        x = x + self.drop_path(self.window_attention(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class PatchEmbed(nn.Module):
    """Patches of ``patch_size`` pixels a side, each mapped linearly to ``dim``, and LayerNorm.

    Args:
        patch_size: side of a patch.
        in_chans: channels of the image.
        dim: channels C.
    """

    def __init__(self, patch_size: int, in_chans: int, dim: int):
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, patch_size, stride=patch_size)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(N, in_chans, H, W)`` to ``(N, H / patch_size, W / patch_size, C)``."""
        return self.norm(self.proj(x).permute(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """Halve the map: 2×2 neighbours side by side, LayerNorm, a linear layer to 2C (section 3.1).

    Args:
        dim: channels C that come in.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, H, W, C)`` to ``(N, ⌈H/2⌉, ⌈W/2⌉, 2C)``; an odd side gets a row of zeros."""
        n, height, width, dim = x.shape
        x = _pad(x, (height % 2, width % 2))
        x = x.reshape(n, (height + 1) // 2, 2, (width + 1) // 2, 2, dim)
        # The neighbours' order is the authors': the upper left, lower left, upper right, lower one.
        x = x.permute(0, 1, 3, 4, 2, 5).flatten(3)
        return self.reduction(self.norm(x))


class Stage(nn.Module):
    """Patch merging (not in the first stage) and the blocks.

    Args:
        downsample: what makes the map smaller first.
        blocks: the blocks.
    """

    def __init__(self, downsample: nn.Module, blocks: list[Block]):
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, H, W, C)`` to ``(N, H / 2, W / 2, 2C)``, or keep the shape in the first."""
        return self.blocks(self.downsample(x))


class Head(nn.Module):
    """Mean over all positions, then a linear classifier.

    Args:
        dim: channels.
        num_classes: classes.
    """

    def __init__(self, dim: int, num_classes: int):
        super().__init__()
        self.fc = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, H, W, C)`` to ``(N, num_classes)``."""
        return self.fc(x.mean((1, 2)))


class SwinTransformer(nn.Module):
    """Patches, four stages of windowed attention with patch merging between, a classifier.

    Every second block shifts its windows by half a window, so that neighbouring windows come to
    talk to each other (figure 2). Images of any size run, as long as patches fill them; maps that
    windows do not fill get zeros at the bottom and the right.

    Args:
        image_size: side of the images in pixels, or (height, width). It decides the windows: along
            a side where a stage's map is no larger than the window, the window is the whole side
            and nothing shifts along it. (The authors' code then drops the shift along the other
            side too. It also masks with -100; with -inf, as here, no weight at all is left.)
        patch_size: side of a patch.
        dim: channels C of the first stage; each stage doubles it.
        depths: blocks in each stage.
        num_heads: heads in each stage.
        window: side M of a window, in positions.
        mlp_ratio: hidden channels of the feed-forward networks, as a multiple of the stage's.
        num_classes: outputs of the classifier.
        in_chans: channels of the image.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0.
        shift: False never shifts a window (the paper's ablation, table 4).
        pad_first: matters only for maps that windows do not fill. False shifts and then pads, as
            timm does; the mask then lets some positions of opposite edges see each other. True
            pads and then shifts, as torchvision does, and keeps all edges apart.

    Raises:
        ValueError: sizes that do not fit together.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch_size: int = 4,
        dim: int = 96,
        depths: tuple[int, ...] = (2, 2, 6, 2),
        num_heads: tuple[int, ...] = (3, 6, 12, 24),
        window: int = 7,
        mlp_ratio: float = 4.0,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
        shift: bool = True,
        pad_first: bool = False,
    ):
        super().__init__()
        self.patch_size = patch_size
        height, width = self._map_size(*_pair(image_size))
        if len(depths) != len(num_heads):
            raise ValueError(
                f"There are {len(depths)} depths but {len(num_heads)} num_heads; give both one "
                f"number for each stage."
            )
        self.patch_embed = PatchEmbed(patch_size, in_chans, dim)
        stages = []
        for i, rates in enumerate(drop_path_rates(depths, drop_path_rate)):
            downsample = nn.Identity()
            if i > 0:
                downsample = PatchMerging(dim)
                height, width, dim = (height + 1) // 2, (width + 1) // 2, 2 * dim
            if dim % num_heads[i]:
                raise ValueError(
                    f"{dim} channels in stage {i + 1} cannot be shared by {num_heads[i]} heads; "
                    f"take a divisor of {dim}."
                )
            sides = (min(window, height), min(window, width))
            half = tuple(window // 2 if side > window else 0 for side in (height, width))
            blocks = [
                Block(
                    dim,
                    num_heads[i],
                    sides,
                    half if shift and j % 2 else (0, 0),
                    mlp_ratio,
                    rate,
                    pad_first,
                )
                for j, rate in enumerate(rates)
            ]
            stages.append(Stage(downsample, blocks))
        self.layers = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(dim)
        self.head = Head(dim, num_classes)
        self.apply(init_linear)

    def _map_size(self, height: int, width: int) -> tuple[int, int]:
        """Size of the first stage's map for images of this size."""
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"Patches of {self.patch_size} pixels do not fill an image of {height}×{width}; "
                f"take sides that are multiples of {self.patch_size}."
            )
        return height // self.patch_size, width // self.patch_size

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images ``(N, 3, H, W)`` to features ``(N, H / 32, W / 32, 8C)``, normalised.

        Raises:
            ValueError: the patches do not fill the images.
        """
        self._map_size(*x.shape[-2:])
        return self.norm(self.layers(self.patch_embed(x)))

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(N, 3, H, W)`` to logits ``(N, num_classes)``."""
        return self.head(self.forward_features(x))


def swin_tiny_patch4_window7_224(**kwargs) -> SwinTransformer:
    """Swin-T: 28,288,354 parameters (29M in table 1)."""
    return SwinTransformer(
        dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), window=7, **kwargs
    )


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else tuple(size)


def _pad(x: Tensor, pad: tuple[int, int]) -> Tensor:
    """Add rows and columns of zeros at the bottom and the right of ``(N, H, W, C)``."""
    return F.pad(x, (0, 0, 0, pad[1], 0, pad[0])) if any(pad) else x  # F.pad by nothing copies
