"""The check of exercise 1 beside what test_answers.py asks of all: modules that are no block."""

import random
from itertools import combinations, product

import pytest
from torch import nn

from modarch_utils.checks import ex1
from modarch_utils.models.convnext import Block
from tests.checks.answers import answer, wrong_answers
from tests.checks.mistakes import assert_names


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
