"""Our Mamba mixer against transformers', with the same weights."""

import pytest
import torch
from torch import nn
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

from modarch_utils.models.mamba import Mamba
from tests.parity.near import compare


def pair(
    dim: int, state: int = 16, conv: int = 4, expand: int = 2, bias: bool = False
) -> tuple[nn.Module, nn.Module]:
    """The two mixers with the same weights, moved away from their start."""
    config = MambaConfig(
        hidden_size=dim,
        state_size=state,
        conv_kernel=conv,
        expand=expand,
        use_bias=bias,
        num_hidden_layers=1,
    )
    ours, theirs = Mamba(dim, state, conv, expand, bias=bias), MambaMixer(config, 0)
    generator = torch.Generator().manual_seed(0)
    for name, p in ours.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if name in {"A_log", "D", "dt_proj.bias"}:
            p.data += 0.3 * noise
        else:
            p.data = noise / p[0].numel() ** 0.5
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        ({"dim": 24}, (3, 70, 24)),
        ({"dim": 16, "state": 5, "conv": 3, "expand": 3, "bias": True}, (2, 9, 16)),
        ({"dim": 32}, (1, 1, 32)),
        ({"dim": 768}, (2, 24, 768)),
    ],
    ids=["tiny", "odd", "one step", "mamba-130m"],
)
def test_equals_transformers(sizes, shape, training):
    ours, theirs = pair(**sizes)
    ours.train(training), theirs.train(training)
    compare(ours, theirs, shape)


def test_parameters_of_a_layer_of_mamba_130m():
    with torch.device("meta"):
        config = MambaConfig(hidden_size=768, num_hidden_layers=1)
        ours, theirs = Mamba(768), MambaMixer(config, 0)
    shapes = [{n: p.shape for n, p in m.named_parameters()} for m in (ours, theirs)]
    assert shapes[0] == shapes[1]
    assert sum(p.numel() for p in ours.parameters()) == 3_770_880
