"""Exercises 4 and 5, timing: work by a clock that nothing else moves, and what becomes of seconds.

Work moves its clock by seconds that were drawn, and nothing waits. So what a student's function
returns tells which calls it has counted, and how, however busy the machine is.
"""

import gc
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import CellType, FunctionType

import numpy as np

COLD = 20  # times slower is a first call
PROCESSOR = 0.37  # of its time, work keeps the processor busy; the rest it waits
CLOCKS = {
    "perf_counter": 1.0,
    "monotonic": 1.0,
    "time": 1.0,
    "process_time": PROCESSOR,
    "thread_time": PROCESSOR,
}
"""Python's clocks, each with its share of the time that work takes."""


class Machine:
    """A clock, and runs that take their time by it."""

    def __init__(self, names: tuple[str, ...], seed: int):
        self.random = np.random.default_rng(seed)
        self.now, self.order = 1000.0, []
        self.took: dict[str, list[float]] = {name: [] for name in names}
        self.runs = {name: lambda name=name: self._run(name) for name in names}

    def clock(self) -> float:
        return self.now

    def _run(self, name: str) -> None:
        usual = 3.0 / (1 + list(self.took).index(name))
        seconds = usual * self.random.lognormal(sigma=0.5)
        if not self.took[name]:
            seconds *= COLD
        self.took[name].append(seconds)
        self.order.append(name)
        self.now += seconds


STATISTICS = {
    "median": (statistics.median, ""),
    "mean": (
        statistics.mean,
        "This is the mean, which one slow moment of the machine moves: take the median.",
    ),
    "smallest": (min, "This is the smallest: take the median."),
    "largest": (max, "This is the largest: take the median."),
    "sum": (sum, "This is the sum of all calls: take the median of them."),
    "last": (lambda s: s[-1], "This is the last call alone: keep all, and take their median."),
    "list": (list, "These are all of them: take their median."),
}
"""What may be made of the seconds of several calls, and what is wrong with it."""


def close(a: object, b: object) -> bool:
    """Whether two numbers, or two lists of numbers, are the same but for rounding."""
    if isinstance(a, list) or isinstance(b, list):
        return isinstance(a, list) and isinstance(b, list) and np.allclose(a, b, atol=1e-7)
    return abs(a - b) <= 1e-7 * max(abs(a), abs(b))


class _StandIn:
    """Takes the place of one of Python's clocks.

    An object and not a function: a class that holds it as an attribute must not bind it.
    """

    def __init__(self, name: str, passed: Callable[[], float]):
        self.real = getattr(time, name)
        self.start, self.reads, self.thread = self.real(), 0, threading.get_ident()
        whole, self.share = name.endswith("_ns"), CLOCKS[name.removesuffix("_ns")]
        self.ticks = (lambda s: round(1e9 * s)) if whole else float
        self.passed: Callable[[], float] | None = passed

    def __call__(self) -> float:
        # Others go on by the real time: a notebook's own threads, and names bound for good.
        if self.passed is None or threading.get_ident() != self.thread:
            return self.real()
        self.reads += 1
        return self.start + self.ticks(self.share * self.passed())


@contextmanager
def pythons_clocks(passed: Callable[[], float]) -> Iterator[Callable[[], int]]:
    """Let Python's clocks stand still in this thread, but for what `passed()` says.

    Under whatever name code has kept them: `time.perf_counter`, `from time import perf_counter`,
    `timeit.default_timer`, the default of an argument.

    Args:
        passed: seconds since some moment. The processor's clocks go on by a part of them.

    Yields:
        A function that tells how often they were read.
    """
    names = [name + end for name in CLOCKS for end in ("", "_ns")]
    clocks = [getattr(time, name) for name in names]
    holders = _referrers(*clocks)  # before anything of our own holds them
    functions = _referrers(*(h for h in holders if isinstance(h, tuple)))
    swap = [_StandIn(name, passed) for name in names]
    new = {id(clock): stand_in for clock, stand_in in zip(clocks, swap, strict=True)}
    undo: list[Callable[[], object]] = []
    try:
        for holder in holders:
            if isinstance(holder, dict):
                for key, value in list(holder.items()):
                    if stand_in := new.get(id(value)):
                        holder[key] = stand_in
                        undo.append(lambda h=holder, k=key, v=value: h.update({k: v}))
            elif isinstance(holder, CellType):
                value = holder.cell_contents
                holder.cell_contents = new[id(value)]
                undo.append(lambda h=holder, v=value: setattr(h, "cell_contents", v))
        for function in functions:
            if isinstance(function, FunctionType) and (given := function.__defaults__):
                function.__defaults__ = tuple(new.get(id(value), value) for value in given)
                undo.append(lambda f=function, v=given: setattr(f, "__defaults__", v))
        yield lambda: sum(stand_in.reads for stand_in in swap)
    finally:
        for stand_in in swap:
            stand_in.passed = None
        for step in undo:
            step()


def _referrers(*objects: object) -> list[object]:
    """What holds one of `objects`, also among what was frozen before a process was forked."""
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    found = gc.get_referrers(*objects)
    if frozen:
        gc.freeze()
    return found
