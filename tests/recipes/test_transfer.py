"""The transfer recipe: labels nest, each method runs, and what it decides follows the settings."""

from dataclasses import replace

import pytest
import torch

from modarch_utils import records
from modarch_utils.data import scenes
from recipes import streams, transfer

SMALL = replace(
    transfer.SETTINGS,
    image_size=32,
    pool=80,
    val_images=20,
    test_images=20,
    steps=2,
    small_steps=2,
    batch_size=16,
)


def test_labels_are_balanced_and_nest(place):
    shape = transfer.load(SMALL)[0].shape
    one, three = (streams.labelled(shape, k, seed=1) for k in (1, 3))
    assert shape[one].bincount().tolist() == [1] * 8
    assert shape[three].bincount().tolist() == [3] * 8
    assert set(one.tolist()) < set(three.tolist())
    assert set(one.tolist()) != set(streams.labelled(shape, 1, seed=2).tolist())


@pytest.mark.parametrize("method", ["probe", *transfer.TRAINED])
def test_every_method_runs(place, method):
    result = transfer.one_run(method, per_class=2, lr=1e-3, seed=0, settings=SMALL)
    assert 0 <= result["val"] <= 100 and 0 <= result["test"] <= 100
    assert result["train_seconds"] > 0


def test_only_the_head_and_the_random_start_depend_on_the_seed():
    ours = transfer.network(pretrained=True, classes=8, seed=0)
    again = transfer.network(pretrained=True, classes=8, seed=0)
    other = transfer.network(pretrained=True, classes=8, seed=1)
    start = transfer.network(pretrained=False, classes=8, seed=0)
    assert torch.equal(ours.classifier.weight, again.classifier.weight)
    assert not torch.equal(ours.classifier.weight, other.classifier.weight)
    assert torch.equal(ours.conv_stem.weight, other.conv_stem.weight)
    assert not torch.equal(ours.conv_stem.weight, start.conv_stem.weight)
    restart = transfer.network(pretrained=False, classes=8, seed=1)
    assert not torch.equal(restart.conv_stem.weight, start.conv_stem.weight)


@pytest.mark.parametrize(
    ("epochs", "opens"), [(1, (0, 1, 1)), (3, (0, 1, 2)), (12, (0, 3, 6)), (48, (0, 12, 24))]
)
def test_opening_follows_the_number_of_epochs(epochs, opens):
    assert transfer.opening(epochs) == opens


def test_every_budget_takes_the_same_steps():
    settings = transfer.SETTINGS
    for k in settings.per_class:
        n = max(settings.batch_size, k * len(scenes.SHAPES))
        for method, steps in (("probe", settings.steps), ("small", settings.small_steps)):
            config = transfer.recipe(n, method, 1e-3, 0, settings)
            assert config.epochs * (n // config.batch_size) == steps


def test_rates_were_chosen_with_seeds_of_their_own():
    settings = records.load("transfer")["settings"]
    for case in settings["best_lr"][1:]:
        tried = [r for r in settings["tuning"] if r["method"] == case["method"]]
        assert sorted(r["lr"] for r in tried) == sorted(settings["rates"])
        assert case["lr"] == max(tried, key=lambda r: r["val"])["lr"]
        assert not {r["seed"] for r in tried} & set(settings["seeds"])


def test_record_comes_out_again():
    record = records.load("transfer")
    again = transfer.one_run("probe", per_class=4, lr=0, seed=0)
    assert again["test"] == pytest.approx(
        records.select(record, "test", method="probe", per_class=4)[0], abs=1.5
    )
