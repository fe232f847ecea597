"""Records of full experiments: the numbers, and how they came about.

A recipe writes ``NAME.json``; a notebook reads it, runs a slice live, and lays it over.
"""

import json
import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np

from modarch_utils import profile

FOLDER = Path(__file__).parent


def load(name: str) -> dict:
    """Return a shipped record: ``results``, ``settings``, ``minutes`` and ``provenance``.

    Raises:
        FileNotFoundError: no such record.
    """
    file = FOLDER / f"{name}.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no record {name!r}; `python -m recipes.{name}` makes it."
        )
    return json.loads(file.read_text("utf-8"))


def select(record: dict, what: str, **where) -> np.ndarray:
    """Return one value for each run of a record that fits, in the order of the seeds.

    Where a recipe tried several learning rates, only runs with the chosen one count: they fit one
    of the cases in the settings' ``best_lr``.

    Args:
        record: as :func:`load` returns it.
        what: name of a result, for example ``"test"``; also ``"lr"`` or ``"seed"``.
        where: what the runs must have, for example ``name="vit", n=512``.

    Returns:
        Array whose first axis is the runs.

    Raises:
        ValueError: no run fits.
    """
    chosen = record["settings"].get("best_lr", [{}])
    rows = [
        r
        for r in record["results"]
        if where.items() <= r.items() and any(case.items() <= r.items() for case in chosen)
    ]
    if not rows:
        raise ValueError(f"The record {record['name']!r} has no run with {where}.")
    return np.array([r[what] for r in rows])


def save(name: str, *, settings: dict, results: list[dict]) -> Path:
    """Write a record with the date, library versions and processor; returns its path.

    It goes where :func:`profile.output_dir` says: in a clone of the course among the shipped ones.
    ``minutes`` is the sum of the results' ``seconds``: computing time on one thread.
    """
    record = {
        "name": name,
        "recipe": f"python -m recipes.{name}",
        "settings": settings,
        "minutes": round(sum(r["seconds"] for r in results) / 60, 1),
        "provenance": {
            "date": date.today().isoformat(),
            "python": platform.python_version(),
            "machine": platform.machine(),
            **{p: version(p) for p in ("torch", "timm", "accelerate", "modarch-utils")},
        },
        "results": results,
    }
    path = profile.output_dir(FOLDER) / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    return path
