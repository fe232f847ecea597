"""Exercise 1, stretch parts: GRN as a function, and the library's weights in one's own block."""

from collections.abc import Callable
from functools import partial

import torch
from timm.models.convnext import ConvNeXtBlock
from torch import Tensor, nn

from modarch_utils.checks.core import (
    RIGHT,
    Part,
    Property,
    Seen,
    agree,
    as_check,
    call,
    given,
    one_row,
    returned,
    tensor,
    wrong,
)
from modarch_utils.models.convnext import Block


def _grn(
    over: tuple = (1, 2), mean: tuple | None = (3,), biases: int = 1, identity: int = 1
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """GRN with energies over other axes, another mean or none, and so many times beta and x."""

    def function(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
        size = x.square().sum(over, keepdim=True).sqrt()
        if mean is not None:
            size = size / (1e-6 + size.mean(mean, keepdim=True))
        return identity * x + gamma * size * x + biases * beta

    return function


@as_check
def check_grn(seed: int = 0) -> Part:
    """Findings on Global Response Normalization (Woo et al. 2023, section 4.2) as a function.

    Args:
        function: ``function(x, gamma, beta)`` with ``x`` ``(N, H, W, C)``, gamma and beta ``(C,)``.
        seed: decides the inputs: one parameter after the other is at work, then two samples.
    """
    random = torch.Generator().manual_seed(seed)
    noise = partial(torch.randn, generator=random, dtype=torch.float64)
    x, gamma, beta, zero = noise(2, 6, 5, 8), noise(8), noise(8), torch.zeros(8).double()
    energy = (
        "The energy is a norm over H and W. The share divides it by the mean over the last axis, "
        "the channels."
    )
    alone = "The batch is no part of the norm or of the mean: each sample by itself."
    add, once, first = "Add x at the end.", "Add beta, once.", ("identity",)
    energies = _grn((3,), (1, 2)), _grn(mean=None), _grn(mean=(1, 2))
    batch, bias = (_grn(over=(0, 1, 2)), _grn(mean=(0, 3))), (_grn(biases=0), _grn(biases=2))
    one, two = x[:1], [given(x, gamma, zero)]
    looks = (
        one_row("identity", [given(one, zero, zero)], add, {add: _grn(identity=0)}),
        one_row("beta", [given(one, zero, beta)], once, {once: bias}, after=first),
        one_row("response", [given(one, gamma, zero)], energy, {energy: energies}, after=first),
        one_row("samples", two, alone, {alone: batch}, after=("response",)),
    )
    expected = {
        "identity": "gamma = beta = 0 returns x",
        "beta": "is added to each channel",
        "response": "gamma times x times the channel's share is added",
        "samples": "each has its own energies",
    }
    return Part("grn", expected, _grn(), looks, _same_shape)


def _same_shape(result: object, args: tuple) -> Tensor:
    return tensor(result, args[0].shape, lambda _: "Keep the shape (N, H, W, C).")


NAMES = {"dwconv": "conv_dw", "norm": "norm", "pwconv1": "mlp.fc1", "pwconv2": "mlp.fc2"}


def _converted(*without: str) -> Callable[[nn.Module], nn.Module]:
    """A conversion that leaves out some of the block's parameters."""

    def convert(theirs: nn.Module) -> nn.Module:
        ours, known = Block(theirs.conv_dw.in_channels), theirs.state_dict()
        for key, value in ours.state_dict().items():
            layer, _, kind = key.partition(".")
            if key not in without:
                value.copy_(known[f"{NAMES[layer]}.{kind}" if kind else key])
        return ours

    return convert


@as_check
def check_from_timm(seed: int = 0) -> Part:
    """Findings on a function that brings timm's weights into the student's block.

    Args:
        function: from a ``timm.models.convnext.ConvNeXtBlock`` to a block with the same numbers.
        seed: decides weights and inputs.
    """
    kept, x = ConvNeXtBlock(12).state_dict(), torch.randn(2, 12, 9, 8)
    for value in kept.values():
        value.normal_(std=0.5)  # at 1e-6 gamma would hide what is missing

    def theirs() -> tuple[nn.Module]:
        block = ConvNeXtBlock(12)
        block.load_state_dict(kept)
        return (block,)

    @torch.no_grad()
    def read(result: object, _: tuple) -> Tensor:
        y = call(returned(result, nn.Module, "Return the block."), x)
        return tensor(y, x.shape, lambda _: "Return a block that keeps (N, C, H, W).")

    def the_other_way(function: Callable) -> Seen:
        (block,) = theirs()
        call(function, block)
        if agree(block.state_dict(), kept, 0):
            return RIGHT
        return wrong("other weights in timm's", "You copied from yours to theirs.")

    @torch.no_grad()
    def own(function: Callable) -> Seen:
        (block,) = theirs()
        mine = call(function, block)
        before = mine(x)
        for parameter in block.parameters():
            parameter.mul_(2)
        if torch.equal(before, mine(x)):
            return RIGHT
        return wrong("yours changes along", "Copy the numbers; do not assign their tensors.")

    gamma = {"gamma is not copied: it still has its first value.": _converted("gamma")}
    otherwise = "A weight or a bias is not copied, or went elsewhere."
    close, first = partial(agree, tolerance=1e-5), ("same numbers",)
    looks = (
        one_row("same numbers", [theirs], otherwise, gamma, same=close),
        Property("the other way", the_other_way),
        Property("own weights", own, first),
    )
    expected = {
        "same numbers": "as timm's block, within 1e-5",
        "own weights": "a change of timm's block does not change yours",
        "the other way": "timm's block keeps its weights",
    }
    return Part("from_timm", expected, _converted(), looks, read)
