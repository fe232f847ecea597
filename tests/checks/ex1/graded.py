"""Exercise 1: for each function or class its check, and what to compare answers by."""

import torch
from timm.models.convnext import ConvNeXtBlock

from modarch_utils.checks import core, ex1
from modarch_utils.checks.ex1 import stretch
from tests.checks.answers import Graded, outcome


def block(make, seed):
    """Its parameters, what it gives with other ones, and their gradients."""

    def run():
        random = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)
        module = make(8).double()
        found = {"gamma": module.gamma.detach().clone()}
        for name, parameter in module.named_parameters():
            parameter.data = torch.randn(parameter.shape, generator=random, dtype=torch.float64)
            found[f"shape of {name}"] = tuple(parameter.shape)
        # So small that the norm's eps counts.
        x = 1e-3 * torch.randn(2, 8, 9, 11, generator=random, dtype=torch.float64)
        y = module(x)
        (y - x).square().sum().backward()
        found |= {"y": y.detach() - x}
        found |= {f"gradient of {name}": p.grad for name, p in module.named_parameters()}
        return found

    return outcome(run)


def grn(function, seed):
    random = torch.Generator().manual_seed(seed)
    return outcome(
        function, *(torch.randn(s, generator=random) for s in ((3, 5, 4, 6), (6,), (6,)))
    )


def from_timm(function, seed):
    def run():
        torch.manual_seed(seed)
        theirs = ConvNeXtBlock(6)
        for parameter in theirs.parameters():
            torch.nn.init.normal_(parameter)
        mine = function(theirs)
        with torch.no_grad():
            y = mine(torch.randn(2, 6, 8, 8))
            theirs.gamma.zero_()
            return [y, mine(torch.ones(1, 6, 8, 8))]

    return outcome(run)


# Words of the block's check that name no mistake.
GENERAL = frozenset(
    {
        core.TRY,
        core.UNREADABLE,
        "Print the shape after every line of `forward`.",
        "Keep the shape at every size.",
        "Each part looks right by itself: compare their order with figure 4, and your norm with "
        "nn.LayerNorm.",
    }
)
GRADED = {
    "ConvNeXtBlock": Graded(ex1.check, block, words=GENERAL),
    "grn": Graded(stretch.check_grn, grn, stretch.check_grn.part),
    "from_timm": Graded(stretch.check_from_timm, from_timm, stretch.check_from_timm.part),
}
