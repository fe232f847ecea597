"""The checks of exercise 2 beside what test_answers.py asks of all."""

import pytest

from modarch_utils.checks import ex2
from tests.checks.answers import answer


def constant(*_):
    return {"image_size": 128, "randaugment": 5, "mixup": 0.0}


def nan(*_):
    return {"image_size": 128, "randaugment": float("nan"), "mixup": float("inf")}


@pytest.mark.parametrize("odd", [constant, nan])
@pytest.mark.parametrize("check", [ex2.check_three_stages, ex2.check_schedule])
def test_settings_that_never_change_are_refused(check, odd):
    report = check(odd)
    assert not report.passed
    assert all(f.likely for f in report.findings if f.passed is False)


def test_two_mistakes_have_a_row_each():
    change = {"stage / max(num_stages - 1, 1)": "stage / num_stages", "round(": "float("}
    report = ex2.check_schedule(answer("ex2", "progressive_schedule", change))
    wrong = {f.what: f.likely for f in report.findings if f.passed is False}
    assert "never arrives at last" in wrong["steps"]
    assert set(wrong) == {"steps", "image_size"}


def test_the_students_table_survives_the_check():
    table = [constant() | {"image_size": size} for size in (128, 192, 256)]
    kept = [dict(row) for row in table]
    ex2.check_three_stages(lambda epoch: table[epoch // 50])
    assert table == kept
