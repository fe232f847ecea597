"""`make course`, the README's first command, on chapters cut short."""

import os
import shutil
import subprocess
import sys

import jupytext
import pytest

from tools import notebooks

ROOT = notebooks.ROOT
LEFT_OUT = shutil.ignore_patterns(".git", ".venv*", "_build", ".cache", "__pycache__", "tests")


def cut_short(source) -> None:
    """Keep all of a chapter's prose, and its first code cell."""
    notebook = jupytext.reads(source.read_text("utf-8"), fmt="py:percent")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    notebook.cells = [c for c in notebook.cells if c.cell_type == "markdown" or c is code[0]]
    source.write_text(notebooks.text(notebook), "utf-8")


def course(folder) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    return subprocess.run(
        ["make", "course", f"VENV={sys.prefix}", f"--assume-old={sys.prefix}/.ready"],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(folder)},
        capture_output=True,
        encoding="utf-8",
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course") / "copy"
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
    for source in notebooks.sources(folder / "notebooks"):
        cut_short(source)
    return folder


@pytest.fixture(scope="module")
def green(copy):
    return course(copy)


def test_it_ends_green_with_the_whole_site(green, copy):
    assert green.returncode == 0, green.stderr[-4000:] + green.stdout[-4000:]
    contents = notebooks.sources() + notebooks.sources(ROOT / "solutions")
    pages = [path.stem for path in (copy / "_build/html/notebooks").rglob("*.html")]
    assert sorted(pages) == [source.stem for source in contents]


def test_the_site_shows_what_was_run_here(green, copy):
    page = (copy / "_build/html/notebooks/00_start_here.html").read_text("utf-8")
    assert "data:image" in (ROOT / "notebooks" / "00_start_here.ipynb").read_text("utf-8")
    assert "data:image" not in page  # the cell that draws was cut


def test_it_says_a_line_a_step_and_a_line_a_chapter(green):
    lines = green.stdout.splitlines()
    chapters = [source.stem for source in notebooks.sources()]
    assert [line.split()[0] for line in lines] == ["[1/2]", *chapters, "[2/2]", "The"], green.stdout
    assert green.stderr == ""


def test_a_failure_says_why_last(green, copy):
    page = copy / "book" / "instructors.md"
    page.write_text(page.read_text("utf-8") + "\n{doc}`no-such-page`\n", "utf-8")
    result = subprocess.run(
        [sys.executable, "-m", "tools.book", "--notebooks", "_build/course"],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy)},
        capture_output=True,
        encoding="utf-8",
    )
    assert result.returncode == 1
    *why, last = result.stderr.splitlines()
    assert any("no-such-page" in line for line in why) and len(why) < 8
    assert "site.log" in last and "WARNING" in (copy / "_build/site.log").read_text("utf-8")
