"""Everything that is shared says under which licence, and whose work it shows."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from modarch_utils import zoo
from modarch_utils.data import photos
from recipes import (
    export,
    latent_students,
    mini_classifiers,
    mini_convnext,
    mini_reader,
    mini_sd,
)

ROOT = Path(__file__).parents[1]
CONTENT = (ROOT / "LICENSE-content").read_text(encoding="utf-8")
OWN, LEGAL = CONTENT.split("\nAttribution 4.0 International\n")
SHIPPED = sorted(zoo.WEIGHTS.glob("*/README.md"))


def check(card: str) -> None:
    """Assert that a card names its licence to a model hub and to people."""
    _, front, text = card.split("---\n", 2)
    assert yaml.safe_load(front) == {"license": "cc-by-4.0"}
    assert text.startswith("\n# ")
    [row] = [line for line in text.splitlines() if line.startswith("| Licence |")]
    assert "https://creativecommons.org/licenses/by/4.0/" in row
    table = text[text.index("| | |\n") :].split("\n\n")[0]
    assert row in table, "the row stands outside the card's table"


@pytest.mark.parametrize("card", SHIPPED, ids=lambda path: path.parent.name)
def test_a_shipped_card_has_its_licence(card):
    check(card.read_text(encoding="utf-8"))


def test_every_folder_of_weights_has_a_card():
    assert {path.parent for path in SHIPPED} == {p for p in zoo.WEIGHTS.iterdir() if p.is_dir()}


def _backbone(folder: Path) -> str:
    config = dict(
        hidden_size=8,
        image_size=64,
        num_attention_heads=2,
        num_hidden_layers=1,
        num_register_tokens=1,
        patch_size=8,
    )
    card = export.Card("mini-x", "Taught.", "scenes", 0, 1, 1.0, inherits="A teacher's features.")
    text = export._text(card, config, 1, "0" * 64) + export.QUALITY
    assert text.index("A teacher's features.") < text.index(export.QUALITY)  # that part is replaced
    return text


def _student(folder: Path) -> str:
    latent_students.write_card(
        folder / export.FILE, "What.", "code", {"Data": "scenes"}, "Limits.", "mini-x"
    )
    return (folder / "README.md").read_text(encoding="utf-8")


def _pipeline(folder: Path) -> str:
    part = torch.nn.Linear(1, 1)
    part.config = SimpleNamespace(sample_size=8, in_channels=4)
    pipe = SimpleNamespace(vae=part, unet=part, text_encoder=part, tokenizer=None)
    return mini_sd.card(pipe, {"unet/x.safetensors": "0" * 64}, 1.0)


def _reader(folder: Path) -> str:
    rows = [{"objects": 1, "blur": 0.0, "all right": 1.0}]
    return mini_reader.card(torch.nn.Linear(1, 1), folder / export.FILE, rows, 1.0)


def _classifier(folder: Path) -> str:
    mini = mini_convnext.MINI
    return mini_classifiers.card(mini, folder / export.FILE, {"close": 1.0}, 1.0, 1)


@pytest.mark.parametrize("write", [_backbone, _student, _pipeline, _reader, _classifier])
def test_a_card_written_anew_has_its_licence(write, tmp_path, monkeypatch):
    monkeypatch.setattr(mini_sd.mini_sd, "vocabulary", lambda tokenizer: ["a"])
    (tmp_path / export.FILE).write_bytes(b"weights")
    check(write(tmp_path))


def test_the_shipped_text_on_the_teacher_is_the_recipes():
    """Its recipe alone knows the sentence, and runs for an hour."""
    card = (zoo.WEIGHTS / "mini-dinov2" / "README.md").read_text(encoding="utf-8")
    said = card.split("## What it inherits\n\n")[1].split("\n\n")[0]
    source = (ROOT / "recipes" / "mini_dinov2.py").read_text(encoding="utf-8")
    assert said in re.sub(r'"\n\s+"', "", source)


def test_every_photograph_in_the_packages_is_credited():
    credited = set(re.findall(r"^  (\w+),? ", OWN, re.MULTILINE))
    assert set(photos.names()) <= credited
    assert "digits" in credited


def test_the_files_that_the_licence_names_exist():
    named = set(re.findall(r"`((?:LICENSE|book|modarch_utils|notebooks|solutions)[^`\s]*)`", OWN))
    assert len(named) > 5
    assert not [name for name in named if not (ROOT / name).exists()]


def test_the_licences_are_whole():
    assert "Section 8 -- Interpretation." in LEGAL
    assert LEGAL.endswith("Creative Commons may be contacted at creativecommons.org.\n")
    code = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert code.startswith("MIT License\n") and code.endswith("SOFTWARE.\n")
