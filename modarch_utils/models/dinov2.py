"""DINOv2's network (Oquab et al. 2023, arXiv 2304.07193; registers: Darcet et al., 2309.16588).

A Vision Transformer with LayerScale, hidden patches for masked training and, in the giant model,
SwiGLU. Names follow the authors' repository, so that their checkpoints load as they are and
``timm.models.vision_transformer.checkpoint_filter_fn`` translates ours into timm's;
:func:`transformers_state` and :func:`load_transformers` translate to and from transformers'.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import DropPath
from .transformer import FeedForward, MultiHeadAttention, init_linear
from .vit import PatchEmbed


class SwiGLU(nn.Module):
    """Feed-forward network with a gate: ``w3(silu(a) · b)``, where ``w12(x)`` is a and b.

    Three matrices instead of two, so the hidden channels shrink to two thirds, rounded up to a
    multiple of 8: as many weights as before.

    Args:
        dim: channels in and out.
        mlp_dim: hidden channels of the network with two matrices that it stands for.
    """

    def __init__(self, dim: int, mlp_dim: int):
        super().__init__()
        hidden_dim = -(-int(mlp_dim * 2 / 3) // 8) * 8
        self.w12 = nn.Linear(dim, 2 * hidden_dim)
        self.w3 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., dim)`` to ``(..., dim)``."""
        a, b = self.w12(x).chunk(2, dim=-1)
        return self.w3(F.silu(a) * b)


class LayerScale(nn.Module):
    """Scale each channel of a residual branch by a learned number (Touvron et al. 2021).

    Args:
        dim: channels.
        value: what all the numbers start from.
    """

    def __init__(self, dim: int, value: float):
        super().__init__()
        self.gamma = nn.Parameter(torch.full((dim,), value))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., dim)`` to ``(..., dim)``."""
        return x * self.gamma


class Block(nn.Module):
    """Attention, then a feed-forward network, each ``x + scale · f(norm(x))``.

    Args:
        dim: channels.
        num_heads: heads of the attention; must divide ``dim``.
        mlp_dim: hidden channels of the feed-forward network; see :class:`SwiGLU`.
        swiglu: take :class:`SwiGLU` as the feed-forward network, instead of two layers and GELU.
        drop_path: probability of dropping a branch.
        layer_scale: first value of the branches' scales.

    Raises:
        ValueError: ``num_heads`` does not divide ``dim``.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_dim: int,
        swiglu: bool = False,
        drop_path: float = 0.0,
        layer_scale: float = 1e-5,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = MultiHeadAttention(dim, num_heads)
        self.ls1 = LayerScale(dim, layer_scale)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = SwiGLU(dim, mlp_dim) if swiglu else FeedForward(dim, mlp_dim, F.gelu)
        self.ls2 = LayerScale(dim, layer_scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, L, dim)`` to ``(N, L, dim)``."""
        x = x + self.drop_path(self.ls1(self.attn(self.norm1(x))))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


class Features(NamedTuple):
    """What the network says about N images, normalised. P patches lie in a grid of H' × W'."""

    cls: Tensor
    """``(N, dim)``: the class token, about the whole image."""
    registers: Tensor
    """``(N, R, dim)``: scratch space of the network; no task uses it."""
    patches: Tensor
    """``(N, P, dim)``: one vector for each patch, row by row."""
    grid: tuple[int, int]
    """(H', W'). The number of patches does not tell it: 144 may be 12 × 12 or 8 × 18."""

    def patch_map(self) -> Tensor:
        """The patches where they lie in the image: ``(N, dim, H', W')``."""
        return self.patches.transpose(1, 2).unflatten(2, self.grid)


class DinoVisionTransformer(nn.Module):
    """Class token, registers and patches through a pre-norm encoder; no classifier.

    Images of any size pass, as long as patches fill them: the learned positions are interpolated.

    Args:
        image_size: side of the square images that the learned positions are made for, in pixels.
        patch_size: side of a patch.
        dim: channels at each position.
        depth: blocks.
        num_heads: heads of each attention; must divide ``dim``.
        registers: register tokens R; the paper has none, Darcet et al. have 4.
        mlp_ratio: hidden channels of the feed-forward networks, as a multiple of ``dim``.
        swiglu: see :class:`Block`.
        in_chans: channels of the image.
        drop_path: stochastic depth, the same in all blocks (as in the authors' training).
        layer_scale: see :class:`Block`. With the authors' 1e-5 a network starts as the identity,
            which suits long training of deep ones; 1 leaves it out of the way.

    Raises:
        ValueError: patches do not fill ``image_size``, or ``num_heads`` does not divide ``dim``.
    """

    def __init__(
        self,
        image_size: int = 518,
        patch_size: int = 14,
        dim: int = 384,
        depth: int = 12,
        num_heads: int = 6,
        registers: int = 0,
        mlp_ratio: int = 4,
        swiglu: bool = False,
        in_chans: int = 3,
        drop_path: float = 0.0,
        layer_scale: float = 1e-5,
    ):
        super().__init__()
        self.patch_size, self.registers, self.mlp_ratio = patch_size, registers, mlp_ratio
        self.patch_embed = PatchEmbed(patch_size, in_chans, dim)
        self.base_grid = self.grid(image_size, image_size)
        self.cls_token = nn.Parameter(1e-6 * torch.randn(1, 1, dim))
        self.mask_token = nn.Parameter(torch.zeros(1, dim))
        # A parameter of no registers is left out, as the authors' checkpoints have none.
        self.register_tokens = (
            nn.Parameter(1e-6 * torch.randn(1, registers, dim)) if registers else None
        )
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + self.base_grid[0] ** 2, dim))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.Sequential(
            *[
                Block(dim, num_heads, mlp_ratio * dim, swiglu, drop_path, layer_scale)
                for _ in range(depth)
            ]
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.apply(init_linear)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches of an image.

        Raises:
            ValueError: patches do not fill it. (transformers would cut off the rest, silently.)
        """
        side = self.patch_size
        if height % side or width % side:
            raise ValueError(
                f"Patches of {side} pixels do not fill an image of {height}×{width}; "
                f"resize or crop it to multiples of {side}."
            )
        return height // side, width // side

    def positions(self, grid: tuple[int, int]) -> Tensor:
        """Position embeddings ``(1, 1 + H'·W', dim)`` of a grid, the class token's first.

        The learned grid is a picture with ``dim`` channels, resized by bicubic interpolation: with
        antialiasing in networks with registers and without it in others, as the released models
        are and as transformers has it. (timm has it in all. The authors' code, in networks
        without registers, also adds 0.1 to the grid's sides as a guard against rounding.)
        """
        if grid == self.base_grid:
            return self.pos_embed
        cls, patches = self.pos_embed.split((1, self.pos_embed.shape[1] - 1), dim=1)
        # In float32: half precision would shift the embeddings.
        learned = patches.transpose(1, 2).unflatten(2, self.base_grid).float()
        resized = F.interpolate(learned, grid, mode="bicubic", antialias=self.registers > 0)
        return torch.cat((cls, resized.flatten(2).transpose(1, 2).to(cls.dtype)), dim=1)

    def embed(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map images to the encoder's input: class token, registers (without positions), patches.

        Args:
            x: images ``(N, in_chans, H, W)``.
            mask: see :meth:`forward`.

        Returns:
            ``(N, 1 + R + P, dim)``.

        Raises:
            ValueError: patches do not fill the images, or the mask is not one bool for each patch.
        """
        positions = self.positions(self.grid(*x.shape[-2:]))
        x = self.patch_embed(x)
        if mask is not None:
            if mask.shape != x.shape[:2] or mask.dtype != torch.bool:
                raise ValueError(
                    f"The mask must be a bool tensor of shape {tuple(x.shape[:2])}, one entry for "
                    f"each patch, but is {mask.dtype} of shape {tuple(mask.shape)}."
                )
            x = torch.where(mask[..., None], self.mask_token.to(x.dtype), x)
        patches = x + positions[:, 1:]
        tokens = [self.cls_token + positions[:, :1]]
        if self.register_tokens is not None:
            tokens.append(self.register_tokens)
        return torch.cat([t.expand(len(x), -1, -1) for t in tokens] + [patches], dim=1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Features:
        """Map images ``(N, in_chans, H, W)`` to :class:`Features`.

        Args:
            x: images.
            mask: ``(N, P)``, bool: patches to hide, whose content is replaced by a learned vector
                while their positions stay.

        Raises:
            ValueError: as in :meth:`embed`.
        """
        tokens = self.norm(self.blocks(self.embed(x, mask)))
        cls, registers, patches = tokens.tensor_split((1, 1 + self.registers), dim=1)
        return Features(cls[:, 0], registers, patches, self.grid(*x.shape[-2:]))


def dinov2_small(**kwargs) -> DinoVisionTransformer:
    """DINOv2 ViT-S/14 (table 17): 22,056,576 parameters, of which 0.5M are positions."""
    return DinoVisionTransformer(dim=384, depth=12, num_heads=6, **kwargs)


def dinov2_base(**kwargs) -> DinoVisionTransformer:
    """DINOv2 ViT-B/14: 12 blocks, as in the authors' code and checkpoint (table 17 prints 18)."""
    return DinoVisionTransformer(dim=768, depth=12, num_heads=12, **kwargs)


def dinov2_large(**kwargs) -> DinoVisionTransformer:
    """DINOv2 ViT-L/14 (table 17)."""
    return DinoVisionTransformer(dim=1024, depth=24, num_heads=16, **kwargs)


def dinov2_giant(**kwargs) -> DinoVisionTransformer:
    """DINOv2 ViT-g/14 (table 17), with SwiGLU: 1,136,480,768 parameters."""
    return DinoVisionTransformer(dim=1536, depth=40, num_heads=24, swiglu=True, **kwargs)


# Beginnings of our names, and what transformers calls the same; three or two where it splits one.
_EMBEDDINGS = {
    "patch_embed.proj.": ["embeddings.patch_embeddings.projection."],
    "pos_embed": ["embeddings.position_embeddings"],
    "norm.": ["layernorm."],
}
_BLOCK = {
    "attn.qkv.": ["attention.q_proj.", "attention.k_proj.", "attention.v_proj."],
    "attn.proj.": ["attention.o_proj."],
    "ls1.gamma": ["layer_scale1.lambda1"],
    "ls2.gamma": ["layer_scale2.lambda1"],
    "mlp.w12.": ["mlp.gate_proj.", "mlp.up_proj."],
    "mlp.w3.": ["mlp.down_proj."],
}


def transformers_names(name: str) -> list[str]:
    """What transformers calls a parameter of ours; more than one name where it splits it."""
    in_block = re.match(r"blocks\.(\d+)\.", name)
    inner = name[in_block.end() :] if in_block else name
    outer = f"encoder.layer.{in_block[1]}." if in_block else ""
    for ours, theirs in (_BLOCK if in_block else _EMBEDDINGS).items():
        if inner.startswith(ours):
            return [outer + start + inner[len(ours) :] for start in theirs]
    return [outer + inner if in_block else f"embeddings.{inner}"]


def to_transformers(named: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give our parameters (or their gradients) the names and shapes that transformers has."""
    translated = {}
    for name, value in named.items():
        names = transformers_names(name)
        translated.update(zip(names, value.chunk(len(names)), strict=True))
    return translated


def transformers_state(model: DinoVisionTransformer) -> tuple[dict, dict[str, Tensor]]:
    """Everything that transformers needs to build the same network.

    Returns:
        The settings and the weights of a ``Dinov2WithRegistersModel``, or of a ``Dinov2Model`` if
        the network has no registers. Use them so::

            config, state = transformers_state(model)
            theirs = AutoModel.from_config(AutoConfig.for_model(**config))
            theirs.load_state_dict(state)
    """
    block = model.blocks[0]
    config = {
        "model_type": "dinov2_with_registers" if model.registers else "dinov2",
        "image_size": model.base_grid[0] * model.patch_size,
        "patch_size": model.patch_size,
        "num_channels": model.patch_embed.proj.in_channels,
        "hidden_size": model.norm.normalized_shape[0],
        "num_hidden_layers": len(model.blocks),
        "num_attention_heads": block.attn.num_heads,
        "mlp_ratio": model.mlp_ratio,
        "use_swiglu_ffn": isinstance(block.mlp, SwiGLU),
        "drop_path_rate": block.drop_path.rate,
    }
    if model.registers:
        config["num_register_tokens"] = model.registers
    # Copies, as parts of one tensor cannot be saved to safetensors apart.
    state = {name: value.clone() for name, value in to_transformers(model.state_dict()).items()}
    return config, state


def load_transformers(model: DinoVisionTransformer, state: Mapping[str, Tensor]) -> None:
    """Fill a network of ours with the weights of transformers' ``Dinov2...Model``, in place.

    Args:
        model: of the same settings.
        state: ``state_dict()`` of theirs.

    Raises:
        KeyError: a weight is missing.
        RuntimeError: a weight has another shape.
    """
    model.load_state_dict(
        {
            name: torch.cat([state[part] for part in transformers_names(name)])
            for name in model.state_dict()
        }
    )
