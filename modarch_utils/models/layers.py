"""Layers that several architectures share."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of an ``(N, C, H, W)`` tensor, at each position by itself.

    ``nn.LayerNorm(C)`` normalises the *last* axis. On ``(N, C, H, W)`` that is the width: it
    raises an error, or, when W happens to equal C, silently normalises the wrong numbers.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, C, H, W)`` to ``(N, C, H, W)``."""
        x = x.permute(0, 2, 3, 1)
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class DropPath(nn.Module):
    """Stochastic depth: drop a residual branch for a whole sample (Huang et al. 2016).

    Args:
        rate: probability of dropping, in [0, 1). Kept branches are scaled by 1 / (1 - rate), so
            that the expected value stays the same and nothing changes at test time.

    Raises:
        ValueError: ``rate`` is outside [0, 1).
    """

    def __init__(self, rate: float = 0.0):
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"The drop-path rate must lie in [0, 1), but is {rate}.")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, ...)`` to ``(N, ...)``."""
        if self.rate == 0 or not self.training:
            return x
        keep = torch.rand(x.shape[0], *[1] * (x.ndim - 1), device=x.device) >= self.rate
        return x * keep.to(x.dtype) / (1 - self.rate)

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3f}"


def drop_path_rates(depths: tuple[int, ...], max_rate: float) -> list[list[float]]:
    """Rates that grow linearly from 0 at the first block to ``max_rate`` at the last.

    Args:
        depths: blocks in each stage.
        max_rate: rate of the last block.

    Returns:
        One list for each stage, with one rate for each of its blocks.
    """
    # On the CPU even when the model is built on the meta device, only to be counted.
    rates = iter(torch.linspace(0, max_rate, sum(depths), device="cpu").tolist())
    return [[next(rates) for _ in range(depth)] for depth in depths]


def init_fan_in(module: nn.Module) -> None:
    """PyTorch's own initialisation, whose deviation grows as a layer's inputs become fewer.

    For narrow networks: ConvNeXt's 0.02 suits layers with hundreds of inputs. Use with
    ``model.apply(init_fan_in)``.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        module.reset_parameters()


def init_convnext(module: nn.Module) -> None:
    """ConvNeXt's initialisation: truncated normal with std 0.02, zero biases (its appendix A).

    Use with ``model.apply(init_convnext)``.
    """
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
