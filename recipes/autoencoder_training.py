"""Train the autoencoder of latent diffusion (Rombach et al. 2022, arXiv 2112.10752, section 3.1).

The paper's objective is a reconstruction error, a perceptual distance, a weak pull of the latents
towards a normal distribution, and a discriminator against blur. Here an error of the image's
gradients stands in for the discriminator.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from torch import Tensor, nn

from modarch_utils.training.autoencoder import Codes
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.history import History
from modarch_utils.training.loop import fit

Features = Callable[[Tensor], Sequence[Tensor]]
"""A frozen network: images (N, 3, H, W) in [-1, 1] to maps (N, C, h, w), one for each depth."""


@dataclass(frozen=True)
class AutoencoderObjective:
    """Weights of the loss's terms; the mean error of a pixel weighs 1."""

    edge: float = 1.0
    perceptual: float = 0.5
    kl: float = 3e-2
    """The paper's is about 1e-6, for latents that a much larger U-Net gets right. The decoder of a
    small one has to bear small errors, and a stronger pull trains it to."""

    def __post_init__(self) -> None:
        if min(self.edge, self.perceptual, self.kl) < 0:
            raise ValueError("edge, perceptual and kl must not be negative.")


class Coded(NamedTuple):
    """What became of N images."""

    image: Tensor
    """(N, 3, H, W) reconstruction."""
    kl: Tensor
    """(N,) divergence of the latents' distribution from the standard normal one, in nats."""


class Autoencoding(nn.Module):
    """Encode, draw from the latents' distribution, decode."""

    def __init__(self, vae: AutoencoderKL):
        super().__init__()
        self.vae = vae

    def forward(self, images: Tensor) -> Coded:
        posterior = self.vae.encode(images).latent_dist
        return Coded(self.vae.decode(posterior.sample()).sample, posterior.kl())


def edge_error(a: Tensor, b: Tensor) -> Tensor:
    """Mean error of the differences between neighbouring pixels, across and down."""
    delta = a - b
    return (delta.diff(dim=3).abs().mean() + delta.diff(dim=2).abs().mean()) / 2


def perceptual_distance(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Squared distance of feature vectors of length 1, the mean over positions and depths.

    LPIPS without its learnt weights (Zhang et al. 2018, arXiv 1801.03924, eq. 1).
    """
    each = (
        (F.normalize(x, dim=1) - F.normalize(y, dim=1)).square().sum(1).mean()
        for x, y in zip(a, b, strict=True)
    )
    return torch.stack(list(each)).mean()


def autoencoder_loss(
    coded: Coded,
    images: Tensor,
    objective: AutoencoderObjective,
    features: Features | None = None,
) -> Tensor:
    """The whole loss of a batch. Without ``features`` the perceptual term is left out."""
    loss = F.l1_loss(coded.image, images)
    loss = loss + objective.edge * edge_error(coded.image, images)
    if features is not None:
        with torch.no_grad():
            wanted = features(images)
        loss = loss + objective.perceptual * perceptual_distance(features(coded.image), wanted)
    # As in the paper's code, a sum over latents against a sum over pixels.
    return loss + objective.kl * coded.kl.mean() / images[0].numel()


def train_autoencoder(
    vae: AutoencoderKL,
    images: Tensor,
    config: TrainConfig,
    objective: AutoencoderObjective | None = None,
    features: Features | None = None,
    **options: Any,
) -> History:
    """Train ``vae`` in place; afterwards it holds the averaged weights if the recipe averages.

    Args:
        vae: gives and takes pictures in [-1, 1].
        images: (N, 3, H, W) uint8.
        config: the recipe; its label smoothing is not used.
        objective: by default :class:`AutoencoderObjective`'s weights.
        features: for the perceptual term.
        options: ``out``, ``stop_after`` and ``progress`` of
            :func:`modarch_utils.training.loop.fit`, by which a stopped run goes on.
    """
    goal = objective or AutoencoderObjective()

    def loss(model: nn.Module, batch: Tensor, _: Tensor) -> Tensor:
        return autoencoder_loss(model(batch), batch, goal, features)

    model = Autoencoding(vae)
    history = fit(model, (images, torch.zeros(len(images))), None, config, loss_fn=loss, **options)
    if history.ema_weights is not None:
        model.load_state_dict(history.ema_weights)
    return history


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of images (N, 3, H, W) in [-1, 1], the mean over images."""
    errors = (a.clamp(-1, 1) - b.clamp(-1, 1)).square().flatten(1).mean(1)
    return (10 * torch.log10(4 / errors.clamp(min=1e-10))).mean().item()


def set_scaling(vae: AutoencoderKL, codes: Codes) -> float:
    """Store in the configuration, and return, the factor that gives latents a deviation of 1.

    One number for all channels: the pipeline knows no other. Noise schedules are made for it.
    """
    deviation = codes.mean.std().item()
    if not (math.isfinite(deviation) and deviation > 0):
        raise ValueError(f"The latents' deviation is {deviation}: the autoencoder is not trained.")
    vae.register_to_config(scaling_factor=1 / deviation)
    return vae.config.scaling_factor
