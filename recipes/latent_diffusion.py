"""Train a latent diffusion model on captions (Rombach et al. 2022, arXiv 2112.10752, section 3.3).

The U-Net learns to tell the noise in latents, and the text model what to tell it about captions.
One caption in ten is withheld, so that the same network also knows pictures in general: the
difference of its two answers guides sampling (Ho and Salimans 2022, arXiv 2207.12598). Times with
little noise may weigh less (Hang et al. 2023, arXiv 2303.09556): what is to be learnt there, the
last grain of a picture, would otherwise outweigh what the picture shows.
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modarch_utils.training.config import TrainConfig
from modarch_utils.training.consistency import ConsistencyConfig, NoiseSchedule
from modarch_utils.training.history import History
from modarch_utils.training.loop import fit
from modarch_utils.training.randomness import generator

TIMES = ConsistencyConfig.train_steps


@cache
def schedule() -> NoiseSchedule:
    """Stable Diffusion's."""
    return ConsistencyConfig().schedule


class LatentDiffusion(nn.Module):
    """The two networks that are trained together.

    Args:
        unet: diffusers' ``UNet2DConditionModel``.
        text_encoder: transformers' ``CLIPTextModel``.
        empty: (tokens,) ids of the prompt without a word.
    """

    empty: Tensor

    def __init__(self, unet: nn.Module, text_encoder: nn.Module, empty: Tensor):
        super().__init__()
        self.unet = unet
        self.text_encoder = text_encoder
        self.register_buffer("empty", empty)

    def forward(self, noisy: Tensor, t: Tensor, ids: Tensor) -> Tensor:
        """The noise in latents (N, C, h, w) at times t (N,), told prompts (N, tokens)."""
        text = self.text_encoder(ids).last_hidden_state
        return self.unet(noisy, t, encoder_hidden_states=text).sample


def noise_loss(
    model: nn.Module,
    latents: Tensor,
    ids: Tensor,
    t: Tensor,
    noise: Tensor,
    min_snr: float | None = None,
) -> Tensor:
    """Mean squared error of the predicted noise (Ho et al. 2020, arXiv 2006.11239, eq. 14).

    Args:
        model: :class:`LatentDiffusion`.
        latents: (N, C, h, w) with a deviation of 1.
        ids: (N, tokens) of their prompts.
        t: (N,) times.
        noise: like ``latents``.
        min_snr: γ of the weight min(SNR, γ) / SNR of each time (Hang et al. 2023, section 3.4, for
            predicted noise); None weighs all times alike.
    """
    found = model(schedule().add_noise(latents, noise, t), t, ids).float()
    if min_snr is None:
        return F.mse_loss(found, noise)
    error = F.mse_loss(found, noise, reduction="none").flatten(1).mean(1)
    return (error * snr_weight(t, min_snr)).mean()


def snr_weight(t: Tensor, gamma: float) -> Tensor:
    """min(SNR, γ) / SNR at times t (N,), with SNR = α² / σ² of the noise schedule."""
    alphas, sigmas = (each.to(t.device)[t] for each in (schedule().alphas, schedule().sigmas))
    return (gamma * (sigmas / alphas).square()).clamp(max=1)


def drop_captions(ids: Tensor, empty: Tensor, share: float) -> Tensor:
    """Replace prompts (N, tokens) by the empty one, each with probability ``share``.

    The choice comes from torch's global generator.
    """
    dropped = torch.rand(len(ids), device=ids.device) < share
    return torch.where(dropped[:, None], empty, ids)


def train_latent_diffusion(
    model: LatentDiffusion,
    latents: Tensor,
    ids: Tensor,
    config: TrainConfig,
    caption_dropout: float = 0.1,
    min_snr: float | None = None,
    **options: Any,
) -> History:
    """Train U-Net and text model in place; the averaged weights are the history's.

    Args:
        model: both networks.
        latents: (N, C, h, w) float with a deviation of 1, see
            :func:`recipes.autoencoder_training.set_scaling`.
        ids: (N, tokens) int64.
        config: the recipe; ``augment`` must be "none", and label smoothing is not used.
        caption_dropout: the share of captions withheld.
        min_snr: see :func:`noise_loss`.
        options: ``out``, ``stop_after`` and ``progress`` of
            :func:`modarch_utils.training.loop.fit`, by which a stopped run goes on.

    Raises:
        ValueError: a share outside [0, 1), latents that are augmented or whose deviation is far
            from 1, and what :func:`modarch_utils.training.loop.fit` refuses.
    """
    if not 0 <= caption_dropout < 1:
        raise ValueError(f"caption_dropout must lie in [0, 1), and {caption_dropout} does not.")
    if config.augment != "none":
        raise ValueError("Latents cannot be cropped or flipped as images can: set augment='none'.")
    deviation = latents.std().item()
    if not 0.5 < deviation < 2:
        raise ValueError(
            f"The latents' deviation is {deviation:.3g}, but the noise's is 1: multiply them by "
            f"the autoencoder's scaling_factor."
        )
    empty = model.empty

    def loss(network: nn.Module, x: Tensor, prompts: Tensor) -> Tensor:
        prompts = drop_captions(prompts, empty.to(prompts.device), caption_dropout)
        t = torch.randint(TIMES, (len(x),), device=x.device)
        return noise_loss(network, x, prompts, t, torch.randn_like(x), min_snr)

    return fit(model, (latents, ids), None, config, loss_fn=loss, **options)


@torch.no_grad()
def held_out_loss(
    model: LatentDiffusion, latents: Tensor, ids: Tensor, seed: int = 0, batch_size: int = 100
) -> float:
    """Noise loss on other latents, with the same noise at each call and times spread evenly."""
    n, rng, device = len(latents), generator(seed), model.empty.device
    t = ((torch.arange(n) + 0.5) * TIMES / n).long()
    columns = latents, ids, t, torch.randn(latents.shape, generator=rng)
    batches = zip(*(column.split(batch_size) for column in columns), strict=True)
    total = 0.0
    for batch in batches:
        total += noise_loss(model, *(part.to(device) for part in batch)).item() * len(batch[0])
    return total / n
