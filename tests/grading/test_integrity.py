"""What was replaced is found, and what a notebook does anyway is not."""

import builtins
import random

import pytest
import torch

from grading.integrity import Snapshot
from modarch_utils.checks import core, ex1, ex2
from modarch_utils.checks.ex1 import probe
from modarch_utils.models import convnext


@pytest.fixture(scope="module")
def before():
    return Snapshot()


def nothing(*args, **kwargs):
    return 0


@pytest.mark.parametrize(
    ("owner", "name", "value", "found"),
    [
        (ex1, "check", nothing, "modarch_utils.checks.ex1.check"),
        (core.Report, "points", nothing, "modarch_utils.checks.core.Report.points"),
        (core.Report, "__getattribute__", nothing, "checks.core.Report.__getattribute__"),
        (core, "round", nothing, "modarch_utils.checks.core.round"),
        (core, "call", nothing, "modarch_utils.checks.core.call"),
        (core, "RIGHT", core.AFTER, "modarch_utils.checks.core.RIGHT"),
        (probe, "SAME", 10.0, "modarch_utils.checks.ex1.probe.SAME"),
        (ex2, "FIRST", None, "modarch_utils.checks.ex2.FIRST"),
        (convnext, "Block", nothing, "modarch_utils.models.convnext.Block"),
        (torch, "allclose", nothing, "torch.allclose"),
        (torch.nn.functional, "gelu", nothing, "torch.nn.functional.gelu"),
        (torch.Tensor, "abs", nothing, "torch.Tensor.abs"),
        (torch.nn.Module, "parameters", nothing, "torch.nn.modules.module.Module.parameters"),
        (random.Random, "randint", nothing, "random.Random.randint"),
        (builtins, "isinstance", nothing, "builtins.isinstance"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_replaced(before, monkeypatch, owner, name, value, found):
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, value, raising=False)
        changed = before.changed()
    assert any(found in one for one in changed), changed


def test_code_and_defaults_and_contents(before, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(core.call, "__code__", nothing.__code__)
        patch.setattr(core.Report.verdict.fget, "__code__", (lambda self: "").__code__)
        patch.setitem(probe.ACTIVATIONS, "GELU", nothing)
        patch.setattr(ex1.check, "__defaults__", (3,))
        changed = {name.removeprefix("modarch_utils.checks.") for name in before.changed()}
    assert {"core.call", "core.Report.verdict", "ex1.check"} <= changed
    assert "ex1.probe.ACTIVATIONS" in changed


def test_what_a_notebook_does_anyway(before):
    import matplotlib.pyplot as plt

    from modarch_utils import plots
    from modarch_utils.models.convnext import ConvNeXt

    plots.use_style()
    plt.figure()
    plt.close("all")
    torch.manual_seed(3)
    random.seed(3)
    model = ConvNeXt(depths=(1, 1, 1, 1), dims=(4, 8, 8, 8), num_classes=3)
    model(torch.zeros(1, 3, 64, 64)).sum().backward()
    torch.optim.AdamW(model.parameters()).step()
    ex1.check(torch.nn.Identity)
    core.call(lambda: 3)
    assert before.changed() == []
