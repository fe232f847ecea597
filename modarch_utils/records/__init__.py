"""Records of full experiments: the numbers, and how they came about.

A recipe writes ``NAME.json`` here; a notebook reads it, runs a slice live, and lays it over.
"""

import json
import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).parent


def load(name: str) -> dict:
    """Return a shipped record: ``results``, ``settings``, ``minutes`` and ``provenance``.

    Raises:
        FileNotFoundError: no such record.
    """
    file = FOLDER / f"{name}.json"
    if not file.is_file():
        raise FileNotFoundError(
            f"There is no record {name!r}; `python -m modarch_utils.recipes.{name}` makes it."
        )
    return json.loads(file.read_text())


def save(name: str, *, settings: dict, results: list[dict]) -> Path:
    """Write a record with the date, library versions and processor; returns its path.

    ``minutes`` is the sum of the results' ``seconds``: computing time on one thread.
    """
    record = {
        "name": name,
        "recipe": f"python -m modarch_utils.recipes.{name}",
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
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(record, indent=1) + "\n")
    return path
