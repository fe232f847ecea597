"""The one rule by which a measured effect becomes a verdict.

An effect is known up to an interval that covers the true one in 95 of 100 repetitions. A *margin*,
the smallest effect that would matter, is fixed without regard to the result. Then

* the whole interval inside of the margin, on both sides of zero: **no difference**;
* else, all of it on the claim's side of zero: **reproduced**, or **partly** where all of it falls
  short of the paper's value by more than the margin;
* else, all of it on the other side: **opposite**;
* else **undecided**: it holds zero, and effects that would matter on one side at least.

A paper's effect that is within the paper's own spread is no claim, and cannot be met or missed:
what was measured beside it is **undecided** unless it shows **no difference**.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95
POWER = 0.8


class Interval(NamedTuple):
    """An effect, and between what it may lie."""

    value: float
    low: float
    high: float
    visible: float
    """The smallest true effect that such a measurement tells from none four times in five."""
    runs: int
    """Of each kind: what varied from one to the next is what the interval speaks of."""

    def __format__(self, spec: str) -> str:
        """``f"{interval:+.1f}"`` writes ``+1.2 (+0.3 to +2.1)``."""
        return f"{self.value:{spec}} ({self.low:{spec}} to {self.high:{spec}})"

    @property
    def half(self) -> float:
        """Half of the interval's width."""
        return (self.high - self.low) / 2

    @property
    def clear(self) -> bool:
        """Whether zero lies outside."""
        return not self.low <= 0 <= self.high


def contrast(after: Sequence[float], before: Sequence[float], paired: bool = True) -> Interval:
    """Mean difference, with Student's interval at 95 %.

    Args:
        after, before: a value for each run, two or more each.
        paired: run i of both shares its seed, so its first weights, its order or its data; then
            their differences are what varies. Otherwise Welch's interval for two means.

    Raises:
        ValueError: fewer than two runs, or pairs of unequal number.
    """
    after, before = np.asarray(after, float), np.asarray(before, float)
    if min(len(after), len(before)) < 2:
        raise ValueError("An interval needs two runs or more of each kind.")
    if paired and len(after) != len(before):
        raise ValueError(f"{len(after)} and {len(before)} runs are no pairs: say paired=False.")
    if paired:
        gaps = after - before
        value, error, df = gaps.mean(), stats.sem(gaps), len(gaps) - 1
    else:
        parts = [np.var(x, ddof=1) / len(x) for x in (after, before)]
        value, error = after.mean() - before.mean(), math.sqrt(sum(parts))
        freedom = sum(p**2 / (len(x) - 1) for p, x in zip(parts, (after, before), strict=True))
        df = sum(parts) ** 2 / freedom if freedom else len(after) + len(before) - 2
    reach = stats.t.ppf((1 + LEVEL) / 2, df)
    return Interval(
        float(value),
        float(value - reach * error),
        float(value + reach * error),
        float((reach + stats.t.ppf(POWER, df)) * error),
        min(len(after), len(before)),
    )


def mean(values: Sequence[float]) -> Interval:
    """A mean with its interval; what the course writes after ± is half of it."""
    return contrast(values, np.zeros(len(values)))


def verdict(
    effect: Interval, margin: float, paper: float | None = None, spread: float = 0.0
) -> str:
    """The verdict on the claim that an effect is above zero, or has the sign of the paper's.

    Args:
        effect: what was measured.
        margin: the smallest effect that would matter, positive.
        paper: the paper's value in the same unit, where it prints one.
        spread: what the paper says of its own uncertainty, as half of an interval at 95 %.

    Raises:
        ValueError: a margin that is not positive.
    """
    if margin <= 0:
        raise ValueError(f"The margin is the smallest effect that matters: {margin} is none.")
    if -margin < effect.low and effect.high < margin:
        return "no difference"
    if paper is not None and abs(paper) <= spread:
        return "undecided"
    low, high, claimed = effect.low, effect.high, math.inf if paper is None else abs(paper)
    if paper is not None and paper < 0:
        low, high = -high, -low
    if low > 0:
        short = claimed < math.inf and high < claimed - margin
        return "partly" if short else "reproduced"
    return "opposite" if high < 0 else "undecided"


def needed(effect: Interval, margin: float, paper: float | None = None) -> int:
    """About how many runs of each kind would tell the paper's effect, or the margin if that is
    larger, from none four times in five, if it is there and runs vary as much as these."""
    sought = max(margin, abs(paper or 0))
    return max(2, math.ceil(effect.runs * (effect.visible / sought) ** 2))
