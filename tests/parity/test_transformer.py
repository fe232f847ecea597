"""Our layers of the Transformer against torch's, with the same weights."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modarch_utils.models.transformer import EncoderLayer, MultiHeadAttention
from tests.parity.near import assert_near, assert_same

RENAMES = {
    "attn.qkv.": "self_attn.in_proj_",
    "attn.proj.": "self_attn.out_proj.",
    "mlp.fc1.": "linear1.",
    "mlp.fc2.": "linear2.",
}


def torch_names(named: dict) -> dict:
    """The same entries under torch's names."""
    result = {}
    for name, value in named.items():
        for ours, theirs in RENAMES.items():
            name = name.replace(ours, theirs)
        result[name] = value
    return result


# The paper's base layer, and a tiny one.
SIZES = pytest.mark.parametrize(
    ("dim", "heads", "mlp_dim", "shape"),
    [(24, 3, 40, (3, 11, 24)), (512, 8, 2048, (2, 100, 512))],
    ids=["tiny", "base"],
)


@SIZES
@pytest.mark.parametrize("norm_first", [False, True], ids=["post-norm", "pre-norm"])
def test_layer_equals_torch(dim, heads, mlp_dim, shape, norm_first):
    ours = EncoderLayer(dim, heads, mlp_dim, norm_first=norm_first)
    theirs = nn.TransformerEncoderLayer(
        dim, heads, mlp_dim, dropout=0.0, norm_first=norm_first, batch_first=True
    )
    assert_same(ours, theirs, shape, torch_names)


def test_causal_gelu_layer_equals_torch():
    ours = EncoderLayer(24, 3, 40, activation=F.gelu, causal=True, eps=1e-3)
    theirs = nn.TransformerEncoderLayer(
        24, 3, 40, dropout=0.0, activation=F.gelu, batch_first=True, layer_norm_eps=1e-3
    )
    mask = nn.Transformer.generate_square_subsequent_mask(11)
    assert_same(ours, theirs, (3, 11, 24), torch_names, src_mask=mask, is_causal=True)


@pytest.mark.parametrize("causal", [False, True])
def test_attention_weights_equal_torch(causal):
    torch.manual_seed(0)
    ours, theirs = MultiHeadAttention(24, 3, causal), nn.MultiheadAttention(24, 3, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": ours.qkv.bias,
            "out_proj.weight": ours.proj.weight,
            "out_proj.bias": ours.proj.bias,
        }
    )
    x = 3 * torch.randn(2, 9, 24)
    mask = torch.ones(9, 9, dtype=torch.bool).triu(1) if causal else None
    expected, weights = theirs(x, x, x, attn_mask=mask, average_attn_weights=False)
    assert_near(ours.attention_weights(x), weights, 1e-5)
    assert_near(ours(x), expected, 1e-5)
