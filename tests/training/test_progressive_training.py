"""Training with a schedule: every epoch gets its size, its augmentation and its dropout."""

from dataclasses import astuple, replace

import numpy as np
import pytest
import torch
from torch import nn

from modarch_utils.data import scenes
from modarch_utils.studies import progressive_scenes
from modarch_utils.training.batches import Batches
from modarch_utils.training.loop import TrainConfig, fit
from modarch_utils.training.progressive import ProgressiveSchedule, Setting, fit_progressively
from modarch_utils.training.randaugment import rand_augment
from tests.training import example

PLAN = ProgressiveSchedule(Setting(8, 0, 0, 0), Setting(16, 6, 0.2, 0.5), 2, 4)
CONFIG = TrainConfig(batch_size=16, lr=2e-3)


class Watched(nn.Module):
    """A classifier of any size that notes what it is trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout()
        self.linear = nn.Linear(3, example.CLASSES)
        self.seen = []

    def forward(self, x):
        if self.training:
            self.seen.append((x.shape[-1], self.dropout.p))
        return self.linear(self.dropout(x.mean((2, 3))))


def both_sizes():
    images, labels = example.data()
    return {16: images, 8: images[:, :, ::2, ::2]}, labels


def test_each_stage_has_its_size_and_its_dropout():
    model = Watched()
    history = fit_progressively(model, *both_sizes(), None, PLAN, CONFIG, progress=False)
    assert model.seen == [(8, 0.0)] * 2 * example.STEPS + [(16, 0.5)] * 2 * example.STEPS
    assert history.epochs == 4
    assert len(set(history.lr)) == 4  # one schedule of the learning rate over all stages


def test_a_schedule_that_changes_nothing_is_plain_training():
    images, labels = both_sizes()
    still = ProgressiveSchedule(Setting(16, 0, 0, 0), Setting(16, 0, 0, 0), 1, 3)
    a, b = example.network(), example.network()
    a.dropout = nn.Dropout(0)
    fit_progressively(a, images, labels, None, still, CONFIG, progress=False)
    fit(b, (images[16], labels), None, replace(CONFIG, epochs=3), progress=False)
    assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())


def test_resuming_in_the_second_stage_is_exact(tmp_path):
    images, labels = both_sizes()
    whole, parts = Watched(), Watched()
    parts.load_state_dict(whole.state_dict())
    fit_progressively(whole, images, labels, None, PLAN, CONFIG, progress=False)
    for stop in (3, None):
        options = dict(out=tmp_path, stop_after=stop, progress=False)
        fit_progressively(parts, images, labels, None, PLAN, CONFIG, **options)
    assert torch.equal(whole.linear.weight, parts.linear.weight)


def test_missing_sizes_and_other_numbers_of_steps_are_refused():
    images, labels = both_sizes()
    with pytest.raises(ValueError, match=r"needs images of \[8\] pixels.*only those of \[16\]"):
        fit_progressively(Watched(), {16: images[16]}, labels, None, PLAN, CONFIG)

    def shorter(epoch):
        return (images[16][:50], labels[:50]), CONFIG

    with pytest.raises(ValueError, match="epoch 0 3 steps, but the schedule has 6"):
        fit(Watched(), (images[16], labels), None, CONFIG, each_epoch=shorter, progress=False)


def test_label_smoothing_follows_the_epochs_own_mixup():
    """Mixup's labels are smoothed already; without mixup the loss has to do it."""
    images, labels = both_sizes()
    data = (images[16], labels)
    quiet = replace(CONFIG, epochs=1, lr=1e-12, warmup_epochs=0, label_smoothing=0.5)
    losses = []
    for mixup in (0.0, 1e-4):  # so small an alpha mixes next to nothing
        recipe = replace(quiet, mixup=mixup)
        torch.manual_seed(0)
        model = Watched()
        model.dropout.p = 0.0
        with torch.no_grad():
            model.linear.weight.mul_(20)

        def each_epoch(epoch, recipe=recipe):
            return data, recipe

        options = dict(each_epoch=each_epoch, progress=False)
        losses.append(fit(model, data, None, quiet, **options).train_loss[0])
    assert losses[0] == pytest.approx(losses[1], rel=0.02)


def test_randaugment_depends_on_its_seed_alone_and_grows_with_the_magnitude():
    images = scenes.render(64, 32, framing="close").images
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    once, again, other = (rand_augment(images, 5, seed) for seed in (1, 1, 2))
    assert torch.equal(once, again) and not torch.equal(once, other)
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()
    assert once.dtype == torch.uint8 and once.shape == images.shape

    def change(magnitude):
        return (rand_augment(images, magnitude, 0).float() - images.float()).abs().mean()

    assert change(1) < change(5) < change(10)
    with pytest.raises(ValueError, match="uint8 images.*float32"):
        rand_augment(images.float(), 5, 0)


def test_batches_use_randaugment():
    images = scenes.render(16, 32, framing="close").images
    plain = TrainConfig(epochs=1, batch_size=16, augment="none", label_smoothing=0)
    labels = torch.zeros(16, dtype=torch.int64)
    x = next(Batches(images, labels, plain).epoch(0))[0]
    y = next(Batches(images, labels, replace(plain, randaugment=6)).epoch(0))[0]
    assert x.shape == y.shape and not torch.equal(x, y)
    with pytest.raises(ValueError, match="randaugment must not be negative"):
        replace(plain, randaugment=-1)


def test_schedules_differ_in_what_their_names_say():
    none, strong = (progressive_scenes.REGULARISATION[name][1] for name in ("none", "strong"))
    for sizes, side in progressive_scenes.FIRST_SIZES.items():
        for name in ("none", "weak", "strong"):
            plan = progressive_scenes.schedule(sizes, name, 20)
            assert {replace(s, image_size=64) for _, _, s in plan.stages()} == {plan.last}
        plan = progressive_scenes.schedule(sizes, "adaptive", 20)
        assert (plan.at(0), plan.at(19)) == (replace(none, image_size=side), strong)
    assert [progressive_scenes.in_equal_time(n) for n in (8, 20)] == [6, 14]
    with pytest.raises(ValueError, match="No 'shrinking'; choose one of fixed, growing"):
        progressive_scenes.schedule("shrinking", "none", 20)


def test_weak_regularisation_is_adaptive_on_average():
    stages = progressive_scenes.schedule("fixed", "adaptive", 20).stages()
    (weak, _) = progressive_scenes.REGULARISATION["weak"]
    mean = np.mean([astuple(setting) for _, _, setting in stages], axis=0)
    assert mean == pytest.approx(astuple(weak))


def test_a_short_run_learns():
    plan = progressive_scenes.schedule("growing", "adaptive", 12)
    settings = replace(progressive_scenes.SETTINGS, train_images=200, test_images=200)
    result = progressive_scenes.train(plan, "close", 8e-3, 0, settings, progress=False)
    assert result["history"].train_loss[-1] < result["history"].train_loss[0]
    assert result["test"] > 20  # one in eight would be guessing
    assert result["train_seconds"] > 0
