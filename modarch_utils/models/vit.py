"""ViT, the Vision Transformer (Dosovitskiy et al. 2020, arXiv 2010.11929).

An image becomes a sequence of patches, and a Transformer encoder does the rest. Names follow
timm, so that its weights load without renaming.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import drop_path_rates
from .transformer import EncoderLayer, init_linear


class PatchEmbed(nn.Module):
    """Cut the image into squares and map each one linearly to ``dim`` numbers (equation 1).

    A convolution whose stride is its kernel's side does both at once.

    Args:
        patch_size: side P of a patch, in pixels.
        in_chans: channels of the image.
        dim: numbers for each patch.
    """

    def __init__(self, patch_size: int, in_chans: int, dim: int):
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, in_chans, H, W)`` to ``(N, L, dim)`` with ``L = H·W / P²``, row by row."""
        return self.proj(x).flatten(2).transpose(1, 2)


class VisionTransformer(nn.Module):
    """Patches, a class token, learned positions, a pre-norm encoder, a classifier (figure 1).

    Args:
        image_size: side of the image in pixels, or (height, width); multiples of ``patch_size``.
        patch_size: side of a patch.
        dim: channels at each position.
        depth: encoder layers.
        num_heads: heads of each attention; must divide ``dim``.
        mlp_ratio: hidden channels of the feed-forward networks, as a multiple of ``dim``.
        num_classes: outputs of the classifier.
        in_chans: channels of the image.
        drop_path_rate: stochastic depth of the last layer, growing linearly from 0.

    Raises:
        ValueError: the patches do not fill the image, or ``num_heads`` does not divide ``dim``.
    """

    def __init__(
        self,
        image_size: int | tuple[int, int] = 224,
        patch_size: int = 16,
        dim: int = 768,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        num_classes: int = 1000,
        in_chans: int = 3,
        drop_path_rate: float = 0.0,
    ):
        super().__init__()
        height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
        if height % patch_size or width % patch_size:
            raise ValueError(
                f"Patches of {patch_size} pixels do not fill an image of {height}×{width}; "
                f"take sides that are multiples of {patch_size}."
            )
        self.image_size = (height, width)
        self.patch_embed = PatchEmbed(patch_size, in_chans, dim)
        self.grid_size = (height // patch_size, width // patch_size)
        length = self.grid_size[0] * self.grid_size[1]
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(0.02 * torch.randn(1, 1 + length, dim))
        self.blocks = nn.Sequential(
            *[
                EncoderLayer(
                    dim,
                    num_heads,
                    int(mlp_ratio * dim),
                    norm_first=True,
                    activation=F.gelu,
                    drop_path=rate,
                    eps=1e-6,
                )
                for rate in drop_path_rates((depth,), drop_path_rate)[0]
            ]
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, num_classes)
        self.apply(init_linear)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images ``(N, 3, H, W)`` to features ``(N, 1 + L, dim)``: class token, then patches.

        Raises:
            ValueError: the images have another size than the positions were made for.
        """
        if tuple(x.shape[-2:]) != self.image_size:
            raise ValueError(
                f"The images are {x.shape[-2]}×{x.shape[-1]}, but the position embeddings are made "
                f"for {self.image_size[0]}×{self.image_size[1]}; resize the images, or build the "
                f"network with another image_size."
            )
        x = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), self.patch_embed(x)), dim=1)
        return self.norm(self.blocks(x + self.pos_embed))

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(N, 3, H, W)`` to logits ``(N, num_classes)``, read off the class token."""
        return self.head(self.forward_features(x)[:, 0])


def vit_base_patch16_224(**kwargs) -> VisionTransformer:
    """ViT-B/16 for 224×224 images: 86,567,656 parameters (86M in table 1)."""
    return VisionTransformer(patch_size=16, dim=768, depth=12, num_heads=12, **kwargs)
