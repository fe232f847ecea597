"""Fully convolutional masked autoencoder (ConvNeXt V2, arXiv 2301.00808, section 3).

The paper's encoder uses sparse convolution, so that hidden patches send nothing. Multiplying by
the mask after every layer that mixes positions gives the same numbers with dense convolution
(the authors' TRAINING.md says so too, and chapter 02 holds it against a sparse convolution), and
needs no extra library. GRN is the paper's: its norm is one image's. The sparse GRN of the authors'
PyTorch code takes it over the whole batch; their JAX code does not.
"""

import torch
from torch import Tensor, nn

from .convnext import Block, ConvNeXt


def random_mask(n: int, grid: tuple[int, int], ratio: float, device: torch.device) -> Tensor:
    """Hide the same number of patches in every image, at random.

    Args:
        n: images.
        grid: rows and columns of patches.
        ratio: share of patches to hide.
        device: where the mask is made.

    Returns:
        ``(n, 1, rows, columns)`` of ones (visible) and zeros (hidden).
    """
    patches = grid[0] * grid[1]
    order = torch.rand(n, patches, device=device).argsort(dim=1).argsort(dim=1)
    # The small addend: 10 * (1 - 0.9) is a hair less than 1, and would hide every patch.
    visible = order < int(patches * (1 - ratio) + 1e-6)
    return visible.float().reshape(n, 1, *grid)


def patchify(images: Tensor, patch: int) -> Tensor:
    """Cut ``(N, C, H, W)`` into patches ``(N, patch·patch·C, H / patch, W / patch)``."""
    return nn.functional.pixel_unshuffle(images, patch)


class FCMAE(nn.Module):
    """Encoder on the visible patches, one ConvNeXt block as decoder, pixels as the target.

    Args:
        encoder: a ConvNeXt; its ``stride`` is the side of a masked patch (32 in the paper).
        decoder_dim: channels of the decoder (512 in the paper).
        mask_ratio: share of hidden patches (0.6 in the paper).
    """

    def __init__(self, encoder: ConvNeXt, decoder_dim: int = 512, mask_ratio: float = 0.6):
        super().__init__()
        self.encoder = encoder
        self.mask_ratio = mask_ratio
        in_chans = encoder.downsample_layers[0][0].in_channels
        use_grn = not isinstance(encoder.stages[0][0].grn, nn.Identity)
        self.proj = nn.Conv2d(encoder.head.in_features, decoder_dim, 1)
        self.mask_token = nn.Parameter(0.02 * torch.randn(1, decoder_dim, 1, 1))
        self.decoder = Block(decoder_dim, layer_scale=None, use_grn=use_grn)
        self.pred = nn.Conv2d(decoder_dim, encoder.stride**2 * in_chans, 1)

    def grid(self, images: Tensor) -> tuple[int, int]:
        """Rows and columns of patches in ``(N, C, H, W)`` images; ValueError if they do not fit."""
        stride, (height, width) = self.encoder.stride, images.shape[-2:]
        if height % stride or width % stride:
            raise ValueError(
                f"Images of {height}×{width} cannot be cut into patches of {stride}; "
                f"use sides that are multiples of {stride}."
            )
        return height // stride, width // stride

    def reconstruct(self, images: Tensor, visible: Tensor) -> Tensor:
        """Predict every patch from the visible ones.

        Args:
            images: ``(N, C, H, W)``, sides multiples of the encoder's stride.
            visible: ``(N, 1, H / stride, W / stride)`` of ones and zeros.

        Returns:
            Normalised pixels of each patch, ``(N, stride·stride·C, H / stride, W / stride)``.

        Raises:
            ValueError: a side of the image is no multiple of the encoder's stride.
        """
        self.grid(images)
        x = self.proj(self.encoder.features(images, visible))
        x = x * visible + self.mask_token * (1 - visible)
        return self.pred(self.decoder(x))

    def target(self, images: Tensor) -> Tensor:
        """Pixels of each patch, normalised by the patch's own mean and deviation."""
        patches = patchify(images, self.encoder.stride)
        mean, var = patches.mean(1, keepdim=True), patches.var(1, keepdim=True)
        return (patches - mean) / (var + 1e-6).sqrt()

    def forward(self, images: Tensor, visible: Tensor | None = None) -> Tensor:
        """Mean squared error on the hidden patches, a scalar.

        Args:
            images: ``(N, C, H, W)``, sides multiples of the encoder's stride.
            visible: mask to use; a random one when None.

        Raises:
            ValueError: a side of the image is no multiple of the encoder's stride.
        """
        grid = self.grid(images)
        if visible is None:
            visible = random_mask(len(images), grid, self.mask_ratio, images.device)
        error = (self.reconstruct(images, visible) - self.target(images)).square()
        hidden = (1 - visible).expand_as(error)
        return (error * hidden).sum() / hidden.sum()
