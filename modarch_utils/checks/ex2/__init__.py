"""Exercise 2: progressive learning's schedule (Tan & Le 2021, algorithm 1), called epoch by epoch.

``check_three_stages(three_stages)`` for the lesson's schedule, ``check_schedule(...)`` for the
general one. Both tabulate the student's function and compare the tables.
"""

import random
from collections.abc import Callable
from dataclasses import asdict

from modarch_utils.checks.core import RIGHT, Report, Rows, Seen, call, wrong
from modarch_utils.checks.ex2.settings import INSIDE, KEYS, Table, compare, few, same
from modarch_utils.training.progressive import LESSON, ProgressiveSchedule, Setting

MULTIPLE = 32


def check_three_stages(function: Callable[[int], dict]) -> Report:
    """All findings on the lesson's schedule: 128, 192, 256 pixels, 50 epochs each.

    Args:
        function: from an epoch, 0 to 149, to image_size, randaugment and mixup.
    """
    table = Table(function, LESSON)
    rows = Rows(
        {
            "keys": f"a dictionary with {', '.join(KEYS)}",
            "image_size": "128, 192, 256, each an int",
            "randaugment": "5, 10, 15",
            "mixup": "0, 0.2, 0.4",
            "edges": "stages begin at epochs 0, 50 and 100",
            "negative": "epochs below 0 raise ValueError",
            "too large": "epochs from 150 on raise ValueError",
            "own result": "the caller may change the result",
        }
    )

    def values(key: str) -> Seen:
        came, should = table.by_stage(key), [getattr(setting, key) for setting in table.right]
        others = {other: [getattr(s, other) for s in table.right] for other in KEYS if other != key}
        for other, numbers in others.items():
            if came == numbers:
                return wrong(few(came), f"These are the values of {other}: two keys are swapped.")
        if key == "image_size" and came == should and not all(type(n) is int for n in came):
            return wrong(f"{came[0]!r}", "A size counts pixels: make it an int.")
        return compare(came, should)

    # An extra key is a fault, but no reason to stop; anything else in its place is.
    keys = rows.add("keys", table.keys)
    first = () if keys.came.startswith("also") else ("keys",)
    for key in KEYS:
        rows.add(key, lambda key=key: values(key), first)
    rows.add("edges", table.edges, first)
    rows.add("negative", lambda: table.refuses((-1, -50, -150)), first)
    rows.add("too large", lambda: table.refuses((150, 151, 1000)), first)
    rows.add("own result", table.fresh, first)
    return rows.report("three_stages")


def check_schedule(function: Callable[[int, int, int, dict, dict], dict], seed: int = 0) -> Report:
    """All findings on the general schedule.

    Args:
        function: ``function(epoch, total_epochs, num_stages, first, last)``; first and last are
            dictionaries like the one that it returns.
        seed: decides the settings that it is tried with.
    """
    draw = random.Random(seed)

    def table(epochs: int, num_stages: int) -> Table:
        size = 32 * draw.randint(2, 4)
        first = Setting(size, draw.randint(20, 60) / 10 + 0.05, draw.randint(1, 9) / 100, 0)
        # Not a multiple of three more: a third of the way then needs rounding.
        larger = size + 32 * draw.choice((4, 5, 7, 8))
        last = Setting(larger, draw.randint(110, 190) / 10 + 0.05, draw.randint(31, 69) / 100, 0)
        schedule = ProgressiveSchedule(
            first if num_stages > 1 else last, last, num_stages, epochs, MULTIPLE
        )
        ends = [{key: asdict(setting)[key] for key in KEYS} for setting in (schedule.first, last)]
        return Table(lambda epoch: function(epoch, epochs, num_stages, *map(dict, ends)), schedule)

    even, uneven, one = table(240, 4), table(draw.choice((22, 25, 26, 29)), 4), table(6, 1)
    rows = Rows(
        {
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
    )
    keys = rows.add("keys", even.keys)
    first = () if keys.came.startswith("also") else ("keys",)
    rows.add("stages", lambda: _number(even), first)
    counted = (*first, "stages")
    shares: list[float] = []
    rows.add("steps", lambda: _steps(even, shares), counted)
    for key in KEYS:
        after = counted if shares else (*counted, "steps")
        rows.add(key, lambda key=key: _on_the_way(even, key, shares), after)
    rows.add("even edges", even.edges, counted)
    rows.add("uneven edges", uneven.edges, (*counted, "even edges"))
    rows.add("one stage", lambda: one.at(0) and RIGHT, first)
    rows.add("negative", lambda: uneven.refuses((-1, -3, -240)), first)
    epochs = uneven.schedule.epochs
    rows.add("too large", lambda: uneven.refuses((epochs, epochs + 1, 149, 150, 1000)), first)
    rows.add("own result", lambda: _keeps(function), first)
    return rows.report("progressive_schedule")


def _number(table: Table) -> Seen:
    number, came = table.schedule.num_stages, len(table.starts())
    if came == number:
        return RIGHT
    words = f"{came} different settings where num_stages={number}"
    if came > 2 * number:
        return wrong(words, INSIDE)
    if came == LESSON.num_stages:
        return wrong(words, "Three stages are fixed in the code: use num_stages.")
    if came == 1:
        return wrong(words, "The setting never changes: does it depend on the epoch?")
    return wrong(words, "Print the stage of every epoch, and count them.")


def _steps(table: Table, shares: list[float]) -> Seen:
    """How far on the way from first to last each stage is; fills `shares` with what is found.

    RandAugment and mixup are not rounded, so either tells. Where both agree on other shares, the
    mistake is in the steps, and the three settings are compared at those.
    """
    first, last, number = table.schedule.first, table.schedule.last, table.schedule.num_stages
    right = [i / (number - 1) for i in range(number)]
    found = [
        [(v - getattr(first, key)) / (getattr(last, key) - getattr(first, key)) for v in values]
        for key in ("randaugment", "mixup")
        if (values := table.by_stage(key))
    ]
    if any(same(came, right) for came in found):
        shares += right
        return RIGHT
    lesson = table.by_stage("randaugment")
    if (lesson[0], lesson[-1]) == (LESSON.first.randaugment, LESSON.last.randaugment):
        return wrong(
            f"randaugment {few(lesson)}",
            "The lesson's settings are fixed in the code: use first and last.",
        )
    if not same(*found):
        return wrong(
            "other steps in each setting",
            "Each setting goes from first to last in equal steps: first + (last - first) * share.",
        )
    shares += found[0]
    words = f"{few(shares)} of the way, where {few(right)} are right"
    if same(shares, [i / number for i in range(number)]):
        return wrong(
            words, "It never arrives at last: between num_stages stages lie num_stages - 1 steps."
        )
    if same(shares, [(i + 1) / number for i in range(number)]):
        return wrong(
            words, "The first stage is already a step away from first: stages count from 0."
        )
    if same(shares, right[::-1]):
        return wrong(words, "It runs backwards: first and last are swapped.")
    if max(shares) > 1:
        return wrong(words, "It goes beyond last: is the number of steps fixed in the code?")
    return wrong(words, "The steps are not equal: first + (last - first) * share.")


def _on_the_way(table: Table, key: str, shares: list[float]) -> Seen:
    """Compare one setting with what it should be at the shares that were found."""
    a, b = getattr(table.schedule.first, key), getattr(table.schedule.last, key)
    exact, came = [a + (b - a) * share for share in shares], table.by_stage(key)
    if key != "image_size":
        if same(came, exact):
            return RIGHT
        for digits in (0, 1):
            if all(
                abs(v - w) <= 10**-digits and same([v], [round(v, digits)])
                for v, w in zip(came, exact, strict=True)
            ):
                return wrong(
                    f"{few(came)} where {few(exact)} are right",
                    f"{key} is rounded, but it may be a fraction: leave it as it is.",
                )
        return compare(came, exact)
    if not all(type(v) is int for v in came):
        return wrong(few(came), "A size counts pixels: make it an int.")
    if all(
        v % MULTIPLE == 0 and abs(v - w) < MULTIPLE / 2 + 1e-6
        for v, w in zip(came, exact, strict=True)
    ):
        return RIGHT
    words = f"{few(came)} where {few([s.image_size for s in table.right])} are right"
    if any(v % MULTIPLE for v in came):
        return wrong(words, f"Sizes between are no multiples of {MULTIPLE}: round them.")
    apart = [v - w for v, w in zip(came, exact, strict=True)]
    if all(-MULTIPLE < d <= 0 for d in apart):
        return wrong(words, f"Sizes are rounded down: take the nearest multiple of {MULTIPLE}.")
    if all(0 <= d < MULTIPLE for d in apart):
        return wrong(words, f"Sizes are rounded up: take the nearest multiple of {MULTIPLE}.")
    return compare(came, [s.image_size for s in table.right])


def _keeps(function: Callable) -> Seen:
    """Whether the caller's dictionaries survive the call, and a change of its result."""
    first = {"image_size": 64, "randaugment": 1.5, "mixup": 0.1}
    last = {"image_size": 256, "randaugment": 9.5, "mixup": 0.4}
    given = dict(first), dict(last)
    for epoch in (0, 5, 9):
        result = call(function, epoch, 10, 2, *given)
        if given != (first, last):
            return wrong(
                "first or last has changed after a call",
                "The function writes into its arguments: build a new dictionary.",
            )
        result["mixup"] = -1
        if given != (first, last):
            return wrong(
                "the result is first or last itself",
                "Who changes the result changes your argument: return a copy, dict(...).",
            )
    return RIGHT
