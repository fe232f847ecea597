"""The check of exercise 1: right answers pass, and each mistake is called by its name."""

import inspect
import random

import pytest
import torch
from torch import nn

from modarch_utils.checks import ex1
from modarch_utils.models.convnext import Block
from tests.checks.ex1 import right, wrong
from tests.checks.mistakes import assert_distinct, assert_names


def name(value):
    return getattr(value, "__name__", None)


@pytest.mark.parametrize("answer", right.ANSWERS, ids=name)
@pytest.mark.parametrize("seed", range(3))
def test_right_answers_pass(answer, seed):
    report = ex1.check(answer, seed)
    assert report.passed, str(report)
    assert report.points(6) == 6


def test_the_courses_own_block_passes():
    assert ex1.check(Block).passed


@pytest.mark.parametrize(("answer", "rows", "words"), wrong.ANSWERS, ids=name)
def test_each_mistake_is_named(answer, rows, words):
    assert_names(ex1.check(answer), set(rows.split("|")), words)


def test_there_are_enough_answers():
    assert len(right.ANSWERS) >= 6 and len(wrong.ANSWERS) >= 15
    assert_distinct(wrong.ANSWERS)
    assert {answer for answer, *_ in wrong.ANSWERS} == {
        value
        for value in vars(wrong).values()
        if inspect.isclass(value) and value.__module__ == wrong.__name__ and value is not wrong.Base
    }
    assert ex1.check(wrong.Base).passed  # what the wrong ones are made from


def test_two_mistakes_are_two_findings():
    class Two(wrong.NormOverHW, wrong.NoResidual):
        pass

    class Three(wrong.Relu, wrong.SmallKernel, wrong.GammaFromOne):
        pass

    assert_names(ex1.check(Two), {"normalisation", "shortcut"}, "averages over positions")
    assert_names(ex1.check(Three), {"activation", "depthwise", "LayerScale"}, "ReLU")


def test_pairs_of_mistakes_never_break_the_check():
    draw = random.Random(0)
    classes = [a for a, *_ in wrong.ANSWERS if issubclass(a, wrong.Base)]
    pairs = 0
    while pairs < 15:
        try:
            pair = type("Pair", tuple(draw.sample(classes, 2)), {})
        except TypeError:
            continue
        report = ex1.check(pair)
        assert not report.passed and len(report.findings) == len(ex1.EXPECTED)
        assert "cannot be read" not in str(report)
        pairs += 1


@pytest.mark.parametrize(
    "answer",
    [
        lambda dim: nn.Identity(),
        lambda dim: nn.Conv2d(dim, dim, 1),
        lambda dim: nn.Conv2d(dim, dim, 7, padding=3, groups=dim),
        lambda dim: nn.Sequential(
            nn.Conv2d(dim, 4 * dim, 1), nn.GELU(), nn.Conv2d(4 * dim, dim, 1)
        ),
        lambda dim: nn.Dropout(0.5),
        lambda dim: nn.LayerNorm([]),
        lambda dim: wrong.Base(2 * dim),
        lambda dim: None,
        None,
    ],
)
def test_odd_things_are_refused(answer):
    report = ex1.check(answer)
    assert not report.passed
    assert all(f.likely for f in report.findings if f.passed is False)


def test_nan_is_not_right():
    class Nan(wrong.Base):
        def branch(self, x):
            return super().branch(x) * float("nan")

    report = ex1.check(Nan)
    assert not report.passed
    assert "not a number" in str(report)


def test_names_are_not_trusted():
    class Liar(wrong.NoResidual):
        """A residual block with LayerScale: x + gamma * ..."""

        passed, residual, shortcut = True, True, True

        def extra_repr(self):
            return "residual=True"

    assert_names(ex1.check(Liar), {"shortcut"}, "residual connection is missing")


def test_the_check_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    ex1.check(right.AsInTheChapter)
    assert torch.equal(before, torch.random.get_rng_state())


def test_an_unwritten_block_gets_no_points():
    report = ex1.check(wrong.NotWritten)
    assert report.points(6) == 0
    assert "still to be written" in str(report) and "Traceback" not in str(report)
