"""The checks of exercise 3's stretch parts."""

import pytest

from modarch_utils.checks.ex3.stretch import check_foreground, check_partners
from tests.checks.ex3 import stretch
from tests.checks.mistakes import assert_names


def name(value):
    return getattr(value, "__name__", None)


PARTS = (
    (check_foreground, stretch.RIGHT_FOREGROUND, stretch.WRONG_FOREGROUND),
    (check_partners, stretch.RIGHT_PARTNERS, stretch.WRONG_PARTNERS),
)
RIGHT = [(check, answer) for check, right, _ in PARTS for answer in right]
WRONG = [(check, *case) for check, _, wrong in PARTS for case in wrong]


@pytest.mark.parametrize(("check", "answer"), RIGHT, ids=name)
@pytest.mark.parametrize("seed", range(5))
def test_right_answers_pass(check, answer, seed):
    report = check(answer, seed)
    assert report.passed, str(report)


@pytest.mark.parametrize(("check", "answer", "rows", "words"), WRONG, ids=name)
@pytest.mark.parametrize("seed", range(3))
def test_each_mistake_is_named(check, answer, rows, words, seed):
    assert_names(check(answer, seed), {rows}, words)


@pytest.mark.parametrize("answer", [None, 3, lambda *_: None, lambda *_: "", print, lambda *x: x])
def test_odd_things_are_refused(answer):
    for check in (check_foreground, check_partners):
        report = check(answer)
        assert not report.passed
        assert all(f.likely for f in report.findings if f.passed is False)
