"""Exercise 2: progressive learning's schedule (Tan & Le 2021, algorithm 1), called epoch by epoch.

``check_three_stages(three_stages)`` for the lesson's schedule, ``check_schedule(...)`` for the
general one. Both tabulate the student's function and compare the tables.
"""

import math
import random
from collections.abc import Callable, Sequence
from functools import partial

from modarch_utils.checks.core import (
    Case,
    Known,
    Look,
    Part,
    Property,
    Unusable,
    agree,
    as_check,
    given,
    keeps_arguments,
    keeps_no_state,
    one_row,
    refuses,
    returned,
)

KEYS = ("image_size", "randaugment", "mixup")
MULTIPLE = 32
FIRST, LAST = (dict(zip(KEYS, ends, strict=True)) for ends in ((128, 5, 0.0), (256, 15, 0.4)))
EPOCHS, STAGES = 150, 3
"""With FIRST and LAST, the lesson's schedule."""


# A schedule is made of three pieces. A mistake is another piece.


def _stage(epoch: int, epochs: int, number: int) -> int:
    return epoch * number // epochs


def _between(first: float, last: float, stage: float, number: int) -> float:
    return first + (last - first) * stage / (number - 1 or 1)


def _sized(at: Callable, stage: float, _: int, to: Callable = round) -> int:
    return to(at(stage) / MULTIPLE) * MULTIPLE


def _exact(at: Callable, stage: float, _: int) -> float:
    return at(stage)


SETTINGS = {"image_size": _sized, "randaugment": _exact, "mixup": _exact}


def schedule(stage: Callable = _stage, value: Callable = _between, **settings: Callable):
    """The general schedule as a function of five arguments, with some of its pieces replaced.

    Args:
        stage: ``stage(epoch, total_epochs, num_stages)``, from 0.
        value: ``value(first, last, stage, num_stages)``.
        settings: for a key ``make(at, stage, last_stage)``, where ``at(stage)`` is the value there.
    """

    def function(epoch, total_epochs, num_stages, first, last):
        if epoch not in range(total_epochs):
            raise ValueError(f"There is no epoch {epoch} among {total_epochs}.")
        now, found = stage(epoch, total_epochs, num_stages), {}
        for key, make in (SETTINGS | settings).items():
            at = partial(lambda a, b, i: value(a, b, i, num_stages), first[key], last[key])
            found[key] = make(at, now, num_stages - 1)
        return found

    return function


# What rows look at, in the settings of all epochs.


def _settings(result: object, args: tuple) -> dict:
    """A student's answer for one epoch. Raises Unusable unless it has the keys and numbers."""
    now = returned(result, dict, f"Return a dictionary with the keys {', '.join(KEYS)}.")
    if missing := [key for key in KEYS if key not in now]:
        came = f"for epoch {args[0]} the keys {', '.join(map(str, now))}"
        raise Unusable(came, f"{missing[0]} is missing: the keys are {', '.join(KEYS)}.")
    for key in KEYS:
        if isinstance(now[key], bool) or not isinstance(now[key], int | float):
            came = f"{key} is {now[key]!r} for epoch {args[0]}"
            raise Unusable(came, "All three are plain numbers.")
    return dict(now)


def _extra(results: list[dict]) -> list[str]:
    return sorted({str(key) for now in results for key in now} - set(KEYS))


def _starts(results: list[dict]) -> list[int]:
    """The epochs at which the setting changes, 0 among them."""
    rows = [[now[key] for key in KEYS] for now in results]
    return [0, *(epoch for epoch in range(1, len(rows)) if rows[epoch] != rows[epoch - 1])]


def _edges(results: list[dict]) -> list[int] | str:
    starts = _starts(results)
    return starts if len(starts) < 9 else "another setting almost every epoch"


def _by_stage(number: int, key: str, results: list[dict]) -> list:
    """The values stage by stage, wherever the stages begin.

    Without as many stages as there should be: in the middle of each right one. Sizes become words
    unless they are whole numbers.
    """
    starts = _starts(results)
    if len(starts) != number:
        starts = [(len(results) * (2 * i + 1) - 1) // (2 * number) for i in range(number)]
    values = [results[epoch][key] for epoch in starts]
    whole = key != "image_size" or all(type(v) is int for v in values)
    return values if whole else [*map(str, values)]


def _refused(came: object, args: tuple) -> str:
    """The likely mistake of a function that lets an epoch pass that does not exist."""
    epoch, epochs, *_ = args
    if isinstance(came, Exception):
        return (
            "It is refused, but by accident or by an assert: raise ValueError with a sentence that "
            "says which epochs there are."
        )
    if came is None:
        return "No stage fits, and the function ends without a word: raise ValueError there."
    if isinstance(came, dict) and set(came) - set(KEYS):
        return "A row of your own table gets out when no stage fits: raise ValueError there."
    if epoch < 0:
        return "Negative epochs pass for early ones or count from the end: refuse epoch < 0."
    words = "Epochs after the end pass for the last stage: epochs count from 0, so"
    if epochs < EPOCHS:
        words = "The limit is not this schedule's (150 fixed in the code, or no limit):"
    return f"{words} refuse epoch >= total_epochs."


# The mistakes.


def _values(key: str) -> Known:
    """Mistakes in the values of one setting."""
    right = SETTINGS[key]

    def slip(make: Callable) -> Callable:
        return schedule(**{key: make})

    def times(factor: float) -> Callable:
        return slip(lambda at, i, most: factor * right(at, i, most))

    def always(share: float) -> Callable:
        return slip(lambda at, i, most: right(at, int(share * most), most))

    def swapped(other: str) -> Callable:
        return lambda *args: (now := schedule()(*args)) | {key: now[other]}

    wrong = {
        f"These are the values of {other}: two keys are swapped.": swapped(other)
        for other in KEYS
        if other != key
    } | {
        "It runs backwards: the first stage has the last one's value.": slip(
            lambda at, i, most: right(at, most - i, most)
        ),
        "It comes one stage too early.": slip(lambda at, i, m: right(at, min(i + 1, m), m)),
        "It comes one stage too late.": slip(lambda at, i, m: right(at, max(i - 1, 0), m)),
        "It is the same in every stage: does it depend on the stage?": tuple(
            map(always, (0, 0.5, 1))
        ),
    }
    for factor in (2, 0.5, 10, 0.1, 100, 0.01):
        wrong[f"It is {factor:g} times what it should be: another unit."] = times(factor)
    if key == "image_size":
        words = "A size counts pixels: make it an int."
        wrong[words] = slip(lambda *args: float(_sized(*args)))
    return wrong


def _on_the_way(key: str) -> Known:
    """Mistakes on the way from first to last."""

    def by(*ways: Callable) -> tuple[Callable, ...]:
        return tuple(schedule(**{key: lambda at, i, _, to=to: to(at(i))}) for to in ways)

    def sized(to: Callable) -> Callable:
        return schedule(image_size=partial(_sized, to=to))

    if key != "image_size":
        words = f"{key} is rounded, but it may be a fraction: leave it as it is."
        return {words: by(int, round, partial(round, ndigits=1))}
    multiple = f"of {MULTIPLE}"
    return {
        f"Sizes between are no multiples {multiple}: round them.": by(int, round),
        f"Sizes are rounded down: take the nearest multiple {multiple}.": sized(math.floor),
        f"Sizes are rounded up: take the nearest multiple {multiple}.": sized(
            lambda value: math.ceil(value - 1e-9)
        ),
    }


INSIDE = (
    "The values change inside of a stage: interpolate from stage to stage, not from epoch to epoch."
)
BEGINS = "an epoch belongs to the stage in which it begins, and stage i begins at i * T / M."
OFF_BY_ONE = {
    f"Off by one, an epoch too late (< or <=?): {BEGINS}": schedule(
        lambda epoch, *rest: _stage(max(epoch - 1, 0), *rest)
    ),
    f"Off by one, an epoch too early (do epochs count from 0?): {BEGINS}": schedule(
        lambda epoch, epochs, n: _stage(min(epoch + 1, epochs - 1), epochs, n)
    ),
}
LITTLE = {
    INSIDE: schedule(lambda epoch, epochs, n: _stage(epoch, epochs, n) + (epoch % 50 - 24) / 1e3)
}
FIXED = {
    "50 epochs each are fixed in the code: use total_epochs.": schedule(
        lambda epoch, epochs, n: min(epoch // 50, n - 1)
    ),
    "total_epochs is ignored, 150 is fixed in the code.": schedule(
        lambda epoch, epochs, n: min(epoch * n // EPOCHS, n - 1)
    ),
}
LENGTHS = {
    "// drops the remainder, and the last stage gets it all: multiply first.": schedule(
        lambda epoch, epochs, n: min(epoch // (epochs // n), n - 1)
    ),
    "The length of a stage is rounded up, the last one is too short.": schedule(
        lambda epoch, epochs, n: epoch // math.ceil(epochs / n)
    ),
}
NUMBERS = {
    INSIDE: schedule(lambda epoch, epochs, n: epoch * n / epochs),
    "Three stages are fixed in the code: use num_stages.": (
        lambda epoch, epochs, n, *ends: schedule()(epoch, epochs, min(n, STAGES), *ends)
    ),
    "The setting never changes: does it depend on the epoch?": schedule(lambda *_: 0),
}
STEPS = {
    "The lesson's settings are fixed in the code: use first and last.": (
        lambda epoch, epochs, n, *ends: schedule()(
            epoch, epochs, n, *((FIRST, LAST) if n > 1 else ends)
        )
    ),
    "It never arrives at last: between num_stages stages lie num_stages - 1 steps.": schedule(
        value=lambda a, b, i, n: a + (b - a) * i / n
    ),
    "The first stage is already a step away from first: stages count from 0.": schedule(
        value=lambda a, b, i, n: a + (b - a) * (i + 1) / n
    ),
    "It runs backwards: first and last are swapped.": schedule(
        value=lambda a, b, i, n: _between(b, a, i, n)
    ),
    "It goes beyond last: is the number of steps fixed in the code?": schedule(
        value=lambda a, b, i, n: _between(a, b, i, STAGES)
    ),
    "It goes by factors. It should in equal steps: first + (last - first) * share.": schedule(
        value=lambda a, b, i, n: a * (b / a) ** _between(0, 1, i, n)
    ),
}


# The two parts.


def _looks(epochs: Sequence[Case], number: int, edges: str, known: Known, **after) -> list[Look]:
    """What both parts look at: the keys, the values of each, and where stages begin."""
    keys = "The caller asked for three settings: leave out what only your table needs."
    value = "A value is another: compare it with the task's, stage by stage."
    edge = f"Epochs are in the wrong stage: {BEGINS}"
    looks = [one_row("keys", epochs, keys, view=_extra)]
    for key in KEYS:
        wrong = _values(key) | (_on_the_way(key) if after else {})
        looks.append(one_row(key, epochs, value, wrong, partial(_by_stage, number, key), **after))
    return [*looks, one_row(edges, epochs, edge, known, _edges, **after)]


OTHERWISE = "This epoch exists: no error may come. Is another number fixed in the code?"


@partial(as_check, adapt=lambda function: lambda epoch, *_: function(epoch))
def check_three_stages(seed: int = 0) -> Part:
    """All findings on the lesson's schedule: 128, 192, 256 pixels, 50 epochs each.

    Args:
        function: from an epoch, 0 to 149, to image_size, randaugment and mixup.
    """
    ends = EPOCHS, STAGES, FIRST, LAST
    epochs = [given(epoch, *ends) for epoch in range(EPOCHS)]

    def outside(*numbers: int) -> Callable:
        return refuses(*(given(epoch, *ends) for epoch in numbers), explain=_refused)

    own = "The function hands out its own table: return a copy, dict(...)."
    expected = {
        "keys": f"a dictionary with {', '.join(KEYS)}",
        "image_size": "128, 192, 256, each an int",
        "randaugment": "5, 10, 15",
        "mixup": "0, 0.2, 0.4",
        "edges": "stages begin at epochs 0, 50 and 100",
        "negative": "epochs below 0 raise ValueError",
        "too large": "epochs from 150 on raise ValueError",
        "own result": "the caller may change the result",
    }
    looks = (
        *_looks(epochs, STAGES, "edges", OFF_BY_ONE | LITTLE),
        Property("negative", outside(-1, -50, -150)),
        Property("too large", outside(150, 151, 1000)),
        Property("own result", keeps_no_state(epochs[0], own)),
    )
    return Part("three_stages", expected, schedule(), looks, _settings, otherwise=OTHERWISE)


@as_check
def check_schedule(seed: int = 0) -> Part:
    """All findings on the general schedule.

    Args:
        function: ``function(epoch, total_epochs, num_stages, first, last)``; first and last are
            dictionaries like the one that it returns.
        seed: decides the settings that it is tried with.
    """
    draw = random.Random(seed)
    size = draw.randint(2, 4)
    # A third of the way from size to larger needs rounding, and a quarter does not.
    larger = size + draw.choice((4, 8, 16))
    first, last = (
        {"image_size": MULTIPLE * side, "randaugment": magnitude / 10 + 0.05, "mixup": alpha / 100}
        for side, magnitude, alpha in (
            (size, draw.randint(20, 60), draw.randint(1, 9)),
            (larger, draw.randint(110, 190), draw.randint(31, 69)),
        )
    )
    odd = draw.choice((22, 25, 26, 29))
    even, uneven, two, one = (
        [given(epoch, epochs, number, *ends) for epoch in range(epochs)]
        for epochs, number, ends in (
            (240, 4, (first, last)),
            (odd, 4, (first, last)),
            (240, 2, (first, last)),
            (6, 1, (last, last)),
        )
    )
    several = [*even, *two]

    def shares(results: list[dict]) -> list[list[float]]:
        """How far on the way each stage is, by the two settings that are not rounded."""
        parts = (4, results[: len(even)]), (2, results[len(even) :])
        return [
            [
                (value - first[key]) / (last[key] - first[key])
                for number, part in parts
                for value in _by_stage(number, key, part)
            ]
            for key in KEYS[1:]
        ]

    def some(came: list, right: list) -> bool:
        """Either setting tells: a mistake in the other one has a row of its own."""
        return any(map(agree, came, right))

    def outside(*numbers: int) -> Callable:
        return refuses(*(given(e, odd, 4, first, last) for e in numbers), explain=_refused)

    keeps = keeps_arguments(
        *(given(epoch, 10, 2, first, last) for epoch in (5, 9, 0)),
        changed="The function writes into its arguments: build a new dictionary.",
        shared="Who changes the result changes your argument: return a copy, dict(...).",
        names="first or last",
    )
    expected = {
        "keys": f"a dictionary with {', '.join(KEYS)}",
        "stages": "as many as num_stages",
        "steps": "equal steps from first to last, both included",
        "image_size": f"an int, rounded to the nearest multiple of {MULTIPLE}",
        "randaugment": "on the way from first to last, fractions allowed",
        "mixup": "on the way from first to last",
        "even edges": "240 epochs in 4 stages: 60 each",
        "uneven edges": "an epoch belongs to the stage in which it begins",
        "one stage": "is allowed: num_stages=1 with first equal to last",
        "negative": "epochs below 0 raise ValueError",
        "too large": "epochs from total_epochs on raise ValueError",
        "own result": "first and last stay as they are",
    }
    number = "Print the stage of every epoch, and count them."
    step = "The steps are not equal: first + (last - first) * share."
    edge = f"Epochs are in the wrong stage where M does not divide T: {BEGINS}"
    same = "The answer is first, which is also last."
    known = FIXED | OFF_BY_ONE
    keys, *rest = _looks(even, 4, "even edges", known, after=("stages", "steps"))
    counted, begun = ("stages",), ("stages", "even edges")
    looks = (
        keys,
        one_row("stages", even, number, NUMBERS, lambda results: min(len(_starts(results)), 9)),
        one_row("steps", several, step, STEPS, shares, same=some, after=counted, carries=True),
        *rest,
        one_row("uneven edges", uneven, edge, LENGTHS, _edges, after=begun),
        one_row("one stage", one, same, view=lambda results: [*results[0].values()], same=some),
        Property("negative", outside(-1, -3, -240)),
        Property("too large", outside(odd, odd + 1, 149, 150, 1000)),
        Property("own result", keeps),
    )
    title = "progressive_schedule"
    return Part(title, expected, schedule(), looks, _settings, otherwise=OTHERWISE)
