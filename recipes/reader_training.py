"""Train the network that reads pictures, on renderings made as bad as a generator's pictures."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.transforms.v2.functional import gaussian_blur

from modarch_utils.models.reader import Logits, Reader
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.history import History
from modarch_utils.training.loop import fit
from modarch_utils.training.reading import NONE, Reading

BLUR = 1.2  # pixels: deviation of the widest blur in training
NOISE = 0.1  # the strongest noise in training, for pixels in [-1, 1]
TINT = 0.1  # a channel is shifted, and scaled around 1, by at most this


def blur(images: Tensor, sigma: float) -> Tensor:
    """Gaussian blur of images (N, 3, H, W), with a deviation of ``sigma`` pixels."""
    return gaussian_blur(images, kernel_size=2 * int(3 * sigma) + 3, sigma=sigma)


def degrade(images: Tensor) -> Tensor:
    """What a generator may do to pictures (N, 3, H, W) in [-1, 1], drawn from torch's generator.

    Every second picture is blurred, all to one degree; each is tinted and gets noise of its own
    strength, half of it fine and half four pixels wide, as errors in latents look.
    """
    n, _, height, width = images.shape
    sigma = (BLUR * torch.rand(())).item()
    images, some = images.clone(), torch.rand(n) < 0.5
    images[some] = blur(images[some], max(sigma, 0.1))
    scale, shift = TINT * (2 * torch.rand(2, n, 3, 1, 1) - 1)
    coarse = torch.randn(n, 3, height // 4, width // 4)
    noise = torch.randn_like(images) + F.interpolate(coarse, (height, width), mode="bilinear")
    strength = NOISE / 2 * torch.rand(n, 1, 1, 1)
    return images * (1 + scale) + shift + strength * noise


def reading_loss(logits: Logits, attributes: Tensor, count: Tensor) -> Tensor:
    """Sum of the cross-entropies of count, shapes, colours and ground, each a mean.

    Args:
        logits: of N pictures.
        attributes: (N, 5) int64, see :attr:`Reading.attributes`; what is :data:`NONE` is left out.
        count: (N,) 1 or 2.
    """
    objects = attributes[:, :4].unflatten(1, (2, 2))  # (N, object, shape or colour)
    loss = F.cross_entropy(logits.count, count - 1)
    for each, wanted in ((logits.shape, objects[..., 0]), (logits.colour, objects[..., 1])):
        loss = loss + F.cross_entropy(each.flatten(0, 1), wanted.flatten(), ignore_index=NONE)
    return loss + F.cross_entropy(logits.ground, attributes[:, 4])


def train_reader(
    reader: Reader, images: Tensor, wanted: Reading, config: TrainConfig, **options: Any
) -> History:
    """Train ``reader`` in place on degraded pictures; the averaged weights remain if there are any.

    Args:
        images: (N, 3, H, W) uint8.
        wanted: what they show.
        config: the recipe; its label smoothing is not used, and it must not mirror pictures.
        options: ``out``, ``stop_after`` and ``progress`` of
            :func:`modarch_utils.training.loop.fit`, by which a stopped run goes on.
    """
    if config.augment != "none":
        raise ValueError(f"augment={config.augment!r} exchanges left and right: use 'none'.")
    targets = torch.cat((wanted.attributes, wanted.count[:, None]), dim=1)

    def loss(model: nn.Module, batch: Tensor, goal: Tensor) -> Tensor:
        with torch.autocast(batch.device.type, enabled=False):
            batch = degrade(batch).contiguous(memory_format=torch.channels_last)
        return reading_loss(model(batch), goal[:, :5], goal[:, 5])

    history = fit(reader, (images, targets), None, config, loss_fn=loss, **options)
    if history.ema_weights is not None:
        reader.load_state_dict(history.ema_weights)
    return history
