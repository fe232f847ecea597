"""The checks of exercise 4: right answers pass, and what is no answer is refused in words."""

import pytest
import torch
from diffusers.utils import logging

from modarch_utils.checks import ex4
from tests.checks.answers import answer
from tests.checks.ex4 import right
from tests.checks.ex4.graded import GRADED

RIGHT = [(part, function) for part, some in right.ANSWERS.items() for function in some]


def name(value):
    return getattr(value, "__name__", None)


@pytest.mark.parametrize(("part", "function"), RIGHT, ids=name)
def test_right_answers_pass(part, function):
    report = GRADED[part].check(function)
    assert report.passed, str(report)
    assert report.points(5) == 5


@pytest.mark.parametrize("seed", (1, 2))
@pytest.mark.parametrize("part", right.ANSWERS)
def test_right_answers_pass_with_other_weights(part, seed):
    report = GRADED[part].check(right.ANSWERS[part][0], seed)
    assert report.passed, str(report)


@pytest.mark.parametrize("function", right.ANSWERS["timed"], ids=name)
@pytest.mark.parametrize("seed", range(20))
def test_times_do_not_depend_on_the_seed(function, seed):
    assert ex4.check_timed(function, seed).passed


def unwritten(*_):
    raise NotImplementedError()


ODD = [None, 3, dict, lambda *_: None, lambda *_: "", print, lambda *x: x, lambda *x: x[0]]


@pytest.mark.parametrize("part", GRADED)
def test_odd_things_are_refused(part, capfd):
    for odd in [*ODD, unwritten]:
        report = GRADED[part].check(odd)
        assert not report.passed, str(report)
        assert all(f.likely for f in report.findings if f.passed is False)
    assert report.points(5) == 0
    assert "still to be written" in str(report) and "Traceback" not in str(report)


@pytest.mark.parametrize("part", ["ddim_pipeline", "lcm_pipeline"])
def test_damage_does_not_last(part):
    """The checks draw with networks of their own, once; no answer may reach those."""
    solution = answer("ex4", part, {})

    def ruins(pipe, *folder):
        for network in (pipe.unet, pipe.vae, pipe.text_encoder):
            for p in network.parameters():
                p.data.zero_()
        pipe.scheduler.register_to_config(beta_end=0.5)
        return solution(pipe, *folder)

    check = GRADED[part].check
    assert "caller" in {f.what for f in check(ruins).findings if f.passed is False}
    report = check(solution)
    assert report.passed, str(report)


def test_the_checks_leave_no_trace(capfd):
    solutions = [(part, answer("ex4", part, {})) for part in GRADED]
    torch.manual_seed(3)
    before, level = torch.random.get_rng_state(), logging.get_verbosity()
    capfd.readouterr()
    for part, solution in [*solutions, ("draw", right.with_torchs_own)]:
        report = GRADED[part].check(solution)
        assert report.passed, str(report)
    assert torch.equal(before, torch.random.get_rng_state())
    assert logging.get_verbosity() == level
    assert capfd.readouterr() == ("", "")
