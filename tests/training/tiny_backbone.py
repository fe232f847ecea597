"""The smallest thing that is a backbone: what the tests of self-distillation train."""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class Features(NamedTuple):
    cls: Tensor
    patches: Tensor


class TinyBackbone(nn.Module):
    """Patches of 4 pixels that see the mean of all patches; any image size."""

    def __init__(self, dim: int, dropout: float = 0.0):
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, 4)
        self.mask_token = nn.Parameter(torch.randn(dim))
        self.mix = nn.Sequential(nn.Linear(2 * dim, dim), nn.Tanh(), nn.Dropout(dropout))
        self.cls = nn.Linear(dim, dim)

    def forward(self, images: Tensor, mask: Tensor | None = None) -> Features:
        x = self.embed(images).flatten(2).transpose(1, 2)
        if mask is not None:
            x = torch.where(mask[..., None], self.mask_token, x)
        x = self.mix(torch.cat((x, x.mean(1, keepdim=True).expand_as(x)), dim=-1))
        return Features(self.cls(x.mean(1)), x)
