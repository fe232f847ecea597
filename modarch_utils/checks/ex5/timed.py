"""Exercise 5, time for a picture: which calls the number is made of, and how.

Work takes drawn seconds by a clock of the check's own, which student code reads as Python's.
"""

import math
import statistics
from collections.abc import Callable, Iterator
from itertools import product
from typing import NamedTuple

import numpy as np

from modarch_utils.checks.core import RIGHT, Report, Rows, Seen, Unusable, call, wrong
from modarch_utils.checks.timing import COLD, PROCESSOR, STATISTICS, Machine, pythons_clocks

TRIALS = ((8, 5), (3, 7))
"""Pictures and repeats; the repeats are odd, so that all notions of a median agree."""
ROUNDED = 2e-4  # clocks, half precision and students round
EXPECTED = {
    "runs": "one number",
    "warm": "a first call, or several, before the clock starts",
    "repeats": "then as many timed calls as `repeats`",
    "median": "the median of the timed calls",
    "per picture": "divided by the number of pictures",
    "milliseconds": "in thousandths of a second by the clock on the wall",
}


class Trial(NamedTuple):
    """One call of the student's function."""

    pictures: int
    repeats: int
    took: list[float]
    """Seconds of each call of its work."""
    came: float


class Way(NamedTuple):
    """A way to get a number, and the complaints about it by row."""

    skip: int
    """First calls that are not counted."""
    number: Callable[[list[float], int], float]
    """From the counted calls' seconds and the pictures."""
    complaints: dict[str, str]


def _first(seconds: list[float]) -> float:
    return seconds[0]


def _since_the_start(seconds: list[float]) -> float:
    return statistics.median(np.cumsum(seconds).tolist())


ONE_OF_MANY = (
    (_first, {"warm": "The first call is measured, and it is slow: it allocates and chooses."}),
    (statistics.median, {}),
    *(
        (make, {"median": words})
        for name, (make, words) in STATISTICS.items()
        if name not in ("median", "list")
    ),
    (
        _since_the_start,
        {
            "median": "The clock is started once, before the loop, so each time holds all earlier "
            "ones: start it anew for every call."
        },
    ),
    (statistics.median_low, {}),
    (statistics.median_high, {}),
)
"""From several calls' seconds to one number, with complaints; the likely ones first."""

_WHOLE = {"per picture": "This is the time of all pictures together: divide by their number."}
_RATE = {"per picture": "This is pictures for a time: turn the fraction round."}
_SECONDS = {"milliseconds": "These are seconds: times 1000."}
UNITS = (
    (lambda s, n: 1e3 * s / n, {}),
    (lambda s, n: 1e3 * s, _WHOLE),
    (lambda s, n: s / n, _SECONDS),
    (lambda s, n: s, _WHOLE | _SECONDS),
    (lambda s, n: n / s, _RATE),
    (lambda s, n: n / s / 1e3, _RATE),
    (lambda s, n: 1e3 * s / n / n, {"per picture": "Divided by the number of pictures twice."}),
    (
        lambda s, n: 1e6 * s / n,
        {"milliseconds": "These are millionths of a second: divide by 1000."},
    ),
    (
        lambda s, n: 1e9 * s / n,
        {"milliseconds": "These are billionths, as clocks with _ns have them: divide by 1e6."},
    ),
    (lambda s, n: -1e3 * s / n, {"milliseconds": "Start and end are swapped: end - start."}),
)
CLOCKS = (
    (1.0, {}),
    (
        PROCESSOR,
        {
            "milliseconds": "process_time counts the processor's work, and not the waiting: take "
            "perf_counter."
        },
    ),
)


def check_time(
    function: Callable[[Callable[[], object], int, int], float], seed: int = 0
) -> Report:
    """All findings on a function that measures the time for a picture.

    Args:
        function: ``function(work, pictures, repeats)``: ``work()`` handles so many pictures; gives
            milliseconds for one. It may read any of Python's clocks.
        seed: decides how long the work takes.
    """
    rows = Rows(EXPECTED)
    seen: dict[str, Seen] = {}

    def runs() -> Seen:
        seen.update(_look(*_tries(function, seed)))
        return RIGHT

    rows.add("runs", runs)
    for row in list(EXPECTED)[1:]:
        rows.add(row, lambda row=row: seen.get(row, RIGHT), ("runs",))
    return rows.report("milliseconds_per_picture")


def _tries(function: Callable, seed: int) -> tuple[list[Trial], bool]:
    """What came of each trial, and whether a clock was read."""
    machines = [Machine(("work",), seed + k) for k in range(len(TRIALS))]
    with pythons_clocks(lambda: sum(machine.now for machine in machines)) as reads:
        came = [
            call(function, machine.runs["work"], *trial)
            for machine, trial in zip(machines, TRIALS, strict=True)
        ]
    trials = []
    for machine, (pictures, repeats), number in zip(machines, TRIALS, came, strict=True):
        if isinstance(number, bool) or not isinstance(number, int | float | np.number):
            kind = "None" if number is None else f"a {type(number).__name__}"
            raise Unusable(kind, "Return one number, a plain float.")
        if not machine.order:
            raise Unusable("work is never called", "Call it as `work()`.")
        if not math.isfinite(number):
            raise Unusable(f"{number}", "Was anything timed?")
        trials.append(Trial(pictures, repeats, machine.took["work"], float(number)))
    return trials, reads() > 0


def _look(trials: list[Trial], read: bool) -> dict[str, Seen]:
    """The rows that are wrong."""
    first = trials[0]
    if not read:
        likely = "Read time.perf_counter() right before and right after each call of work()."
        return {"milliseconds": wrong("a number, and no clock of `time` was read", likely)}
    right = 1e3 * statistics.median(first.took[-first.repeats :]) / first.pictures
    words = f"{first.came:.4g} where about {right:.4g} is right"
    way = next((way for way in _ways(first) if all(_fits(way, trial) for trial in trials)), None)
    if way is None:
        likely = "Look at each of the times: which of them should count?"
        if not first.came:
            likely = "No call lies between two readings of the clock: start, work(), stop."
        return _repeats(trials, None) | {"median": wrong(words, likely)}
    found = {row: wrong(words, likely) for row, likely in way.complaints.items()}
    if not way.skip and "warm" not in found:
        found["warm"] = wrong(
            f"{len(first.took)} calls, and all of them count",
            f"The first call is slow, here {COLD} times, and it is among those that count: call "
            "work() before the clock.",
        )
    return found | _repeats(trials, way)


def _repeats(trials: list[Trial], way: Way | None) -> dict[str, Seen]:
    for trial in trials:
        calls, repeats = len(trial.took), trial.repeats
        counted = calls - (way.skip if way else min(1, calls - 1))
        # A first call that is counted has a row of its own.
        if counted == repeats or not (way and way.skip) and counted - 1 == repeats:
            continue
        words = f"{calls} calls in all for repeats={repeats}, of which {counted} count"
        if calls == repeats:
            likely = "The first of the repeats is dropped: one call more, before they begin."
        else:
            likely = "Time the work so many times, each call by itself."
        return {"repeats": wrong(words, likely)}
    return {}


def _ways(trial: Trial) -> Iterator[Way]:
    """Ways to get a number, the likely ones first."""
    calls = len(trial.took)
    usual = dict.fromkeys([max(calls - trial.repeats, 0), 1, 0])
    rest = [skip for skip in range(calls - 1) if skip not in usual]
    counted = [*product(ONE_OF_MANY, usual), *product(ONE_OF_MANY, rest)]
    for ((make, a), skip), (scale, b), (share, c) in product(counted, UNITS, CLOCKS):
        if make is not _first or not skip:
            yield Way(
                skip,
                lambda took, n, make=make, scale=scale, share=share: scale(share * make(took), n),
                a | b | c,
            )


def _fits(way: Way, trial: Trial) -> bool:
    counted = trial.took[way.skip :]
    if not counted:
        return False
    number = way.number(counted, trial.pictures)
    return abs(trial.came - number) <= ROUNDED * abs(number)
