"""The shared layers against their definitions."""

import pytest
import torch
from torch import nn

from modarch_utils.models.convnext import ConvNeXt
from modarch_utils.models.dinov2 import DinoVisionTransformer
from modarch_utils.models.efficientnetv2 import EfficientNetV2, Stage
from modarch_utils.models.layers import DropPath, drop_path_rates, init_convnext
from modarch_utils.models.swin import SwinTransformer
from modarch_utils.models.vit import VisionTransformer
from tests.parity.near import randomise


def test_drop_path_drops_whole_samples_and_keeps_the_expectation():
    torch.manual_seed(0)
    x = torch.ones(20_000, 2, 3)
    out = DropPath(0.3)(x)
    per_sample = out.flatten(1)
    assert (per_sample == per_sample[:, :1]).all()
    assert per_sample.unique().tolist() == pytest.approx([0, 1 / 0.7])
    # Standard error of the mean: sqrt(0.3 / 0.7 / 20,000) = 0.005.
    assert out.mean().item() == pytest.approx(1, abs=0.02)


def test_drop_path_is_the_identity_at_test_time_and_at_rate_zero():
    x = torch.randn(5, 4)
    assert torch.equal(DropPath(0.9).eval()(x), x)
    assert torch.equal(DropPath(0.0).train()(x), x)


def test_drop_path_keeps_the_type():
    assert DropPath(0.5)(torch.ones(4, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16


@pytest.mark.parametrize("rate", [-0.1, 1, 1.5])
def test_drop_path_refuses_other_rates(rate):
    with pytest.raises(ValueError, match=rf"\[0, 1\), but is {rate}"):
        DropPath(rate)


def test_drop_path_rates_grow_linearly():
    rates = drop_path_rates((1, 2, 2), 0.4)
    assert [len(stage) for stage in rates] == [1, 2, 2]
    assert [r for stage in rates for r in stage] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    with torch.device("meta"):
        assert drop_path_rates((1, 1), 0.5) == [[0], [0.5]]


SIZES = {"image_size": 32, "patch_size": 8, "dim": 24, "num_heads": 3}
WINDOWS = {"image_size": 32, "window": 4, "dim": 12, "depths": (2, 1), "num_heads": (2, 3)}
STAGES = (Stage("fused", 3, 1, 8, 2, 1), Stage("mbconv", 3, 2, 16, 3, 4, 0.25))
DROPPING = {
    ConvNeXt(depths=(1, 2), dims=(8, 16), drop_path_rate=0.4): [0, 0.2, 0.4],
    SwinTransformer(**WINDOWS, drop_path_rate=0.4): [0, 0.2, 0.4],
    VisionTransformer(**SIZES, depth=3, drop_path_rate=0.4): [0, 0.2, 0.4],
    EfficientNetV2(STAGES, 8, 24, 5, drop_path_rate=0.2): [0, 0.05, 0.1, 0.15, 0.2],
    EfficientNetV2(STAGES, 8, 24, 5, dropout=0.3): [0, 0, 0, 0, 0],
    DinoVisionTransformer(**SIZES, depth=2, drop_path=0.4): [0.4, 0.4],  # the same in all blocks
}


@pytest.mark.parametrize("model", DROPPING, ids=lambda model: type(model).__name__)
def test_drop_path_and_dropout_reach_every_block_and_are_off_at_test_time(model):
    rates = [module.rate for module in model.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx(DROPPING[model])
    randomise(model)  # LayerScale hides what is dropped
    x = torch.randn(4, 3, 32, 32)
    for training in (True, False):
        a, b = (getattr(out, "cls", out) for out in (model.train(training)(x), model(x)))
        assert torch.equal(a, b) != training


def test_init_convnext():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(8, 64, 7), nn.Conv2d(64, 2, 1, bias=False), nn.Linear(200, 100))
    net.apply(init_convnext)
    for layer in (net[0], net[2]):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert not layer.bias.any()
