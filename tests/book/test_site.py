"""The built site, read as files."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from nbformat import v4

from tools import book, ledger
from tools.notebooks import NOTEBOOKS

COMMITTED = sorted(NOTEBOOKS.glob("*.ipynb"))
EXERCISES = sorted(NOTEBOOKS.glob("exercises/*.ipynb"))


def test_contents_list_every_notebook(chapters):
    listed = [name for name in chapters if name.startswith("notebooks/")]
    names = [path.relative_to(NOTEBOOKS.parent) for path in COMMITTED + EXERCISES]
    assert listed == [path.with_suffix("").as_posix() for path in names]


def test_index_leads_to_the_first_page(site, chapters):
    assert f"url={chapters[0]}.html" in (site / "index.html").read_text()


def test_internal_links_resolve(site, pages):
    broken = []
    anchors = {name: {tag["id"] for tag in page.select("[id]")} for name, page in pages.items()}
    for name, page in pages.items():
        for tag in page.select("a[href], link[href], img[src], script[src]"):
            link = urlsplit(tag.get("href") or tag.get("src"))
            if link.scheme or link.netloc:
                continue
            path = (site / name).parent / unquote(link.path) if link.path else site / name
            target = path.resolve().relative_to(site.resolve()).as_posix()
            if not path.exists():
                broken.append(f"{name}: {link.geturl()}")
            elif link.fragment and target in anchors and link.fragment not in anchors[target]:
                broken.append(f"{name}: {link.geturl()} has no such anchor")
    assert broken == []


def test_nothing_is_fetched_from_elsewhere(pages):
    """The site works with no network: scripts, styles, fonts and pictures are its own."""
    fetched = [
        f"{name}: {address}"
        for name, page in pages.items()
        for tag in page.select("script[src], link[href], img[src], iframe[src]")
        if urlsplit(address := tag.get("src") or tag.get("href")).netloc
    ]
    assert fetched == []


@pytest.mark.parametrize("path", COMMITTED, ids=lambda path: path.stem)
def test_figures_carry_their_notebooks_alternative_text(pages, path):
    stored = [
        tag["alt"]
        for cell in nbformat.read(path, as_version=4).cells
        for output in cell.get("outputs", [])
        for tag in BeautifulSoup(output.get("data", {}).get("text/html", ""), "html.parser")("img")
    ]
    shown = [tag["alt"] for tag in pages[f"notebooks/{path.stem}.html"].select(".cell_output img")]
    assert shown == stored


def test_every_picture_has_alternative_text(pages):
    bare = [
        f"{name}: {tag['src']}"
        for name, page in pages.items()
        for tag in page.select("article img")
        if not tag.get("alt", "").strip()
    ]
    assert bare == []


def test_ledger_has_every_claim(pages):
    tables = pages["book/ledger.html"].select("article table")
    rows = sum(len(table.select("tbody tr")) for table in tables[1:])
    assert rows == sum(len(ledger.claims(path)) for path in COMMITTED)


# How the build fails: a small site of its own, with the real configuration.


@pytest.fixture
def small(tmp_path) -> Path:
    """Everything a build needs and one chapter; a test spoils it, then builds."""
    book.stage(tmp_path)
    toc = {"format": "jb-book", "root": "notebooks/00_small", "chapters": [{"file": "book/ledger"}]}
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump(toc))
    (tmp_path / "notebooks").mkdir()
    return tmp_path


def write(folder: Path, *cells) -> None:
    metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
    }
    notebook = v4.new_notebook(cells=list(cells), metadata=metadata)
    nbformat.write(notebook, folder / "notebooks" / "00_small.ipynb")


def test_a_warning_fails_the_build(small):
    write(small, v4.new_markdown_cell("# Small\n\nSee {cite}`nobody1999`."))
    result = book.build(small, small / "_build")
    assert result.returncode != 0
    assert 'could not find bibtex key "nobody1999"' in result.stdout


def test_a_stored_error_fails_the_build(small):
    output = v4.new_output("error", ename="KeyError", evalue="lost", traceback=[])
    write(small, v4.new_markdown_cell("# Small"), v4.new_code_cell("x", outputs=[output]))
    result = book.build(small, small / "_build")
    assert result.returncode != 0
    assert "00_small.ipynb: cell 1 ended in an error: KeyError: lost" in result.stdout
