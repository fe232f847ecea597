"""Pictures to latents, by a trained autoencoder (Rombach et al. 2022, arXiv 2112.10752)."""

from typing import NamedTuple

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from modarch_utils.training.batches import to_input


class Codes(NamedTuple):
    """The latents' distributions, not scaled."""

    mean: Tensor
    """(N, C, h, w)"""
    std: Tensor
    """(N, C, h, w)"""


@torch.no_grad()
def encode(vae: AutoencoderKL, images: Tensor, batch_size: int = 100) -> Codes:
    """Encode images (N, 3, H, W), uint8 or float in [-1, 1]; the codes lie on the CPU."""
    parts = [
        vae.encode(to_input(batch).to(vae.device)).latent_dist for batch in images.split(batch_size)
    ]
    return Codes(
        *(torch.cat([getattr(p, n).cpu() for p in parts]).contiguous() for n in ("mean", "std"))
    )


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """What is left of images (N, 3, H, W), without chance: (N, 3, H, W) on the CPU."""
    means = encode(vae, images).mean.split(100)
    return torch.cat([vae.decode(mean.to(vae.device)).sample.cpu() for mean in means])
