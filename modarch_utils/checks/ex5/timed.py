"""Exercise 5, time for a picture: which calls the number is made of, and how.

Work takes drawn seconds by a clock of the check's own, and nothing waits. So the number tells
which calls were counted, and how, however busy the machine is.
"""

import time
from collections.abc import Callable
from functools import partial
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from modarch_utils.checks.core import (
    Mutant,
    Part,
    Row,
    Unusable,
    agree,
    as_check,
    combined,
    each,
    mutants,
    number,
    part_of_rows,
)

COLD = 20  # times slower is a first call
TRIALS = ((8, (3, 0, 2, 4, 1)), (3, (1, 4, 0, 3, 6, 2, 5)))
"""Pictures, and the order of times, from 0 for the shortest: of as many calls as `repeats` says.

These are odd, so that all notions of a median agree. No mistake gives the right median twice.
"""
ROUNDED = 2e-4  # half precision and students round


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


def seconds(
    statistic: Callable[[np.ndarray], float] = np.median,
    before: int = 1,
    calls: Callable[[int], int] = lambda repeats: repeats,
    skip: int = 0,
) -> Callable[[Callable, int, Callable], float]:
    """Seconds of the work, from calls that count.

    Args:
        statistic: from the seconds of these calls to one number.
        before: calls that are not timed.
        calls: from repeats to the number of timed calls.
        skip: of these the first ones that do not count.
    """

    def count(work: Callable, repeats: int, clock: Callable) -> float:
        _ = [work() for _ in range(before)]
        at = [clock(), *((work(), clock())[1] for _ in range(calls(repeats)))]
        return statistic(np.diff(at)[skip:])

    return count


median = seconds()


def timed(
    counted: Callable = median, unit: Callable[[float, int], float] = lambda s, n: 1e3 * s / n
) -> Callable[[Callable, int, int, Callable], float]:
    """The time for a picture, from other calls or in another unit."""
    return lambda work, pictures, repeats, clock: float(
        unit(counted(work, repeats, clock), pictures)
    )


SLOW = "it is slow: it allocates memory and chooses algorithms."
MEDIAN = {
    "This is the mean, which one slow moment of the machine moves: take the median.": (
        seconds(np.mean)
    ),
    "This is the smallest: take the median.": seconds(min),
    "This is the largest: take the median.": seconds(max),
    "This is the sum of all calls: take the median of them.": seconds(sum),
    # These depend on the order of calls, and so on how many have warmed up.
    "This is the last call alone: keep all, and take their median.": tuple(
        seconds(lambda took: took[-1], n) for n in (1, 2, 3)
    ),
    "The clock is started once, before the loop, so each time holds all earlier ones: start it "
    "anew for every call.": tuple(
        seconds(lambda took: np.median(np.cumsum(took)), n) for n in (1, 2, 3)
    ),
}
WARM = {
    f"The first call is measured, and {SLOW}": seconds(lambda took: took[0], before=0),
    f"The first call is slow, here {COLD} times, and it is among those that count: call work() "
    "before the clock.": (
        seconds(before=0),
        seconds(before=0, calls=lambda repeats: repeats + 1),
    ),
    "The first of the repeats is dropped: one call more, before they begin.": (
        seconds(before=0, skip=1)
    ),
}
WHOLE = "This is the time of all pictures together: divide by their number."
RATE = "This is pictures for a time: turn the fraction round."
SECONDS = "These are seconds: times 1000."
PICTURES = {
    WHOLE: lambda s, n: 1e3 * s,
    RATE: (lambda s, n: n / s, lambda s, n: n / s / 1e3),
    "Divided by the number of pictures twice.": lambda s, n: 1e3 * s / n / n,
}
UNITS = {
    SECONDS: lambda s, n: s / n,
    "These are millionths of a second: divide by 1000.": lambda s, n: 1e6 * s / n,
    "Start and end are swapped: end - start.": lambda s, n: -1e3 * s / n,
}
BOTH = Mutant({"per picture": WHOLE, "milliseconds": SECONDS}, lambda s, n: s)
NO_CLOCK = "Call clock(), the one that is given, right before and right after each call of work()."
NOTHING = "No call lies between two readings of the clock: start, work(), stop."
KNOWN = (
    *combined(
        timed,
        counted=mutants("median", MEDIAN) + mutants("warm", WARM),
        unit=mutants("per picture", PICTURES) + mutants("milliseconds", UNITS) + (BOTH,),
    ),
    *mutants("milliseconds", {NO_CLOCK: lambda *args: timed()(*args[:3], time.time)}),
    *mutants("median", {NOTHING: timed(seconds(lambda took: 0, before=0))}),
)
ROWS = {
    "runs": Row("one number", view=len),
    "warm": Row("a first call, or several, before the clock starts"),
    "repeats": Row(
        "then as many timed calls as `repeats`",
        "Time the work so many times, each call by itself.",
        {
            f"One call alone is timed, the first, and {SLOW} Warm up, then time `repeats` "
            "calls.": timed(seconds(before=0, calls=lambda repeats: 1))
        },
        _calls,
    ),
    "median": Row(
        "the median of the timed calls",
        "Look at each of the times: which of them should count?",
        KNOWN,
        each(attrgetter("came")),
        ("repeats",),
        partial(agree, tolerance=ROUNDED),
    ),
    "per picture": Row("divided by the number of pictures"),
    "milliseconds": Row("in thousandths of a second by the clock that is given"),
}


@as_check
def check_time(seed: int = 0) -> Part:
    """All findings on a function that measures the time for a picture.

    Args:
        function: ``function(work, pictures, repeats, clock)``: ``work()`` handles so many pictures,
            ``clock()`` gives seconds; the result is milliseconds for one picture.
        seed: decides how long the work takes.
    """

    def case(pictures: int, order: tuple[int, ...]) -> tuple:
        machine = Machine(order, seed + pictures)
        return machine.work, pictures, len(order), machine.clock

    cases = [partial(case, *trial) for trial in TRIALS]
    return part_of_rows("milliseconds_per_picture", ROWS, timed(), cases, read=_timed)
