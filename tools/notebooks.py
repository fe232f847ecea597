"""From text to executed notebooks.

``notebooks/source/NAME.py`` (jupytext's py:percent) is what people edit; ``notebooks/NAME.ipynb``
is made from it, outputs included::

    python -m tools.notebooks build [NAME ...]   # run what is stale (all of it with --force)
    python -m tools.notebooks run --out DIR      # run every chapter, results in DIR/notebooks
    python -m tools.notebooks check              # is every notebook fresh and clean?
    python -m tools.notebooks cells              # count the visible cells that are too big

The sources are MyST; the notebooks hold what every editor shows (``tools.render``). A notebook
keeps the hash of the code it was run from, and of every file of the course that it used
(``tools.freshness``): a change of any of them runs it again, a change of its prose alone keeps the
outputs.
"""

import argparse
import contextlib
import difflib
import hashlib
import os
import re
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode
from tqdm import tqdm

from modarch_utils import claims
from tools import freshness, render

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"

MINUTES_EACH, MINUTES_TOGETHER = 4, 25
MEGABYTES_EACH = 1.0
CELL_TIMEOUT_SECONDS = 600
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
# What the site knows how to show, and the claims that the ledger reads.
KNOWN_MIMES = {"text/plain", "text/html", "text/markdown", claims.MIME}
IMAGE = re.compile("<img[^>]*>")
ALTERNATIVE_TEXT = re.compile(r'\balt="[^"]*[^"\s]')
# As JupyterLab writes it, so that opening a notebook changes no more than Python's version.
METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {
        "codemirror_mode": {"name": "ipython", "version": 3},
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "nbconvert_exporter": "python",
        "pygments_lexer": "ipython3",
        "version": "3.11",
    },
}
# What of a cell is in sight: more lines are not one idea, and longer ones are cut off on the site.
LINES_EACH, COLUMNS_EACH = 30, 88
# How many visible cells of a notebook may exceed this: it only shrinks.
LONG_CELLS = ROOT / "tools" / "long_cells.toml"
TEXT_FORMAT = {"notebook_metadata_filter": "-all", "cell_metadata_filter": "tags,-all"}


class NotebookError(Exception):
    """A notebook could not be built; the message names the notebook and the cell."""


def profile() -> str:
    """Return the name of the profile that notebooks run in (``modarch_utils.profile``)."""
    return os.environ.get("MODARCH_PROFILE", "").strip().lower() or "laptop"


def kernel_environment(profile: str) -> dict[str, str]:
    """Return the environment of a notebook's kernel: no progress bars; no hub in ``laptop``."""
    return {
        "MODARCH_PROFILE": profile,
        "MODARCH_PROGRESS": "0",
        "HF_HUB_OFFLINE": "1" if profile == "laptop" else "0",
        "PYTHONHASHSEED": "0",
    }


def sources(folder: Path = NOTEBOOKS) -> list[Path]:
    """Return the text sources under ``folder/source``, in reading order."""
    return sorted((folder / "source").glob("*.py"))


def target(source: Path) -> Path:
    """Return the notebook made from ``source``: one folder up, ``.ipynb``."""
    return source.parent.parent / f"{source.stem}.ipynb"


def sha256(notebook: NotebookNode) -> str:
    """Return the hash of a notebook's code: its outputs depend on that, not on its prose."""
    code = "\0".join(cell.source for cell in _run_cells(notebook))
    return hashlib.sha256(code.encode()).hexdigest()


def convert(source: Path) -> NotebookNode:
    """Return the notebook of a py:percent text, MyST, not yet run, the same every time."""
    notebook = jupytext.reads(source.read_text("utf-8"), fmt="py:percent")
    notebook.metadata = nbformat.from_dict(METADATA | {"modarch": {"code": sha256(notebook)}})
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        # An id made of the text keeps the diff of an edited cell to that cell.
        again = seen[cell.source] = seen.get(cell.source, -1) + 1
        cell.id = hashlib.sha256(f"{again}:{cell.source}".encode()).hexdigest()[:8]
    return notebook


def rendered(notebook: NotebookNode, path: Path) -> NotebookNode:
    """Return the notebook as it is written to ``path``: what every editor shows.

    Raises:
        NotebookError: it holds markup that editors do not show.
    """
    try:
        return render.for_editors(notebook, "/".join(path.parts[-2:]))
    except render.RenderError as error:
        raise NotebookError(f"{path.stem}, {error}") from None


def text(notebook: NotebookNode) -> str:
    """Return the py:percent text of a notebook: the inverse of :func:`convert`."""
    bare = nbformat.from_dict(notebook)
    bare.metadata = nbformat.from_dict(
        {"kernelspec": notebook.metadata.get("kernelspec", {}), "jupytext": TEXT_FORMAT}
    )
    return jupytext.writes(bare, fmt="py:percent")


def execute(
    notebook: NotebookNode,
    name: str,
    folder: Path,
    profile: str = "laptop",
    ran: Callable[[], object] = lambda: None,
    timeout: int = CELL_TIMEOUT_SECONDS,
) -> None:
    """Run every cell in place, with ``folder`` as the working directory; ``ran`` after each.

    A cell may take ``timeout`` seconds.

    Raises:
        NotebookError: a cell raised, took too long, or cost the kernel its life; the notebook then
            holds the outputs up to that cell.
    """
    root = folder.parent
    client = NotebookClient(
        notebook,
        timeout=timeout,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    with client.setup_kernel(env=os.environ | kernel_environment(profile)):
        freshness.watch(client)
        for index, cell in enumerate(notebook.cells):
            if cell.get("id") == render.HEAD_ID:
                continue  # it would only find that the package is there
            try:
                client.execute_cell(cell, index)
                ran()
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                kept = keep_failed(notebook, name, root)
                raise NotebookError(
                    f"{name}, cell {index}:\n{cell.source}\n\n{error}\n"
                    f"The notebook up to this cell is {kept}."
                ) from None
        notebook.metadata.setdefault("modarch", {})["inputs"] = freshness.inputs(client, root)
    # Widgets and the kernel's exact version are this run's, not the chapter's.
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = nbformat.from_dict(METADATA["language_info"])
    for cell in code_cells(notebook):
        cell.outputs = [o for o in cell.outputs if WIDGET_MIME not in o.get("data", {})]
        for output in cell.outputs:
            output.update({k: _whole(v) for k, v in output.items() if k == "data"})


def keep_failed(notebook: NotebookNode, name: str, root: Path) -> Path:
    """Write a notebook that failed where people and CI look for it; returns its path."""
    path = _failed(name, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(notebook) + "\n", "utf-8")
    return path


def _failed(name: str, root: Path) -> Path:
    return root / "_build" / "failed" / f"{name}.ipynb"


def _whole(data):
    """JSON with whole numbers as JavaScript writes them: 0 for 0.0."""
    if isinstance(data, dict):
        return type(data)({key: _whole(value) for key, value in data.items()})
    if isinstance(data, list):
        return [_whole(value) for value in data]
    return int(data) if isinstance(data, float) and data.is_integer() else data


def code_cells(notebook: NotebookNode) -> Iterator[NotebookNode]:
    """Yield the code cells that hold code."""
    return (c for c in notebook.cells if c.cell_type == "code" and c.source.strip())


def errors(notebook: NotebookNode) -> list[str]:
    """Return the cells that ended in an error, one sentence each."""
    return [
        f"cell {index} ended in an error: {output.ename}: {output.evalue}"
        for index, cell in enumerate(notebook.cells)
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]


def faults(notebook: NotebookNode) -> list[str]:
    """Return what a published notebook may not have, one sentence each."""
    found = errors(notebook)
    for index, cell in enumerate(notebook.cells):
        found += [f"cell {index} has {markup}, which editors do not show" for markup in _raw(cell)]
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        if cell.execution_count is None and cell.get("id") != render.HEAD_ID:
            found.append(f"cell {index} was not executed")
        for output in cell.outputs:
            if output.get("name") == "stderr":
                found.append(f"cell {index} wrote to stderr: {output.text.strip()[:200]}")
            data = output.get("data", {})
            bare = {kind for kind in data if kind.startswith("image/")}
            images = IMAGE.findall(data.get("text/html", ""))
            if bare or not all(map(ALTERNATIVE_TEXT.search, images)):
                found.append(
                    f"cell {index} has a figure without alternative text: show it with plots.show"
                )
            if unknown := set(data) - KNOWN_MIMES - bare:
                found.append(f"cell {index} has an output the site cannot show: {sorted(unknown)}")
    megabytes = len(nbformat.writes(notebook).encode()) / 1e6
    if megabytes > MEGABYTES_EACH:
        found.append(f"it has {megabytes:.1f} MB; at most {MEGABYTES_EACH:g} MB: use fewer pixels")
    return found


def _raw(cell: NotebookNode) -> list[str]:
    """Return the MyST in a cell's prose, or in the prose that it displays."""
    if cell.cell_type == "markdown":
        return render.raw(cell.source)
    shown = [o.get("data", {}).get("text/markdown", "") for o in cell.get("outputs", [])]
    return [markup for prose in shown for markup in render.raw(prose)]


def unwieldy(notebook: NotebookNode) -> list[str]:
    """Return the visible code cells with too many lines or too long ones, a sentence each."""
    found = []
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type != "code" or render.FOLDED & set(cell.metadata.get("tags", [])):
            continue
        lines = cell.source.splitlines()
        widest = max(map(len, lines), default=0)
        if len(lines) > LINES_EACH or widest > COLUMNS_EACH:
            found.append(f"cell {index} has {len(lines)} lines of up to {widest} characters")
    return found


def too_big(source: Path, counts: Path = LONG_CELLS) -> list[str]:
    """Return the visible cells that are too big, unless ``counts`` has their exact number."""
    found = unwieldy(convert(source))
    allowed = tomllib.loads(counts.read_text("utf-8")).get(source.stem, 0)
    if len(found) < allowed:
        return [f"{counts.name} allows {allowed} big cells, it has {len(found)}: lower it"]
    rule = f"at most {LINES_EACH} lines of {COLUMNS_EACH} characters: split, wrap or fold it"
    return [f"{fault}; {rule}" for fault in found] if len(found) > allowed else []


def must_run(source: Path) -> str | None:
    """Return why the outputs of ``source``'s notebook are not those of its code, or None."""
    path = target(source)
    if not path.exists():
        return "it was never built"
    try:
        notebook = nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError):
        return "it is no notebook any more: a merge left its marks in it, or it was cut short"
    if notebook.metadata.get("modarch", {}).get("code") != sha256(convert(source)):
        return "its code changed after it was run"
    if sha256(notebook) != sha256(convert(source)):
        return f"its cells are not those of its source:\n{_difference(source, notebook)}"
    return freshness.changed(notebook.metadata.modarch.get("inputs"), source.parents[2])


def stale(source: Path) -> str | None:
    """Return why the notebook of ``source`` must be built again, or None if it is fresh."""
    if why := must_run(source):
        return why
    if lines := _difference(source, nbformat.read(target(source), as_version=4)):
        return f"its text is not that of its source:\n{lines}"
    return None


def _difference(source: Path, notebook: NotebookNode) -> str:
    """The first lines in which a notebook is not its source's, as editors show them."""
    expected = rendered(convert(source), target(source))
    lines = difflib.unified_diff(
        _listed(expected), _listed(notebook), source.name, target(source).name, lineterm="", n=1
    )
    return "\n".join(list(lines)[:20])


def _listed(notebook: NotebookNode) -> list[str]:
    """A notebook as lines: of each cell its kind, what it is tagged, and its text."""
    lines = []
    for cell in notebook.cells:
        folded = cell.metadata.get("jupyter", {}).get("source_hidden", False)
        lines.append(f"[{cell.cell_type}] tags={cell.metadata.get('tags', [])} {folded=}")
        lines += cell.source.splitlines()
    return lines


def keep_outputs(notebook: NotebookNode, run: NotebookNode) -> NotebookNode:
    """Give ``notebook`` the outputs that the same code had in ``run``.

    Raises:
        NotebookError: the code is not the same; the message has no name yet.
    """
    if sha256(notebook) != sha256(run):
        raise NotebookError("its code is not that of its source")
    notebook.metadata["modarch"] = run.metadata.get("modarch", {})
    for cell, old in zip(_run_cells(notebook), _run_cells(run), strict=True):
        cell.outputs, cell.execution_count = old.outputs, old.execution_count
    return notebook


def _run_cells(notebook: NotebookNode) -> Iterator[NotebookNode]:
    return (c for c in code_cells(notebook) if c.get("id") != render.HEAD_ID)


def orphans(folder: Path = NOTEBOOKS) -> list[Path]:
    """Return notebooks that have no source."""
    made = {target(source) for source in sources(folder)}
    return sorted(path for path in folder.glob("*.ipynb") if path not in made)


def make(
    source: Path,
    path: Path,
    *,
    strict: bool,
    run: bool = True,
    ran: Callable[[], object] = lambda: None,
    timeout: int = CELL_TIMEOUT_SECONDS,
) -> float:
    """Build ``path`` from ``source``; return the minutes it took. Nothing is written on failure.

    ``strict`` is for what gets committed: the laptop profile, and no :func:`faults`. Without
    ``run`` the cells keep the outputs that they have in ``path``. ``ran`` is called after each
    cell, which may take ``timeout`` seconds.

    Raises:
        NotebookError: a cell raised, the result has a fault, or the text does not survive.
    """
    notebook = convert(source)
    if text(notebook) != source.read_text("utf-8"):
        raise NotebookError(f"{source.name} does not survive a round trip through jupytext.")
    notebook = rendered(notebook, path)
    start = time.perf_counter()
    if run:
        where = "laptop" if strict else profile()
        execute(notebook, source.stem, source.parent.parent, where, ran, timeout)
    else:
        keep_outputs(notebook, nbformat.read(path, as_version=4))
    minutes = (time.perf_counter() - start) / 60
    if strict and (found := faults(notebook)):
        kept = keep_failed(notebook, source.stem, source.parents[2])
        raise NotebookError(f"{source.stem}: {'; '.join(found)}. It is kept in {kept}.")
    write(notebook, path)
    _failed(source.stem, source.parents[2]).unlink(missing_ok=True)
    return minutes


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook whole or not at all."""
    nbformat.validate(notebook)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".ipynb.new")
    unfinished.write_text(nbformat.writes(notebook) + "\n", "utf-8")
    unfinished.replace(path)


def make_all(jobs: dict[Path, Path], *, strict: bool) -> list[str]:
    """Make each notebook from its source: a line for each, on a terminal with a bar below.

    A notebook that fails does not keep the others from being made.

    Args:
        jobs: ``{source: notebook to write}``.
        strict: as in :func:`make`.

    Returns:
        Why notebooks were not made, each with its name and path.
    """
    failed, together = [], 0.0
    cells = sum(sum(1 for _ in code_cells(convert(source))) for source in jobs)
    bar = tqdm(total=cells, unit="cell", file=sys.stdout, disable=not sys.stdout.isatty())
    with bar:
        for source, path in jobs.items():
            bar.set_description(source.stem)
            try:
                minutes = make(source, path, strict=strict, ran=bar.update)
            except NotebookError as error:
                failed.append(f"{error}\n{path} was not written.")
                said = "failed"
            else:
                together += minutes
                said = f"{minutes:.1f} min"
                if minutes > MINUTES_EACH:
                    said += f", over its budget of {MINUTES_EACH}"
            bar.write(f"  {source.stem:<28}{said}", file=sys.stdout)
            sys.stdout.flush()
    if together > MINUTES_TOGETHER:
        print(f"  Together {together:.1f} minutes: over the budget of {MINUTES_TOGETHER}.")
    return failed


def main(arguments: list[str] | None = None, folder: Path = NOTEBOOKS) -> int:
    parser = argparse.ArgumentParser(prog="tools.notebooks", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="run the notebooks whose source changed")
    build.add_argument("names", nargs="*", help="only these, e.g. 02_convnext")
    build.add_argument("--force", action="store_true", help="run fresh ones too")
    run = commands.add_parser("run", help="run every chapter, leaving notebooks/ as it is")
    run.add_argument("--out", type=Path, required=True, help="results go to OUT/notebooks")
    commands.add_parser("check", help="report what is stale or unclean")
    commands.add_parser("cells", help=f"print what {LONG_CELLS.name} should hold")
    options = parser.parse_args(arguments)

    chosen = sources(folder)
    if options.command == "cells":
        exercises = sources(ROOT / "solutions")
        counts = {s.stem: len(unwieldy(convert(s))) for s in chosen + exercises}
        print("".join(f"{name} = {count}\n" for name, count in counts.items() if count), end="")
        return 0

    if options.command == "check":
        found = [f"{s.stem}: {why}" for s in chosen if (why := stale(s))]
        found += [f"{path.name} has no source" for path in orphans(folder)]
        found += [f"{s.stem}: {why}" for s in chosen for why in too_big(s)]
        for path in map(target, chosen):
            with contextlib.suppress(OSError, nbformat.reader.NotJSONError):  # it is stale
                notebook = nbformat.read(path, as_version=4)
                found += [f"{path.stem}: {fault}" for fault in faults(notebook)]
        print("\n".join(found) or "Every notebook is fresh and clean.")
        return 1 if found else 0

    if options.command == "build":
        if unknown := set(options.names) - {s.stem for s in chosen}:
            print(f"No notebook is called {', '.join(sorted(unknown))}.", file=sys.stderr)
            return 1
        chosen = [s for s in chosen if s.stem in (options.names or [s.stem for s in chosen])]
        chosen = [s for s in chosen if options.force or stale(s)]
        if not chosen:
            print("Every notebook is fresh: nothing to run.")
    if options.command == "run":
        jobs = {source: options.out / "notebooks" / target(source).name for source in chosen}
        failed = make_all(jobs, strict=False)
    else:
        prose = [s for s in chosen if not options.force and not must_run(s)]
        failed = []
        for source in prose:
            print(f"  {source.stem:<28}only its text changed")
            try:
                make(source, target(source), strict=True, run=False)
            except NotebookError as error:
                failed.append(str(error))
        failed += make_all({s: target(s) for s in chosen if s not in prose}, strict=True)
    print("\n\n".join(failed), file=sys.stderr, end="\n" if failed else "")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
