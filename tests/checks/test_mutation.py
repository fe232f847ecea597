"""Do checks refuse more than the mistakes that they were written for?

Solutions are changed at random, in one place each. What then gives something else than the
solution must be refused. ``mutation.toml`` keeps how many are not (missed), and how many are called
by a name (named): counts that may only improve.
"""

import ast
import tomllib
import warnings
from pathlib import Path

import pytest

from modarch_utils.checks.core import agree
from tests.checks.answers import cells, definition
from tests.checks.graded import GRADED
from tests.checks.mutation import mutants

KEPT = Path(__file__).with_name("mutation.toml")
MOST = 90  # of a function: a minute or two for an exercise on one core
SEEDS = 101, 102


def variants(exercise, function):
    """The solution's function, then changed ones, each with its text."""
    space = {"__name__": "student"}
    for cell in cells(exercise):
        exec(compile(cell, f"<{exercise}>", "exec"), space)
        if definition(cell) == function:
            own = cell
    for text in [own, *mutants(own, function, MOST)]:
        there = dict(space)
        exec(compile(text, f"<{exercise}>", "exec"), there)
        yield there[function], text


def line(own, text):
    """The line that was changed."""
    lines = zip(*(ast.unparse(ast.parse(each)).splitlines() for each in (own, text)), strict=False)
    return next(f"{a.strip()}  ->  {b.strip()}" for a, b in lines if a != b)


@pytest.mark.parametrize("exercise", GRADED)
def test_what_differs_is_refused(exercise):
    kept = tomllib.loads(KEPT.read_text("utf-8")).get(exercise, {})
    counts, missed = {"different": 0, "missed": 0, "named": 0}, []
    for function, graded in GRADED[exercise].items():
        (solution, own), *others = variants(exercise, function)
        right = [graded.outputs(solution, seed) for seed in SEEDS]
        general = graded.general
        for student, text in others:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                came = (graded.outputs(student, seed) for seed in SEEDS)
                if all(agree(a, b) for a, b in zip(came, right, strict=True)):
                    continue
                report = graded.check(student)
            counts["different"] += 1
            if report.passed:
                counts["missed"] += 1
                missed.append(f"{function}: {line(own, text)}")
            elif any(f.likely not in general for f in report.findings if f.passed is False):
                counts["named"] += 1
    print(exercise, counts, *missed, sep="\n  ")
    fewer = counts["missed"] <= kept["missed"] and counts["named"] >= kept["named"]
    assert counts["different"] == kept["different"] and fewer, "\n".join([str(counts), *missed])
    assert counts == kept, f"better than before: write {counts} to {KEPT.name}"
