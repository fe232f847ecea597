"""How the parity tests compare."""

import torch


def assert_near(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> None:
    """The largest difference, relative to the largest entry of the reference."""
    assert a.shape == b.shape
    assert (a - b).abs().max() <= tolerance * b.abs().max()
