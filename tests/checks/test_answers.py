"""The checks of exercises: right answers pass, and what is no answer is refused in words."""

from importlib import import_module

import matplotlib.pyplot as plt
import pytest
import torch

from tests.checks.answers import answer
from tests.checks.graded import GRADED

SEEDS = {"ex1": 3, "ex2": 5, "ex3": 2, "ex5": 2}
"""Exercises, and how many seeds right answers are tried with."""
RIGHT = [
    pytest.param(
        GRADED[exercise][function].check, seed, right, id=f"{exercise}-{function}-{name}-{seed}"
    )
    for exercise, seeds in SEEDS.items()
    for function, some in import_module(f"tests.checks.{exercise}.right").ANSWERS.items()
    for name, right in ((getattr(right, "__name__", "object"), right) for right in some)
    for seed in range(seeds)
]
every_function = pytest.mark.parametrize(
    ("exercise", "function"), [(name, function) for name in SEEDS for function in GRADED[name]]
)


@pytest.mark.parametrize(("check", "seed", "right"), RIGHT)
def test_right_answers_pass(check, seed, right):
    report = check(right, seed)
    assert report.passed, str(report)
    assert report.points(5) == 5


@every_function
def test_the_check_of_the_solution_leaves_no_trace(exercise, function, capsys):
    solution = answer(exercise, function, {})
    torch.manual_seed(3)
    before, figures = torch.random.get_rng_state(), plt.get_fignums()
    assert GRADED[exercise][function].check(solution, 7).passed
    assert torch.equal(before, torch.random.get_rng_state())
    assert plt.get_fignums() == figures
    assert capsys.readouterr() == ("", "")


def unwritten(*_):
    raise NotImplementedError()


ODD = [
    None,
    3,
    dict,
    print,
    unwritten,
    lambda *x: x,
    lambda *_: None,
    lambda *_: "",
    lambda *_: {},
    lambda *_: float("nan"),
    lambda *_: torch.ones(()),
]


@every_function
def test_odd_things_are_refused(exercise, function, capsys):
    reports = {str(odd): GRADED[exercise][function].check(odd) for odd in ODD}
    for odd, report in reports.items():
        assert report.points(5) == 0, f"{odd}: {report}"
        assert all(f.likely for f in report.findings if f.passed is False)
        assert "Traceback" not in str(report)
    assert "still to be written" in str(reports[str(unwritten)])
