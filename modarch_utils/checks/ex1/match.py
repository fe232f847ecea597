"""Do a student's block and the reference give the same numbers with the same weights?

Nobody says which parameter is which, so every way of giving the student's to the reference that
their sizes allow is tried. Then a difference is a difference in the computation.
"""

from collections.abc import Callable, Iterator
from itertools import permutations

import torch
from torch import Tensor

from modarch_utils.checks.core import RIGHT, Seen, near, wrong
from modarch_utils.checks.ex1.probe import BlockProbe
from modarch_utils.models.convnext import Block

OTHER_EPS = (1e-5, 1e-3, 1e-8, 1e-12, 0.0)


def match(probe: BlockProbe, kernel: list[Tensor], layer: tuple[Tensor, Tensor]) -> Seen:
    """Whether they agree; what came otherwise, and the likely mistake.

    Args:
        probe: the student's block, of which the other rows are right.
        kernel: its depthwise kernel.
        layer: weight and bias of its first 1×1 layer.
    """
    sides = torch.randint(9, 15, (2,), generator=probe.random).tolist()
    x = probe.input(2, probe.dim, *sides)
    y = probe.run(x)
    probe.block.train()
    again = probe.run(x)
    probe.block.eval()
    if not near(y, again):
        return wrong(
            "train() and eval() differ",
            "Something is random in training, like a Dropout: the block has no such layer.",
        )

    guesses = list(_guesses(probe, kernel, layer))
    reference = Block(probe.dim).double().eval()

    def some(agrees: Callable[[Block], bool], eps: float = 1e-6, factor: float = 1) -> bool:
        for guess in guesses:
            reference.load_state_dict(guess | {"norm.weight": factor * guess["norm.weight"]})
            reference.norm.eps = eps
            with torch.no_grad():
                if agrees(reference):
                    return True
        return False

    if some(lambda block: near(block(x), y)):
        return RIGHT
    for eps in OTHER_EPS:
        if some(lambda block: near(block(x), y), eps):
            return wrong(
                f"the numbers of eps={eps:g} in the norm",
                "The norm's eps is another: ConvNeXt has eps=1e-6, PyTorch's default is 1e-5.",
            )
    if some(lambda block: near(block(x), y, 1e-4), factor=(1 - 1 / probe.dim) ** 0.5):
        return wrong(
            "a norm that divides the variance by C - 1",
            "torch.var and torch.std divide by C - 1: pass correction=0.",
        )
    large, at_large = 1e5 * x, probe.run(1e5 * x)
    if some(lambda block: near(block(x), y, 1e-3) and near(block(large), at_large)):
        return wrong(
            "other numbers where the variance is small",
            "eps belongs inside the root, next to the variance: sqrt(var + eps).",
        )
    inside = (..., slice(4, -4), slice(4, -4))
    if some(lambda block: near(block(x)[inside], y[inside])):
        return wrong(
            "other numbers near the edges",
            "The padding holds something else than zeros: leave padding_mode as it is.",
        )
    return wrong(
        "other numbers",
        "Each part looks right by itself: compare their order with figure 4, and your norm with "
        "nn.LayerNorm.",
    )


def _guesses(
    probe: BlockProbe, kernel: list[Tensor], layer: tuple[Tensor, Tensor]
) -> Iterator[dict[str, Tensor]]:
    """Every reading of the student's parameters as the reference's state."""
    dim = probe.dim
    known = {id(p) for p in (*kernel, *layer, probe.gamma)}
    rest = [p.detach() for p in probe.params if id(p) not in known]
    back = [p for p in rest if p.numel() == 4 * dim * dim]
    small = [p for p in rest if p.numel() == dim]
    if len(kernel) != 1 or len(back) != 1 or len(small) != 4:
        return
    first, bias = (p.detach() for p in layer)
    # A matrix may be stored the other way round, and a kernel with its channels last.
    ways = [first.reshape(-1, dim), first.reshape(dim, -1).T]
    backs = [back[0].reshape(dim, -1), back[0].reshape(-1, dim).T]
    spatial = kernel[0].detach()
    if spatial.shape[-1] == dim:
        spatial = spatial.movedim(-1, 0)
    names = ("dwconv.bias", "norm.weight", "norm.bias", "pwconv2.bias")
    for order in permutations(small):
        vectors = dict(zip(names, order, strict=True))
        for w1 in ways:
            for w2 in backs:
                yield {
                    **{name: p.reshape(dim) for name, p in vectors.items()},
                    "dwconv.weight": spatial.reshape(dim, 1, 7, 7),
                    "pwconv1.weight": w1,
                    "pwconv1.bias": bias.reshape(4 * dim),
                    "pwconv2.weight": w2,
                    "gamma": probe.gamma.detach().reshape(dim),
                }
