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
    translate: Callable[[dict], dict] = dict,
    **kwargs,
) -> None:
    """:func:`compare` after giving both the same random weights.

    Buffers of ``theirs`` may be missing from ours, parameters may not.
    """
    theirs.load_state_dict(translate(randomise(ours).state_dict()), strict=False)
    compare(ours, theirs, shape, translate, **kwargs)


def compare(
    ours: nn.Module,
    theirs: nn.Module,
    shape: tuple[int, ...],
    translate: Callable[[dict], dict] = dict,
    rounding: float = 0.0,
    **kwargs,
) -> None:
    """Outputs within 1e-5 and all gradients within 1e-4; shared buffers equal afterwards.

    Args:
        ours, theirs: with the same weights, in the same mode and of the same dtype.
        shape: of the input.
        translate: our parameters, or their gradients, under the names that ``theirs`` has.
        rounding: gradients of biases that are below this share of the largest gradient count as
            zero, and must then be so in both: in training mode the next BatchNorm takes a shift
            away again, and what is computed is rounding.
        kwargs: further arguments of ``theirs``.
    """
    torch.manual_seed(1)
    x = torch.randn(shape, dtype=next(ours.parameters()).dtype, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    mine, expected = ours(x), theirs(y, **kwargs)
    assert expected.std() > 0.1  # otherwise nearness would mean little
    assert_near(mine, expected, 1e-5)
    direction = torch.randn_like(expected)
    (mine * direction).sum().backward()
    (expected * direction).sum().backward()
    assert_near(x.grad, y.grad, 1e-4)
    grads = translate({name: p.grad for name, p in ours.named_parameters()})
    references = {name: p.grad for name, p in theirs.named_parameters()}
    assert grads.keys() == references.keys()
    zero = rounding * max(g.abs().max() for g in references.values())
    for name, reference in references.items():
        if reference.abs().max() < zero:
            assert name.endswith("bias") and grads[name].abs().max() < zero
        else:
            assert_near(grads[name], reference, 1e-4)
    buffers = dict(theirs.named_buffers())
    # Training mode has moved the running statistics.
    for name, value in translate(dict(ours.named_buffers())).items():
        if name in buffers:
            torch.testing.assert_close(value, buffers[name], rtol=1e-5, atol=1e-6)
