"""Cards and the zoo's list are what the recipes say of the shipped weights and records."""

import tomllib
from dataclasses import asdict

import pytest
import torch
from safetensors.torch import save_file

from modarch_utils import records, zoo
from recipes import (
    cards,
    dinov2_features,
    few_steps,
    mini_classifiers,
    mini_dinov2_pretrained,
    mini_lcm,
    mini_lcm_lora,
    mini_pencil,
    mini_reader,
    mini_sd,
)

RECIPES = {recipe.NAME: recipe for recipe in (mini_lcm, mini_lcm_lora, mini_pencil, mini_sd)}
RECIPES |= dict.fromkeys(dinov2_features.SHIPPED, mini_dinov2_pretrained)


def written(name: str) -> str:
    """What the recipe would write again, without training."""
    zoo.folder(name)  # its weights are those that the zoo knows
    file = zoo.WEIGHTS / zoo.find(name).location.replace(":", "/")
    record = records.load(name.replace("-", "_"))
    settings, more = record["settings"], {}
    if name in dinov2_features.SHIPPED:
        more["quality"] = dinov2_features.quality(records.load(dinov2_features.NAME), name)
    if name == mini_reader.NAME:
        return mini_reader.card(file, asdict(mini_reader.SETTINGS) | settings, record["results"])
    return RECIPES.get(name, mini_classifiers).card(file, settings, record["results"], **more)


@pytest.mark.parametrize("name", [c.name for c in zoo.CHECKPOINTS.values() if c.kind == "shipped"])
def test_a_shipped_card_is_its_recipes(name):
    assert written(name) == (zoo.WEIGHTS / name / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", few_steps.SHOWN)
def test_the_zoo_tells_what_few_steps_measured(name):
    record = records.load(few_steps.NAME)
    assert zoo.find(name).quality == few_steps.quality(record, *few_steps.SHOWN[name])


BY_HAND = """# Of the zoo.

[theirs]
kind = "hub"  # as it is
location = "a/b:c.safetensors"
quality = "said"

[mini-x]
kind = "shipped"
location = "mini-x:old.safetensors"
sha256 = "0"
parts."gone.json" = ""
quality = "good"

[other]
kind = "package"
"""
CARD = "# mini-x\n\nWhat it is.\n"


@pytest.fixture
def shipped(tmp_path):
    """A file of weights in its folder, and beside that a list that already knows them."""
    file = tmp_path / "mini-x" / "model.safetensors"
    file.parent.mkdir()
    save_file({"weight": torch.ones(2).half()}, file)
    (tmp_path / cards.INDEX).write_text(BY_HAND, "utf-8")
    return file


def test_the_list_keeps_its_order_and_what_others_wrote(shipped):
    index = shipped.parents[1] / cards.INDEX
    cards.ship(CARD, shipped, {"unet/a.json": "", "vae/b": "1"}, 'only "half"')
    text = index.read_text("utf-8")
    before, after = BY_HAND.split("[mini-x]")[0], BY_HAND[BY_HAND.index("[other]") :]
    assert text.startswith(before) and text.endswith(after)
    assert tomllib.loads(text)["mini-x"] == {
        "kind": "shipped",
        "location": "mini-x:model.safetensors",
        "sha256": cards.sha256(shipped),
        "parts": {"unet/a.json": "", "vae/b": "1"},
        "quality": 'only "half"',
    }


def test_a_quality_stays_with_the_weights_it_was_measured_on(shipped):
    index = shipped.parents[1] / cards.INDEX

    def known():
        return tomllib.loads(index.read_text("utf-8"))["mini-x"]["quality"]

    cards.ship(CARD, shipped)
    assert known() == "not measured yet"
    cards.measured(index, "mini-x", "größer ≥ 가")
    cards.ship(CARD, shipped)
    assert known() == "größer ≥ 가"
    save_file({"weight": torch.zeros(2)}, shipped)
    cards.ship(CARD, shipped)
    assert known() == "not measured yet"
    with pytest.raises(KeyError, match="mini-y"):
        cards.measured(index, "mini-y", "good")


def test_a_list_is_begun(shipped):
    index = shipped.parents[1] / cards.INDEX
    index.unlink()
    cards.ship(CARD, shipped, quality="good")
    assert list(tomllib.loads(index.read_text("utf-8"))) == ["mini-x"]


def test_a_card_says_what_is_known_of_the_weights(shipped, monkeypatch):
    monkeypatch.setattr(cards, "TEMPLATES", shipped.parent)
    holes = "{seed} {minutes:.0f} {params} {weights} | {sized_weights} {more}"
    (shipped.parent / "x.md").write_text(holes, "utf-8")
    rows = [{"seconds": 50}, {"seconds": 70}]
    said = f"sha256 `{cards.sha256(shipped)}`"
    assert cards.fill("x", shipped, {"seed": 3}, rows, more="größer") == (
        f"3 2 2 `model.safetensors`, float16, {said} | `model.safetensors`, float16, 0.00 MB, "
        f"{said} größer"
    )
    save_file({"weight": torch.ones(500, 500)}, shipped)
    assert "250000 `model.safetensors`, float32, sha" in cards.fill(
        "x", shipped, {"seed": 3}, rows, more=""
    )


def test_the_measured_part_of_a_card_is_replaced(shipped):
    cards.ship(CARD, shipped)
    with pytest.raises(ValueError, match="no section"):
        cards.write_quality(shipped.parent, "Good.")
    cards.ship(f"{CARD}\n{cards.QUALITY}\nNot yet.\n", shipped)
    for words in ("Good enough.", "Better.\n"):
        cards.write_quality(shipped.parent, words)
    text = (shipped.parent / "README.md").read_text("utf-8")
    assert text == f"{CARD}\n{cards.QUALITY}\nBetter.\n"
