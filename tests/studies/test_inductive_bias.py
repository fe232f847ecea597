"""The study of convolution, attention and shifted windows: what it builds, and that it is fair."""

from dataclasses import replace

import pytest
import torch

from modarch_utils.data import renderer, scenes
from modarch_utils.measure import count_params
from modarch_utils.studies import inductive_bias as bias
from modarch_utils.training.equal_steps import equal_steps


@pytest.mark.parametrize("name", bias.RATES)
def test_a_seed_builds_the_same_network(name):
    nets = [bias.build(name, seed) for seed in (0, 0, 1)]
    a, b, c = (net.state_dict() for net in nets)
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert any(not torch.equal(a[k], c[k]) for k in a)
    assert nets[0](torch.rand(2, 3, 32, 32)).shape == (2, 8)


def test_rivals_are_of_equal_size():
    rivals = [count_params(bias.build(name, 0)) for name in ("convnet", "vit", "hybrid")]
    assert max(rivals) < 1.1 * min(rivals)
    swins = [count_params(bias.build(name, 0)) for name in ("swin", "swin_unshifted")]
    assert swins[0] == swins[1]


def test_the_hybrid_is_the_vit_but_for_its_patches():
    vit, hybrid = (bias.build(name, 0) for name in ("vit", "hybrid"))
    ours, theirs = (
        {k: v.shape for k, v in net.state_dict().items() if not k.startswith("patch_embed.")}
        for net in (hybrid, vit)
    )
    assert ours == theirs
    assert isinstance(hybrid.patch_embed, bias.EarlyConvolutions)
    images = torch.rand(2, 3, 32, 32)
    assert hybrid.patch_embed(images).shape == vit.patch_embed(images).shape


def test_early_convolutions_keep_the_order_of_patches():
    torch.manual_seed(0)
    embed = bias.EarlyConvolutions((16, 16, 16), 6).eval()
    images = torch.zeros(1, 3, 32, 32)
    before = embed(images)
    images[..., 8, 24] = 1  # a patch's first pixel is seen from that patch alone
    change = (embed(images) - before).abs().sum(-1)[0]
    assert change.nonzero().tolist() == [[1 * 4 + 3]]


def test_every_set_size_takes_the_same_steps():
    for n in bias.SETTINGS.sizes:
        config = equal_steps(n, bias.SETTINGS.steps, bias.SETTINGS.batch_size, seed=3)
        assert config.epochs * (n // config.batch_size) == bias.SETTINGS.steps
        assert config.warmup_epochs * (n // config.batch_size) == bias.SETTINGS.steps / 16
        assert config.seed == 3
    for n in (100, 32, 64 * 7):
        with pytest.raises(ValueError, match=f"no whole number of passes over {n} images"):
            equal_steps(n, 512, 64)


def test_training_learns_without_augmentation():
    data = scenes.render(64, 32, framing="close")
    settings = replace(bias.SETTINGS, steps=24)
    nets = []
    for _ in range(2):
        net, history = bias.train("hybrid", 2e-3, 0, (data.images, data.shape), settings)
        nets.append(net.state_dict())
    assert all(torch.equal(nets[0][k], nets[1][k]) for k in nets[0])
    assert len(history.step_loss) == 24
    assert history.train_loss[-1] < history.train_loss[0] - 0.3


def test_unknown_network():
    with pytest.raises(ValueError, match="No network 'mlp'"):
        bias.build("mlp", 0)


def test_cuts_move_by_pixels():
    wide = torch.arange(48 * 48).reshape(1, 1, 48, 48)
    (middle,) = bias.moved(wide, 32, 0)
    assert torch.equal(middle, wide[..., 8:40, 8:40])
    left, right, up, down = bias.moved(wide, 32, 3)
    assert torch.equal(left[..., 3:], middle[..., :-3])
    assert torch.equal(right[..., :-3], middle[..., 3:])
    assert torch.equal(up[..., 3:, :], middle[..., :-3, :])
    assert torch.equal(down[..., :-3, :], middle[..., 3:, :])
    with pytest.raises(ValueError, match="by 0 to 8 pixels"):
        bias.moved(wide, 32, 9)


def test_the_middle_of_a_wider_view_is_the_picture():
    data = scenes.render(16, 32, seed=2, framing="close")
    wide, _, _ = renderer.draw(bias.wider(data.factors, 32, 8), 48)
    (middle,) = bias.moved(wide, 32, 0)
    apart = (middle.int() - data.images.int()).abs()
    assert (apart == 0).float().mean() > 0.99


def test_neighbours_are_labelled_by_their_marks():
    maps, labels, column = bias.neighbours(300, 0)
    assert torch.equal(maps.sum((1, 2, 3)), torch.full((300,), 2.0))
    row, left = maps.sum(1).flatten(1).argmax(1) // 8, maps.sum(1).flatten(1).argmax(1) % 8
    assert torch.equal(left, column)
    i = torch.arange(300)
    same = (maps[i, :, row, left] == maps[i, :, row, left + 1]).all(1)
    assert torch.equal(same.long(), labels)
    assert 0.4 < labels.float().mean() < 0.6
    assert bias.crosses(torch.arange(7)).tolist() == [False] * 3 + [True] + [False] * 3


def test_windows_that_never_shift_cannot_compare():
    """Without the shift the logits are a sum over windows, so the four pairs of marks balance."""
    sums = {}
    for shift in (False, True):
        net, _ = bias.train_windows(shift, 1e-2, 0, replace(bias.WINDOWS, epochs=1))
        maps = torch.zeros(4, 2, 8, 8)
        for i, (left, right) in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
            maps[i, left, 2, 3] = 1
            maps[i, right, 2, 4] = 1
        with torch.no_grad():
            both, first, second, neither = net(maps)
        sums[shift] = (both - first - second + neither).abs().max().item()
    assert sums[False] < 1e-5
    assert sums[True] > 1e-3
