"""The check of exercise 1: right answers pass, and each mistake is called by its name."""

import random
from itertools import combinations, product

import pytest
import torch
from torch import nn

from modarch_utils.checks import ex1
from modarch_utils.checks.ex1 import stretch
from modarch_utils.models.convnext import Block
from tests.checks.answers import answer, wrong_answers
from tests.checks.ex1 import right
from tests.checks.mistakes import assert_names


def name(value):
    return getattr(value, "__name__", None)


@pytest.mark.parametrize("answer", right.ANSWERS, ids=name)
@pytest.mark.parametrize("seed", range(3))
def test_right_answers_pass(answer, seed):
    report = ex1.check(answer, seed)
    assert report.passed, str(report)
    assert report.points(6) == 6


@pytest.mark.parametrize("seed", range(3))
def test_right_answers_to_the_stretch_parts_pass(seed):
    for function in (right.grn, right.grn_of_the_package):
        assert stretch.check_grn(function, seed).passed
    assert stretch.check_from_timm(right.from_timm, seed).passed


def test_the_courses_own_block_passes():
    assert ex1.check(Block).passed


def test_pairs_of_mistakes_never_break_the_check():
    wrong = [w.change for w in wrong_answers("ex1") if w.function == "ConvNeXtBlock"]
    pairs = [
        one | two
        for one, two in combinations(wrong, 2)
        if not any(a in b or b in a for a, b in product(one, two))
    ]
    for change in random.Random(0).sample(pairs, 15):
        report = ex1.check(answer("ex1", "ConvNeXtBlock", change))
        assert not report.passed and len(report.findings) == len(ex1.EXPECTED)
        assert "cannot be read" not in str(report)


@pytest.mark.parametrize(
    "odd",
    [
        lambda dim: nn.Identity(),
        lambda dim: nn.Conv2d(dim, dim, 1),
        lambda dim: nn.Conv2d(dim, dim, 7, padding=3, groups=dim),
        lambda dim: nn.Sequential(
            nn.Conv2d(dim, 4 * dim, 1), nn.GELU(), nn.Conv2d(4 * dim, dim, 1)
        ),
        lambda dim: nn.Dropout(0.5),
        lambda dim: nn.LayerNorm([]),
        lambda dim: Block(2 * dim),
        lambda dim: None,
        None,
    ],
)
def test_odd_things_are_refused(odd):
    report = ex1.check(odd)
    assert not report.passed
    assert all(f.likely for f in report.findings if f.passed is False)


def test_names_are_not_trusted():
    class Liar(Block):
        """A residual block with LayerScale: x + gamma * ..."""

        passed, residual, shortcut = True, True, True

        def forward(self, x):
            return super().forward(x) - x

        def extra_repr(self):
            return "residual=True"

    assert_names(ex1.check(Liar), {"shortcut"}, "residual connection is missing")


def test_the_check_leaves_the_callers_random_numbers_alone():
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    ex1.check(right.AsInTheChapter)
    assert torch.equal(before, torch.random.get_rng_state())


def unwritten(_):
    raise NotImplementedError()


def test_an_unwritten_block_gets_no_points():
    report = ex1.check(unwritten)
    assert report.points(6) == 0
    assert "still to be written" in str(report) and "Traceback" not in str(report)
