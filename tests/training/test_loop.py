"""The loop: it learns, its loss is torch's, every image is counted, and errors are sentences."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modarch_utils.training.loop import TrainConfig, evaluate, fit
from modarch_utils.training.schedules import warmup_cosine
from tests.training import example

SHORT = TrainConfig(epochs=2, batch_size=16)


class Fixed(nn.Module):
    """Logits that depend on no image: always the same class first."""

    def __init__(self, logits: list[float]):
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, x):
        return self.logits.expand(len(x), -1)


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, example.CLASSES))


@pytest.mark.parametrize(
    "change",
    [{}, {"mixup": 0.8, "cutmix": 1.0}, {"autocast": "bf16"}],
    ids=str,
)
def test_it_learns(change):
    config = replace(TrainConfig(epochs=6, batch_size=16, lr=5e-3), **change)
    model, val = example.network(), example.data(80, seed=1)
    before = evaluate(model, val)
    history = fit(model, example.data(320), val, config, progress=False)
    assert before.accuracy < 0.5 < 0.75 < history.final_accuracy
    assert history.val_loss[-1] < before.loss
    assert history.epochs == len(history.seconds) == len(history.val_loss) == 6
    assert len(history.step_loss) == 6 * 20
    assert history.lr[-1] == pytest.approx(warmup_cosine(119, 120, 20, config.lr))
    assert not model.training
    assert all(p.dtype == torch.float32 for p in model.parameters())
    assert evaluate(model, val).accuracy == pytest.approx(history.final_accuracy, abs=0.05)
    x = torch.randn(4, 3, 16, 16)
    assert torch.equal(model(x), type(model).forward(model, x))  # autocast is over


def test_mixups_smoothing_is_torchs_too():
    # Mixing images of one class leaves the label alone, so only the smoothing is to be seen.
    images, labels = torch.zeros(16, 3, 4, 4), torch.ones(16, dtype=torch.int64)
    config = TrainConfig(epochs=1, batch_size=16, mixup=1.0, label_smoothing=0.3)
    logits = [0.5, -1.0, 2.0]
    expected = F.cross_entropy(torch.tensor([logits]), labels[:1], label_smoothing=0.3)
    history = fit(Fixed(logits), (images, labels), None, config, progress=False)
    assert history.step_loss[0] == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_two_steps_are_torchs_after_clipping(optimizer):
    config = TrainConfig(
        epochs=2,
        batch_size=100,
        optimizer=optimizer,
        lr=1e-3 if optimizer == "adamw" else 0.1,
        warmup_epochs=2,
        augment="none",
        grad_clip=0.1,
    )
    images, labels = example.data()
    ours, theirs = linear(), linear()
    fit(ours, (images, labels), None, config, progress=False)

    weight, bias = theirs[1].weight, theirs[1].bias
    groups = [{"params": [weight], "weight_decay": 0.05}, {"params": [bias], "weight_decay": 0.0}]
    if optimizer == "adamw":
        reference = torch.optim.AdamW(groups, lr=config.lr / 2)
    else:
        reference = torch.optim.SGD(groups, lr=config.lr / 2, momentum=0.9)
    for lr in (config.lr / 2, config.lr):
        for group in reference.param_groups:
            group["lr"] = lr
        reference.zero_grad()
        loss = F.cross_entropy(theirs(images / 127.5 - 1), labels, label_smoothing=0.1)
        loss.backward()
        assert nn.utils.clip_grad_norm_(theirs.parameters(), 0.1) > 0.1
        reference.step()
    torch.testing.assert_close(ours[1].weight, weight, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(ours[1].bias, bias, rtol=1e-3, atol=1e-5)


def test_ema_is_the_weighted_mean_of_the_weights():
    config = replace(SHORT, epochs=1, lr=0.1, ema_decay=0.7)
    seen = []
    model = linear()
    model.register_forward_pre_hook(
        lambda m, _: seen.append(m[1].bias.detach().clone()) if m.training else None
    )
    history = fit(model, example.data(), example.data(30), config, progress=False)
    after = [*seen[1:], model[1].bias.detach()]  # the weights after each step
    average = after[0]  # the first step replaces the random start
    for step, bias in enumerate(after[1:], start=1):
        decay = min(0.7, 1 - (1 + step) ** (-2 / 3))
        average = decay * average + (1 - decay) * bias
    torch.testing.assert_close(history.ema_weights["1.bias"], average)
    model.load_state_dict(history.ema_weights)
    assert evaluate(model, example.data(30)).accuracy == history.ema_accuracy[-1]


def test_another_objective_without_labels():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 3, 3, padding=1))
    images = example.data()[0]

    def denoise(model, images, targets):
        assert targets.shape == (16, 2)
        noisy = images + 0.3 * torch.randn_like(images)
        return F.mse_loss(model(noisy), images)

    config = replace(SHORT, epochs=5, lr=1e-2)
    history = fit(model, (images, torch.zeros(100, 2)), None, config, loss_fn=denoise)
    assert history.train_loss[-1] < 0.5 * history.train_loss[0]
    assert history.val_accuracy == []


def test_fit_is_repeatable_and_leaves_generators_and_threads_alone():
    torch.manual_seed(5)
    expected, threads = torch.rand(1), torch.get_num_threads()
    losses = []
    for _ in range(2):
        model = example.network(drop_path=0.5)
        torch.manual_seed(5)
        losses.append(fit(model, example.data(), None, SHORT, progress=False).step_loss)
        assert torch.equal(torch.rand(1), expected)
    assert losses[0] == losses[1]
    assert torch.get_num_threads() == threads


def test_evaluate_counts_every_image_once():
    labels = torch.tensor([2] * 5 + [0] * 2)
    images = torch.zeros(7, 3, 4, 4)
    model = Fixed([0.0, 0.0, math.log(2)]).train()
    for batch_size in (1, 3, 7, 100):
        result = evaluate(model, (images, labels), batch_size=batch_size)
        assert result.accuracy == 5 / 7
        # Class probabilities are 1/4, 1/4, 1/2.
        assert result.loss == pytest.approx((5 * math.log(2) + 2 * math.log(4)) / 7)
    assert model.training


def test_progress_is_silent_when_told(capsys, monkeypatch):
    def output(progress):
        fit(linear(), example.data(), None, SHORT, progress=progress)
        captured = capsys.readouterr()
        return captured.out + captured.err

    assert output(False) == ""
    assert "epoch 2/2" in output(True)
    monkeypatch.setenv("MODARCH_PROGRESS", "0")
    assert output(None) == ""


def test_a_loss_that_is_not_finite_stops_before_the_weights_are_spoilt():
    images, labels = example.data()
    images = images.float()
    images[3] = math.nan
    config = replace(SHORT, batch_size=100, augment="none")
    model = linear()
    with pytest.raises(FloatingPointError, match=r"nan at step 0 \(epoch 1\), where lr.*lower lr"):
        fit(model, (images, labels), None, config, progress=False)
    assert all(p.isfinite().all() for p in model.parameters())


IMAGES, LABELS = example.data(32)


@pytest.mark.parametrize(
    ("train", "val", "sentence"),
    [
        ((IMAGES[:0], LABELS[:0]), None, "training set is empty"),
        ((IMAGES, LABELS[:5]), None, "32 images but 5 targets"),
        ((IMAGES[0], LABELS), None, r"must be \(N, C, H, W\)"),
        ((IMAGES, LABELS + 1), None, r"training labels run from 1 to 4.*lie in 0\.\.3"),
        ((IMAGES, LABELS - 1), None, "training labels run from -1"),
        ((IMAGES, LABELS.float()), None, "training labels must be int64"),
        ((IMAGES, LABELS), (IMAGES, LABELS + 1), "validation labels run from 1 to 4"),
        ((IMAGES, LABELS), (IMAGES[:0], LABELS[:0]), "validation set is empty"),
        ((IMAGES[:8], LABELS[:8]), None, r"batch \(16\) is larger"),
    ],
)
def test_bad_data_are_named(train, val, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit(linear(), train, val, SHORT, progress=False)


def test_other_misuse_is_named():
    data = IMAGES, LABELS
    with pytest.raises(ValueError, match="nothing to evaluate"):
        evaluate(linear(), (IMAGES[:0], LABELS[:0]))
    with pytest.raises(ValueError, match="pass loss_fn"):
        fit(nn.Conv2d(3, 3, 1), data, None, SHORT, progress=False)
    with pytest.raises(ValueError, match="mixup and cutmix need the default objective"):
        fit(linear(), data, None, replace(SHORT, mixup=1.0), loss_fn=lambda m, x, y: x.sum())
    if not torch.cuda.is_available() and not torch.backends.mps.is_available():
        with pytest.raises(ValueError, match="needs a GPU"):
            fit(linear(), data, None, replace(SHORT, autocast="fp16"), progress=False)
