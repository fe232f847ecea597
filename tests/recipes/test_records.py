"""The records that recipes left behind are whole."""

import json

import pytest

from modarch_utils import records, zoo
from modarch_utils.data import pairs, scenes
from modarch_utils.models.ladder import LADDER
from modarch_utils.studies import block_costs, lengths
from modarch_utils.studies.climb import RATES
from recipes import progressive_scenes


def test_records_round_trip_and_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    records.save("one", settings={"epochs": 2}, results=[{"seconds": 30}, {"seconds": 60}])
    record = records.load("one")
    assert record["minutes"] == 1.5
    assert record["settings"] == {"epochs": 2}
    assert {"date", "torch", "python"} <= record["provenance"].keys()
    with pytest.raises(FileNotFoundError, match="no record 'two'.*recipes.two"):
        records.load("two")


@pytest.mark.parametrize(
    "name",
    [
        "convnext_ladder",
        "masked_pretraining",
        "small_net_recipe",
        "inductive_bias",
        "scaling_law",
        "frozen_features",
        "progressive_scenes",
        "architecture_search",
        "mini_dinov2_pretrained",
        "mini_dinov2",
        "dinov2_features",
        "mini_sd_autoencoder",
        "mini_convnext",
        "mini_efficientnetv2",
    ],
)
def test_shipped_records_belong_to_this_renderer(name):
    assert records.load(name)["settings"]["scenes"] == scenes.version()


@pytest.mark.parametrize("name", ["mini_reader", "mini_sd", "few_steps"])
def test_shipped_records_of_pairs_belong_to_this_renderer(name):
    assert records.load(name)["settings"]["scenes"] == pairs.version()


def test_ladder_record_is_whole():
    record = records.load("convnext_ladder")
    seeds = record["settings"]["seeds"]
    assert len(seeds) >= 3
    for step in LADDER:
        rows = [r for r in record["results"] if r["key"] == step.key]
        tried = [r for r in rows if r["seed"] == seeds[0]]
        assert sorted(r["lr"] for r in tried) == sorted(RATES[step.recipe])
        best = max(tried, key=lambda r: r["val"])["lr"]
        assert set(records.select(record, "lr", key=step.key)) == {best}
        assert records.select(record, "seed", key=step.key).tolist() == seeds


def test_select_takes_the_chosen_rate_alone():
    rows = [{"net": n, "lr": lr, "test": 10 * n + lr} for n in (1, 2) for lr in (3, 4)]
    record = {"name": "x", "results": rows, "settings": {}}
    assert records.select(record, "test", net=2).tolist() == [23, 24]
    record["settings"]["best_lr"] = [{"net": 1, "lr": 4}, {"net": 2, "lr": 3}]
    assert records.select(record, "test").tolist() == [14, 23]
    assert records.select(record, "lr", net=2).tolist() == [3]
    with pytest.raises(ValueError, match="'x' has no run with {'net': 3}"):
        records.select(record, "test", net=3)


def test_small_net_record_is_whole():
    record = records.load("small_net_recipe")
    seeds = record["settings"]["seeds"]
    for case in record["settings"]["best_lr"]:
        rows = [r for r in record["results"] if case.items() <= r.items()]
        assert [r["seed"] for r in rows] == seeds
    assert len(record["settings"]["best_lr"]) == 2 * len(record["settings"]["choices"])


def test_fcmae_record_is_whole():
    record = records.load("masked_pretraining")
    variants = [(r["grn"], r["pretrained"], r["seed"]) for r in record["results"]]
    assert len(set(variants)) == len(variants) == 4 * len(record["settings"]["seeds"])
    json.dumps(record, allow_nan=False)


def test_inductive_bias_record_is_whole():
    record = records.load("inductive_bias")
    seeds, sizes = record["settings"]["seeds"], record["settings"]["hunger"]["sizes"]
    for case in record["settings"]["best_lr"]:
        hunger = case["study"] == "hunger"
        for n in sizes if hunger else [2048]:
            assert sorted(records.select(record, "seed", **case, n=n)) == seeds
            if hunger and n in sizes[-2:]:
                assert records.select(record, "sideways", **case, n=n).shape[0] == len(seeds)


def test_scaling_record_is_whole():
    record = records.load("scaling_law")
    settings = record["settings"]
    for width in settings["widths"]:
        for n in settings["sizes"]:
            assert sorted(records.select(record, "seed", width=width, n=n)) == settings["seeds"]
    assert (records.select(record, "error") > 0).all()  # the law is fitted to logarithms


def test_frozen_features_record_is_whole():
    record = records.load("frozen_features")
    for method in ("frozen", "untrained", "scratch", "scratch_32"):
        for k in record["settings"]["per_class"]:
            found = records.select(record, "seed", method=method, per_class=k)
            assert sorted(found) == record["settings"]["seeds"]


def test_cost_record_is_whole():
    record = records.load("cost_of_length")
    layers = {(r["kind"], r.get("layer")) for r in record["results"]}
    wanted = {("sequence", name) for name in lengths.SEQUENCE} | {
        ("image", n) for n in lengths.IMAGE
    }
    assert layers == wanted | {("library", None)}
    for row in record["results"]:
        if row["kind"] != "library":
            assert row["sizes"] == list(
                lengths.LENGTHS if row["kind"] == "sequence" else lengths.SIDES
            )


def test_progressive_record_is_whole():
    record = records.load("progressive_scenes")
    seeds = record["settings"]["seeds"]
    assert len(seeds) >= 3
    for case in progressive_scenes.CASES:
        short = case["epochs"] in record["settings"]["short"]
        wanted = record["settings"]["many_seeds"] if short else seeds
        assert sorted(records.select(record, "seed", **case)) == wanted
        tried = {r["lr"] for r in record["results"] if case.items() <= r.items()}
        assert tried == set(record["settings"]["rates"])
    cost = record["settings"]["epoch_seconds"]
    # The rival in "equal time" must not have been given less than its share.
    assert record["settings"]["time_share"] >= cost["adaptive"] / cost["fixed"]


def test_fused_map_record_is_whole():
    record = records.load("fused_map")
    cells = {(r["width"], r["side"]) for r in record["results"] if r["kind"] == "cell"}
    numbers = record["settings"]["numbers"]
    for width in block_costs.WIDTHS:
        for side in block_costs.SIDES:
            fits = block_costs.batch_size(width, side, numbers) > 0
            assert ((width, side) in cells) == fits
    kernels = {r["name"] for r in record["results"] if r["kind"] == "kernel"}
    assert len(kernels) == 2 + len(block_costs.KERNELS)


def test_search_record_is_whole():
    record = records.load("architecture_search")
    settings = record["settings"]
    names = {*settings["patterns"].values(), *settings["drawn"]}
    assert len(settings["drawn"]) >= 24
    assert {r["name"] for r in record["results"] if r["kind"] == "step"} == names
    for name in names:
        found = records.select(record, "seed", kind="training", name=name)
        assert sorted(found) == settings["seeds"]


@pytest.mark.parametrize("name", ["mini_dinov2_pretrained", "mini_dinov2"])
def test_record_of_a_training_without_labels_is_whole(name):
    record = records.load(name)
    settings = record["settings"]
    assert settings["sha256"] == zoo.find(name.replace("_", "-")).sha256
    epochs = settings["training"]["epochs"]
    assert records.select(record, "epoch").tolist() == list(range(epochs + 1))
    assert records.select(record, "epoch", trained=True).tolist() == list(range(1, epochs + 1))
    assert (records.select(record, "seconds", trained=True) > 0).all()
    scored = records.select(record, "epoch", scored=True).tolist()
    assert scored == [*range(0, epochs, 2), epochs]
    for factor in scenes.CLASSES:
        for token in ("cls", "mean_patch"):
            found = records.select(record, f"{factor}_{token}", scored=True)
            assert ((found >= 0) & (found <= 100)).all()
    meters = ("dino", "ibot", "koleo", "entropy_of_mean", "mean_entropy", "kl", "spread")
    for what in meters if name == "mini_dinov2_pretrained" else ("loss", "lr"):
        assert len(records.select(record, what, trained=True)) == epochs
    json.dumps(record, allow_nan=False)
