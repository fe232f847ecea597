"""What the checks of exercise 3 share: reading a result, and finding out how it was made."""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

from modarch_utils.checks.core import Seen, Unusable, near, wrong


class Guess(NamedTuple):
    """A way to make a result, and what to say of it."""

    make: Callable[[], Tensor]
    came: str
    likely: str


def tensor(result: object, shape: tuple[int, ...], explain: Callable[[tuple], str]) -> Tensor:
    """The student's tensor, without its graph.

    Args:
        result: what came back.
        shape: what it should have.
        explain: from another shape to the likely mistake.

    Raises:
        Unusable: it is no tensor of this shape with finite numbers.
    """
    if result is None:
        raise Unusable("None", "A way through the function has no `return`.")
    if not isinstance(result, Tensor):
        came = f"a {type(result).__name__}"
        raise Unusable(came, "Return one tensor; torch.from_numpy makes one of an array.")
    if result.shape != shape:
        came = tuple(result.shape)
        raise Unusable(f"shape {came} where {shape} is right", explain(came))
    if not result.isfinite().all():
        raise Unusable("numbers that are NaN or infinite", "A division by 0, or a root of < 0?")
    return result.detach().clone()


def named(result: Tensor, guesses: Iterable[Guess], otherwise: Seen) -> Seen:
    """The first guess that gives these numbers, in words.

    Args:
        result: the student's.
        guesses: ways to make it that are wrong.
        otherwise: where none fits.
    """
    for make, came, likely in guesses:
        numbers = make().to(torch.float64)
        if numbers.shape == result.shape and near(result.to(torch.float64), numbers, 1e-4):
            return wrong(came, likely)
    return otherwise
