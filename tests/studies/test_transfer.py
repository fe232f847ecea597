"""Rates and freezing follow from layers and epochs alone; cached features follow the content."""

import random

import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay
from torch.optim import AdamW

from modarch_utils.studies import transfer
from modarch_utils.training.batches import Batches
from modarch_utils.training.config import TrainConfig

OPENS = (0, 3, 6)


def convnext():
    """A timm network small enough to train here: stem, four stages, classifier."""
    torch.manual_seed(0)
    return timm.create_model("convnext_atto", num_classes=3, depths=(1, 1, 2, 1), dims=(4, 4, 8, 8))


def efficientnet():
    torch.manual_seed(0)
    return timm.create_model("tf_efficientnet_lite0", num_classes=3)


def data(n=8):
    """Noise, brighter in the channel that is the label."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % 3
    images = torch.randint(0, 156, (n, 3, 32, 32), dtype=torch.uint8, generator=rng)
    images[torch.arange(n), labels] += 99
    return images, labels


def state(model):
    """What training would see: which parameters learn, which modules are in training mode."""
    learn = {name: p.requires_grad for name, p in model.named_parameters()}
    return learn, {name: m.training for name, m in model.named_modules()}


@pytest.mark.parametrize("make", [convnext, efficientnet])
def test_layer_decay_is_timms(make):
    model = make()
    rates = transfer.decayed_rates(model, 0.1, 0.7)
    ours = {
        id(p): (g["lr"], g["weight_decay"])
        for g in transfer.rate_groups(model, rates, 0.05)
        for p in g["params"]
    }
    theirs = {
        id(p): (0.1 * g["lr_scale"], g["weight_decay"])
        for g in param_groups_layer_decay(model, weight_decay=0.05, layer_decay=0.7)
        for p in g["params"]
    }
    assert ours.keys() == theirs.keys() == {id(p) for p in model.parameters()}
    for key, value in ours.items():
        assert value == pytest.approx(theirs[key])
    assert len({lr for lr, _ in ours.values()}) > 4


def test_two_rates_single_out_the_classifier():
    model = efficientnet()
    rates = transfer.two_rates(model, 1.0, 0.25)
    high = {name for name, lr in rates.items() if lr == 1.0}
    assert high == {"classifier.weight", "classifier.bias"}
    assert set(rates.values()) == {1.0, 0.25}


def test_a_parameter_without_rate_is_named():
    model = efficientnet()
    rates = transfer.two_rates(model, 1.0, 0.1)
    del rates["conv_stem.weight"]
    with pytest.raises(ValueError, match="no learning rate: conv_stem.weight"):
        transfer.rate_groups(model, rates, 0.0)


def test_optimizer_holds_frozen_parameters_too():
    model = efficientnet()
    transfer.trainable(model, 0, OPENS)
    groups = transfer.rate_groups(model, transfer.two_rates(model, 1.0, 0.1), 0.0)
    held = [id(p) for group in groups for p in group["params"]]
    assert len(held) == len(set(held)) == len(list(model.parameters()))


def test_what_opens_when():
    model = efficientnet()

    def learning(epoch):
        transfer.trainable(model, epoch, OPENS)
        return {name for name, p in model.named_parameters() if p.requires_grad}

    every = {name for name, _ in model.named_parameters()}
    head = {"classifier.weight", "classifier.bias"}
    last = {n for n in every if n.startswith(("blocks.6.", "conv_head", "bn2"))}
    for epoch in range(10):
        wanted = head if epoch < 3 else head | last if epoch < 6 else every
        assert learning(epoch) == wanted


def test_trainable_depends_on_the_epoch_alone():
    wanted = {}
    for epoch in range(9):
        fresh = convnext()
        transfer.trainable(fresh, epoch, OPENS)
        wanted[epoch] = state(fresh)
    assert wanted[0] != wanted[3] != wanted[6] == wanted[8]
    model, rng = convnext(), random.Random(0)
    for _ in range(20):
        epoch = rng.randrange(9)
        rng.choice([model.train, model.eval, lambda: model.requires_grad_(False), lambda: None])()
        transfer.trainable(model, epoch, OPENS)
        assert state(model) == wanted[epoch]


def test_frozen_layers_stay_as_they_are_and_opened_ones_move():
    model = efficientnet()
    batches = Batches(*data(), TrainConfig(epochs=9, batch_size=4, warmup_epochs=0))
    rates = transfer.two_rates(model, 1e-2, 1e-2)
    optimizer = AdamW(transfer.rate_groups(model, rates, 0.05))

    def prepare(net, epoch):
        transfer.trainable(net, epoch, OPENS)

    def moved(epoch):
        before = {name: value.clone() for name, value in model.state_dict().items()}
        transfer.run_epoch(model, optimizer, batches, epoch, prepare)
        after = model.state_dict()
        return {name for name in before if not torch.equal(before[name], after[name])}

    assert moved(0) == {"classifier.weight", "classifier.bias"}  # running statistics stay, too
    # One epoch with everything open leaves gradients and momentum behind; freezing holds anyway.
    assert {"conv_stem.weight", "bn1.running_mean", "blocks.6.0.bn1.weight"} <= moved(6)
    assert moved(1) == {"classifier.weight", "classifier.bias"}
    assert "conv_stem.weight" not in moved(4)


@pytest.mark.parametrize("stop", [3, 7])
def test_resuming_equals_running_through(stop):
    config = TrainConfig(epochs=9, batch_size=4, warmup_epochs=1)

    def parts():
        model = convnext()
        rates = transfer.decayed_rates(model, 1e-2, 0.8)
        return model, AdamW(transfer.rate_groups(model, rates, 0.05))

    def run(model, optimizer, epochs):
        batches = Batches(*data(), config)
        return [
            transfer.run_epoch(
                model, optimizer, batches, e, lambda net, now: transfer.trainable(net, now, OPENS)
            )
            for e in epochs
        ]

    whole, optimizer = parts()
    losses = run(whole, optimizer, range(9))
    first, optimizer = parts()
    begun = run(first, optimizer, range(stop))
    saved, memory = first.state_dict(), optimizer.state_dict()
    second, optimizer = parts()
    second.load_state_dict(saved)
    optimizer.load_state_dict(memory)
    assert begun + run(second, optimizer, range(stop, 9)) == losses
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


def test_fine_tuning_learns_and_follows_each_rate():
    config = TrainConfig(epochs=12, batch_size=4, warmup_epochs=0, label_smoothing=0.0)
    model = convnext()
    losses = transfer.fine_tune(model, data(), config, transfer.two_rates(model, 1e-2, 1e-2))
    assert len(losses) == 12 and losses[-1] < 0.7 * losses[0]
    assert not model.training

    model = convnext()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    transfer.fine_tune(model, data(), config, transfer.two_rates(model, 1e-2, 0.0))
    changed = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
    assert changed == {name for name in before if name.startswith("head.")}


@pytest.mark.parametrize(("epoch", "opens"), [(0, ()), (0, (3, 0)), (-1, (0, 3))])
def test_impossible_schedules_are_refused(epoch, opens):
    with pytest.raises(ValueError, match="opens must be epochs"):
        transfer.trainable(convnext(), epoch, opens)


def test_cached_features_follow_the_content(tmp_path, monkeypatch):
    monkeypatch.setenv("MODARCH_CACHE", str(tmp_path))
    model, (images, _) = convnext().eval(), data()
    model.reset_classifier(0)
    calls = []
    model.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        wanted = model(images.float() / 127.5 - 1)
    calls.clear()

    first = transfer.cached_features(model, images, batch_size=8)
    assert torch.allclose(first, wanted, atol=1e-6)
    assert torch.equal(transfer.cached_features(model, images), first)
    assert len(calls) == 1  # the second answer came from disk

    other = images.clone()
    other[0, 0, 0, 0] += 1
    assert not torch.equal(transfer.cached_features(model, other)[0], first[0])
    with torch.no_grad():
        model.stem[0].weight.mul_(1.5)
    assert not torch.equal(transfer.cached_features(model, images), first)
    for file in (tmp_path / "features").iterdir():
        file.write_bytes(b"damaged")
    calls.clear()
    transfer.cached_features(model, images)
    assert calls
    with pytest.raises(ValueError, match="training mode"):
        transfer.cached_features(model.train(), images)
