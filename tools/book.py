"""Build the site in ``_build/html`` from the outputs that the notebooks hold; nothing is run.

Warnings are errors. With ``--notebooks DIR`` the chapters come from ``DIR/notebooks``, where
``make course`` leaves what it measured. What is built lies in ``_build/site_source``: the sources'
text, which is MyST, with the notebooks' outputs, and the exercises as students get them.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat

from tools import exercises, notebooks, repository

ROOT = Path(__file__).resolve().parents[1]
# All that a build reads beside the notebooks.
PARTS = ("_config.yml", "_toc.yml", "references.bib", "_static", "book")
LOG = ROOT / "_build" / "site.log"
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
AGAIN = "run the chapters first, as `make notebooks` and `make course` do."


def stage(folder: Path, chapters: Path = ROOT / "notebooks") -> None:
    """Make ``folder`` a site's source, with the outputs of the notebooks in ``chapters``.

    Raises:
        notebooks.NotebookError: a chapter is not there, or was run from other code.
    """
    shutil.rmtree(folder, ignore_errors=True)
    settle(folder)
    for source in notebooks.sources():
        path = chapters / f"{source.stem}.ipynb"
        try:
            run = nbformat.read(path, as_version=4)
            chapter = notebooks.keep_outputs(notebooks.convert(source), run)
        except FileNotFoundError:
            raise notebooks.NotebookError(f"{path} is not there: {AGAIN}") from None
        except notebooks.NotebookError as error:
            raise notebooks.NotebookError(f"{path}: {error}. {AGAIN}") from None
        notebooks.write(chapter, folder / "notebooks" / path.name)
    for source in exercises.sources():
        exercise = folder / "notebooks" / "exercises" / f"{source.stem}.ipynb"
        notebooks.write(exercises.student(source), exercise)


def settle(folder: Path) -> None:
    """Put all that a build needs into ``folder``, but for the notebooks."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        source, copy = ROOT / part, folder / part
        if source.is_dir():
            shutil.copytree(source, copy, dirs_exist_ok=True)
        else:
            shutil.copy(source, copy)


def sphinx(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Build the staged folder ``source`` in ``out/html``; the log is the result's ``stdout``."""
    command = [Path(sys.executable).with_name("jupyter-book"), "build", source, "--all"]
    command += ["--path-output", out.parent, "-W", "-n", "--keep-going"]
    return subprocess.run(
        list(map(str, command)),
        encoding="utf-8",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},  # for tools.book_extension
    )


def build(chapters: Path = ROOT / "notebooks") -> subprocess.CompletedProcess[str]:
    """Build the course's site in ``_build/html``; see :func:`stage` and :func:`sphinx`."""
    stage(ROOT / "_build" / "site_source", chapters)
    return sphinx(ROOT / "_build" / "site_source", ROOT / "_build")


def reasons(log: str) -> list[str]:
    """Return the lines of a build's log that say why it failed; the last lines where none does."""
    lines = [COLOUR.sub("", line).rstrip() for line in log.splitlines()]
    said = [line for line in lines if re.search(r"WARNING|ERROR|Error:|[Ee]xception", line)]
    return list(dict.fromkeys(said)) or lines[-20:]


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools.book", description=__doc__.splitlines()[0])
    parser.add_argument("--notebooks", type=Path, default=ROOT, help="take the chapters from here")
    options = parser.parse_args()
    try:
        repository.address()  # a wrong one is told before anything is built
        result = build(options.notebooks.resolve() / "notebooks")
    except (notebooks.NotebookError, ValueError) as error:
        print(f"{error}\nThe site was not built.", file=sys.stderr)
        return 1
    LOG.write_text(result.stdout, "utf-8")
    if result.returncode:
        print("\n".join(reasons(result.stdout)), file=sys.stderr)
        print(f"The site was not built, for these reasons; all is in {LOG}.", file=sys.stderr)
        return 1
    print(f"The site is built: open {ROOT / '_build/html/index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
