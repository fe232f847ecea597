"""Exercise 2, stretch parts: what a schedule saves, and how many pictures fit at once."""

import math
import random
from collections.abc import Callable

from modarch_utils.checks.core import RIGHT, Report, Rows, Seen, call, wrong


def check_share_of_pixels(function: Callable[[Callable, int], float], seed: int = 0) -> Report:
    """Findings on the pixels of a schedule, relative to its largest size throughout.

    Args:
        function: ``function(schedule, total_epochs)``; schedule goes from an epoch to a dictionary.
        seed: decides the schedules that it is tried with.
    """
    draw = random.Random(seed)

    def look(lengths: list[int], sizes: list[int]) -> Seen:
        epochs = [s for n, s in zip(lengths, sizes, strict=True) for _ in range(n)]

        def schedule(epoch: int) -> dict:
            if not 0 <= epoch < len(epochs):
                raise ValueError(f"There are epochs 0 to {len(epochs) - 1}, not {epoch}.")
            return {"image_size": epochs[epoch], "randaugment": 5, "mixup": 0.0}

        came = call(function, schedule, len(epochs))
        if not isinstance(came, int | float):
            return wrong(f"a {type(came).__name__}", "Return one number.")
        largest = max(epochs)
        guesses = {
            "": sum(s**2 for s in epochs) / len(epochs) / largest**2,
            "Pixels grow with the square of the side.": sum(epochs) / len(epochs) / largest,
            "Compare with the largest size, wherever it comes.": sum(s**2 for s in epochs)
            / len(epochs)
            / epochs[-1] ** 2,
            "Stages have different lengths: add up epochs.": sum(s**2 for s in sizes)
            / len(sizes)
            / largest**2,
            "That is what is saved; asked for is what remains.": 1
            - sum(s**2 for s in epochs) / len(epochs) / largest**2,
        }
        for likely, value in guesses.items():
            if math.isclose(came, value, rel_tol=1e-6):
                return wrong(f"{came:.3f}", likely) if likely else RIGHT
        return wrong(f"{came:.3f}", "Add up size² over all epochs, and divide by the largest sum.")

    rows = Rows(
        {
            "three stages": "0.604 for the lesson's schedule",
            "unequal stages": "every epoch counts once",
            "shrinking": "the largest size may come first",
            "one size": "exactly 1",
        }
    )
    rows.add("three stages", lambda: look([50, 50, 50], [128, 192, 256]))
    lengths = [draw.randint(2, 9), draw.randint(20, 40), draw.randint(50, 60)]
    rows.add("unequal stages", lambda: look(lengths, [96, 160, 288]), after=("three stages",))
    rows.add("shrinking", lambda: look(lengths, [224, 160, 96]), after=("unequal stages",))
    rows.add("one size", lambda: look([draw.randint(2, 9)], [160]), after=("three stages",))
    return rows.report("share_of_pixels")


def check_batch_size(function: Callable[[int, int, int], int], seed: int = 0) -> Report:
    """Findings on the batch that fits into the memory of a larger size.

    Args:
        function: ``function(image_size, largest_size, largest_batch)``.
        seed: decides the sizes that it is tried with.
    """
    draw = random.Random(seed)

    def look(size: int, largest: int, batch: int) -> Seen:
        came = call(function, size, largest, batch)
        words = f"{came!r} at {size} pixels where {batch} fit at {largest}"
        if type(came) is not int:
            return wrong(words, "A batch counts pictures: make it an int.")
        if came < 8:
            return wrong(words, "At least 8, even if they do not fit.")
        if came % 8:
            return wrong(words, "Round down to a multiple of 8.")
        if came > 8 and came * size**2 > batch * largest**2:
            return wrong(words, "They do not fit: round down, and compare pixels.")
        if (came + 8) * size**2 <= batch * largest**2:
            return wrong(words, "More would fit: a picture of half the side has a quarter.")
        return RIGHT

    rows = Rows(
        {
            "half the side": "four times as many",
            "same size": "the same batch",
            "odd ratios": "the largest multiple of 8 that fits",
            "never none": "8 at least",
        }
    )
    rows.add("half the side", lambda: look(128, 256, 64))
    rows.add("same size", lambda: look(256, 256, 64))
    sizes = [(draw.randrange(64, 250), 256, draw.randrange(8, 200)) for _ in range(200)]

    def odd() -> Seen:
        return next((seen for s in sizes if not (seen := look(*s)).passed), RIGHT)

    rows.add("odd ratios", odd, after=("half the side",))
    rows.add("never none", lambda: look(512, 256, 8))
    return rows.report("batch_size")
