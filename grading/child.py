"""The process of one submission: the student's cells, then the official checks.

The student's code runs here, and so do the checks, because they look at live objects. Between the
two stand three things: a check cell gets the official names and builtins again, a snapshot tells
what was replaced, and a verdict starts with a token that is new for each submission.
"""

import ast
import builtins
import contextlib
import gc
import json
import os
import sys
import traceback
from typing import NoReturn

from IPython.core.history import HistoryManager
from IPython.core.interactiveshell import InteractiveShell

from . import limits as limits_
from .integrity import Snapshot
from .limits import Limits
from .verdict import BROKEN

LONGEST = 20_000  # characters of a part's report


class Shell(InteractiveShell):
    """A notebook's without the notebook: magics work, and figures have no window."""

    def enable_gui(self, gui: str | None = None) -> None:
        return


def run(job: dict, names: dict, before: Snapshot, token: str, pipe: int, output: int) -> NoReturn:
    """Grade in this process, write one line for each part to `pipe`, and end.

    Args:
        job: ``steps`` (see :func:`~grading.cells.steps`), ``limits``, ``folder``.
        names: what the exercise's import cells bind.
        before: what there was before any student's code.
        token: stands before every line.
        pipe: file descriptor for verdicts.
        output: file descriptor for all that is printed.
    """
    leave, write, dumps = os._exit, os.write, json.dumps  # before student code can replace them
    status = BROKEN
    try:
        _enter(job, pipe, output)

        def tell(**message) -> None:
            write(pipe, f"{token}{dumps(message)}\n".encode())

        _grade(job["steps"], names, before, tell)
        status = 0
    except BaseException:
        with contextlib.suppress(BaseException):
            traceback.print_exc()
    leave(status)


def _enter(job: dict, pipe: int, output: int) -> None:
    """A session, folder, environment and limits of its own; nothing open but the two pipes."""
    os.setsid()
    limits_.end_with_parent()
    nothing = os.open(os.devnull, os.O_RDONLY)
    for old, new in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(old, new)
    os.closerange(3, pipe)
    os.closerange(pipe + 1, os.sysconf("SC_OPEN_MAX"))
    sys.stdin = os.fdopen(0, encoding="utf-8")
    sys.stdout, sys.stderr = (
        os.fdopen(f, "w", buffering=1, encoding="utf-8", errors="replace") for f in (1, 2)
    )
    os.chdir(job["folder"])
    os.environ.update(dict.fromkeys(("HOME", "TMPDIR", "MODARCH_CACHE"), job["folder"]))
    limits_.apply(Limits(**job["limits"]))


def _grade(steps: list[dict], names: dict, before: Snapshot, tell) -> None:
    HistoryManager.enabled = False
    shell = Shell(colors="NoColor")
    pristine = dict(vars(builtins))
    errors = []
    for step in steps:
        if step["kind"] != "check":
            done = shell.run_cell(step["text"])
            error = done.error_before_exec or done.error_in_exec
            if error is not None and step["kind"] == "student":
                errors.append(f"{step['name']} raised {_words(error)}")
            continue
        sys.settrace(None)
        sys.setprofile(None)
        points, text = _check(step, shell.user_ns, names, pristine)
        if changed := before.changed():
            tell(changed=changed[:10])
            return
        tell(part=step["name"], points=points, text=text[:LONGEST], errors=errors)
        errors = []
        gc.collect()
    tell(end=True)


def _check(step: dict, space: dict, names: dict, pristine: dict) -> tuple[float, str]:
    """Run an official check cell; return its points and what it shows."""
    shown: list[str] = []
    given = {
        **names,
        "display": lambda *values: shown.extend(map(str, values)),
        "__builtins__": dict(pristine),
    }
    theirs = {**space, **given}
    body = ast.parse(step["text"]).body
    last = body.pop()
    try:
        exec(compile(ast.Module(body, []), "<check>", "exec"), theirs)
        value = eval(compile(ast.Expression(last.value), "<check>", "eval"), theirs)
    except BaseException as error:  # student code may raise anything, SystemExit too
        return 0.0, "\n".join([*shown, f"The check stopped: {_words(error)}"])
    space.update({name: value for name, value in theirs.items() if name not in given})
    if type(value) not in (int, float) or not 0 <= value <= step["most"]:
        return 0.0, "\n".join([*shown, "The check gave no number of points."])
    return float(value), "\n".join(shown)


def _words(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}".splitlines()[0][:300]
    except BaseException:  # a message of the student's own making
        return "an error without a message"
