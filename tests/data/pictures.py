"""What the tests of scenes and of pairs share."""

from functools import partial

from torch import Tensor, equal

from modarch_utils.data import pairs, scenes

RENDER = {
    "wide": partial(scenes.render, framing="wide"),
    "close": partial(scenes.render, framing="close"),
    "pairs": pairs.render,
}


def same(a, b) -> bool:
    """Whether two sets hold the same bits: pictures, labels, and what they were drawn from."""
    return all(
        equal(x, y) if isinstance(x, Tensor) else same(x, y)
        for x, y in zip(vars(a).values(), vars(b).values(), strict=True)
    )
