"""The learning rate by hand, and which parameters decay."""

import math

import pytest
from torch import nn

from modarch_utils.models.convnext import ConvNeXt
from modarch_utils.training.schedules import parameter_groups, warmup_cosine


def test_warmup_is_a_line_and_decay_half_a_cosine():
    rates = [warmup_cosine(step, total=12, warmup=4, peak=2.0) for step in range(12)]
    assert rates[:4] == [0.5, 1.0, 1.5, 2.0]
    assert rates[4] == 2.0  # cos 0
    assert rates[6] == pytest.approx(1 + math.sqrt(0.5))  # a quarter of the way: cos 45°
    assert rates[8] == pytest.approx(1.0)  # half way: cos 90°
    assert rates[10] == pytest.approx(1 - math.sqrt(0.5))
    assert 0 < rates[11] < rates[10]


def test_without_warmup_the_first_step_is_the_peak():
    assert warmup_cosine(0, total=10, warmup=0, peak=0.3) == 0.3


def test_warmup_alone_ends_at_the_peak():
    assert warmup_cosine(9, total=10, warmup=10, peak=0.3) == pytest.approx(0.3)


def test_only_matrices_and_kernels_decay():
    model = ConvNeXt(depths=(1, 1), dims=(8, 16), num_classes=3, layer_scale=1e-6, use_grn=True)
    model.head.weight.requires_grad_(False)
    decay, no_decay = parameter_groups(model, weight_decay=0.05)
    assert (decay["weight_decay"], no_decay["weight_decay"]) == (0.05, 0.0)

    names = {id(p): name for name, p in model.named_parameters()}
    decayed = {names[id(p)] for p in decay["params"]}
    spared = {names[id(p)] for p in no_decay["params"]}
    assert decayed.isdisjoint(spared)
    assert decayed | spared == set(names.values()) - {"head.weight"}
    kinds = {name: module for name, module in model.named_modules()}
    for name in decayed:
        owner, _, leaf = name.rpartition(".")
        assert leaf == "weight" and isinstance(kinds[owner], nn.Conv2d | nn.Linear), name
    # One dimension (norms, LayerScale), biases, and GRN's gamma and beta with four dimensions.
    assert {n.rpartition(".")[2] for n in spared} == {"weight", "bias", "gamma", "beta"}
    assert any(p.ndim == 4 for p in no_decay["params"])


def test_a_frozen_model_is_refused():
    with pytest.raises(ValueError, match="requires_grad=False"):
        parameter_groups(nn.Linear(2, 2).requires_grad_(False), 0.1)
