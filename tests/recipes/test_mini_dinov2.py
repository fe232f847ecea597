"""The recipes of the two DINOv2s, made tiny: what they write, transformers loads and we read."""

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor

from modarch_utils import records, zoo
from modarch_utils.training import dino, probes
from modarch_utils.training.batches import to_input
from recipes import dinov2_features, export, mini_dinov2, mini_dinov2_pretrained
from recipes.mini_dinov2_pretrained import build
from tests.recipes.tiny import dinov2_is_ours, listed, noise

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


def untrained():
    """A network whose weights are what half precision holds."""
    return build(3).half().float().eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An untrained network as the recipes write theirs; its folder."""
    folder = tmp_path_factory.mktemp("weights") / dinov2_features.SHIPPED[0]
    return export.export(build(3), folder).parent


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
    batch = noise()
    pictures = [Image.fromarray(one.permute(1, 2, 0).numpy()) for one in batch]
    found = processor(pictures, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(found, to_input(batch), rtol=0, atol=1e-6)
    wide = Image.new("RGB", (200, 100), "black")
    wide.paste("white", (0, 0, 20, 100))  # a centre crop would lose it
    squeezed = processor(wide, return_tensors="pt")["pixel_values"]
    assert squeezed.shape == (1, 3, 64, 64) and squeezed[..., :3].min() > 0.9


def test_exported_network_is_ours(exported, monkeypatch):
    dinov2_is_ours(exported, untrained())
    monkeypatch.setattr(zoo, "WEIGHTS", exported.parent)
    found, wanted = dinov2_features.shipped(exported.name).state_dict(), untrained().state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


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
    check = {exported.name: dinov2_features.quick(untrained(), SMALL)}
    settings = {"seeds": [0], "quick": SMALL.quick, "quick_check": check}
    records.save("few", settings=settings, results=results)
    record = records.load("few")
    text = dinov2_features.quality(record, exported.name)
    assert "fashion" not in text and "| digits, k-NN (%) |" in text
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


def never(*args, **kwargs):
    raise AssertionError("trained again")


@pytest.mark.parametrize("recipe", [mini_dinov2_pretrained, mini_dinov2])
def test_finished_recipe_writes_its_record_without_training(recipe, place, monkeypatch):
    settings = replace(recipe.SETTINGS, images=64, gallery=40, queries=20)
    config = replace(recipe.CONFIG, epochs=1, batch_size=32)
    name = recipe.NAME.replace("-", "_")
    recipe.main(settings, config, trial=True)
    assert (place / "runs" / name / recipe.NAME / "README.md").is_file()
    assert not (place / f"{name}.json").exists()  # a trial leaves no record
    if recipe is mini_dinov2_pretrained:
        monkeypatch.setattr(dino, "train_step", never)
    else:
        monkeypatch.setattr(mini_dinov2, "distillation_loss", never)
    recipe.main(settings, config)
    first = records.load(name)
    start, epoch = first["results"]
    assert (start["epoch"], start["trained"], start["scored"]) == (0, False, True)
    assert (epoch["epoch"], epoch["trained"], epoch["scored"]) == (1, True, True)
    assert epoch["seconds"] > 0 and {"shape_cls", "loss"} <= epoch.keys()
    assert first["settings"]["sha256"] == listed(recipe.NAME)["sha256"]
    text = (zoo.WEIGHTS / recipe.NAME / "README.md").read_text("utf-8")
    assert mini_dinov2_pretrained.NOT_YET in text
    dinov2_is_ours(zoo.WEIGHTS / recipe.NAME, dinov2_features.shipped(recipe.NAME))


def test_unknown_backbone():
    with pytest.raises(ValueError, match="no backbone 'x'.*teacher"):
        dinov2_features.backbone("x", 0)
