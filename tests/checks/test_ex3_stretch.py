"""The checks of exercise 3's stretch parts."""

import pytest

from modarch_utils.checks.ex3_stretch import check_foreground, check_partners
from tests.checks.ex3 import stretch
from tests.checks.mistakes import assert_names


def name(value):
    return getattr(value, "__name__", None)


@pytest.mark.parametrize("answer", stretch.RIGHT_FOREGROUND, ids=name)
@pytest.mark.parametrize("seed", range(5))
def test_right_foregrounds_pass(answer, seed):
    report = check_foreground(answer, seed)
    assert report.passed, str(report)


@pytest.mark.parametrize(("answer", "rows", "words"), stretch.WRONG_FOREGROUND, ids=name)
@pytest.mark.parametrize("seed", range(3))
def test_each_mistake_in_a_foreground_is_named(answer, rows, words, seed):
    assert_names(check_foreground(answer, seed), {rows}, words)


@pytest.mark.parametrize("answer", stretch.RIGHT_PARTNERS, ids=name)
@pytest.mark.parametrize("seed", range(5))
def test_right_partners_pass(answer, seed):
    report = check_partners(answer, seed)
    assert report.passed, str(report)


@pytest.mark.parametrize(("answer", "rows", "words"), stretch.WRONG_PARTNERS, ids=name)
@pytest.mark.parametrize("seed", range(3))
def test_each_mistake_in_partners_is_named(answer, rows, words, seed):
    assert_names(check_partners(answer, seed), {rows}, words)


@pytest.mark.parametrize("answer", [None, 3, lambda *_: None, lambda *_: "", print, lambda *x: x])
def test_odd_things_are_refused(answer):
    for check in (check_foreground, check_partners):
        report = check(answer)
        assert not report.passed
        assert all(f.likely for f in report.findings if f.passed is False)
