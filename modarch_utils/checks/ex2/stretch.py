"""Exercise 2, stretch parts: what a schedule saves, and how many pictures fit at once."""

import math
import random
from collections.abc import Callable
from fractions import Fraction

from modarch_utils.checks.core import (
    Case,
    Part,
    Unusable,
    as_check,
    given,
    number,
    one_row,
)


def _scheduled(lengths: list[int], sizes: list[int]) -> Case:
    """A case: a schedule with stages of these lengths and sizes, and its number of epochs."""
    epochs = [size for n, size in zip(lengths, sizes, strict=True) for _ in range(n)]

    def schedule(epoch: int) -> dict:
        if not 0 <= epoch < len(epochs):
            raise ValueError(f"There are epochs 0 to {len(epochs) - 1}, not {epoch}.")
        return {"image_size": epochs[epoch], "randaugment": 5, "mixup": 0.0}

    return given(schedule, len(epochs))


def _share(
    power: int = 2, largest: Callable = max, count: Callable = list
) -> Callable[[Callable, int], float]:
    """The share with another power of the side, another largest side or other epochs counted."""

    def function(schedule: Callable, total: int) -> float:
        sides = [schedule(epoch)["image_size"] for epoch in range(total)]
        counted = list(count(sides))
        return sum(s**power for s in counted) / len(counted) / largest(sides) ** power

    return function


@as_check
def check_share_of_pixels(seed: int = 0) -> Part:
    """Findings on the pixels of a schedule, relative to its largest size throughout.

    Args:
        function: ``function(schedule, total_epochs)``; schedule goes from an epoch to a dictionary.
        seed: decides the schedules that it is tried with.
    """
    draw = random.Random(seed)
    lengths = [draw.randint(2, 9), draw.randint(20, 40), draw.randint(50, 60)]
    right, first = _share(), ("three stages",)
    squared = {
        "Pixels grow with the square of the side.": _share(power=1),
        "That is what is saved; asked for is what remains.": lambda *args: 1 - right(*args),
    }
    counted = {"Stages have different lengths: add up epochs.": _share(count=set)}
    largest = {"Compare with the largest size, wherever it comes.": _share(largest=lambda s: s[-1])}
    three, unequal = _scheduled([50] * 3, [128, 192, 256]), _scheduled(lengths, [96, 160, 288])
    shrinking, one = _scheduled(lengths, [224, 160, 96]), _scheduled(lengths[:1], [160])
    words = "Add up size² over all epochs, and divide by the largest sum."
    looks = (
        one_row("three stages", [three], words, squared),
        one_row("unequal stages", [unequal], words, counted, after=first),
        one_row("shrinking", [shrinking], words, largest, after=("unequal stages",)),
        one_row("one size", [one], words, after=first),
    )
    expected = {
        "three stages": "0.604 for the lesson's schedule",
        "unequal stages": "every epoch counts once",
        "shrinking": "the largest size may come first",
        "one size": "exactly 1",
    }
    return Part("share_of_pixels", expected, right, looks, lambda result, _: number(result))


def _batch(power: int = 2, least: int = 8, to: Callable = math.floor, unit: int = 8) -> Callable:
    """The batch with another power of the side, another minimum, rounding or unit."""

    def function(size: int, largest: int, batch: int) -> int:
        fits = Fraction(batch * largest**power, size**power)
        return max(to(fits / unit) * unit, least)

    return function


@as_check
def check_batch_size(seed: int = 0) -> Part:
    """Findings on the batch that fits into the memory of a larger size.

    Args:
        function: ``function(image_size, largest_size, largest_batch)``.
        seed: decides the sizes that it is tried with.
    """
    draw = random.Random(seed)
    sizes = [(draw.randrange(64, 250), 256, draw.randrange(8, 200)) for _ in range(200)]
    side = {"More would fit: a picture of half the side has a quarter.": _batch(power=1)}
    up = _batch(to=round), _batch(to=math.ceil)
    rounded = {
        "They do not fit: round down, and compare pixels.": up,
        "Round down to a multiple of 8.": _batch(unit=1),
    }
    least = {"At least 8, even if they do not fit.": _batch(least=0)}
    words = "The largest multiple of 8 of which no more pixels are asked for than fit."
    odd, first = [given(*some) for some in sizes], ("half the side",)
    looks = (
        one_row("half the side", [given(128, 256, 64)], words, side),
        one_row("same size", [given(256, 256, 64)], words),
        one_row("odd ratios", odd, words, rounded, after=first),
        one_row("never none", [given(512, 256, 8)], words, least),
    )
    expected = {
        "half the side": "four times as many",
        "same size": "the same batch",
        "odd ratios": "the largest multiple of 8 that fits",
        "never none": "8 at least",
    }
    return Part("batch_size", expected, _batch(), looks, _whole)


def _whole(result: object, args: tuple) -> int:
    if type(result) is not int:
        came = f"{result!r} at {args[0]} pixels"
        raise Unusable(came, "A batch counts pictures: make it an int.")
    return result
