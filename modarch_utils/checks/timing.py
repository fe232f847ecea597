"""Exercise 4, timing: work by a clock that nothing else moves, and what becomes of seconds.

Work moves its clock by seconds that were drawn, and nothing waits. So what a student's function
returns tells which calls it has counted, and how, however busy the machine is.
"""

import statistics

import numpy as np

COLD = 20  # times slower is a first call


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
