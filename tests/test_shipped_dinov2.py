"""The two DINOv2 models of the course load by transformers alone and are as good as they say."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor, AutoModel, Dinov2WithRegistersModel

from modarch_utils import records, zoo
from modarch_utils.training import dino, probes
from modarch_utils.training.batches import to_input
from recipes import (
    dinov2_features,
    distillation,
    export,
    mini_dinov2,
    mini_dinov2_pretrained,
)
from recipes.mini_dinov2_pretrained import build

SMALL = replace(
    dinov2_features.SETTINGS,
    pool=60,
    labelled=40,
    val_images=20,
    test_images=20,
    dense=20,
    principal=20,
    supervised_images=64,
    supervised_epochs=1,
    unseen_labelled=40,
    unseen_val=20,
    unseen_test=20,
    quick=(40, 20),
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An untrained network as the recipes write theirs; its folder."""
    folder = tmp_path_factory.mktemp("weights") / dinov2_features.SHIPPED[0]
    card = export.Card(folder.name, "Not trained.", "none", seed=0, epochs=1, minutes=2)
    assert export.export(build(3), card, folder) == export.sha256(folder)
    return folder


def images(n=2, size=64):
    rng = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (n, 3, size, size), generator=rng, dtype=torch.uint8)


def test_transformers_needs_none_of_our_code(exported):
    code = (
        "import sys\n"
        "from transformers import AutoImageProcessor, AutoModel\n"
        f"processor = AutoImageProcessor.from_pretrained({str(exported)!r})\n"
        f"model = AutoModel.from_pretrained({str(exported)!r})\n"
        "print(type(model).__name__, model.dtype, processor.size['height'])\n"
        "assert not any(name.startswith('modarch') for name in sys.modules)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", cwd=exported.parent
    )
    assert run.stdout.split() == ["Dinov2WithRegistersModel", "torch.float32", "64"], run.stderr


def test_processor_gives_what_training_gave(exported):
    processor = AutoImageProcessor.from_pretrained(exported)
    batch = images()
    pictures = [Image.fromarray(one.permute(1, 2, 0).numpy()) for one in batch]
    found = processor(pictures, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(found, to_input(batch), rtol=0, atol=1e-6)
    wide = Image.new("RGB", (200, 100), "black")
    wide.paste("white", (0, 0, 20, 100))  # a centre crop would lose it
    squeezed = processor(wide, return_tensors="pt")["pixel_values"]
    assert squeezed.shape == (1, 3, 64, 64) and squeezed[..., :3].min() > 0.9


def check_equal_to_ours(folder, ours):
    theirs = AutoModel.from_pretrained(folder).eval()
    assert isinstance(theirs, Dinov2WithRegistersModel)
    x = to_input(images())
    with torch.no_grad():
        out, expected = theirs(x), ours(x)
    patches = out.last_hidden_state[:, 1 + theirs.config.num_register_tokens :]
    torch.testing.assert_close(out.pooler_output, expected.cls)
    torch.testing.assert_close(patches, expected.patches)


def test_exported_network_is_ours(exported):
    check_equal_to_ours(exported, build(3).eval())


def test_recipe_reads_what_it_wrote(exported, monkeypatch):
    monkeypatch.setattr(zoo, "WEIGHTS", exported.parent)
    found, wanted = dinov2_features.shipped(exported.name).state_dict(), build(3).state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_card(exported):
    text = (exported / "README.md").read_text("utf-8")
    assert export.sha256(exported) in text and export.NOT_YET in text
    assert "2 minutes" in text and f"recipes.{exported.name.replace('-', '_')}" in text
    export.write_quality(exported, "Good enough.")
    export.write_quality(exported, "Better.")
    after = (exported / "README.md").read_text("utf-8")
    assert after == text.replace(export.NOT_YET, "Better.\n")


def test_features_recipe_on_few_scenes(exported, monkeypatch, tmp_path):
    def absent(*args, **kwargs):
        raise FileNotFoundError

    monkeypatch.setattr(dinov2_features.datasets, "load", absent)
    monkeypatch.setattr(zoo, "WEIGHTS", exported.parent)
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    results = []
    for name in (exported.name, "pixels", "supervised"):
        result = dinov2_features.one_run(name, 0, SMALL)
        assert {"shape_knn", "ground_linear", "digits_linear", "principal_iou"} <= result.keys()
        assert {"principal_pooled_iou", "middle_iou", "depth_head_rmse_log"} <= result.keys()
        assert all(0 <= value <= 100 for value in result.values())
        json.dumps(result, allow_nan=False)
        results.append({"name": name, "seed": 0, **result, "seconds": 1})
    check = {exported.name: dinov2_features.quick(build(3).eval(), SMALL)}
    settings = {"seeds": [0], "quick": SMALL.quick, "quick_check": check}
    records.save("few", settings=settings, results=results)
    record = records.load("few")
    text = dinov2_features.quality(record, exported.name)
    assert "fashion" not in text and "| digits, k-NN (%) |" in text
    record["settings"]["sha256"] = {exported.name: export.sha256(exported)}
    entry = eval(
        dinov2_features.zoo_entry(record, exported.name).strip(), {"Checkpoint": zoo.Checkpoint}
    )
    monkeypatch.setitem(zoo.CHECKPOINTS, exported.name, entry[0])
    assert zoo.folder(exported.name) == exported
    assert f"| **{exported.name}** | pixels | trained with labels |" in text
    assert f"| shape, k-NN (%) | {results[0]['shape_knn']:.1f} |" in text
    assert f"shape {check[exported.name]['shape']:.1f} %" in text


def test_object_of_each_picture_is_found_by_itself():
    """Two pictures whose patches differ along other axes, so that one direction fits neither."""
    masks = torch.zeros(2, 8, 8, dtype=torch.bool)
    masks[:, 2:6, 2:6] = True
    small = masks[:, ::2, ::2].flatten(1).float()  # 4×4 patches
    patches = torch.stack((small, -0.5 * small), dim=2)
    patches[1] = patches[1].flip(1)
    frozen = probes.Frozen(patches.mean(1), patches, (4, 4))
    known = SimpleNamespace(mask=masks)
    found = dinov2_features.principal(known, frozen, masks)
    assert found["middle_iou"] == 1
    assert found["principal_iou"] > 0.6 > found["principal_pooled_iou"]


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Both training recipes on 64 scenes for one epoch, in folders of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["recipe"])
    monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path / "weights")
    few = replace(mini_dinov2_pretrained.SETTINGS, images=64, gallery=40, queries=20)
    load = mini_dinov2_pretrained.load
    for recipe in (mini_dinov2_pretrained, mini_dinov2):
        monkeypatch.setattr(recipe, "SETTINGS", few)
        monkeypatch.setattr(recipe, "load", lambda seed: load(seed, few))
        monkeypatch.setattr(recipe, "CONFIG", replace(recipe.CONFIG, epochs=1, batch_size=32))
    return tmp_path


@pytest.mark.parametrize("recipe", [mini_dinov2_pretrained, mini_dinov2])
def test_finished_recipe_writes_its_record_without_training(recipe, tiny, monkeypatch):
    def teacher_features(n, seed, mirrored=False):
        rng = torch.Generator().manual_seed(n + mirrored)
        pooled, maps = (
            torch.randn(n, 1280, generator=rng),
            torch.randn(n, 112, 6, 6, generator=rng),
        )
        return distillation.Teaching(pooled.half(), maps.half())

    monkeypatch.setattr(mini_dinov2, "teacher_features", teacher_features)
    recipe.main()
    name = recipe.NAME.replace("-", "_")
    first = records.load(name)
    start, epoch = first["results"]
    assert (start["epoch"], start["trained"], start["scored"]) == (0, False, True)
    assert (epoch["epoch"], epoch["trained"], epoch["scored"]) == (1, True, True)
    assert epoch["seconds"] > 0 and {"shape_cls", "loss"} <= epoch.keys()
    assert first["settings"]["sha256"] == export.sha256(zoo.WEIGHTS / recipe.NAME)

    def train(*args, **kwargs):
        raise AssertionError("trained again")

    monkeypatch.setattr(dino, "train_step", train)
    monkeypatch.setattr(mini_dinov2, "distillation_loss", train)
    (tiny / f"{name}.json").unlink()
    recipe.main()
    assert records.load(name) == first


def test_unknown_backbone():
    with pytest.raises(ValueError, match="no backbone 'x'.*teacher"):
        dinov2_features.backbone("x", 0)


@pytest.mark.parametrize("name", dinov2_features.SHIPPED)
def test_shipped_weights_are_as_good_as_their_card_says(name):
    network = dinov2_features.shipped(name)
    check_equal_to_ours(zoo.folder(name), network)
    text = (zoo.folder(name) / "README.md").read_text("utf-8")
    assert f"sha256 `{zoo.find(name).sha256}`" in text
    promised = text.partition("Quick check")[2]
    for factor, value in dinov2_features.quick(network).items():
        said = float(re.search(rf"{factor} ([\d.]+) %", promised)[1])
        # Another machine's rounding may turn a few of the queries.
        assert value == pytest.approx(said, abs=2), factor


def test_record_is_of_these_weights_and_whole():
    record = records.load(dinov2_features.NAME)
    for name in dinov2_features.SHIPPED:
        assert record["settings"]["sha256"][name] == zoo.find(name).sha256
    for name in dinov2_features.BACKBONES:
        seeds = records.select(record, "seed", name=name).tolist()
        assert seeds == record["settings"]["seeds"] == list(dinov2_features.SEEDS)
    shape = {n: dinov2_features.mean(record, "shape_knn", n) for n in dinov2_features.BACKBONES}
    for name in dinov2_features.SHIPPED:
        assert shape[name] > shape["untrained"]
        assert zoo.find(name).quality == dinov2_features.zoo_line(record, name)
