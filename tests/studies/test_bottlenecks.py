"""The study of the four blocks: equal cost, who mixes neighbours, and that a run learns."""

from dataclasses import replace

import pytest
import torch

from modarch_utils.data import scenes
from modarch_utils.measure import count_macs, count_params
from modarch_utils.models.uib import KINDS
from modarch_utils.studies import bottlenecks
from modarch_utils.studies.climb import SETTINGS

SHAPE = (1, 3, SETTINGS.image_size, SETTINGS.image_size)


def test_the_four_cost_the_same():
    with torch.device("meta"):
        nets = [bottlenecks.build(kind, 8, 0) for kind in KINDS]
    for costs in ([count_macs(net, SHAPE) for net in nets], [count_params(net) for net in nets]):
        assert max(costs) < 1.06 * min(costs)


@pytest.mark.parametrize(("kind", "positions"), [("FFN", 1), ("ConvNext", 16), ("IB", 16)])
def test_only_the_blocks_mix_neighbours(kind, positions):
    """How many positions of the last 4×4 map one pixel reaches."""
    features = bottlenecks.build(kind, 8, 0)[:-3].eval()
    x = torch.randn(SHAPE)
    moved = x.clone()
    moved[..., 12, 12] += 1
    with torch.no_grad():
        changed = (features(x) - features(moved)).abs().amax(1) > 0
    assert changed.shape == (1, 4, 4)
    assert changed.sum() == positions


def test_the_same_seed_builds_the_same_network():
    a, b, c = (bottlenecks.build("IB", 8, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["0.weight"], c["0.weight"])


def test_a_run_learns_without_a_score_after_every_epoch():
    data = scenes.render(128, 32, framing="close")
    settings = replace(SETTINGS, width=8, epochs=4)
    _, history = bottlenecks.train(
        "ExtraDW", 4e-3, 0, (data.images, data.shape), settings, progress=False
    )
    assert history.train_loss[-1] < history.train_loss[0]
    assert not history.val_accuracy


def test_an_unknown_block_is_refused():
    with pytest.raises(ValueError, match="No block 'MBConv'; there are FFN, ConvNext, IB, ExtraDW"):
        bottlenecks.build("MBConv", 8, 0)
