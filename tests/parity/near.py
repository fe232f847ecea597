"""How the parity tests give weights and compare."""

from collections.abc import Callable

import torch
from torch import nn


def assert_near(a: torch.Tensor, b: torch.Tensor, tolerance: float) -> None:
    """The largest difference, relative to the largest entry of the reference."""
    assert a.shape == b.shape
    assert (a - b).abs().max() <= tolerance * b.abs().max()


def randomise(model: nn.Module) -> nn.Module:
    """Move every weight away from its start, where zero biases and tokens would hide mistakes."""
    generator = torch.Generator().manual_seed(0)
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if p.ndim == 1:
            p.data = 0.2 * noise + (0 if name.endswith("bias") else 1)
        elif name.endswith(("cls_token", "pos_embed", "bias_table")):
            p.data = noise
        else:
            p.data = noise / p[0].numel() ** 0.5
    return model


def assert_same(
    ours: nn.Module,
    theirs: nn.Module,
    shape: tuple[int, ...],
    rename: Callable[[str], str] = lambda name: name,
    **kwargs,
) -> None:
    """Outputs within 1e-5 and all gradients within 1e-4, with the same weights, in training mode.

    Args:
        ours: gets random weights.
        theirs: gets the same ones. Buffers may be missing, parameters may not.
        shape: of the input.
        rename: our name of a parameter to theirs.
        kwargs: further arguments of ``theirs``.
    """
    randomise(ours)
    weights = {rename(name): value for name, value in ours.state_dict().items()}
    theirs.load_state_dict(weights, strict=False)
    torch.manual_seed(1)
    x, y = (torch.randn(shape).requires_grad_() for _ in range(2))
    y.data.copy_(x.data)
    mine, expected = ours(x), theirs(y, **kwargs)
    assert expected.std() > 0.1  # otherwise nearness would mean little
    assert_near(mine, expected, 1e-5)
    direction = torch.randn_like(expected)
    (mine * direction).sum().backward()
    (expected * direction).sum().backward()
    assert_near(x.grad, y.grad, 1e-4)
    grads = {rename(name): p.grad for name, p in ours.named_parameters()}
    named = dict(theirs.named_parameters())
    assert grads.keys() == named.keys()
    for name, p in named.items():
        assert_near(grads[name], p.grad, 1e-4)
