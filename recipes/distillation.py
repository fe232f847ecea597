"""Distillation from a frozen teacher: a network learns another's features, without labels.

DINOv2's S, B and L learn from the frozen g with the losses of self-distillation (arXiv 2304.07193,
section 5). Here teacher and student are of different families, so the student regresses the
teacher's features: the class token its pooled ones, the patches its feature map.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Teaching(NamedTuple):
    """A teacher's features of N images, each channel with mean 0 and deviation 1 over them."""

    pooled: Tensor
    """(N, D)"""
    maps: Tensor
    """(N, C, H, W)"""


def standardise(features: Tensor, eps: float = 1e-6) -> Tensor:
    """Give each channel of (N, C, ...) mean 0 and deviation 1 over images and positions.

    Without it the loss would be about the few channels with large values.
    """
    axes = [axis for axis in range(features.ndim) if axis != 1]
    features = features.float()
    std, mean = torch.std_mean(features, dim=axes, keepdim=True, correction=0)
    return (features - mean) / (std + eps)


@torch.no_grad()
def teach(teacher: nn.Module, images: Tensor, stage: int) -> Teaching:
    """Raw features of a frozen timm network; :func:`standardise` those of all images together.

    Args:
        teacher: in eval mode, with ``forward_intermediates`` and ``forward_head``.
        images: (N, 3, H, W) float32, normalised as the teacher wants them.
        stage: which of its intermediate maps to take.
    """
    last, (features,) = teacher.forward_intermediates(images, indices=[stage])
    return Teaching(teacher.forward_head(last, pre_logits=True), features)


class Distiller(nn.Module):
    """A student with one linear head on its class token and one on its patches.

    Args:
        backbone: maps images to features with ``cls`` (N, dim) and ``patches`` (N, P, dim).
        dim: the student's channels.
        pooled: D, numbers of the teacher's pooled features.
        channels: C of the teacher's feature map.
    """

    def __init__(self, backbone: nn.Module, dim: int, pooled: int, channels: int):
        super().__init__()
        self.backbone = backbone
        self.cls_head = nn.Linear(dim, pooled)
        self.patch_head = nn.Linear(dim, channels)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map (N, 3, H, W) to guesses of the pooled features, (N, D), and the map, (N, P, C)."""
        out = self.backbone(images)
        return self.cls_head(out.cls), self.patch_head(out.patches)


def pack(teaching: Teaching) -> Tensor:
    """One row (N, D + C · H · W) an image, in half precision: what a training loop indexes."""
    return torch.cat((teaching.pooled, teaching.maps.flatten(1)), dim=1).half()


def distillation_loss(
    guess: tuple[Tensor, Tensor],
    targets: Tensor,
    grid: tuple[int, int],
    patch_weight: float = 1.0,
) -> Tensor:
    """Smooth-L1 distance to the teacher's standardised features.

    Args:
        guess: what :class:`Distiller` returns.
        targets: (N, D + C · h · w) from :func:`pack`; the map is square.
        grid: rows and columns of the student's patches, to which the map is resized.
        patch_weight: of the map's distance; the pooled features' has weight 1.

    Returns:
        The mean over numbers and images.
    """
    cls, patches = (part.float() for part in guess)
    pooled, maps = targets.float().split((cls.shape[1], targets.shape[1] - cls.shape[1]), dim=1)
    maps = maps.unflatten(1, (patches.shape[2], -1))
    side = round(maps.shape[2] ** 0.5)
    maps = F.interpolate(
        maps.unflatten(2, (side, side)), grid, mode="bilinear", align_corners=False
    )
    distance = F.smooth_l1_loss(patches, maps.flatten(2).transpose(1, 2))
    return F.smooth_l1_loss(cls, pooled) + patch_weight * distance
