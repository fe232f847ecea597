"""Whose file is which, in an instructor's folder of submissions."""

import os
import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Submission:
    """A student's file for an exercise."""

    student: str
    exercise: str
    """``""`` if the file's name tells none."""
    path: Path
    problem: str = ""
    """The status that it gets without being read; see ``verdict.STATUSES``."""


def find(folder: Path, exercises: Collection[str]) -> list[Submission]:
    """Return every submission below `folder`, in order.

    Two layouts, which may be mixed:

    * ``STUDENT/EXERCISE.ipynb``, at any depth below STUDENT (nbgrader's ``submitted`` folder);
    * ``STUDENT_EXERCISE.ipynb``.

    A copy's name, ``EXERCISE (1).ipynb``, counts as EXERCISE. Hidden files and folders are left
    out, and so are files that are neither notebooks nor named like an exercise.
    """
    names = "|".join(sorted(map(re.escape, exercises), key=len, reverse=True))
    pattern = re.compile(rf"(?:(?P<student>.+)_)?(?P<exercise>{names})(?: ?\(\d+\)| copy)?")
    found: list[Submission] = []
    for entry in _visible(folder):
        if entry.is_dir() and not entry.is_symlink():
            mine = [s for path in _files(entry) if (s := _submission(path, entry.name, pattern))]
            found += mine or [Submission(entry.name, "", entry, "nothing")]
        elif submission := _submission(entry, None, pattern):
            found.append(submission)
    seen: set[tuple[str, str]] = set()
    for index, submission in enumerate(found):
        key = (submission.student, submission.exercise)
        if submission.exercise and not submission.problem:
            if key in seen:
                found[index] = Submission(*key, submission.path, "twice")
            seen.add(key)
    return found


def _submission(path: Path, student: str | None, pattern: re.Pattern) -> Submission | None:
    match = pattern.fullmatch(path.stem)
    notebook = path.suffix == ".ipynb"
    if match and student is None:
        student = match["student"]
    if not match or student is None:
        return Submission(student or path.stem, "", path, "name") if notebook else None
    return Submission(student, match["exercise"], path, "" if notebook else "notebook")


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    files: list[Path] = []
    for root, folders, _ in os.walk(folder):  # does not follow links
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        files += [path for path in _visible(Path(root)) if path.is_symlink() or not path.is_dir()]
    return files
