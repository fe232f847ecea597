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
    mini_dinov2,
    mini_dinov2_pretrained,
    mini_lcm,
    mini_lcm_lora,
    mini_pencil,
    mini_reader,
    mini_sd,
)
from recipes.cards import Card

STUDENTS = {recipe.NAME: recipe for recipe in (mini_lcm, mini_lcm_lora, mini_pencil)}
BACKBONES = {recipe.NAME: recipe for recipe in (mini_dinov2, mini_dinov2_pretrained)}


def written(name: str) -> Card:
    """What the recipe would write again, without training."""
    folder, record = zoo.WEIGHTS / name, records.load(name.replace("-", "_"))
    settings, rows = record["settings"], record["results"]
    if name in STUDENTS:
        return STUDENTS[name].card(zoo.path(name), settings, rows)
    if name in BACKBONES:
        measured = dinov2_features.quality(records.load(dinov2_features.NAME), name)
        return BACKBONES[name].card(folder, settings, rows, measured)
    if name == "mini-reader":
        return mini_reader.card(folder, asdict(mini_reader.SETTINGS) | settings, rows)
    return (mini_sd if name == "mini-sd" else mini_classifiers).card(folder, settings, rows)


@pytest.mark.parametrize("name", [c.name for c in zoo.CHECKPOINTS.values() if c.kind == "shipped"])
def test_a_shipped_card_is_its_recipes(name):
    assert written(name).text == (zoo.WEIGHTS / name / "README.md").read_text("utf-8")


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
CARD = Card("mini-x", "What.", "code()", {"Data": "none"}, "Much.")


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


def test_a_card_names_its_weights(shipped):
    said = f"sha256 `{cards.sha256(shipped)}`"
    assert cards.weights(shipped) == f"`model.safetensors`, float16, {said}"
    save_file({"weight": torch.ones(250_000)}, shipped)
    text = cards.weights(shipped, size=True)
    assert text.startswith("`model.safetensors`, float32, 1.00 MB, sha256 `")


def test_the_measured_part_of_a_card_is_replaced(shipped):
    cards.ship(CARD, shipped)
    with pytest.raises(ValueError, match="no section"):
        cards.write_quality(shipped.parent, "Good.")
    parts = {"inherits": "A teacher's features.", "quality": "Not yet."}
    cards.ship(Card(**vars(CARD) | parts), shipped)
    file = shipped.parent / "README.md"
    text = file.read_text("utf-8")
    for words in ("Good enough.", "Better.\n"):
        cards.write_quality(shipped.parent, words)
    assert file.read_text("utf-8") == text.replace("Not yet.", "Better.")
    assert "A teacher's features." in text
