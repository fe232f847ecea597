"""Everything that is shared says under which licence, and whose work it shows."""

import re
from pathlib import Path

import pytest
import yaml

from modarch_utils import zoo
from modarch_utils.data import photos

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
