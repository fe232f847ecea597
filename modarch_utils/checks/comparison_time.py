"""Exercise 5, time for a picture: told by work whose own duration is recorded, call by call."""

import statistics
import time
from collections.abc import Callable
from itertools import product

from .core import RIGHT, Report, Rows, Seen, Unusable, call, wrong

COLD = 60.0
WARM = (9.0, 4.0, 5.0, 36.0, 6.0)
"""Milliseconds of the calls after the first, over and over: any five in a row have the median 6."""
BUSY = 0.7
"""Milliseconds of each call in which the processor works: what process_time sees is then no number
that another mistake gives."""
PICTURES = 8
EXPECTED = {
    "runs": "one number",
    "warm": "a first call, or several, before the clock starts",
    "repeats": "then as many timed calls as `repeats`",
    "median": "the median of the timed calls",
    "per picture": "divided by the number of pictures",
    "milliseconds": "in thousandths of a second by the clock on the wall",
}


class Work:
    """Something that takes a while, and writes down how long."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self) -> None:
        calls = len(self.seconds)
        start = time.perf_counter()
        busy = time.process_time()
        while time.process_time() - busy < BUSY / 1000:
            pass
        time.sleep((COLD if calls == 0 else WARM[calls % len(WARM)]) / 1000)
        self.seconds.append(time.perf_counter() - start)


def check_time(function: Callable[[Callable[[], object], int, int], float]) -> Report:
    """All findings on a function that measures the time for a picture.

    Args:
        function: ``function(work, pictures, repeats)``: ``work()`` handles so many pictures; gives
            milliseconds for one.
    """
    rows = Rows(EXPECTED)
    seen: dict[str, Seen] = {}

    def runs() -> Seen:
        for _ in range(3):  # a busy machine may come between the calls, too
            seen.clear()
            seen.update(_look(function))
            if not seen.pop("unclear", None):
                break
        return RIGHT

    rows.add("runs", runs)
    for row in list(EXPECTED)[1:]:
        rows.add(row, lambda row=row: seen.get(row, RIGHT), ("runs",))
    return rows.report("milliseconds_per_picture")


def _look(function: Callable) -> dict[str, Seen]:
    """The rows that are wrong; "unclear" with them if no mistake explains the number."""
    work, repeats = Work(), len(WARM)
    came = call(function, work, PICTURES, repeats)
    if isinstance(came, bool) or not isinstance(came, int | float):
        kind = "None" if came is None else f"a {type(came).__name__}"
        raise Unusable(kind, "Return one number, a plain float.")
    calls, seconds = len(work.seconds), work.seconds
    if not calls:
        raise Unusable("work is never called", "Call it as `work()`.")
    found: dict[str, Seen] = {}
    words = f"{calls} calls in all for repeats={repeats}"
    if calls < repeats:
        found["repeats"] = wrong(words, "Time the work so many times, each call by itself.")
    (base, number, unit), apart = _nearest(came, seconds, repeats)
    words = f"{came:.3g} where {_ms(statistics.median(seconds[-repeats:])):.3g} is right"
    explained = apart < (0.1 if (base, unit) == ("median", "ms") else 0.03)
    if came < 0.2 * _ms(min(seconds)) and not (explained and base in ("median", "mean", "all")):
        likely = "process_time counts the processor's work, not the waiting: perf_counter."
        return found | {"milliseconds": wrong(words, likely)}
    if not explained:
        return found | {
            "median": wrong(words, "Look at each of the times: which of them should count?"),
            "unclear": RIGHT,
        }
    if base == "first":
        likely = "The first call is measured, and it is slow: it allocates and chooses. Warm up."
        found["warm"] = wrong(f"the first call, {_ms(number):.3g}", likely)
    elif base == "all" or (calls <= repeats and base != "rest"):
        likely = "The first, slow call is among those that count: call work() before the clock."
        found["warm"] = wrong(f"{calls} calls, and all of them count", likely)
    if base == "rest" and calls == repeats:
        likely = "The first of the repeats is dropped instead: one call more, before they begin."
        found["repeats"] = wrong(f"only {calls - 1} calls count", likely)
    if what := {
        "mean": "This is the mean: one slow call moves it. Take the median.",
        "all, mean": "This is the mean: one slow call moves it. Take the median.",
        "min": "This is the shortest time, a lucky one: take the median.",
        "max": "This is the longest time: take the median.",
        "sum": "This is the time of all calls together: take the median of single ones.",
        "last": "This is the last call alone: take the median of all that are timed.",
    }.get(base):
        found["median"] = wrong(words, what)
        if base == "all, mean":
            likely = "The first, slow call is among those that count: call work() before the clock."
            found["warm"] = wrong(f"{calls} calls, and all of them count", likely)
    if "batch" in unit:
        likely = f"This is the time of all {PICTURES} pictures: divide by their number."
        found["per picture"] = wrong(words, likely)
    if "rate" in unit:
        found["per picture"] = wrong(words, "This is pictures for a time: turn the fraction round.")
    if "seconds" in unit:
        found["milliseconds"] = wrong(words, "These are seconds: times 1000.")
    if "micro" in unit:
        found["milliseconds"] = wrong(words, "These are millionths: the clock gives seconds.")
    return found


def _ms(seconds: float) -> float:
    return 1000 * seconds / PICTURES


def _nearest(
    came: float, seconds: list[float], repeats: int
) -> tuple[tuple[str, float, str], float]:
    """Which number it is: of which calls, how many seconds, in which unit; and how far off."""
    timed = seconds[-repeats:]
    bases = {
        "first": seconds[0],
        "median": statistics.median(timed),
        "mean": statistics.mean(timed),
        "min": min(timed),
        "max": max(timed),
        "sum": sum(timed),
        "last": seconds[-1],
    }
    if len(seconds) > repeats:
        bases["all"] = statistics.median(seconds)
        bases["all, mean"] = statistics.mean(seconds)
    elif len(seconds) > 1:
        bases["rest"] = statistics.median(seconds[1:])
    units = {
        "ms": lambda s: _ms(s),
        "ms, batch": lambda s: 1000 * s,
        "seconds": lambda s: s / PICTURES,
        "seconds, batch": lambda s: s,
        "micro": lambda s: 1e6 * s / PICTURES,
        "rate": lambda s: PICTURES / s,
        "rate, ms": lambda s: PICTURES / s / 1000,
    }
    apart = {
        (base, number, unit): abs(came / scale(number) - 1)
        for (base, number), (unit, scale) in product(bases.items(), units.items())
    }
    nearest = min(apart, key=apart.get)
    return nearest, apart[nearest]
