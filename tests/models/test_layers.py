"""The shared layers against their definitions."""

import pytest
import torch
from torch import nn

from modarch_utils.models.layers import DropPath, LayerNorm2d, drop_path_rates, init_convnext


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


def test_layer_norm_2d_normalises_each_position_over_the_channels():
    torch.manual_seed(0)
    x = 3 * torch.randn(2, 6, 4, 5) + 1
    norm = LayerNorm2d(6, eps=1e-6)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    mean, var = x.mean(1, keepdim=True), x.var(1, keepdim=True, correction=0)
    expected = (x - mean) / (var + 1e-6).sqrt()
    expected = expected * norm.weight[:, None, None] + norm.bias[:, None, None]
    torch.testing.assert_close(norm(x), expected, rtol=1e-5, atol=1e-5)


def test_plain_layer_norm_is_wrong_on_images():
    x = torch.randn(2, 6, 4, 5)
    with pytest.raises(RuntimeError, match="normalized_shape"):
        nn.LayerNorm(6)(x)
    square = torch.randn(2, 6, 6, 6)  # now the width equals the channels, and nothing complains
    assert not torch.allclose(nn.LayerNorm(6)(square), LayerNorm2d(6)(square), atol=0.1)


def test_drop_path_rates_grow_linearly():
    rates = drop_path_rates((1, 2, 2), 0.4)
    assert [len(stage) for stage in rates] == [1, 2, 2]
    assert [r for stage in rates for r in stage] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    with torch.device("meta"):
        assert drop_path_rates((1, 1), 0.5) == [[0], [0.5]]


def test_init_convnext():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(8, 64, 7), nn.Conv2d(64, 2, 1, bias=False), nn.Linear(200, 100))
    net.apply(init_convnext)
    for layer in (net[0], net[2]):
        assert layer.weight.std().item() == pytest.approx(0.02, rel=0.05)
        assert not layer.bias.any()
