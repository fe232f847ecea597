"""The checks of exercise 5: right answers pass, and each mistake is called by its name."""

import pytest
import torch

from modarch_utils.checks import ex5
from modarch_utils.checks.ex5 import stretch
from tests.checks.ex5 import right, wrong_open
from tests.checks.mistakes import assert_names

CHECKS = {
    "OPEN_TIMM": ex5.check_open_timm,
    "OPEN_DINO": ex5.check_open_dino,
    "EXTRACT": ex5.check_extract,
    "SVM": ex5.check_svm_accuracy,
    "TIME": ex5.check_time,
    "COMPARE": ex5.check_compare,
    "CHOOSE": stretch.check_choose_strength,
    "KNN": stretch.check_knn,
    "ERROR": stretch.check_mean_and_error,
}


def answers(part, *modules):
    return [answer for module in modules for answer in getattr(module, part, ())]


def every(*modules):
    """Check and answer, for each answer in the modules."""
    cases = []
    for part, check in CHECKS.items():
        for answer in answers(part, *modules):
            first, *rest = answer if isinstance(answer, tuple) else (answer,)
            cases.append(pytest.param(check, first, *rest, id=f"{part}-{first.__name__}"))
    return cases


@pytest.mark.parametrize(("check", "answer"), every(right))
def test_right_answers_pass(check, answer):
    for seed in range(2):
        report = check(answer, seed)
        assert report.passed, str(report)
        assert report.points(5) == 5


@pytest.mark.parametrize(("check", "answer", "rows", "words"), every(wrong_open))
def test_each_mistake_is_named(check, answer, rows, words):
    assert_names(check(answer), set(rows.split("|")), words)


@pytest.mark.parametrize("check", CHECKS.values(), ids=list(CHECKS))
@pytest.mark.parametrize("answer", [None, 3, lambda *_: {}, lambda *_: float("nan"), print])
def test_odd_things_are_refused(check, answer, capsys):
    report = check(answer)
    assert not report.passed
    assert all(f.likely for f in report.findings if f.passed is False)


@pytest.mark.parametrize("check", CHECKS.values(), ids=list(CHECKS))
def test_an_unwritten_function_gets_no_points(check):
    report = check(unwritten)
    assert report.points(4) == 0
    assert "still to be written" in str(report) and "Traceback" not in str(report)


def unwritten(*_):
    raise NotImplementedError()


def test_the_check_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    ex5.check_open_timm(right.by_num_classes)
    ex5.check_open_dino(right.first_token)
    assert torch.equal(before, torch.random.get_rng_state())
