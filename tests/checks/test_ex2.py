"""The check of exercise 2: right answers pass, and what is no answer is refused in words."""

import pytest

from modarch_utils.checks import ex2
from modarch_utils.checks.ex2 import stretch
from tests.checks.answers import answer
from tests.checks.ex2 import right


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


@pytest.mark.parametrize("seed", range(5))
def test_right_answers_to_the_stretch_parts_pass(seed):
    assert stretch.check_share_of_pixels(right.share, seed).passed
    assert stretch.check_batch_size(right.batch, seed).passed


def constant(*_):
    return {"image_size": 128, "randaugment": 5, "mixup": 0.0}


def nan(*_):
    return {"image_size": 128, "randaugment": float("nan"), "mixup": float("inf")}


@pytest.mark.parametrize(
    "odd", [None, 3, dict, lambda *_: {}, lambda *_: float("nan"), print, constant, nan]
)
def test_odd_things_are_refused(odd):
    for check in (
        ex2.check_three_stages,
        ex2.check_schedule,
        stretch.check_share_of_pixels,
        stretch.check_batch_size,
    ):
        report = check(odd)
        assert not report.passed
        assert all(f.likely for f in report.findings if f.passed is False)


def unwritten(*_):
    raise NotImplementedError()


def test_unwritten_functions_get_no_points():
    for report in (ex2.check_three_stages(unwritten), ex2.check_schedule(unwritten)):
        assert report.points(4) == 0
        assert "still to be written" in str(report)


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
