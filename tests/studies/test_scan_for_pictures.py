"""The study of Mamba's scan on pictures: what its networks share, and what each token can see."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from modarch_utils.data import scenes
from modarch_utils.models.mamba import selective_scan
from modarch_utils.studies import scan_for_pictures as study
from modarch_utils.studies.scan_for_pictures import GridConv, PictureMixer

SCAN_ALONE = ("x_proj.", "dt_proj.", "A_log", "D")


def mixer(name: str, backwards: bool = False) -> PictureMixer:
    torch.manual_seed(0)
    return PictureMixer(name, backwards)


def test_gated_block_is_mambas_block_whose_scan_hands_on_what_it_gets(monkeypatch):
    whole, gated = mixer("scan"), mixer("gated")
    x = torch.randn(2, 64, study.NET.dim)
    assert not torch.allclose(whole(x), gated(x))
    monkeypatch.setattr("modarch_utils.models.mamba.selective_scan", lambda u, *_: u)
    assert torch.equal(whole(x), gated(x))


def test_gated_block_is_that_of_the_paper():
    """MambaOut's eq. for the Gated CNN block, with Mamba's activations."""
    block, x = mixer("gated"), torch.randn(2, 64, study.NET.dim)
    tokens, gate = block.in_proj(x).chunk(2, -1)
    grid = F.conv2d(
        tokens.reshape(2, 8, 8, -1).permute(0, 3, 1, 2),
        block.conv1d.weight,
        block.conv1d.bias,
        padding=1,
        groups=tokens.shape[-1],
    )
    mixed = F.silu(grid.permute(0, 2, 3, 1).reshape(2, 64, -1))
    expected = F.linear(mixed * F.silu(gate), block.out_proj.weight)
    torch.testing.assert_close(block(x), expected)


def test_one_seed_gives_all_networks_the_weights_that_they_share():
    nets = {name: dict(study.build(name, 3).named_parameters()) for name in study.RATES}
    for name, alone in (("gated", SCAN_ALONE), ("pointwise", (*SCAN_ALONE, "conv1d."))):
        missing = nets["scan"].keys() - nets[name].keys()
        assert missing and all(any(f"mixer.{a}" in m for a in alone) for m in missing)
        assert all(torch.equal(nets["scan"][k], v) for k, v in nets[name].items())
    other = study.build("gated", 4).state_dict()
    assert not torch.equal(other["pos_embed"], nets["gated"]["pos_embed"])


def seen(block: torch.nn.Module, token: int) -> set[int]:
    """The tokens of an 8×8 map that a token's output depends on."""
    x = torch.randn(1, 64, study.NET.dim, requires_grad=True)
    (grad,) = torch.autograd.grad(block(x)[0, token].sum(), x)
    return set(grad[0].abs().sum(-1).nonzero().flatten().tolist())


def test_what_each_token_sees():
    neighbours = {27 + 8 * dy + dx for dy in (-1, 0, 1) for dx in (-1, 0, 1)}
    assert seen(mixer("pointwise"), 27) == {27}
    assert seen(mixer("gated"), 27) == neighbours
    # All that came before, each token with its neighbours.
    assert seen(mixer("scan"), 27) == set(range(28 + 9))
    assert seen(mixer("scan", backwards=True), 27) == set(range(27 - 9, 64))
    assert seen(study.build("scan", 0).blocks[:2], 27) == set(range(64))
    assert seen(study.build("pointwise", 0).blocks, 27) == {27}


def test_backwards_is_the_scan_of_the_turned_sequence():
    ahead, back = mixer("scan"), mixer("scan", backwards=True)
    u = torch.randn(2, 9, 2 * study.NET.dim)
    assert torch.equal(back.scan(u), ahead.scan(u.flip(1)).flip(1))


def test_grid_convolution_keeps_the_order_of_tokens():
    conv = GridConv(1, 3)
    torch.nn.init.zeros_(conv.bias)
    conv.weight.data.zero_()[0, 0, 0, 1] = 1  # take what lies above
    x = torch.arange(16.0).reshape(1, 16, 1)
    assert conv(x).flatten().tolist() == [0.0] * 4 + list(range(12))
    with pytest.raises(ValueError, match="12 tokens fill no square"):
        conv(x[:, :12])


def test_costs_count_the_scan():
    whole, gated, pointwise = (study.cost(name) for name in ("scan", "gated", "pointwise"))
    assert whole["params"] > gated["params"] > pointwise["params"]
    inner, tokens, depth = 2 * study.NET.dim, 64, study.NET.depth
    taps = study.NET.kernel_size**2
    assert gated["params"] - pointwise["params"] == depth * inner * (taps + 1)
    assert gated["macs"] - pointwise["macs"] == depth * tokens * inner * taps
    rank, state = 2, study.NET.state
    projections = inner * (rank + 2 * state) + rank * inner
    assert whole["macs"] - gated["macs"] == depth * tokens * (projections + 4 * inner * state)


@pytest.mark.parametrize("name", study.RATES)
def test_training_learns_and_repeats(name):
    data = scenes.render(64, 32, framing="close")
    settings, net = (
        replace(study.SETTINGS, steps=12, batch_size=16),
        replace(study.NET, dim=16, depth=2),
    )
    runs = [study.train(name, 4e-3, 0, (data.images, data.shape), settings, net) for _ in range(2)]
    (a, history), (b, _) = ((model.state_dict(), history) for model, history in runs)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert len(history.step_loss) == 12 and history.train_loss[-1] < history.train_loss[0]


def test_every_weight_learns():
    for name in study.RATES:
        model = study.build(name, 0)
        model(torch.randn(2, 3, 32, 32)).square().sum().backward()
        assert all(p.grad.abs().sum() > 0 for p in model.parameters())


def test_unknown_network():
    with pytest.raises(ValueError, match="No network 'mlp'"):
        study.build("mlp", 0)


def test_scan_is_mambas():
    block, u = mixer("scan"), torch.randn(2, 9, 2 * study.NET.dim)
    dt, B, C = block.x_proj(u).split([2, study.NET.state, study.NET.state], dim=-1)
    delta, A = F.softplus(block.dt_proj(dt)), -torch.exp(block.A_log)
    assert torch.equal(block.scan(u), selective_scan(u.mT, delta.mT, A, B.mT, C.mT, block.D).mT)
