"""Exercise 4, timing: whether seconds are medians of warm runs that took turns.

The clock and the runs are made here: the runs move the clock, by seconds that were drawn, and
nothing waits. So what a function returns tells which of them it has counted, and how.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from modarch_utils.checks.core import AFTER, RIGHT, Report, Rows, Seen, Unusable, call, wrong
from modarch_utils.checks.timing import COLD, STATISTICS, Machine, close

EXPECTED = {
    "runs": "a dictionary with the seconds of every run, under its name",
    "clock": "read right before and right after each run, the one that is given",
    "warm-up": "the first call of each is not counted",
    "repeats": "as many counted calls of each as asked for",
    "turns": "in each round every run once, before any has its next",
    "median": "of the counted calls",
}
NAMES = ("slow", "fast", "other")


class Found(NamedTuple):
    """How the student's seconds come out of a run's own."""

    what: str
    """A key of :data:`STATISTICS`."""
    counted: int
    """Calls of each run that are counted, its last ones."""
    way: str
    """A key of :data:`WAYS`."""


WAYS = {
    "right": (lambda took: took, ""),
    "backwards": (lambda took: [-s for s in took], "Start and end are swapped: end - start."),
    "milliseconds": (lambda took: [1000 * s for s in took], "Return seconds, not milliseconds."),
    "cumulative": (
        lambda took: list(np.cumsum(took)),
        "The clock is started once, before the loop, so each time holds all earlier ones: start "
        "it anew for every run.",
    ),
    "empty": (
        lambda took: [0.0 for _ in took],
        "No run lies between the two readings: start, run, stop.",
    ),
}


def check_timed(function: Callable[..., object], seed: int = 0) -> Report:
    """All findings on a function that takes the time of several runs.

    Args:
        function: ``function(runs, repeats, clock)`` gives the seconds of each of ``runs``, which
            maps names to functions without arguments.
        seed: decides how long they take.
    """
    return _Timed(function, seed).report()


class _Timed:
    def __init__(self, function: Callable, seed: int):
        self.function, self.seed = function, seed
        self.found: Found | None = None

    def report(self) -> Report:
        rows = Rows(EXPECTED)
        if rows.add("runs", self._runs).passed:
            rows.add("clock", self._clock)
            rows.add("warm-up", self._warm)
            rows.add("repeats", self._repeats)
            rows.add("turns", self._turns)
            rows.add("median", self._median, ("clock",))
        return rows.report("timed")

    def _time(self, names=NAMES[:2], repeats=5, seed=None) -> tuple[dict, Machine]:
        machine = Machine(names, self.seed if seed is None else seed)
        given = dict(machine.runs)
        result = call(self.function, given, repeats, machine.clock, hint=_hint)
        return _seconds(result, names), machine

    def _runs(self) -> Seen:
        for names in (NAMES[:2], NAMES):
            _, machine = self._time(names)
            if missing := [name for name in names if not machine.took[name]]:
                return wrong(f"{missing[0]!r} was never called", "Call every run: runs[name]().")
        self.found = self._identify()
        return RIGHT

    def _identify(self) -> Found | None:
        """The first way in which the student's seconds come out: of every run, two times over."""
        tries = [self._time(seed=self.seed + more) for more in (0, 1)]
        least = min(len(took) for took in tries[0][1].took.values())
        # What is most likely comes first: as many as asked for, all but one, all there are.
        for counted in [5] * (least >= 5) + [n for n in (least - 1, least) if n]:
            for way in WAYS:
                for what in STATISTICS:
                    found = Found(what, counted, way)
                    if all(_fits(*each, found) for each in tries):
                        return found
        return None

    def _clock(self) -> Seen:
        if not self.found:
            return self._together()
        likely = WAYS[self.found.way][1]
        result, _ = self._time()
        return wrong(f"seconds such as {_example(result)}", likely) if likely else RIGHT

    def _together(self) -> Seen:
        """What seconds are that are no run's."""
        result, machine = self._time()
        least = min(min(took) for took in machine.took.values())
        if all(np.max(np.abs(value)) < 0.1 * least for value in result.values()):
            return wrong(
                "next to no time",
                "Another clock was read than the one that is given: call clock().",
            )
        rounds = [sum(each) for each in zip(*machine.took.values(), strict=False)]
        for taken in (rounds, rounds[1:]):
            values = [make(taken) for make, _ in STATISTICS.values()] if taken else []
            if all(any(close(r, v) for v in values) for r in result.values()):
                return wrong(
                    "the time of all runs together",
                    "The clock is read once a round: read it before and after each run.",
                )
        return wrong(
            f"seconds such as {_example(result)}, in which no run is found",
            "Read the clock right before and right after runs[name](), and keep the difference.",
        )

    def _warm(self) -> Seen:
        if not self.found:
            return AFTER
        _, machine = self._time()
        if all(len(took) > self.found.counted for took in machine.took.values()):
            return RIGHT
        return wrong(
            "a first call is counted",
            f"A first call is slow, here {COLD} times: memory is fetched and kernels are chosen. "
            "Run each once before anything is timed.",
        )

    def _repeats(self) -> Seen:
        _, machine = self._time()
        counted = self.found.counted if self.found else len(machine.order) // 2 - 1
        warm = {name: len(took) - counted for name, took in machine.took.items()}
        for repeats in (5, 3):
            _, machine = self._time(repeats=repeats)
            for name, took in machine.took.items():
                came = len(took) - warm[name]
                # A warm-up that is counted has a row of its own.
                if came == repeats or (not warm[name] and came - 1 == repeats):
                    continue
                if came <= 1:
                    return wrong(
                        "one counted call" if came else "none",
                        "One call is an anecdote: repeat it, and take the median.",
                    )
                return wrong(
                    f"{came} counted calls of {len(took)}, where {repeats} were asked for",
                    "The number of repeats is fixed in the code, or the warm-up is taken out of "
                    "it: warm up first, then repeat.",
                )
        return RIGHT

    def _turns(self) -> Seen:
        for names in (NAMES[:2], NAMES):
            _, machine = self._time(names)
            size = len(names)
            counted = machine.order[-5 * size :]
            rounds = [counted[i : i + size] for i in range(0, len(counted), size)]
            if all(set(each) == set(names) for each in rounds):
                continue
            return wrong(
                " ".join(counted[: 2 * size]) + " ...",
                "All repeats of one run come before the next run's: a machine that gets slower "
                "meanwhile harms the last one only. Let the outer loop be the rounds.",
            )
        return RIGHT

    def _median(self) -> Seen:
        what, likely = self.found.what, STATISTICS[self.found.what][1]
        return wrong(f"the {what}", likely) if likely else RIGHT


def _fits(result: dict, machine: Machine, found: Found) -> bool:
    make, transform = STATISTICS[found.what][0], WAYS[found.way][0]
    for name, took in machine.took.items():
        if found.way == "cumulative":
            # From the first counted call on, over all runs, in the order in which they came.
            return _cumulative(result, machine, found)
        if not close(result[name], make(transform(took[-found.counted :]))):
            return False
    return True


def _cumulative(result: dict, machine: Machine, found: Found) -> bool:
    """Whether the seconds are those since one start, of all runs or of each by itself."""
    make = STATISTICS[found.what][0]
    left = {name: iter(took) for name, took in machine.took.items()}
    skip = {name: len(took) - found.counted for name, took in machine.took.items()}
    since, passed = {name: [] for name in left}, 0.0
    for name in machine.order:
        seconds = next(left[name])
        if skip[name]:
            skip[name] -= 1
            continue
        passed += seconds
        since[name].append(passed)
    own = {name: list(np.cumsum(took[-found.counted :])) for name, took in machine.took.items()}
    return any(all(close(result[n], make(each[n])) for n in left) for each in (since, own))


def _example(result: dict) -> str:
    value = next(iter(result.values()))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _seconds(result: object, names: tuple[str, ...]) -> dict:
    """The student's seconds by name. Raises Unusable for what they cannot be read from."""
    if result is None:
        raise Unusable("None", "A way through the function has no `return`.")
    if not isinstance(result, dict):
        raise Unusable(f"a {type(result).__name__}", "Return a dictionary: name to seconds.")
    if set(result) != set(names):
        raise Unusable(
            f"the names {sorted(map(str, result))} where {sorted(names)} were given",
            "Use the names of `runs`, all of them.",
        )
    found = {}
    for name, value in result.items():
        if isinstance(value, list | tuple):
            found[name] = [float(v) for v in value]
        else:
            try:
                found[name] = float(value)
            except (TypeError, ValueError):
                came = f"a {type(value).__name__} for {name!r}"
                raise Unusable(came, "Return a number of seconds for each name.") from None
    if any(np.size(v) == 0 or not np.isfinite(v).all() for v in found.values()):
        raise Unusable("numbers that are missing, NaN or infinite", "Was anything timed?")
    return found


def _hint(message: str) -> str:
    if "object is not callable" in message:
        return "`runs` maps names to functions: call runs[name](), and clock() without arguments."
    if "no median" in message or "at least one data point" in message:
        return "Nothing was kept: append the difference of the two readings to a list."
    return ""
