"""Answers made from a solution's text, and what each exercise's tests share.

``exN/mistakes.toml`` holds wrong answers: a piece of the solution, what a student wrote in its
place, the rows that must be wrong and words that must be there. The mutants of a check are wrong
answers too, and are written once, in the check.
"""

import ast
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from modarch_utils.checks.core import Part, Report
from tools import exercises, notebooks

HERE = Path(__file__).parent


class Graded(NamedTuple):
    """A function or class that an exercise asks for."""

    check: Callable[..., Report]
    outputs: Callable[[Callable, int], object]
    """From an answer and a seed to what it gives there, to be compared with the solution's."""
    part: Callable[[int], Part] | None = None
    """From a seed to what its check is made of, if it is one :class:`Part`."""
    words: frozenset[str] = frozenset()
    """Words of its check that name no mistake, if it is none."""

    @property
    def general(self) -> set[str]:
        """The words that name no mistake."""
        return self.part(0).general if self.part else self.words


class Wrong(NamedTuple):
    """A wrong answer: the solution with some pieces replaced."""

    exercise: str
    function: str
    change: dict[str, str]
    rows: list[str]
    words: str


def cells(exercise: str) -> list[str]:
    """The code that an exercise's solution is made of: imports first, then each solution."""
    (source,) = (path for path in exercises.sources() if path.stem.startswith(f"{exercise}_"))
    setup, *rest = notebooks.code_cells(exercises.solution(source))
    solved = [c for c in rest if c.metadata.get("nbgrader", {}).get("solution")]
    return [cell.source for cell in (setup, *solved)]


def definition(cell: str) -> str:
    """The name of what a cell defines last; "" for a cell of imports."""
    body = ast.parse(cell).body
    names = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return names[-1] if names else ""


def answer(exercise: str, function: str, change: dict[str, str]) -> Callable:
    """The solution's function, with pieces of its text replaced."""
    space = {"__name__": "student"}
    for cell in cells(exercise):
        if definition(cell) == function:
            for old, new in change.items():
                assert old in cell, f"{function} has no {old!r}"
                cell = cell.replace(old, new)
        exec(compile(cell, f"<{exercise}>", "exec"), space)
    return space[function]


def outcome(function: Callable, *args) -> object:
    """What a call gives, or the name of the error that it raises."""
    try:
        return function(*args)
    except Exception as error:
        return type(error).__name__


def wrong_answers(exercise: str) -> list[Wrong]:
    """The mistakes in ``exN/mistakes.toml``."""
    path = HERE / exercise / "mistakes.toml"
    tables = tomllib.loads(path.read_text("utf-8"))
    return [Wrong(exercise, name, **entry) for name, entries in tables.items() for entry in entries]
