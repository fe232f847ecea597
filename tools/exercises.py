"""From one text to a solution notebook and a student's notebook.

``solutions/source/NAME.py`` holds prompt, solution and check. ``solutions/NAME.ipynb`` is made from
it and run, or keeps its outputs where only its prose changed; ``notebooks/exercises/NAME.ipynb`` is
the same without the solution, by nbgrader's ``ClearSolutions``::

    python -m tools.exercises build [NAME ...]   # what is stale (all of it with --force)
    python -m tools.exercises check              # are both notebooks of every exercise fresh?

Two tags carry nbgrader's metadata: ``solution:ID`` marks a cell with ``### BEGIN SOLUTION`` and
``### END SOLUTION``, and ``check:ID:POINTS`` one whose last line gives the points.
"""

import argparse
import logging
import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.nbgraderformat import SCHEMA_VERSION, MetadataValidator, ValidationError
from nbgrader.preprocessors import ClearSolutions

from tools import notebooks

SOLUTIONS = notebooks.ROOT / "solutions"
EXERCISES = notebooks.NOTEBOOKS / "exercises"
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
TAG = re.compile(r"(?P<role>solution):(?P<id>[\w-]+)|(?P<check>check):(?P<for>[\w-]+):(?P<n>\d+)")


class ExerciseError(Exception):
    """An exercise cannot be made; the message names the file, the cell and what to do."""


def sources(folder: Path = SOLUTIONS) -> list[Path]:
    """Return the exercises' texts, in order."""
    return notebooks.sources(folder)


def solution(source: Path) -> NotebookNode:
    """Return the solution notebook, not yet run, with nbgrader's metadata.

    Raises:
        ExerciseError: marks and tags that do not fit together.
    """
    notebook = notebooks.convert(source)
    for index, cell in enumerate(notebook.cells):
        where = f"{source.name}, cell {index}"
        tags = cell.metadata.get("tags", [])
        ours = [tag for tag in tags if tag.startswith(("solution", "check"))]
        matches = [TAG.fullmatch(tag) for tag in ours]
        if None in matches or len(ours) > 1:
            raise ExerciseError(
                f"{where}: {ours} should be one tag, solution:ID or check:ID:POINTS."
            )
        is_solution = bool(matches) and matches[0]["role"] == "solution"
        if _regions(cell.source, where) != is_solution:
            raise ExerciseError(
                f"{where}: a cell has the tag solution:ID if and only if it has the marks "
                f"{BEGIN} and {END}."
            )
        if matches:
            cell.metadata["nbgrader"] = nbformat.from_dict(
                {
                    "grade": not is_solution,
                    "grade_id": matches[0]["id"] or f"{matches[0]['for']}-check",
                    "locked": not is_solution,
                    "schema_version": SCHEMA_VERSION,
                    "solution": is_solution,
                    "task": False,
                }
                | ({} if is_solution else {"points": int(matches[0]["n"])})
            )
    try:
        MetadataValidator().validate_nb(notebook)
    except ValidationError as error:
        raise ExerciseError(f"{source.name}: {error}") from None
    return notebook


def _regions(text: str, where: str) -> bool:
    """Whether the text has solution regions; raises unless every mark has its partner."""
    inside = found = False
    for line in text.splitlines():
        for mark, opens in ((BEGIN, True), (END, False)):
            # Any spelling of the mark that nbgrader would act on has to be ours.
            if mark.lstrip("# ") not in line:
                continue
            if line.strip() != mark or inside == opens:
                partner = "closed" if opens else "opened"
                raise ExerciseError(
                    f"{where}: `{line.strip()}` where the last region is not {partner}, or it is "
                    f"not exactly `{mark}`."
                )
            inside, found = opens, True
    if inside:
        raise ExerciseError(f"{where}: {BEGIN} is never closed: add {END}.")
    return found


def student(source: Path) -> NotebookNode:
    """Return the student's notebook: solutions cleared, nothing run.

    Raises:
        ExerciseError: as :func:`solution`.
    """
    notebook = solution(source)
    clear = ClearSolutions()
    clear.log.setLevel(logging.CRITICAL)
    try:
        notebook, _ = clear.preprocess(notebook, {})
    except RuntimeError as error:
        raise ExerciseError(f"{source.name}: {error}") from None
    return notebook


def target(source: Path) -> Path:
    """Return the student's notebook of a source: ``notebooks/exercises/NAME.ipynb``."""
    return source.parents[2] / "notebooks" / "exercises" / f"{source.stem}.ipynb"


def stale(source: Path) -> str | None:
    """Return why the two notebooks must be built again, or None if both are fresh."""
    if why := notebooks.stale(source):
        return f"solution: {why}"
    path = target(source)
    if not path.exists() or path.read_text("utf-8") != nbformat.writes(released(source)) + "\n":
        return "the student's notebook is not what its source makes"
    return None


def released(source: Path) -> NotebookNode:
    """Return the student's notebook as it is handed out: what every editor shows.

    Raises:
        ExerciseError: as :func:`solution`.
        notebooks.NotebookError: it holds markup that editors do not show.
    """
    return notebooks.rendered(student(source), target(source))


def make(source: Path, *, run: bool = True) -> None:
    """Run the solution, and write both notebooks. Nothing is written on failure.

    Without ``run`` the solution keeps the outputs that it has: only its text changed.

    Raises:
        ExerciseError: as :func:`solution`, or the text does not survive the conversion.
        notebooks.NotebookError: a cell raised, or the result has a fault.
    """
    solved, cleared, path = solution(source), released(source), notebooks.target(source)
    if notebooks.text(solved) != source.read_text("utf-8"):
        raise ExerciseError(f"{source.name} does not survive a round trip through jupytext.")
    solved = notebooks.rendered(solved, path)
    if run:
        notebooks.execute(solved, source.stem, source.parents[1])
    else:
        notebooks.keep_outputs(solved, nbformat.read(path, as_version=4))
    if found := notebooks.faults(solved):
        kept = notebooks.keep_failed(solved, source.stem, source.parents[2])
        raise notebooks.NotebookError(f"{source.stem}: {'; '.join(found)}. It is kept in {kept}.")
    notebooks.write(solved, path)
    notebooks.write(cleared, target(source))


def main(arguments: list[str] | None = None, folder: Path = SOLUTIONS) -> int:
    parser = argparse.ArgumentParser(prog="tools.exercises", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="make the exercises whose source changed")
    build.add_argument("names", nargs="*", help="only these, e.g. ex1_convnext_block")
    build.add_argument("--force", action="store_true", help="make fresh ones too")
    commands.add_parser("check", help="report what is stale")
    options = parser.parse_args(arguments)
    chosen = sources(folder)
    if options.command == "check":
        found = [f"{s.stem}: {why}" for s in chosen if (why := stale(s))]
        print("\n".join(found) or "Every exercise is fresh.")
        return 1 if found else 0
    if unknown := set(options.names) - {s.stem for s in chosen}:
        print(f"No exercise is called {', '.join(sorted(unknown))}.", file=sys.stderr)
        return 1
    for source in chosen:
        if source.stem not in (options.names or [source.stem]):
            continue
        if options.force or stale(source):
            run = options.force or bool(notebooks.must_run(source))
            print(f"Making {source.stem}", flush=True)
            try:
                make(source, run=run)
            except (ExerciseError, notebooks.NotebookError) as error:
                print(f"{error}\nNothing was written.", file=sys.stderr)
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
