"""From an official notebook and a student's to the cells that are run."""

import ast
import json
from dataclasses import asdict, dataclass
from pathlib import Path

LARGEST = 20 * 2**20  # bytes of a notebook


class NotNotebook(Exception):
    """A file that cannot be read as a notebook; the message says why."""


@dataclass(frozen=True)
class Cell:
    """A code cell."""

    number: int
    """Its place in the notebook, from 1."""
    id: str
    grade_id: str
    """nbgrader's name for it, or ``""``."""
    role: str
    """``"answer"``, ``"check"`` or ``""``, by nbgrader's metadata."""
    most: float
    """Points of a check."""
    text: str


@dataclass(frozen=True)
class Step:
    """A cell to be run."""

    kind: str
    """``"student"``, ``"given"`` or ``"check"``."""
    name: str
    text: str
    most: float = 0


def read(path: Path, largest: int = LARGEST) -> list[Cell]:
    """Return a notebook's code cells that hold code.

    It reads plain JSON of any version 4 and trusts none of it.

    Raises:
        NotNotebook: the file is something else, larger than ``largest`` bytes, or no regular file.
    """
    if path.is_symlink() or not path.is_file():
        raise NotNotebook("it is no regular file")
    try:
        if path.stat().st_size > largest:
            raise NotNotebook(f"it is larger than {largest // 2**20} MiB: clear its outputs")
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise NotNotebook(f"it cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        raise NotNotebook("it is not JSON") from None
    try:
        if content["nbformat"] != 4:
            raise NotNotebook(f"it has notebook format {content['nbformat']!r:.20} instead of 4")
        cells = [_cell(number, cell) for number, cell in enumerate(content["cells"], 1)]
    except (KeyError, TypeError, AttributeError, ValueError):
        raise NotNotebook("its JSON is not a notebook's") from None
    return [cell for cell in cells if cell and cell.text.strip()]


def _cell(number: int, cell: dict) -> Cell | None:
    if cell["cell_type"] != "code":
        return None
    meta = cell["metadata"].get("nbgrader", {})
    role = "check" if meta.get("grade") else "answer" if meta.get("solution") else ""
    names = (str(cell.get("id", "")), str(meta.get("grade_id", "")))
    return Cell(number, *names, role, float(meta.get("points", 0)), "".join(cell["source"]))


def checks(official: list[Cell]) -> list[Cell]:
    """The cells that give points."""
    return [cell for cell in official if cell.role == "check"]


def imports(official: list[Cell]) -> str:
    """The import statements of the cells that are not answers, one on each line."""
    statements = [
        ast.unparse(node)
        for cell in official
        if cell.role != "answer"
        for node in ast.parse(cell.text).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    return "\n".join(statements)


def belongs(official: list[Cell], theirs: list[Cell]) -> bool:
    """Whether any of the exercise's answer cells is in the student's notebook."""
    names = {name for cell in theirs for name in (cell.id, cell.grade_id)} - {""}
    return any({cell.id, cell.grade_id} & names for cell in official if cell.role == "answer")


def steps(official: list[Cell], theirs: list[Cell]) -> tuple[list[dict], list[str]]:
    """Return what to run, up to the last check, and the names of answers that are missing.

    The order is the official notebook's. The student's text stands in answer cells; a check cell
    is always official. A given cell that was edited runs twice, first as it was edited, then as it
    was given: imports that the student added stay, and what was changed is put right. Cells that
    the student added run after the cell that they follow.
    """
    places = {}
    for index, cell in enumerate(official):
        for key in (cell.id, cell.grade_id, cell.text):
            if key:
                places[key] = index
    at: dict[int, list[Step]] = {}
    added: dict[int, list[Step]] = {}
    place = -1
    for cell in theirs:
        keys = (cell.grade_id, cell.id, cell.text)
        found = next((places[key] for key in keys if key in places), None)
        if found is None:
            if cell.role != "check":
                added.setdefault(place, []).append(
                    Step("student", f"cell {cell.number}", cell.text)
                )
            continue
        place = found
        if official[found].role == "answer" or cell.text != official[found].text:
            name = official[found].grade_id or f"cell {cell.number}"
            at.setdefault(found, []).append(Step("student", name, cell.text))
    last = max(index for index, cell in enumerate(official) if cell.role == "check")
    run = added.get(-1, [])
    missing = []
    for index, cell in enumerate(official[: last + 1]):
        if cell.role == "check":
            run.append(Step("check", cell.grade_id, cell.text, cell.most))
        else:
            run += at.get(index, [])
            if cell.role == "answer" and index not in at:
                missing.append(cell.grade_id)
            if cell.role != "answer" or index not in at:
                run.append(Step("given", cell.grade_id or f"cell {cell.number}", cell.text))
        run += added.get(index, []) if index < last else []
    return [asdict(step) for step in run], missing
