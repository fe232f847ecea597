"""The checks of exercise 5: right answers pass, and what is no answer is refused in words."""

import pytest
import torch

from tests.checks.ex5 import right
from tests.checks.ex5.graded import GRADED

ANSWERS = [
    pytest.param(GRADED[function].check, answer, id=f"{function}-{answer.__name__}")
    for function, answers in right.ANSWERS.items()
    for answer in answers
]
every_check = pytest.mark.parametrize("check", [g.check for g in GRADED.values()], ids=GRADED)


@pytest.mark.parametrize(("check", "answer"), ANSWERS)
def test_right_answers_pass(check, answer):
    for seed in range(2):
        report = check(answer, seed)
        assert report.passed, str(report)
        assert report.points(5) == 5


@every_check
@pytest.mark.parametrize("answer", [None, 3, lambda *_: {}, lambda *_: float("nan"), print])
def test_odd_things_are_refused(check, answer, capsys):
    report = check(answer)
    assert not report.passed
    assert all(f.likely for f in report.findings if f.passed is False)


def unwritten(*_):
    raise NotImplementedError()


@every_check
def test_an_unwritten_function_gets_no_points(check):
    report = check(unwritten)
    assert report.points(4) == 0
    assert "still to be written" in str(report) and "Traceback" not in str(report)


def test_the_check_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    for function, answer in (("open_timm", right.by_num_classes), ("open_dino", right.first_token)):
        assert GRADED[function].check(answer, 7).passed  # a seed of its own: networks are made anew
    assert torch.equal(before, torch.random.get_rng_state())
