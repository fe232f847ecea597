"""Findings and the table that shows them: all at once, each with its likely cause."""

import html
import linecache
import re
import textwrap
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from IPython.display import HTML

from modarch_utils import tables

SIGNS = {True: "right", False: "WRONG", None: "not yet"}
MARKS = {True: "✓", False: "✗", None: "…"}  # no colours: pages may be light or dark
WIDTH = 96
HERE = str(Path(__file__).parent)


@dataclass(frozen=True)
class Finding:
    """One row: something that was looked at."""

    what: str
    """What was looked at, in a few words."""
    passed: bool | None
    """None: it could not be looked at, because something else comes first."""
    expected: str
    """What a right answer does."""
    came: str = ""
    """What this answer does."""
    likely: str = ""
    """The likely mistake, and where to look."""


@dataclass(frozen=True)
class Report:
    """All findings on one answer, shown as a table."""

    title: str
    """What was checked, for example ``"ConvNeXtBlock"``."""
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether every row is right."""
        return bool(self.findings) and all(f.passed for f in self.findings)

    def points(self, most: float) -> float:
        """Points of `most`: its share of right rows, to a hundredth. All only if all are right."""
        right = sum(f.passed is True for f in self.findings)
        return round(most * right / max(len(self.findings), 1), 2)

    @property
    def verdict(self) -> str:
        """One sentence."""
        wrong = sum(f.passed is False for f in self.findings)
        waiting = sum(f.passed is None for f in self.findings)
        if self.passed:
            return f"{self.title}: all {len(self.findings)} right."
        words = f"{self.title}: {wrong} of {len(self.findings)} wrong"
        return words + (f", {waiting} not looked at yet." if waiting else ".")

    def __str__(self) -> str:
        lines = [self.verdict]
        for f in self.findings:
            if f.passed is None:
                continue
            lines.append(f"{SIGNS[f.passed]:>8}  {f.what}: {f.expected}")
            for name, text in (("came", f.came), ("likely", f.likely)):
                if text and not f.passed:
                    lines += _wrapped(" " * 10 + f"{name}: ", text)
        if later := ", ".join(f.what for f in self.findings if f.passed is None):
            lines += _wrapped(f"{SIGNS[None]:>8}  ", later)
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = []
        for f in self.findings:
            sign = HTML(f"<strong>{MARKS[f.passed]}&nbsp;{SIGNS[f.passed]}</strong>")
            rest = (f.came, f.likely) if not f.passed else ("as expected", "")
            rows.append([sign, *map(_with_code, (f.what, f.expected, *rest))])
        head = ("Verdict", "Looked at", "Expected", "Came", "Likely")
        return f"<p><strong>{_with_code(self.verdict).data}</strong></p>" + tables.table(head, rows)


def _with_code(text: str) -> HTML:
    """Text whose backticks become code."""
    return HTML(re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False)))


def _wrapped(start: str, text: str) -> list[str]:
    rest = " " * len(start)
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=rest)


class Unusable(Exception):
    """The student's code raised, or gave something that nothing can be done with.

    Args:
        came: what happened.
        likely: the likely mistake.
    """

    def __init__(self, came: str, likely: str):
        super().__init__(came)
        self.came, self.likely = came, likely


EMPTY = (
    "Replace `raise NotImplementedError()` with your code, then run that cell and this one again."
)
HINTS = (
    ("before Module.__init__() call", "Call `super().__init__()` first in `__init__`."),
    ("has no attribute", "Set it in `__init__` first, and look for a typing error in the name."),
    ("is not defined", "Define or import it in your cell; look for a typing error in the name."),
    ("positional argument", "Compare the signature with the one in the task."),
    ("unexpected keyword argument", "Compare the signature with the one in the task."),
    ("division by zero", "Look for a divisor that can become 0 at one end of its range."),
    (
        "index out of range",
        "A list has fewer elements: look at the last position asked for.",
    ),
)


def call(
    function: Callable,
    *args,
    hint: Callable[[str], str] = lambda message: "",
    otherwise: str = "Run the line by itself, and print what goes in.",
):
    """Call student code.

    Args:
        function: the student's.
        args: for it.
        hint: from an error's message to the likely mistake, or to "".
        otherwise: the likely mistake behind other errors.

    Raises:
        Unusable: whatever it raised, in words.
    """
    try:
        return function(*args)
    except NotImplementedError:
        raise Unusable("nothing yet: this part is still to be written", EMPTY) from None
    except (Exception, SystemExit) as error:
        message = str(error).strip().splitlines()
        first = message[0] if message else ""
        likely = hint(first)
        for sign, words in HINTS:
            likely = likely or (words if sign in first else "")
        came = f"{type(error).__name__}: {first}" + _place(error)
        raise Unusable(came, likely or otherwise) from None


def _place(error: BaseException) -> str:
    """The student's line that raised, as far as it can be told."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if "site-packages" not in frame.filename and not frame.filename.startswith(HERE):
            line = frame.line or linecache.getline(frame.filename, frame.lineno or 0)
            return f" (in the line `{line.strip()}`)" if line.strip() else ""
    return ""


class Seen(NamedTuple):
    """What a look at one thing gave; the fields are those of :class:`Finding`."""

    passed: bool | None
    came: str = ""
    likely: str = ""


RIGHT = Seen(True)
AFTER = Seen(None, "comes after the rows above")


def wrong(came: str, likely: str) -> Seen:
    """A mistake: what came, and what it is likely to be."""
    return Seen(False, came, likely)


class Rows:
    """Collects findings; a row may wait for others.

    Args:
        expected: for each row what a right answer does, in the order in which rows are shown.
    """

    def __init__(self, expected: dict[str, str]):
        self.expected, self.seen = expected, {}

    def add(self, what: str, look: Callable[[], Seen], after: tuple[str, ...] = ()) -> Seen:
        """Look, unless a row in `after` is not right yet."""
        if any(not self.seen[other].passed for other in after):
            seen = AFTER
        else:
            try:
                seen = look()
            except Unusable as problem:
                seen = wrong(problem.came, problem.likely)
            except Exception as error:  # what came back is stranger than any row foresees
                seen = wrong(
                    f"a result that cannot be read ({type(error).__name__})",
                    "Compare what your code returns with the task: type, keys, shape.",
                )
        self.seen[what] = seen
        return seen

    def report(self, title: str) -> Report:
        """The report; rows that were never added come after the others."""
        findings = []
        for what, expected in self.expected.items():
            passed, came, likely = self.seen.get(what, AFTER)
            findings.append(Finding(what, passed, expected, came, likely))
        return Report(title, tuple(findings))
