"""What a notebook's outputs were made of, beside its own text: code, figures, records, weights.

A run is watched from inside its kernel (:func:`watch`, then :func:`inputs`), and the notebook keeps
each file of the repository that it used with a short hash. :func:`changed` compares them with the
files of today. Comments and docstrings of a module do not count, nor do the line ends of a text.
"""

import ast
import json
import os
from pathlib import Path

from jupyter_core.utils import run_sync
from nbclient import NotebookClient

from grading.closure import digest

TIMEOUT_SECONDS = 60
NAMED = 3  # files that a message names

# It runs in a namespace of its own, so that the notebook's holds nothing of it.
_WATCH = """
import os, sys, time

sys._notebook_start = time.time()
used = sys._notebook_files = {}  # path: was it only read?

def hook(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        path = os.path.abspath(os.fsdecode(arguments[0]))
        only_read = not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)
        used[path] = used.get(path, True) and only_read

sys.addaudithook(hook)
"""
_TELL = """
(lambda sys, json: json.dumps([
    sys._notebook_start,
    [path for path, only_read in list(sys._notebook_files.items())
     if only_read and not path.endswith((".py", ".pyc"))],
    [file for module in list(sys.modules.values())
     if isinstance(file := getattr(module, "__dict__", {}).get("__file__"), str)],
]))(*map(__import__, ("sys", "json")))
"""
# Made by programs, or not of the course.
_NOT_OURS = {"_build", "build", "__pycache__", "site-packages"}
# A checkpoint's tensors and tokenizers are read outside of Python, where no hook sees it; the
# zoo opens at least one file of the folder, to verify it.
_WEIGHTS = Path("modarch_utils/weights")
_PROSE = {".md", ".ipynb"}


def watch(client: NotebookClient) -> None:
    """Begin to note which files the client's kernel reads; call it before the first cell."""
    _ask(client, f"exec({_WATCH!r}, {{}})")


def inputs(client: NotebookClient, root: Path) -> dict[str, str]:
    """Return the files below `root` that the kernel imported or read since :func:`watch`.

    A file that the notebook wrote itself is none of them. What a child process reads is not seen.

    Returns:
        ``{path from root: hash}``, sorted. A file that was edited or moved during the run has the
        hash ``"unknown"``, which never fits: nobody can say which state of it the notebook saw.
    """
    start, read, imported = json.loads(_ask(client, "", _TELL.strip()))
    root = root.resolve()
    seen = [*filter(os.path.isfile, read), *imported]  # opening what is not there fails
    files = {path for name in seen if _is_ours(path := Path(name).resolve(), root)}
    for path in list(files):
        if (inside := path.relative_to(root)).is_relative_to(_WEIGHTS):
            checkpoint = root / _WEIGHTS / inside.relative_to(_WEIGHTS).parts[0]
            files |= {
                file for file in checkpoint.rglob("*") if file.is_file() and _is_ours(file, root)
            }
    return {
        path.relative_to(root).as_posix(): digest(path) if _is_older(path, start) else "unknown"
        for path in sorted(files)
    }


def changed(kept: dict[str, str] | None, root: Path) -> str | None:
    """Return which files differ from what :func:`inputs` found, or None if none does.

    Args:
        kept: as :func:`inputs` returned it; None for a notebook that keeps no such list.
    """
    if kept is None:
        return "it does not say which files it was made from"
    found = [name for name, known in kept.items() if _differs(root / name, known)]
    if not found:
        return None
    more = f" and {len(found) - NAMED} more" if len(found) > NAMED else ""
    return f"{', '.join(found[:NAMED])}{more} changed after it was run"


def _differs(path: Path, known: str) -> bool:
    return not path.is_file() or digest(path) != known


def _is_older(path: Path, moment: float) -> bool:
    return path.is_file() and path.stat().st_mtime <= moment


def _is_ours(path: Path, root: Path) -> bool:
    if not path.is_relative_to(root) or path.suffix in _PROSE:
        return False
    parts = path.relative_to(root).parts
    return not any(part.startswith(".") or part in _NOT_OURS for part in parts)


def _ask(client: NotebookClient, code: str, expression: str = "None") -> str | None:
    """Run code in the kernel, unseen and uncounted, and return an expression's value."""
    reply = run_sync(client.kc.execute_interactive)(
        code,
        silent=True,
        store_history=False,
        user_expressions={"value": expression},
        allow_stdin=False,
        timeout=TIMEOUT_SECONDS,
        output_hook=lambda message: None,
    )["content"]
    value = reply.get("user_expressions", {}).get("value", reply)
    if value.get("status") != "ok":
        raise RuntimeError(f"The kernel does not tell which files it reads: {value}")
    return ast.literal_eval(value["data"]["text/plain"])
