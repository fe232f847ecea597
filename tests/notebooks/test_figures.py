"""Text in figures can be read on the site: at least nine pixels, where the column is 736 wide."""

import tomllib
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parents[2]
EXCEPTIONS = Path(__file__).with_name("small_text.toml")
SMALLEST_PX = 9


def small(path: Path) -> int:
    """How many figures of a notebook have smaller text, as ``plots.show`` measured it."""
    sizes = (
        output.get("metadata", {}).get("text/html", {}).get("text_px")
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
    )
    return sum(size is not None and size < SMALLEST_PX for size in sizes)


def test_text_in_figures_reads_on_the_site():
    paths = [*sorted((ROOT / "notebooks").glob("*.ipynb")), *sorted(ROOT.glob("solutions/*.ipynb"))]
    assert paths
    found = {path.stem: count for path in paths if (count := small(path))}
    allowed = tomllib.loads(EXCEPTIONS.read_text("utf-8"))
    assert found == allowed, "if fewer, write these numbers into small_text.toml:\n" + "\n".join(
        f"{name} = {count}" for name, count in found.items()
    )


def test_small_text_is_counted(tmp_path):
    show = "display_data"
    outputs = [
        nbformat.v4.new_output(show, {"text/html": "<img>"}, metadata={"text/html": metadata})
        for metadata in ({"text_px": 8.9}, {"text_px": 9.0}, {"text_px": None}, {})
    ]
    cell = nbformat.v4.new_code_cell("show()", outputs=outputs)
    path = tmp_path / "small.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    assert small(path) == 1
