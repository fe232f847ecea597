"""The committed notebooks: made from their sources, run, and clean."""

import nbformat
import pytest

from tools import notebooks

SOURCES = notebooks.sources()


def test_there_are_notebooks():
    assert "00_start_here" in [source.stem for source in SOURCES]


def test_every_notebook_has_a_source():
    assert notebooks.orphans() == []


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_fresh(source):
    why = notebooks.stale(source)
    assert why is None, f"{source.stem}: {why}; run `make notebooks`"


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_clean(source):
    notebook = nbformat.read(notebooks.target(source), as_version=4)
    assert notebooks.faults(notebook) == []


@pytest.mark.parametrize(
    "source", SOURCES + notebooks.sources(notebooks.ROOT / "solutions"), ids=lambda path: path.stem
)
def test_visible_cells_are_small_but_for_a_shrinking_number(source):
    found = notebooks.too_big(source)
    assert not found, "\n".join(found)
