"""Exercise 1: a ConvNeXt block (Liu et al. 2022, figure 4), looked at from outside.

``check(ConvNeXtBlock)`` builds blocks from the student's class, gives them random weights and
inputs, and reports what each part of the block does.
"""

import math
import re
from collections.abc import Callable

import torch
from torch import Tensor, nn

from modarch_utils.checks.core import (
    RIGHT,
    Report,
    Rows,
    Seen,
    call,
    given,
    keeps_arguments,
    near,
    returned,
    wrong,
)
from modarch_utils.checks.ex1.match import match
from modarch_utils.checks.ex1.parts import Parts
from modarch_utils.checks.ex1.probe import MODULE, BlockProbe, sizes

SHAPE = (2, 64, 32, 32)
ODD = (2, 16, 10, 13)  # no two sides alike, so that an error's numbers name the axis
SCALE = 1e-6
IN_PLACE = (
    "An operation in place (+=, *=, relu_) writes into the caller's tensor: write `x = x + y`."
)
OWN = "Return a new tensor: who changes the result changes x."

EXPECTED = {
    "runs": f"{SHAPE} in, {SHAPE} out, and so at other sizes and in float64",
    "shortcut": "x + ... : with the branch silent, out comes x itself",
    "LayerScale": f"a learnable gamma: one number for each channel, {SCALE:g} at first",
    "depthwise": "7×7 window, each channel by itself",
    "normalisation": "over the C channels, at each position by itself",
    "bottleneck": "widens C to 4C, then back to C",
    "activation": "one GELU, between the two 1×1 layers",
    "parameters": "8C² + 58C: every layer has its bias, none is left over",
    "input": "is the same after the call as before",
    "gradients": "reach every parameter, and the input",
    "same numbers": "as the reference with the same weights, within 1e-8",
}


def check(make: Callable[[int], nn.Module], seed: int = 0) -> Report:
    """All findings on a ConvNeXt block.

    Args:
        make: the student's class; ``make(dim)`` is a module that maps ``(N, dim, H, W)`` to itself.
        seed: decides the weights and inputs of the probes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return _check(make, seed)


def _check(make: Callable[[int], nn.Module], seed: int) -> Report:
    rows, probe, parts = Rows(EXPECTED), None, None

    def runs() -> Seen:
        nonlocal probe, parts
        seen = _runs(make)
        if seen.passed:
            probe = BlockProbe(make, 8, seed, _hint)
            # Where an operation follows the sum, nothing tells the branch from it.
            parts = Parts(probe) if probe.kind != "touched" else None
        return seen

    if not rows.add("runs", runs).passed:
        return rows.report("ConvNeXtBlock")
    rows.add("shortcut", lambda: _shortcut(probe))
    if parts:
        rows.add("LayerScale", lambda: _layer_scale(probe))
        for what in ("depthwise", "normalisation", "bottleneck", "activation", "parameters"):
            rows.add(what, getattr(parts, what))
        x = given(probe.input(2, probe.dim, 9, 8))
        keeps = keeps_arguments(x, changed=IN_PLACE, shared=OWN)
        rows.add("input", lambda: keeps(probe.block))
        rows.add("gradients", lambda: _gradients(probe), after=("input",))
        before = tuple(rows.seen)
        rows.add("same numbers", lambda: match(probe, parts.kernel, parts.layer), after=before)
    return rows.report("ConvNeXtBlock")


def _runs(make: Callable) -> Seen:
    for shape in (ODD, (1, 8, 7, 12), SHAPE):
        block = returned(call(make, shape[1], hint=_hint), nn.Module, MODULE)
        x = torch.randn(shape)
        y = returned(call(block, x, hint=_hint), Tensor, "`forward` returns one tensor.")
        if y.shape != x.shape:
            return wrong(f"{tuple(y.shape)} from {shape}", _wrong_shape(shape, tuple(y.shape)))
    y = call(block.double(), x.double(), hint=_hint)
    if y.dtype != torch.float64:
        return wrong(f"{y.dtype} from float64", "Create no tensor of a fixed dtype in `forward`.")
    return RIGHT


def _wrong_shape(shape: tuple[int, ...], came: tuple[int, ...]) -> str:
    n, c, h, w = shape
    if sorted(came) == sorted(shape):
        return "The axes are in another order: permute back to (N, C, H, W) at the end."
    if came[:2] == (n, c) and len(came) == 4:
        return "The picture shrinks or grows at its edges: a 7×7 kernel needs padding 3."
    return "Print the shape after every line of `forward`."


def _hint(message: str) -> str:
    """The likely mistake behind torch's words about shapes."""
    numbers = [int(n) for n in re.findall(r"\d+", message)]
    if "normalized_shape" in message:
        return (
            "nn.LayerNorm works on the last axes, and here the last axis is not C: permute to "
            "(N, H, W, C) before it."
        )
    if "must match the size of tensor b" in message and len(numbers) >= 2:
        a, b = numbers[:2]
        if {a, b} <= set(ODD[1:]):
            return (
                "Two tensors meet whose axes are in another order: permute back to (N, C, H, W) "
                "before you add, and shape gamma for the order in which you use it."
            )
        if {a, b} & set(ODD[2:]):
            return "The branch shrinks or grows at its edges: a 7×7 kernel needs padding 3."
    if "shapes cannot be multiplied" in message:
        return "nn.Linear works on the last axis, which is not C here, or its widths do not fit."
    if "dtype" in message or "same type" in message or "scalar type" in message:
        return (
            "A layer or tensor did not follow the block to float64: it sits in a plain list, or is "
            "made in `forward` (assign it to self in `__init__`), or its dtype is fixed."
        )
    if "channels, but got" in message or "to have" in message and "channels" in message:
        return "A convolution wants (N, C, H, W), and its first argument is the input's channels."
    return ""


def _shortcut(probe: BlockProbe) -> Seen:
    return {
        "right": RIGHT,
        "missing": wrong(
            "with the branch silent, zeros",
            "The residual connection is missing, or x is added before the last layer: keep x, and "
            "add it at the very end.",
        ),
        "scaled": wrong(
            "gamma scales x as well",
            "gamma multiplies the sum: scale the branch alone, then add x.",
        ),
        "gamma": wrong(
            "gamma scales x, and not the branch",
            "gamma sits on the shortcut: it belongs to the branch.",
        ),
        "late": wrong(
            "with the branch silent, a filtered x",
            "The shortcut is taken too late, after the depthwise convolution: keep x on the first "
            "line of `forward`.",
        ),
        "touched": wrong(
            "with the branch silent, something else than x",
            "An operation follows the addition (an activation, a norm, a factor): the sum is the "
            "output.",
        ),
    }[probe.kind]


def _layer_scale(probe: BlockProbe) -> Seen:
    gamma, dim = probe.gamma, probe.dim
    if gamma is None:
        x = probe.input()
        size = (probe.branch(x).square().mean() / x.square().mean()).sqrt().item()
        if size == 0:
            return wrong(
                "the branch is multiplied by 0",
                "gamma is no parameter, and 0 for ever: wrap it in nn.Parameter.",
            )
        if size < 1e-2:
            return wrong(
                "a small factor that no optimizer sees",
                "gamma is a plain tensor or a buffer: wrap it in nn.Parameter.",
            )
        return wrong(
            "no parameter that scales the branch",
            "LayerScale is missing: multiply the branch by a learnable gamma before adding x.",
        )
    if gamma.numel() != dim:
        return wrong(
            f"{gamma.numel()} number for all channels",
            "gamma is a single number: give it one for each channel.",
        )
    if not gamma.requires_grad:
        return wrong("a gamma with requires_grad=False", "gamma must be learnable.")
    first = probe.first[[p is gamma for p in probe.params].index(True)].flatten()
    low, high = first.min().item(), first.max().item()
    came = f"gamma is {low:.1g} at first" if low == high else f"gamma from {low:.1g} to {high:.1g}"
    if low == high == 0:
        return wrong(
            came,
            "gamma begins at 0: no other layer of the branch gets a gradient in the first step.",
        )
    if low == high == 1:
        return wrong(came, "gamma begins at 1: then the branch has its full strength at once.")
    if not math.isclose(low, SCALE, rel_tol=1e-3) or not math.isclose(high, SCALE, rel_tol=1e-3):
        return wrong(came, "gamma's first value is another: 1e-6 in every channel.")
    return RIGHT


def _gradients(probe: BlockProbe) -> Seen:
    x = probe.input(2, probe.dim, 9, 8).requires_grad_()
    y = call(probe.block, x, hint=_hint)
    if not y.requires_grad:
        return wrong(
            "the output has no gradient",
            "Something cuts the graph: torch.no_grad(), .detach() or .data.",
        )
    weights = probe.input(*y.shape)
    used = [p for p in probe.params if p.requires_grad]
    to_x, *grads = torch.autograd.grad((y * weights).sum(), [x, *used], allow_unused=True)
    none = [p for p, g in zip(used, grads, strict=True) if g is None or not g.abs().max() > 0]
    if none:
        return wrong(
            f"no gradient for {sizes(none)}",
            "A layer is made and never used, or .detach(), .data or torch.no_grad() cuts it off.",
        )
    frozen = [p for p in probe.params if not p.requires_grad and p is not probe.gamma]
    if frozen:
        return wrong(f"frozen: {sizes(frozen)}", "requires_grad=False keeps a layer from learning.")
    if to_x is None or (probe.kind == "right" and near(to_x, weights)):
        return wrong(
            "the branch passes no gradient to x",
            "The branch works on x.detach() or x.data: use x itself.",
        )
    return RIGHT
