"""Exercise 1, stretch parts: GRN as a function, and the library's weights in one's own block."""

from collections.abc import Callable

import torch
from timm.models.convnext import ConvNeXtBlock
from torch import Tensor, nn

from modarch_utils.checks.core import RIGHT, Report, Rows, Seen, Unusable, call, near, wrong
from modarch_utils.models.convnext import GRN


def _noise(random: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(shape, generator=random, dtype=torch.float64)


def check_grn(grn: Callable[[Tensor, Tensor, Tensor], Tensor], seed: int = 0) -> Report:
    """Findings on Global Response Normalization (Woo et al. 2023, section 4.2) as a function.

    Args:
        grn: ``grn(x, gamma, beta)`` with ``x`` ``(N, H, W, C)``, gamma and beta ``(C,)``.
        seed: decides the inputs.
    """
    random = torch.Generator().manual_seed(seed)
    x = _noise(random, 2, 6, 5, 8)
    gamma, beta = _noise(random, 8), _noise(random, 8)
    reference, zero = GRN(8).double(), torch.zeros_like(gamma)
    rows = Rows(
        {
            "identity": "gamma = beta = 0 returns x",
            "beta": "is added to each channel",
            "response": "gamma times x times the channel's share is added",
            "samples": "each has its own energies",
        }
    )

    def compare(likely: str, g: Tensor, b: Tensor, x: Tensor = x[:1]) -> Seen:
        reference.load_state_dict({"gamma": g.view(1, 1, 1, 8), "beta": b.view(1, 1, 1, 8)})
        y = call(grn, x.clone(), g.clone(), b.clone())
        if not isinstance(y, Tensor) or y.shape != x.shape:
            came = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
            return wrong(f"{came} from {tuple(x.shape)}", "Keep the shape (N, H, W, C).")
        with torch.no_grad():
            should = reference(x)
        return RIGHT if near(y, should, 1e-6) else wrong("other numbers", likely)

    rows.add("identity", lambda: compare("Add x at the end.", zero, zero))
    rows.add("beta", lambda: compare("Add beta, once.", zero, beta), after=("identity",))
    energy = (
        "The energy is a norm over H and W. The share divides it by the mean over the last axis, "
        "the channels."
    )
    rows.add("response", lambda: compare(energy, gamma, zero), after=("identity",))
    alone = "The batch is no part of the norm or of the mean: each sample by itself."
    rows.add("samples", lambda: compare(alone, gamma, zero, x), after=("response",))
    return rows.report("grn")


def check_from_timm(convert: Callable[[nn.Module], nn.Module], seed: int = 0) -> Report:
    """Findings on a function that brings timm's weights into the student's block.

    Args:
        convert: from a ``timm.models.convnext.ConvNeXtBlock`` to a block with the same numbers.
        seed: decides weights and inputs.
    """
    rows = Rows(
        {
            "same numbers": "as timm's block, within 1e-5",
            "own weights": "a change of timm's block does not change yours",
            "the other way": "timm's block keeps its weights",
        }
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        theirs = ConvNeXtBlock(12)
        for p in theirs.parameters():
            nn.init.normal_(p, std=0.5)  # at 1e-6 gamma would hide what is missing
        x = torch.randn(2, 12, 9, 8)
        kept = {name: p.detach().clone() for name, p in theirs.named_parameters()}
        with torch.no_grad():
            should = theirs(x)
        mine = None

        def numbers() -> Seen:
            nonlocal mine
            mine = call(convert, theirs)
            if not isinstance(mine, nn.Module):
                raise Unusable(f"a {type(mine).__name__}", "Return the block.")
            with torch.no_grad():
                y = call(mine, x)
            if not isinstance(y, Tensor) or y.shape != x.shape:
                return wrong("another shape", "Return a block that keeps (N, C, H, W).")
            if near(y, should, 1e-5):
                return RIGHT
            if (y - x).abs().max() < 1e-3:
                return wrong(
                    "almost x itself", "gamma is not copied: it still has its first value."
                )
            return wrong("other numbers", "A weight or a bias is not copied, or went elsewhere.")

        def own() -> Seen:
            with torch.no_grad():
                before = mine(x)
                for p in theirs.parameters():
                    p.mul_(2)
                after = mine(x)
                for name, p in theirs.named_parameters():
                    p.copy_(kept[name])
            if torch.equal(before, after):
                return RIGHT
            return wrong("yours changes along", "Copy the numbers; do not assign their tensors.")

        def theirs_kept() -> Seen:
            if all(torch.equal(p, kept[name]) for name, p in theirs.named_parameters()):
                return RIGHT
            return wrong("other weights in timm's", "You copied from yours to theirs.")

        rows.add("same numbers", numbers)
        if mine is not None:
            rows.add("the other way", theirs_kept)
        rows.add("own weights", own, after=("same numbers",))
    return rows.report("from_timm")
