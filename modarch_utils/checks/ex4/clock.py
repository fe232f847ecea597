"""Exercise 4, timing: whether seconds are medians of warm runs that took turns.

The clock and the runs are made here: the runs move the clock, by known seconds, and nothing waits.
So what a function returns tells which of them it has counted, and how.
"""

import random
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, count
from typing import NamedTuple

from modarch_utils.checks.core import (
    Case,
    Look,
    Part,
    Unusable,
    agree,
    mutants,
    one_row,
    returned,
)
from modarch_utils.checks.ex4 import tiny

EXPECTED = {
    "runs": "a dictionary with the seconds of every run, under its name",
    "clock": "read right before and right after each run, the one that is given",
    "warm-up": "the first call of each is not counted",
    "repeats": "as many counted calls of each as asked for",
    "turns": "in each round every run once, before any has its next",
    "median": "of the counted calls",
}
COLD = 20  # times slower is a first call
NAMES = ("slow", "fast", "other")
SECONDS = {"slow": 30.0, "fast": 10.0, "other": 15.0}
NEVER = "next to no time"


class Machine:
    """A clock, and runs that take their time by it.

    Args:
        names: of the runs.
        took: a run's times, relative to its usual one; they come again and again, so that so many
            calls in a row always take the same times.
        first: how many times slower the first call of a run is.
    """

    def __init__(self, names: Sequence[str], took: Sequence[float], first: float = 1.0):
        self.took, self.first = took, first
        self.now, self.order = 1000.0, []
        self.runs = {name: partial(self._run, name) for name in names}

    def clock(self) -> float:
        return self.now

    def _run(self, name: str) -> None:
        number = self.order.count(name)
        times = self.took[number % len(self.took)] * (1 if number else self.first)
        self.now += SECONDS[name] * times
        self.order.append(name)


def measured(runs: dict, repeats: int, clock: Callable, warm: int = 1) -> dict[str, list[float]]:
    """The seconds of each counted call; every run is called so often before that."""
    for name in list(runs) * warm:
        runs[name]()
    found = {name: [] for name in runs}
    for name in list(runs) * repeats:
        before = clock()
        runs[name]()
        found[name].append(clock() - before)
    return found


def timing(of: Callable = statistics.median, warm: int = 1, repeats: int = 0, more: int = 0):
    """A right answer, of which a piece may be another.

    Args:
        of: from the seconds of a run's counted calls to what is returned.
        warm: calls of each run that are not counted.
        repeats: in place of the number that is asked for; 0 for none.
        more: added to that number.
    """

    def function(runs: dict, asked: int, clock: Callable) -> dict:
        found = measured(runs, (repeats or asked) + more, clock, warm)
        return {name: of(took) for name, took in found.items()}

    return function


medians = timing()


def another_clock(runs: dict, repeats: int, _: Callable) -> dict[str, float]:
    """It moves by a thousandth of a second at every look."""
    return medians(runs, repeats, partial(next, count(0, 0.001)))


def _since_the_start(runs: dict, repeats: int, clock: Callable) -> dict[str, float]:
    measured(runs, 0, clock)
    begin, found = clock(), {name: [] for name in runs}
    for name in list(runs) * repeats:
        runs[name]()
        found[name].append(clock() - begin)
    return {name: statistics.median(took) for name, took in found.items()}


def _whole_rounds(runs: dict, repeats: int, clock: Callable) -> dict[str, float]:
    def everything() -> None:
        measured(runs, 0, clock)

    return dict.fromkeys(runs, medians({"all": everything}, repeats, clock)["all"])


def _one_by_one(runs: dict, repeats: int, clock: Callable) -> dict[str, float]:
    return {name: medians({name: one}, repeats, clock)[name] for name, one in runs.items()}


STATISTICS = {
    "This is the mean, which one slow moment of the machine moves: take the median.": (
        statistics.mean
    ),
    "This is the smallest: take the median.": min,
    "This is the largest: take the median.": max,
    "This is the sum of all calls: take the median of them.": sum,
    "This is the last call alone: keep all, and take their median.": lambda took: took[-1],
    "These are all of them: take their median.": list,
}
STARTED_ONCE = (
    "The clock is started once, before the loop, so each time holds all earlier ones: start it "
    "anew for every run."
)
READINGS = {
    "Start and end are swapped: end - start.": timing(lambda took: -statistics.median(took)),
    "Return seconds, not milliseconds.": timing(lambda took: 1000 * statistics.median(took)),
    STARTED_ONCE: (
        _since_the_start,
        timing(lambda took: statistics.median(accumulate(took))),
    ),
    "No run lies between the two readings: start, run, stop.": timing(lambda took: 0.0),
    "Another clock was read than the one that is given: call clock().": another_clock,
    "The clock is read once a round: read it before and after each run.": _whole_rounds,
}
ANECDOTE = "One call is an anecdote: repeat it, and take the median."


class Timed(NamedTuple):
    """What came of one call."""

    seconds: dict[str, float | list[float] | str]
    order: list[str]
    """The runs that were called."""

    @property
    def calls(self) -> int:
        """Of the run that was called least."""
        return min(self.order.count(name) for name in self.seconds)


def _read(result: object, args: tuple) -> Timed:
    machine = args[-1].__self__
    found = returned(result, dict, "Return a dictionary: name to seconds.")
    if set(found) != set(machine.runs):
        came = f"the names {sorted(map(str, found))} where {sorted(machine.runs)} were given"
        raise Unusable(came, "Use the names of `runs`, all of them.")
    return Timed({name: _seconds(value) for name, value in found.items()}, machine.order)


def _seconds(value: object) -> float | list[float] | str:
    """One number of seconds, or several. Raises Unusable for anything else."""
    if isinstance(value, list | tuple):
        return [tiny.number(each) for each in value]
    found = tiny.number(value, "Return a number of seconds for each name.")
    return NEVER if 0 < abs(found) < 0.5 else found


# What rows look at.


def _called(timed: list[Timed]) -> str:
    never = [name for name in timed[0].seconds if name not in timed[0].order]
    return f"{never[0]!r} was never called" if never else "every run is called"


def _warm(timed: list[Timed]) -> str:
    """Whether it matters how long first calls take."""
    slow, quick, *_ = timed
    cold = not agree(slow.seconds, quick.seconds)
    return "a first call is counted" if cold else "no first call is counted"


def _counted(timed: list[Timed]) -> str:
    """How many calls are counted, as far as it can be told."""
    *_, five, three = (each.calls - (_warm(timed) == "no first call is counted") for each in timed)
    most = min(five, 5)  # more may have warmed up
    return f"{most} counted calls where 5, {most - five + three} where 3 are asked for"


def _order(timed: list[Timed]) -> str:
    for names, order in ((each.seconds, each.order) for each in timed):
        size = len(names)
        rounds = [order[k - size : k] for k in range(len(order), size - 1, -size)][:3]
        if any(set(each) != set(names) for each in rounds):
            return "several calls of a run in a row"
    return "by turns"


def timed(seed: int = 0) -> Part:
    """``function(runs, repeats, clock)`` gives each run's seconds; `runs` maps names to functions.

    Steady runs have a few times out of the usual; of others the first call is another.
    """
    draw = random.Random(seed)
    drawn = [draw.lognormvariate(0, 0.5) for _ in range(15)]
    # However many are counted, and wherever they begin, the median is 1 and nothing else is.
    usual = [0.5, *[1.0] * 6, 0.1, 7.0]

    def case(names: Sequence[str], took: list[float], repeats: int, first: float = 1.0) -> Case:
        def make() -> tuple:
            machine = Machine(names, took, first)
            return dict(machine.runs), repeats, machine.clock

        return make

    two, three = NAMES[:2], NAMES
    steady = [case(two, usual, len(usual)), case(three, usual, len(usual))]
    trials = [case(two, drawn, 2, COLD), case(two, drawn, 2, 1 / COLD)]
    trials += [case(three, drawn, 5), case(two, drawn, 3)]
    looks = (
        one_row(
            "runs",
            steady,
            "Call every run: runs[name]().",
            {"Call every run: runs[name]().": lambda runs, *_: dict.fromkeys(runs, 0.0)},
            _called,
        ),
        Look(
            ("clock", "median"),
            steady,
            "Read the clock right before and right after runs[name](), and keep the difference.",
            mutants("clock", READINGS)
            + mutants("median", {words: timing(of) for words, of in STATISTICS.items()}),
            lambda timed: [each.seconds for each in timed],
            after=("runs",),
        ),
        one_row(
            "warm-up",
            trials,
            "Run each once before anything is timed.",
            {
                f"A first call is slow, here {COLD} times: memory is fetched and kernels are "
                "chosen. Run each once before anything is timed.": timing(warm=0)
            },
            _warm,
            after=("runs",),
        ),
        one_row(
            "repeats",
            trials,
            "The number of repeats is fixed in the code.",
            {
                "The warm-up is taken out of the repeats: warm up first, then repeat.": timing(
                    more=-1
                ),
                ANECDOTE: timing(repeats=1),
                "The number of repeats is fixed in the code: use `repeats`.": timing(repeats=3),
            },
            _counted,
            after=("runs",),
        ),
        one_row(
            "turns",
            trials,
            "Let the outer loop be the rounds.",
            {
                "All repeats of one run come before the next run's: a machine that gets slower "
                "meanwhile harms the last one only. Let the outer loop be the rounds.": _one_by_one
            },
            _order,
            after=("runs",),
        ),
    )
    return Part("timed", EXPECTED, medians, looks, _read, _hint)


check_timed = tiny.check(timed)


def _hint(message: str, args: tuple) -> str:
    if "object is not callable" in message:
        return "`runs` maps names to functions: call runs[name](), and clock() without arguments."
    if "no median" in message or "at least one data point" in message:
        return "Nothing was kept: append the difference of the two readings to a list."
    return ""
