"""Exercise 5, time for a picture: which calls the number is made of, and how.

Work takes drawn seconds by a clock of the check's own, and nothing waits. So the number tells
which calls were counted, and how, however busy the machine is.
"""

import time
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from modarch_utils.checks.core import (
    Look,
    Mutant,
    Part,
    Report,
    Unusable,
    agree,
    mutants,
    number,
    one_row,
)

COLD = 20  # times slower is a first call
TRIALS = ((8, (3, 0, 2, 4, 1)), (3, (1, 4, 0, 3, 6, 2, 5)))
"""Pictures, and the order of times, from 0 for the shortest: of as many calls as `repeats` says.

These are odd, so that all notions of a median agree. No mistake gives the right median twice.
"""
ROUNDED = 2e-4  # half precision and students round


def check_time(
    function: Callable[[Callable[[], object], int, int, Callable[[], float]], float], seed: int = 0
) -> Report:
    """All findings on a function that measures the time for a picture.

    Args:
        function: ``function(work, pictures, repeats, clock)``: ``work()`` handles so many pictures,
            ``clock()`` gives seconds; the result is milliseconds for one picture.
        seed: decides how long the work takes.
    """
    return milliseconds_per_picture(seed).check(function)


class Machine:
    """A clock that nothing but `work` moves.

    The first call is slow. The times of all others come again after `repeats` calls: so many calls
    take the same times, however many have warmed up before them.
    """

    def __init__(self, order: tuple[int, ...], seed: int):
        self.took = np.sort(np.random.default_rng(seed).lognormal(1.0, 0.5, len(order)))[[*order]]
        self.now, self.calls, self.reads = 1000.0, 0, 0

    def work(self) -> None:
        usual = self.took[(self.calls - 1) % len(self.took)]
        self.now += usual if self.calls else COLD * usual
        self.calls += 1

    def clock(self) -> float:
        self.reads += 1
        return self.now


class Timed(NamedTuple):
    """What came of one trial."""

    repeats: int
    calls: int
    """Of the work."""
    came: float | str
    """The student's number, or words if the clock was never read."""


def _timed(result: object, args: tuple) -> Timed:
    machine, repeats = args[0].__self__, args[2]
    came = number(result, "Return one number, a plain float.")
    if not machine.calls:
        raise Unusable("work is never called", "Call it as `work()`.")
    return Timed(repeats, machine.calls, came if machine.reads else "the clock is never read")


def _calls(trials: list[Timed]) -> str:
    """How many calls there are: so many more than repeats, or which."""
    if len({trial.calls - trial.repeats for trial in trials}) == 1:
        return "as many as repeats, and a warm-up"
    return ", ".join(f"{trial.calls} in all for repeats={trial.repeats}" for trial in trials)


def _came(trials: list[Timed]) -> list[float | str]:
    return [trial.came for trial in trials]


def timed(
    statistic: Callable[[np.ndarray], float] = np.median,
    unit: Callable[[float, int], float] = lambda s, n: 1e3 * s / n,
    before: int = 1,
    calls: Callable[[int], int] = lambda repeats: repeats,
    skip: int = 0,
) -> Callable[[Callable, int, int, Callable], float]:
    """The time for a picture, with some of its pieces replaced.

    Args:
        statistic: from the seconds of the counted calls to one number.
        unit: from it and the number of pictures to what is returned.
        before: calls that are not timed.
        calls: from repeats to the number of timed calls.
        skip: of these the first ones that do not count.
    """

    def function(work, pictures, repeats, clock):
        _ = [work() for _ in range(before)]
        at = [clock(), *((work(), clock())[1] for _ in range(calls(repeats)))]
        return float(unit(statistic(np.diff(at)[skip:]), pictures))

    return function


SLOW = "it is slow: it allocates memory and chooses algorithms."
COUNTS = (
    f"The first call is slow, here {COLD} times, and it is among those that count: call work() "
    "before the clock."
)
STATISTICS = {
    "This is the mean, which one slow moment of the machine moves: take the median.": np.mean,
    "This is the smallest: take the median.": min,
    "This is the largest: take the median.": max,
    "This is the sum of all calls: take the median of them.": sum,
}
ORDERED = {
    "This is the last call alone: keep all, and take their median.": lambda took: took[-1],
    "The clock is started once, before the loop, so each time holds all earlier ones: start it "
    "anew for every call.": lambda took: np.median(np.cumsum(took)),
}
"""Statistics that depend on the order of calls, and so on how many have warmed up."""
COUNTED = [
    ({}, {}),
    *(({"median": words}, {"statistic": make}) for words, make in STATISTICS.items()),
    *(
        ({"median": words}, {"statistic": make, "before": n})
        for words, make in ORDERED.items()
        for n in (1, 2, 3)
    ),
    (
        {"warm": f"The first call is measured, and {SLOW}"},
        {"statistic": lambda took: took[0], "before": 0},
    ),
    ({"warm": COUNTS}, {"before": 0}),
    ({"warm": COUNTS}, {"before": 0, "calls": lambda repeats: repeats + 1}),
    (
        {"warm": "The first of the repeats is dropped: one call more, before they begin."},
        {"before": 0, "skip": 1},
    ),
]
"""Words about the calls that count, by row, and the pieces that make it so."""
WHOLE = {"per picture": "This is the time of all pictures together: divide by their number."}
RATE = {"per picture": "This is pictures for a time: turn the fraction round."}
SECONDS = {"milliseconds": "These are seconds: times 1000."}
UNITS = [
    ({}, {}),
    (WHOLE, {"unit": lambda s, n: 1e3 * s}),
    (SECONDS, {"unit": lambda s, n: s / n}),
    (WHOLE | SECONDS, {"unit": lambda s, n: s}),
    (RATE, {"unit": lambda s, n: n / s}),
    (RATE, {"unit": lambda s, n: n / s / 1e3}),
    (
        {"per picture": "Divided by the number of pictures twice."},
        {"unit": lambda s, n: 1e3 * s / n / n},
    ),
    (
        {"milliseconds": "These are millionths of a second: divide by 1000."},
        {"unit": lambda s, n: 1e6 * s / n},
    ),
    (
        {"milliseconds": "Start and end are swapped: end - start."},
        {"unit": lambda s, n: -1e3 * s / n},
    ),
]
NO_CLOCK = "Call clock(), the one that is given, right before and right after each call of work()."


@cache
def milliseconds_per_picture(seed: int = 0) -> Part:
    """Work for two numbers of pictures and repeats."""

    def case(pictures: int, order: tuple[int, ...]) -> tuple:
        machine = Machine(order, seed + pictures)
        return machine.work, pictures, len(order), machine.clock

    cases = [partial(case, *trial) for trial in TRIALS]
    known = tuple(
        Mutant(counted_words | unit_words, timed(**counted, **unit))
        for counted_words, counted in COUNTED
        for unit_words, unit in UNITS
        if counted or unit
    )
    known += mutants("milliseconds", {NO_CLOCK: lambda *args: timed()(*args[:3], time.time)})
    nothing = "No call lies between two readings of the clock: start, work(), stop."
    known += mutants("median", {nothing: timed(lambda took: 0, before=0)})
    once = f"One call alone is timed, the first, and {SLOW} Warm up, then time `repeats` calls."
    looks = (
        one_row("runs", cases, "", view=len),
        one_row(
            "repeats",
            cases,
            "Time the work so many times, each call by itself.",
            {once: timed(before=0, calls=lambda repeats: 1)},
            _calls,
        ),
        Look(
            ("median", "warm", "per picture", "milliseconds"),
            cases,
            "Look at each of the times: which of them should count?",
            known,
            _came,
            partial(agree, tolerance=ROUNDED),
            after=("repeats",),
        ),
    )
    expected = {
        "runs": "one number",
        "warm": "a first call, or several, before the clock starts",
        "repeats": "then as many timed calls as `repeats`",
        "median": "the median of the timed calls",
        "per picture": "divided by the number of pictures",
        "milliseconds": "in thousandths of a second by the clock that is given",
    }
    return Part("milliseconds_per_picture", expected, timed(), looks, _timed)
