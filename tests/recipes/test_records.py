"""The records that recipes left behind are whole."""

import json

import pytest

from modarch_utils import records, zoo
from modarch_utils.data import pairs, scenes
from modarch_utils.models.ladder import LADDER
from modarch_utils.models.uib import KINDS
from modarch_utils.studies import block_costs, lengths
from recipes import (
    dinov2_features,
    fine_tuning,
    inductive_bias,
    jobs,
    progressive_scenes,
    sequence_tasks,
    small_net_recipe,
    transfer,
)


def test_records_round_trip_and_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    records.save("one", settings={"epochs": 2}, results=[{"seconds": 30}, {"seconds": 60}])
    record = records.load("one")
    assert record["minutes"] == 1.5
    assert record["settings"] == {"epochs": 2}
    assert {"date", "torch", "python"} <= record["provenance"].keys()
    with pytest.raises(FileNotFoundError, match="no record 'two'.*recipes.two"):
        records.load("two")


NAMES = sorted(file.stem for file in records.FOLDER.glob("*.json"))
WITHOUT_SCENES = {"cost_of_length", "fused_map", "guidance_rate", "sequence_tasks"}
WITHOUT_SCENES |= {"few_step_points"}
WITHOUT_SCENES |= {"mini_lcm", "mini_lcm_lora", "mini_pencil"}  # mini-sd's record tells of them
STUDIES = ["architecture_search", "convnext_ladder", "dinov2_features", "fine_tuning"]
STUDIES += ["frozen_features", "curation", "dino_arms", "few_step_points"]
STUDIES += ["inductive_bias", "masked_pretraining", "scaling_law", "small_net_recipe", "transfer"]
STUDIES += ["bottlenecks", "scan_for_pictures", "sequence_tasks"]
SEARCHED = ["bottlenecks", "convnext_ladder", "few_step_points", "fine_tuning", "frozen_features"]
SEARCHED += [
    "inductive_bias",
    "masked_pretraining",
    "scaling_law",
    "scan_for_pictures",
    "sequence_tasks",
    "small_net_recipe",
]


@pytest.mark.parametrize("name", [name for name in NAMES if name not in WITHOUT_SCENES])
def test_shipped_records_belong_to_this_renderer(name):
    assert records.load(name)["settings"]["scenes"] in (scenes.version(), pairs.version())


WEIGHED = ("mini-reader", "mini-sd", "mini-convnext", "mini-efficientnetv2")


@pytest.mark.parametrize("name", [*WEIGHED, *dinov2_features.SHIPPED])
def test_records_are_of_the_shipped_weights(name):
    known = zoo.find(name).parts if name == "mini-sd" else zoo.find(name).sha256
    assert records.load(name.replace("-", "_"))["settings"]["sha256"] == known
    if name in dinov2_features.SHIPPED:
        assert records.load(dinov2_features.NAME)["settings"]["sha256"][name] == known


def test_select_takes_the_chosen_rate_alone():
    rows = [{"net": n, "lr": lr, "test": 10 * n + lr} for n in (1, 2) for lr in (3, 4)]
    record = {"name": "x", "results": rows, "settings": {}}
    assert records.select(record, "test", net=2).tolist() == [23, 24]
    record["settings"]["best_lr"] = [{"net": 1, "lr": 4}, {"net": 2, "lr": 3}]
    assert records.select(record, "test").tolist() == [14, 23]
    assert records.select(record, "lr", net=2).tolist() == [3]
    with pytest.raises(ValueError, match="'x' has no run with {'net': 3}"):
        records.select(record, "test", net=3)


def cases(name: str, settings: dict) -> list[dict]:
    """What a record must hold with every one of its seeds."""
    if name == "convnext_ladder":
        return [{"key": step.key} for step in LADDER]
    if name == "small_net_recipe":
        return jobs.grid([{}], key=small_net_recipe.KEYS, choice=settings["choices"])
    if name == "masked_pretraining":
        epochs = [0, *settings["finetune_epochs"]]
        return jobs.grid([{}], grn=(False, True), pretrained=(False, True), epochs=epochs)
    if name == "inductive_bias":
        return [
            {"study": study, "name": name, "n": n}
            for study, names in inductive_bias.COMPARED.items()
            for name in names
            for n in settings[study].get("sizes", [2048])
        ]
    if name == "scaling_law":
        return jobs.grid([{}], width=settings["widths"], n=settings["sizes"])
    if name == "curation":
        return [{"name": name} for name in ("balanced", "web", "curated")]
    if name == "dino_arms":
        return [{"arm": arm} for arm in settings["arms"]]
    if name == "few_step_points":
        return [{"name": name} for name in ("ddim", *settings["rates"])]
    if name == "bottlenecks":
        return [{"kind": kind} for kind in KINDS]
    if name == "scan_for_pictures":
        return [{"name": name} for name in ("scan", "gated", "pointwise")]
    if name == "sequence_tasks":
        return [
            {"task": name, "mixer": mixer}
            for name, task in sequence_tasks.TASKS.items()
            for mixer in task.mixers()
        ]
    if name == "frozen_features":
        methods = ("frozen", "untrained", "scratch", "scratch_32")
        return jobs.grid([{}], method=methods, per_class=settings["per_class"])
    if name in ("fine_tuning", "transfer"):
        trained = transfer.TRAINED if name == "transfer" else fine_tuning.METHODS
        methods = ("probe", *trained)
        return jobs.grid([{}], method=methods, per_class=settings["per_class"])
    if name == "dinov2_features":
        return [{"name": name} for name in dinov2_features.BACKBONES]
    names = {*settings["patterns"].values(), *settings["drawn"]}
    assert len(settings["drawn"]) >= 24
    return [{"name": name, "kind": "training"} for name in names]


@pytest.mark.parametrize("name", STUDIES)
def test_a_record_is_whole(name):
    record = records.load(name)
    wanted = record["settings"]["seeds"]
    for case in cases(name, record["settings"]):
        seeds = wanted[case["study"]] if isinstance(wanted, dict) else wanted
        assert len(seeds) >= 3
        assert sorted(records.select(record, "seed", **case)) == seeds
    json.dumps(record, allow_nan=False)


def assert_inside(scores: dict[float, float], used: float) -> None:
    """The rate that was used scores best, and lies inside of those tried."""
    assert scores[used] == max(scores.values()), scores
    assert min(scores) < used < max(scores), scores


@pytest.mark.parametrize("name", SEARCHED)
def test_the_best_rate_is_the_best_and_lies_inside_its_grid(name):
    record = records.load(name)
    for case in cases(name, record["settings"]):
        rows = [r for r in record["results"] if case.items() <= r.items() and r["seed"] == 0]
        scores = {r["lr"]: r["val"] for r in rows if "val" in r}
        if not scores.keys() - {0}:
            continue  # no labels to choose by, or no rate to choose
        (used,) = set(records.select(record, "lr", **case))
        assert_inside(scores, used)


def test_records_hold_what_chapters_draw():
    bias = records.load("inductive_bias")
    moved = records.select(bias, "sideways", study="moved")
    assert moved.shape == (6, len(bias["settings"]["moved"]["shifts"]))
    # The law is fitted to logarithms.
    assert (records.select(records.load("scaling_law"), "error") > 0).all()
    search = records.load("architecture_search")
    trained = {r["name"] for r in search["results"] if r["kind"] == "training"}
    assert {r["name"] for r in search["results"] if r["kind"] == "step"} == trained


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
    settings, best = record["settings"], record["settings"]["best_lr"]
    assert len(best) == len({json.dumps({**case, "lr": 0}) for case in best})
    assert len(best) == 5 * (8 + 4 + 1) + 5 + 9  # lengths, the wide scenes, the strengths
    more = settings["more_seeds"]
    compared = {json.dumps(c): more[n] for n in more for c in settings["compared"][n]}
    for case in best:
        wanted = settings["seeds"]
        if n := compared.get(json.dumps(case)):
            wanted = list(range(n))
        if "side" in case:
            wanted = list(progressive_scenes.STRENGTH_SEEDS)
        assert sorted(records.select(record, "seed", **case)) == wanted
        case = {key: value for key, value in case.items() if key != "lr"}
        first = [r for r in record["results"] if case.items() <= r.items() and r["seed"] == 0]
        assert_inside({r["lr"]: r["val"] for r in first}, records.select(record, "lr", **case)[0])
    cost = settings["epoch_seconds"]
    # The rival in equal time must not have been given less than its share.
    assert settings["time_share"] >= cost["growing"] / cost["fixed"]


def test_fused_map_record_is_whole():
    record = records.load("fused_map")
    numbers = record["settings"]["numbers"]
    for kind in ("cell", "without_se"):
        cells = {(c.width, c.side) for c in block_costs.recorded(record, kind)}
        for width in block_costs.WIDTHS:
            for side in block_costs.SIDES:
                fits = block_costs.batch_size(width, side, numbers) > 0
                assert ((width, side) in cells) == fits
    kernels = {r["name"] for r in record["results"] if r["kind"] == "kernel"}
    assert len(kernels) == 2 + len(block_costs.KERNELS)


@pytest.mark.parametrize("name", ["mini_dinov2_pretrained", "mini_dinov2"])
def test_record_of_a_training_without_labels_is_whole(name):
    record = records.load(name)
    settings = record["settings"]
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
