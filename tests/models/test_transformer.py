"""The Transformer's parts do what the paper says of them."""

import math

import pytest
import torch

from modarch_utils.models.transformer import (
    EncoderLayer,
    MultiHeadAttention,
    TransformerEncoder,
    sinusoidal_positions,
)


@pytest.fixture
def x():
    return torch.randn(2, 9, 24, generator=torch.Generator().manual_seed(0))


def test_weights_are_a_mean_and_make_the_output(x):
    attention = MultiHeadAttention(24, 4)
    weights = attention.attention_weights(x)
    assert weights.shape == (2, 4, 9, 9) and (weights > 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, 9))
    values = attention.heads(x)[2]
    heads = (weights @ values).transpose(1, 2).reshape(2, 9, 24)
    torch.testing.assert_close(attention.proj(heads), attention(x))


def test_causal_attention_sees_no_later_position(x):
    attention = MultiHeadAttention(24, 4, causal=True)
    assert not attention.attention_weights(x).triu(1).any()
    other = x.clone()
    other[:, 5:] += 1
    changed = (attention(other) - attention(x)).abs().amax((0, 2))
    assert changed[:5].max() < 1e-6 and changed[5:].min() > 1e-3


def test_the_whole_stack_can_be_causal(x):
    model = TransformerEncoder(24, 4, 32, depth=2, causal=True)
    x.requires_grad_()
    model(x)[:, 4].square().sum().backward()
    reach = x.grad.abs().amax((0, 2))
    assert (reach[:5] > 0).all() and not reach[5:].any()


def test_without_positions_order_means_nothing(x):
    model = TransformerEncoder(24, 4, 32, depth=2, norm_first=True)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x[:, order]), model(x)[:, order])
    positions = sinusoidal_positions(9, 24)
    moved = model(x[:, order] + positions) - model(x + positions)[:, order]
    assert moved.abs().max() > 1e-2


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


def test_products_of_positions_tell_their_distance():
    table = sinusoidal_positions(60, 32)
    products = table @ table.T
    for distance in (0, 1, 7):
        diagonal = products.diagonal(distance)
        torch.testing.assert_close(diagonal, diagonal[:1].expand_as(diagonal))
    assert products[0, 0] > products[0, 1] > products[0, 7]


def test_positions_need_an_even_dim():
    with pytest.raises(ValueError, match="take an even dim instead of 7"):
        sinusoidal_positions(4, 7)
