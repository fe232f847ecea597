"""What tells of a shipped checkpoint: its model card, and its entry in the zoo's list.

Both are written from what a recipe knows when it has saved its weights, hashes included, so that
nobody copies any. A folder in ``weights/`` needs no code of this course: the library named in the
card loads it.
"""

import hashlib
import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

INDEX = "index.toml"
"""Beside the folders of checkpoints; :mod:`modarch_utils.zoo` reads it."""
QUALITY = "## Measured quality\n"
LICENCE = (
    "[CC BY 4.0](https://creativecommons.org/licenses/by/4.0/), by the authors of Modern Deep "
    "Learning Architectures"
)


@dataclass(frozen=True)
class Card:
    """What a model card says, part by part."""

    name: str
    """Of the folder, and with underscores of the recipe."""
    what: str
    """What it is and does: the first paragraph."""
    code: str
    """How it is used, from any folder."""
    facts: Mapping[str, str]
    """Rows of the table; the licence is added."""
    limits: str
    """What the model is not."""
    note: str = ""
    """A paragraph below the table."""
    inherits: str = ""
    """What others' licences have to do with the weights."""
    quality: str = ""
    """The last section, if something was measured."""

    @property
    def text(self) -> str:
        """The card, from what a model hub reads of it to the measured quality."""
        rows = "\n".join(f"| {k} | {v} |" for k, v in (self.facts | {"Licence": LICENCE}).items())
        parts = [
            f"---\nlicense: cc-by-4.0\n---\n\n# {self.name}",
            self.what,
            f"```python\n{self.code.strip()}\n```",
            f"| | |\n|---|---|\n{rows}",
            self.note,
            f"## What it is not\n\n{self.limits}",
            f"## What it inherits\n\n{self.inherits}" if self.inherits else "",
            f"{QUALITY}\n{self.quality}" if self.quality else "",
        ]
        return "\n\n".join(part for part in parts if part) + "\n"


def recipe(name: str) -> str:
    """The command that makes a checkpoint again, for a card."""
    return f"`python -m recipes.{name.replace('-', '_')}`"


def length(what: str, rows: list[dict], threads: str = "one thread") -> str:
    """How long a training was: ``what``, and by the clock the sum of its record's ``seconds``."""
    minutes = sum(row["seconds"] for row in rows) / 60
    return f"{what}, {minutes:.0f} minutes by the clock on {threads}"


def weights(file: Path, size: bool = False) -> str:
    """Name, precision and hash of a file of weights and, if wanted, its size, for a card."""
    with safe_open(file, framework="pt") as stored:
        kinds = {stored.get_slice(key).get_dtype() for key in stored.keys()}  # noqa: SIM118
    large = f"{file.stat().st_size / 1e6:.2f} MB, " if size else ""
    precision = "float16" if "F16" in kinds else "float32"
    return f"`{file.name}`, {precision}, {large}sha256 `{sha256(file)}`"


def sha256(file: Path) -> str:
    """Hash of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def ship(card: Card, file: Path, parts: Mapping[str, str] | None = None, quality: str = "") -> None:
    """Write the card into the folder of a checkpoint, and its entry into the list beside it.

    Args:
        card: what to say; its name is the folder's.
        file: what a library opens first, in that folder.
        parts: further files that it needs, with hashes; see :class:`modarch_utils.zoo.Checkpoint`.
        quality: one line for the zoo. Where another recipe measures it, leave it out: what is
            known of the same weights is kept.
    """
    (file.parent / "README.md").write_text(card.text, "utf-8")
    fields = {"kind": "shipped", "location": f"{card.name}:{file.name}", "sha256": sha256(file)}
    fields |= {"parts": dict(parts)} if parts else {}
    index = file.parents[1] / INDEX
    known = _entries(index).get(card.name, {})
    if not quality:
        same = all(known.get(key) == value for key, value in fields.items())
        quality = known["quality"] if same else "not measured yet"
    _write(index, card.name, fields | {"quality": quality})


def measured(index: Path, name: str, quality: str) -> None:
    """Write one line on a checkpoint's quality into the list; nothing else of it changes.

    Raises:
        KeyError: the list has no such checkpoint.
    """
    _write(index, name, _entries(index)[name] | {"quality": quality})


def write_quality(folder: Path, text: str) -> None:
    """Replace the last section of a card.

    Raises:
        ValueError: the card has no such section.
    """
    file = folder / "README.md"
    head, found, _ = file.read_text("utf-8").partition(QUALITY)
    if not found:
        raise ValueError(f"{file} has no section {QUALITY.strip()!r}; export the weights again.")
    file.write_text(f"{head}{QUALITY}\n{text.strip()}\n", "utf-8")


def _entries(index: Path) -> dict[str, dict]:
    return tomllib.loads(index.read_text("utf-8")) if index.is_file() else {}


def _write(index: Path, name: str, fields: Mapping[str, str | Mapping[str, str]]) -> None:
    """Put one table into the list, in its old place; what is written by hand stays as it is."""
    flat = {key: value for key, value in fields.items() if isinstance(value, str)}
    flat |= {f'parts."{part}"': known for part, known in fields.get("parts", {}).items()}
    # Of these texts JSON and TOML write the same.
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in flat.items()]
    text = index.read_text("utf-8") if index.is_file() else ""
    parts = (part.strip() for part in re.split(r"(?m)^(?=\[)", text))
    tables = {part.partition("]")[0]: part for part in parts if part}
    tables[f"[{name}"] = "\n".join([f"[{name}]", *lines])
    index.write_text("\n\n".join(tables.values()) + "\n", "utf-8")
