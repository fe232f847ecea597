"""The built site, read as files."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from nbformat import v4

from tests.book.test_accessible import violations
from tools import book, ledger, notebooks, repository
from tools.notebooks import NOTEBOOKS

COMMITTED = sorted(NOTEBOOKS.glob("*.ipynb"))
SOURCES = notebooks.sources()
CITED = re.compile(r"\{cite[:pt]*\}`([^`]+)`")
EXERCISES = sorted(NOTEBOOKS.glob("exercises/*.ipynb"))


def test_contents_list_every_notebook(chapters):
    listed = [name for name in chapters if name.startswith("notebooks/")]
    names = [path.relative_to(NOTEBOOKS.parent) for path in COMMITTED + EXERCISES]
    assert listed == [path.with_suffix("").as_posix() for path in names]


def test_index_leads_to_the_first_page(site, chapters):
    assert f"url={chapters[0]}.html" in (site / "index.html").read_text("utf-8")


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


def test_ledger_has_every_claim(pages):
    tables = pages["book/ledger.html"].select("article table")
    rows = sum(
        len(table.select("tbody tr")) for table in tables[1:-1]
    )  # the summary first, the records last
    assert rows == sum(len(ledger.claims(path)) for path in COMMITTED)


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_the_site_has_boxes_and_citations_where_editors_have_quotations(pages, source):
    page = pages[f"notebooks/{source.stem}.html"]
    boxes = source.read_text("utf-8").count("```{admonition}")
    assert len(page.select("article div.admonition")) == boxes  # folded cells are details
    cited = {key for keys in CITED.findall(source.read_text("utf-8")) for key in keys.split(",")}
    links = page.select("article a.reference.internal[href*='bibliography.html#']")
    assert len({link["href"] for link in links}) == len(cited)
    assert page.select("#install") == [] and "find_spec" not in page.select_one("article").text


def test_every_page_says_how_it_may_be_used(pages):
    assert all("CC BY 4.0" in page.select_one(".bd-footer-content").text for page in pages.values())


def test_buttons_stand_on_a_site_with_an_address_alone(pages):
    with_buttons = {name for name, page in pages.items() if page.select(".btn-report-an-error")}
    assert with_buttons == (set(pages) if repository.address() else set())


# What the site is built from.


def test_the_course_leaves_chapters_alone_and_its_site_has_all(tmp_path, chapters):
    """`make course` runs the chapters into a folder that holds nothing else."""
    folder, staged = tmp_path / "course" / "notebooks", tmp_path / "staged"
    printed = v4.new_output("stream", name="stdout", text="measured here")
    for source in SOURCES:
        run = notebooks.rendered(notebooks.convert(source), folder / f"{source.stem}.ipynb")
        next(c for c in notebooks.code_cells(run) if c.id != "install").outputs = [printed]
        notebooks.write(run, folder / f"{source.stem}.ipynb")
    book.stage(staged, folder)
    made = {"book/ledger"}  # by the build
    assert [n for n in chapters if not list(staged.glob(f"{n}.*")) and n not in made] == []
    chapter = nbformat.read(staged / "notebooks" / "02_convnext.ipynb", as_version=4)
    assert next(notebooks.code_cells(chapter)).outputs == [printed]
    assert "{cite:t}`liu2022convnet`" in chapter.cells[0].source
    for exercise in staged.glob("notebooks/exercises/*.ipynb"):
        assert "SOLUTION" not in exercise.read_text("utf-8")


@pytest.mark.parametrize(
    ("code", "words"), [(None, "is not there: run the chapters"), ("1", "code is not that of its")]
)
def test_a_chapter_that_was_not_run_is_named(tmp_path, code, words):
    path = tmp_path / "00_start_here.ipynb"
    if code:
        nbformat.write(v4.new_notebook(cells=[v4.new_code_cell(code)]), path)
    with pytest.raises(notebooks.NotebookError, match=words) as caught:
        book.stage(tmp_path / "staged", tmp_path)
    assert str(path) in str(caught.value)


# How the build fails: a small site of its own, with the real configuration.


@pytest.fixture
def small(tmp_path) -> Path:
    """Everything a build needs and one chapter; a test spoils it, then builds."""
    book.settle(tmp_path)
    toc = {"format": "jb-book", "root": "notebooks/00_small", "chapters": [{"file": "book/ledger"}]}
    (tmp_path / "_toc.yml").write_text(yaml.safe_dump(toc), "utf-8")
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
    result = book.sphinx(small, small / "_build")
    assert result.returncode != 0
    assert 'could not find bibtex key "nobody1999"' in result.stdout


def test_a_stored_error_fails_the_build(small):
    output = v4.new_output("error", ename="KeyError", evalue="lost", traceback=[])
    write(small, v4.new_markdown_cell("# Small"), v4.new_code_cell("x", outputs=[output]))
    result = book.sphinx(small, small / "_build")
    assert result.returncode != 0
    assert "00_small.ipynb: cell 1 ended in an error: KeyError: lost" in result.stdout


def test_an_address_gives_buttons_that_run_edit_and_report(small, monkeypatch, browser):
    url = "https://github.com/ann/course"
    monkeypatch.setenv("MODARCH_REPOSITORY", url)
    write(small, v4.new_markdown_cell("# Small\n\nA page."))
    result = book.sphinx(small, small / "_build")
    assert result.returncode == 0, result.stdout
    html = small / "_build" / "html" / "notebooks" / "00_small.html"
    soup = BeautifulSoup(html.read_text("utf-8"), "html.parser")
    links = {tag.text.strip(): tag["href"] for tag in soup.select(".dropdown-repository-buttons a")}
    services = repository.services(url, "notebooks/00_small.ipynb")
    assert links == {f"Run on {name}": link for name, link in services.items()} | {
        "Suggest an edit": f"{url}/edit/main/notebooks/source/00_small.py",
        "Report an error": f"{url}/issues/new?template=chapter.yml&title="
        "notebooks%2F00_small%3A%20",
    }
    assert (book.ROOT / ".github" / "ISSUE_TEMPLATE" / "chapter.yml").is_file()
    page = browser.new_page()
    page.goto(html.as_uri())
    assert violations(page, "light") == []
