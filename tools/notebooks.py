"""From text to executed notebooks.

``notebooks/source/NAME.py`` (jupytext's py:percent) is what people edit; ``notebooks/NAME.ipynb``
is made from it, outputs included::

    python -m tools.notebooks build [NAME ...]   # run what is stale (all of it with --force)
    python -m tools.notebooks run --out DIR      # run every chapter, results in DIR/notebooks
    python -m tools.notebooks check              # is every notebook fresh and clean?

A notebook keeps the hash of the text it was run from, so a change of the text makes it stale.
"""

import argparse
import difflib
import hashlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

from modarch_utils import claims

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "notebooks"

MINUTES_EACH, MINUTES_TOGETHER = 4, 25
MEGABYTES_EACH = 1.0
CELL_TIMEOUT_SECONDS = 600
WIDGET_MIME = "application/vnd.jupyter.widget-view+json"
# What the site knows how to show, and the claims that the ledger reads.
KNOWN_MIMES = {"text/plain", "text/html", "text/markdown", "image/png", claims.MIME}
TEXT_FORMAT = {"notebook_metadata_filter": "-all", "cell_metadata_filter": "tags,-all"}


class NotebookError(Exception):
    """A notebook could not be built; the message names the notebook and the cell."""


def profile() -> str:
    """Return the name of the profile that notebooks run in (``modarch_utils.profile``)."""
    return os.environ.get("MODARCH_PROFILE", "laptop")


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


def sha256(source: Path) -> str:
    """Return the hash of the source's text (line ends do not count)."""
    return hashlib.sha256(source.read_text("utf-8").encode()).hexdigest()


def convert(source: Path) -> NotebookNode:
    """Return the notebook of a py:percent text, not yet run, the same bytes every time."""
    notebook = jupytext.reads(source.read_text("utf-8"), fmt="py:percent")
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "modarch": {"source_sha256": sha256(source)},
        }
    )
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        # An id made of the text keeps the diff of an edited cell to that cell.
        again = seen[cell.source] = seen.get(cell.source, -1) + 1
        cell.id = hashlib.sha256(f"{again}:{cell.source}".encode()).hexdigest()[:8]
    return notebook


def text(notebook: NotebookNode) -> str:
    """Return the py:percent text of a notebook: the inverse of :func:`convert`."""
    bare = nbformat.from_dict(notebook)
    bare.metadata = nbformat.from_dict(
        {"kernelspec": notebook.metadata.get("kernelspec", {}), "jupytext": TEXT_FORMAT}
    )
    return jupytext.writes(bare, fmt="py:percent")


def execute(notebook: NotebookNode, name: str, folder: Path, profile: str = "laptop") -> None:
    """Run every cell in place, with ``folder`` as the working directory.

    Raises:
        NotebookError: a cell raised; the notebook then holds the outputs up to that cell.
    """
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT_SECONDS,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--IPKernelApp.log_level=ERROR"],
    )
    with client.setup_kernel(env=os.environ | kernel_environment(profile)):
        for index, cell in enumerate(notebook.cells):
            if sys.stdout.isatty():
                print(f"\r  {name}: cell {index + 1} of {len(notebook.cells)}", end="", flush=True)
            try:
                client.execute_cell(cell, index)
            except CellExecutionError as error:
                raise NotebookError(f"{name}, cell {index}:\n{cell.source}\n\n{error}") from None
    if sys.stdout.isatty():
        print("\r", end="")
    # Widgets and the kernel's exact version are this run's, not the chapter's.
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = nbformat.from_dict({"name": "python"})
    for cell in code_cells(notebook):
        cell.outputs = [o for o in cell.outputs if WIDGET_MIME not in o.get("data", {})]


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
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        if cell.execution_count is None:
            found.append(f"cell {index} was not executed")
        for output in cell.outputs:
            if output.get("name") == "stderr":
                found.append(f"cell {index} wrote to stderr: {output.text.strip()[:200]}")
            data, metadata = output.get("data", {}), output.get("metadata", {})
            if "image/png" in data and not metadata.get("image/png", {}).get("alt", "").strip():
                found.append(f"cell {index} has a figure without alternative text")
            if unknown := set(data) - KNOWN_MIMES:
                found.append(f"cell {index} has an output the site cannot show: {sorted(unknown)}")
    megabytes = len(nbformat.writes(notebook).encode()) / 1e6
    if megabytes > MEGABYTES_EACH:
        found.append(f"it has {megabytes:.1f} MB; at most {MEGABYTES_EACH:g} MB: use fewer pixels")
    return found


def stale(source: Path) -> str | None:
    """Return why the notebook of ``source`` must be built again, or None if it is fresh."""
    path = target(source)
    if not path.exists():
        return "it was never built"
    notebook = nbformat.read(path, as_version=4)
    if notebook.metadata.get("modarch", {}).get("source_sha256") != sha256(source):
        return "its source changed after it was run"
    expected, actual = source.read_text("utf-8"), text(notebook)
    if actual != expected:
        lines = difflib.unified_diff(
            expected.splitlines(),
            actual.splitlines(),
            source.name,
            path.name,
            lineterm="",
            n=1,
        )
        return "its cells are not those of its source:\n" + "\n".join(list(lines)[:20])
    return None


def orphans(folder: Path = NOTEBOOKS) -> list[Path]:
    """Return notebooks that have no source."""
    made = {target(source) for source in sources(folder)}
    return sorted(path for path in folder.glob("*.ipynb") if path not in made)


def make(source: Path, path: Path, *, strict: bool) -> float:
    """Build ``path`` from ``source``; return the minutes it took. Nothing is written on failure.

    ``strict`` is for what gets committed: the laptop profile, and no :func:`faults`.

    Raises:
        NotebookError: a cell raised, the result has a fault, or the text does not survive.
    """
    notebook = convert(source)
    if text(notebook) != source.read_text("utf-8"):
        raise NotebookError(f"{source.name} does not survive a round trip through jupytext.")
    start = time.perf_counter()
    execute(notebook, source.stem, source.parent.parent, "laptop" if strict else profile())
    minutes = (time.perf_counter() - start) / 60
    if strict and (found := faults(notebook)):
        raise NotebookError(f"{source.stem}: " + "; ".join(found))
    nbformat.validate(notebook)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".ipynb.new")
    unfinished.write_text(nbformat.writes(notebook) + "\n", "utf-8")
    unfinished.replace(path)
    return minutes


def report(minutes: dict[str, float]) -> None:
    """Print each notebook's time and what exceeds the budget."""
    for name, took in minutes.items():
        late = f"  over its budget of {MINUTES_EACH} minutes" if took > MINUTES_EACH else ""
        print(f"  {name:<28}{took:6.1f} min{late}")
    if (total := sum(minutes.values())) > MINUTES_TOGETHER:
        print(f"  Together {total:.1f} minutes: over the budget of {MINUTES_TOGETHER}.")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="tools.notebooks", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    build = commands.add_parser("build", help="run the notebooks whose source changed")
    build.add_argument("names", nargs="*", help="only these, e.g. 02_convnext")
    build.add_argument("--force", action="store_true", help="run fresh ones too")
    run = commands.add_parser("run", help="run every chapter, leaving notebooks/ as it is")
    run.add_argument("--out", type=Path, required=True, help="results go to OUT/notebooks")
    commands.add_parser("check", help="report what is stale or unclean")
    options = parser.parse_args(arguments)

    chosen = sources()
    if options.command == "check":
        found = [f"{s.stem}: {why}" for s in chosen if (why := stale(s))]
        found += [f"{path.name} has no source" for path in orphans()]
        for path in map(target, chosen):
            if path.exists():
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
    minutes = {}
    for source in chosen:
        print(f"Running {source.stem}", flush=True)
        strict = options.command == "build"
        path = target(source) if strict else options.out / "notebooks" / target(source).name
        try:
            minutes[source.stem] = make(source, path, strict=strict)
        except NotebookError as error:
            print(f"{error}\n{path} was not written.", file=sys.stderr)
            return 1
    report(minutes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
