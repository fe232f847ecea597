"""mini-convnext and mini-efficientnetv2: made tiny, they train and resume, and timm loads them."""

import json
import math
import re
from dataclasses import replace
from functools import partial

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from timm.data import create_transform, resolve_model_data_config

from modarch_utils import records, zoo
from modarch_utils.data import scenes
from recipes import cards, epochs, mini_classifiers, mini_convnext, mini_efficientnetv2
from tests.recipes.tiny import interrupted, listed

RECIPES = (mini_convnext, mini_efficientnetv2)
by_recipe = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.MINI.name)
SMALL = {
    "mini-convnext": {"depths": (1, 1, 1, 1), "dims": (8, 8, 8, 16)},
    "mini-efficientnetv2": {"channel_multiplier": 0.1, "depth_multiplier": 0.1},
}


def tiny(mini):
    config = replace(mini.config, epochs=2, batch_size=8, lr=1e-3)
    return replace(mini, model_args=SMALL[mini.name], config=config, train_scenes=16, held_out=8)


@by_recipe
def test_what_a_recipe_writes_and_writes_again_after_a_stop(recipe, place, monkeypatch):
    mini = tiny(recipe.MINI)
    mini_classifiers.make(mini)
    folder = zoo.WEIGHTS / mini.name
    file = folder / "model.safetensors"
    through = cards.sha256(file)
    assert {f.name for f in folder.iterdir()} == {"README.md", "config.json", file.name}
    weights = load_file(file)
    assert {t.dtype for t in weights.values() if t.is_floating_point()} == {torch.float16}
    entry, text = listed(mini.name), (folder / "README.md").read_text("utf-8")
    assert f"`python -m {recipe.__name__}`" in text
    record = json.loads((place / f"{mini.name.replace('-', '_')}.json").read_text("utf-8"))
    assert [row["epoch"] for row in record["results"]] == [1, 2]
    assert record["settings"]["sha256"] == through
    for framing, share in record["settings"]["quality"].items():
        assert f"| {framing} | {100 * share:.1f} |" in text
    close = 100 * record["settings"]["quality"]["close"]
    assert entry["quality"] == f"{close:.1f} % of 8 held-out scenes' shapes"
    mini_classifiers.make(mini)  # finished: it writes the same without training
    assert cards.sha256(file) == through
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")  # where no run was begun
    interrupted(partial(mini_classifiers.make, mini), epochs, "keep", monkeypatch)
    mini_classifiers.make(mini)
    assert cards.sha256(file) == through


@torch.no_grad()
@by_recipe
def test_timm_loads_the_folder_and_feeds_it_as_it_was_trained(recipe, place):
    mini = tiny(recipe.MINI)
    torch.manual_seed(0)
    network = mini_classifiers.build(mini).eval()
    for parameter in network.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    folder = mini_classifiers.save(network, mini, place / "saved").parent
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    bare = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0).eval()
    assert theirs.pretrained_cfg["label_names"] == list(scenes.SHAPES)
    config = resolve_model_data_config(theirs)
    assert list(config["input_size"]) == [3, mini.image_size, mini.image_size]
    assert tuple(config["mean"]) == mini.mean and tuple(config["std"]) == mini.std

    small, _ = mini_classifiers.pictures(mini, 0, 4)
    ours = mini_classifiers.Normalised(network, mini)(small / 127.5 - 1)
    prepare = create_transform(**config, is_training=False)
    photos = scenes.load(4, 64, seed=0, framing="close").images.permute(0, 2, 3, 1).numpy()
    inputs = torch.stack([prepare(Image.fromarray(photo)) for photo in photos])
    spread = ours.std()
    assert (theirs(inputs) - ours).abs().max() < 0.05 * spread
    assert bare(inputs).shape == (4, theirs.num_features)
    head = theirs.get_classifier()
    torch.testing.assert_close(head(bare(inputs)), theirs(inputs))


def test_the_mean_and_deviation_are_the_scenes():
    images = scenes.render(200, 64, seed=0, framing="close").images / 255
    mini = mini_convnext.MINI
    torch.testing.assert_close(images.mean((0, 2, 3)), torch.tensor(mini.mean), atol=0.02, rtol=0)
    torch.testing.assert_close(images.std((0, 2, 3)), torch.tensor(mini.std), atol=0.02, rtol=0)


@by_recipe
def test_the_shipped_one_is_as_good_as_its_card_says(recipe):
    folder = zoo.folder(recipe.MINI.name)
    text = (folder / "README.md").read_text("utf-8")
    promised = float(re.search(r"\| close \| ([\d.]+) \|", text)[1]) / 100
    found = mini_classifiers.accuracy(folder, scenes.load(200, 64, seed=1, framing="close"))
    assert abs(found - promised) < 0.01 + 3 * math.sqrt(promised * (1 - promised) / 200)
    record = records.load(recipe.MINI.name.replace("-", "_"))
    epochs = [row["epoch"] for row in record["results"]]
    assert epochs == list(range(1, record["settings"]["config"]["epochs"] + 1))
