"""The Transformer's parts do what the paper says of them."""

import math

import pytest
import torch

from modarch_utils.models.transformer import (
    EncoderLayer,
    sinusoidal_positions,
)


@pytest.fixture
def x():
    return torch.randn(2, 9, 24, generator=torch.Generator().manual_seed(0))


def test_the_whole_stack_can_be_causal(x):
    model = torch.nn.Sequential(*(EncoderLayer(24, 4, 32, causal=True) for _ in range(2)))
    x.requires_grad_()
    model(x)[:, 4].square().sum().backward()
    reach = x.grad.abs().amax((0, 2))
    assert (reach[:5] > 0).all() and not reach[5:].any()


def test_dropout_is_for_training_only(x):
    layer = EncoderLayer(24, 4, 32, dropout=0.5)
    assert not torch.equal(layer(x), layer(x))
    layer.eval()
    assert torch.equal(layer(x), layer(x))


@pytest.mark.parametrize("heads", [0, 5])
def test_heads_must_share_the_channels(heads):
    with pytest.raises(ValueError, match=f"24 channels cannot be shared by {heads} heads; take"):
        EncoderLayer(24, heads, 32)


def test_positions_are_the_papers_waves():
    table = sinusoidal_positions(5000, 6)
    assert table.shape == (5000, 6) and table.dtype == torch.float32
    for pos in (0, 1, 77, 4999):
        for i in range(3):
            angle = pos / 10000 ** (2 * i / 6)
            assert table[pos, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[pos, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_positions_need_an_even_dim():
    with pytest.raises(ValueError, match="take an even dim instead of 7"):
        sinusoidal_positions(4, 7)
