"""The check of exercise 2: right answers pass, and each mistake is called by its name."""

import inspect

import pytest

from modarch_utils.checks import ex2
from tests.checks.ex2 import right, wrong
from tests.checks.mistakes import assert_distinct, assert_names


def name(value):
    return getattr(value, "__name__", None)


@pytest.mark.parametrize("three", [three for three, _ in right.ANSWERS], ids=name)
def test_right_answers_pass(three):
    report = ex2.check_three_stages(three)
    assert report.passed, str(report)


@pytest.mark.parametrize("general", [general for _, general in right.ANSWERS], ids=name)
@pytest.mark.parametrize("seed", range(5))
def test_right_general_answers_pass(general, seed):
    report = ex2.check_schedule(general, seed)
    assert report.passed, str(report)


@pytest.mark.parametrize(("answer", "rows", "words"), wrong.THREE, ids=name)
def test_each_mistake_is_named(answer, rows, words):
    assert_names(ex2.check_three_stages(answer), set(rows.split("|")), words)


@pytest.mark.parametrize(("answer", "rows", "words"), wrong.GENERAL, ids=name)
@pytest.mark.parametrize("seed", range(3))
def test_each_mistake_in_the_general_one_is_named(answer, rows, words, seed):
    assert_names(ex2.check_schedule(answer, seed), set(rows.split("|")), words)


def test_there_are_enough_answers():
    assert len(right.ANSWERS) >= 6
    assert len(wrong.THREE) >= 15 and len(wrong.GENERAL) >= 15
    assert_distinct(wrong.THREE)
    assert_distinct(wrong.GENERAL)
    helpers = {wrong.refuse, wrong.row, wrong.blend, wrong.right}
    assert {answer for answer, *_ in wrong.THREE + wrong.GENERAL} == {
        f for f in vars(wrong).values() if inspect.isfunction(f)
    } - helpers
    assert ex2.check_schedule(wrong.right).passed  # what the wrong ones are made from


@pytest.mark.parametrize("answer", [None, 3, dict, lambda *_: {}, lambda *_: float("nan"), print])
def test_odd_things_are_refused(answer):
    for check in (ex2.check_three_stages, ex2.check_schedule):
        report = check(answer)
        assert not report.passed
        assert all(f.likely for f in report.findings if f.passed is False)


def test_nan_and_constants_are_not_right():
    def constant(*_):
        return {"image_size": 128, "randaugment": 5, "mixup": 0.0}

    def nan(*_):
        return {"image_size": 128, "randaugment": float("nan"), "mixup": float("inf")}

    for answer in (constant, nan):
        for check in (ex2.check_three_stages, ex2.check_schedule):
            assert not check(answer).passed


def test_unwritten_functions_get_no_points():
    for report in (ex2.check_three_stages(wrong.empty), ex2.check_schedule(wrong.unwritten)):
        assert report.points(4) == 0
        assert "still to be written" in str(report)


def test_the_students_table_survives_the_check():
    table = [dict(row) for row in wrong.TABLE]
    ex2.check_three_stages(wrong.own_table)
    assert table == wrong.TABLE
