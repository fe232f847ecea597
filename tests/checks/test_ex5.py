"""The checks of exercise 5: right answers pass, and each mistake is called by its name."""

import gc
import inspect
import threading
import time
import timeit
from datetime import datetime

import pytest
import torch

from modarch_utils import measure
from modarch_utils.checks import ex5
from modarch_utils.checks.ex5 import stretch
from tests.checks.ex5 import right, wrong, wrong_open
from tests.checks.mistakes import assert_distinct, assert_names

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
MAIN = list(CHECKS)[:6]


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


@pytest.mark.parametrize(("check", "answer", "rows", "words"), every(wrong_open, wrong))
def test_each_mistake_is_named(check, answer, rows, words):
    assert_names(check(answer), set(rows.split("|")), words)


def test_there_are_enough_answers():
    for part in MAIN:
        assert len(answers(part, right)) >= 3
        assert len(answers(part, wrong_open, wrong)) >= 15
        assert_distinct(answers(part, wrong_open, wrong))
    assert sum(len(answers(part, right)) for part in MAIN) >= 30
    for module in (wrong_open, wrong):
        known = {answer for part in CHECKS for answer, *_ in answers(part, module)}
        functions = {
            value
            for value in vars(module).values()
            if inspect.isfunction(value) and value.__module__ == module.__name__
        }
        assert functions - set(module.HELPERS) == known


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


def test_clocks_are_what_they_were_after_a_check():
    def clocks():
        own = time.perf_counter, time.time_ns, timeit.default_timer, right.ticks
        return own, measure._in_turns.__defaults__, right.a_name_of_its_own.__defaults__

    before, seen = clocks(), []

    def looks(work, pictures, repeats):
        seen.append((time.perf_counter, right.ticks))
        raise RuntimeError("in the middle")

    for answer in (right.a_loop, looks):
        ex5.check_time(answer)
        ex5.check_compare(answer)
        assert clocks() == before
    assert seen and all(a is not before[0][0] and b is not before[0][3] for a, b in seen)
    assert abs(time.time() - datetime.now().timestamp()) < 60


def test_other_threads_keep_the_real_clock():
    def answer(work, pictures, repeats):
        found = []
        thread = threading.Thread(target=lambda: found.append(time.monotonic()))
        thread.start()
        thread.join()
        work()  # seconds by the check's clock, and none by the real one
        assert time.monotonic() - found[0] > 1000
        thread = threading.Thread(target=lambda: found.append(time.monotonic()))
        thread.start()
        thread.join()
        assert found[1] - found[0] < 60
        return right.a_loop(work, pictures, repeats)

    assert ex5.check_time(answer).passed


def test_clocks_that_were_there_before_a_fork_are_found():
    gc.freeze()
    try:
        report = ex5.check_time(right.by_the_course)
        assert report.passed, str(report)
        assert gc.get_freeze_count()
    finally:
        gc.unfreeze()


def unwritten(*_):
    raise NotImplementedError()


@pytest.mark.parametrize("part", ["EXTRACT", "SVM", "TIME", "COMPARE"])
def test_it_does_not_depend_on_the_seed(part):
    for answer, rows, words in answers(part, wrong):
        assert_names(CHECKS[part](answer, 1), set(rows.split("|")), words)


def test_the_check_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    ex5.check_open_timm(right.by_num_classes)
    ex5.check_open_dino(right.first_token)
    assert torch.equal(before, torch.random.get_rng_state())
