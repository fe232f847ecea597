"""The transfer recipe: labels nest, each method runs, and what it decides follows the settings."""

from dataclasses import replace

import pytest
import torch
from transformers import AutoModel

from modarch_utils import records, zoo
from modarch_utils.data import scenes
from modarch_utils.models.dinov2 import load_transformers
from modarch_utils.training.batches import to_input
from recipes import fine_tuning, mini_dinov2_pretrained, streams, transfer

WEIGHTS = zoo.WEIGHTS
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


@pytest.fixture
def shipped(place, monkeypatch):
    """As ``place``, with the course's weights."""
    monkeypatch.setattr(zoo, "WEIGHTS", WEIGHTS)


SMALL_DINO = replace(SMALL, image_size=64, backbone="mini-dinov2")


@pytest.mark.parametrize(
    ("method", "settings"),
    [(m, SMALL) for m in ("probe", *transfer.TRAINED)]
    + [(m, SMALL_DINO) for m in ("probe", *fine_tuning.METHODS)],
)
def test_every_method_runs(shipped, method, settings):
    result = transfer.one_run(method, per_class=2, lr=1e-3, seed=0, settings=settings)
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


@pytest.mark.parametrize("backbone", transfer.BACKBONES)
def test_a_network_that_takes_over_answers_as_the_probe(shipped, backbone):
    settings = replace(SMALL, image_size=64, backbone=backbone)
    pool = transfer.load(settings)[0]
    index = streams.labelled(pool.shape, 2, seed=0)
    _, classifier = transfer.probe(index, settings)
    features = transfer.network(True, 0, backbone=backbone)
    model = transfer.network(True, transfer.CLASSES, backbone=backbone)
    transfer.take_over(model.get_classifier(), classifier)
    x = to_input(pool.images[index])
    with torch.no_grad():
        wanted = classifier.predict_proba(features(x).numpy())
        assert model(x).softmax(1).numpy() == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("backbone", transfer.ADAPTED)
def test_lora_changes_nothing_at_first_and_leaves_the_pretrained_part_alone(shipped, backbone):
    settings = replace(SMALL, image_size=64, backbone=backbone)
    model, plain = (transfer.network(True, transfer.CLASSES, backbone=backbone) for _ in "ab")
    transfer.add_lora(model, settings)
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.allclose(model.eval()(x), plain(x), atol=1e-5)
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {name for name in learns if "lora_" not in name} == {"head.weight", "head.bias"}
    ends = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name in learns if "lora_" in name}
    assert ends == set(transfer.ADAPTED[backbone])


def test_mini_dinov2_in_timm_is_ours():
    ours = mini_dinov2_pretrained.build(0).eval()
    folder = zoo.folder("mini-dinov2")
    load_transformers(ours, AutoModel.from_pretrained(folder).state_dict())
    x = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        wanted, found = ours(x).cls, transfer.network(True, 0, backbone="mini-dinov2")(x)
    assert torch.allclose(found, wanted, atol=1e-4)


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
