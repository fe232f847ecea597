"""The mistakes that checks know, and those in ``exN/mistakes.toml``: each is called by its name."""

from itertools import combinations

import pytest

from modarch_utils.checks.core import Look
from tests.checks.answers import answer, wrong_answers
from tests.checks.graded import GRADED, PARTS
from tests.checks.mistakes import assert_names

every_part = pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
WRONG = [wrong for exercise in GRADED for wrong in wrong_answers(exercise)]


@every_part
@pytest.mark.parametrize("seed", [0, 5])
def test_each_mutant_is_named(part, seed):
    part = part(seed)
    assert part.check(part.reference).passed
    for mutant in part.mutants:
        for row, words in mutant.says.items():
            # The same function may be known to other rows, too.
            says = [other.says for other in part.mutants if other.make is mutant.make]
            report = part.check(mutant.make)
            assert_names(report, {row for rows in says for row in rows}, words)
            (finding,) = (f for f in report.findings if f.what == row)
            assert finding.likely == words


@every_part
def test_mutants_differ(part):
    part = part(0)
    for look in part.looks:
        if isinstance(look, Look):
            shown = {"the reference": part.known(part.reference, look)}
            shown |= {
                f"{k}: {m.says}": part.known(m.make, look) for k, m in enumerate(look.mutants)
            }
            for a, b in combinations(shown, 2):
                assert not look.same(shown[a], shown[b]), f"{a} gives the same as {b}"


@pytest.mark.parametrize(
    "wrong", WRONG, ids=lambda w: f"{w.exercise}-{w.function}-{list(w.change.values())[-1]}"[:60]
)
def test_each_mistake_is_named(wrong):
    student = answer(wrong.exercise, wrong.function, wrong.change)
    report = GRADED[wrong.exercise][wrong.function].check(student)
    assert_names(report, set(wrong.rows), wrong.words)
