"""What tells of a shipped checkpoint: its model card, and its entry in the zoo's list.

Both are written from what a recipe knows when it has saved its weights, hashes included, so that
nobody copies any. A folder in ``weights/`` needs no code of this course: the library named in the
card loads it.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import tomlkit
from safetensors import safe_open

from modarch_utils import records

INDEX = "index.toml"
"""Beside the folders of checkpoints; :mod:`modarch_utils.zoo` reads it."""
QUALITY = "## Measured quality\n"
TEMPLATES = Path(__file__).parent / "templates"
"""Cards with holes for what a recipe knows, in the syntax of ``str.format``."""


def fill(template: str, file: Path, settings: dict, rows: list[dict], **more: object) -> str:
    """A model card.

    Args:
        template: name of a file in :data:`TEMPLATES`, which may ask for all that follows, and for
            ``minutes`` (the sum of ``seconds`` of the rows), ``params``, ``weights`` (their file,
            precision and hash) and ``sized_weights`` (with megabytes).
        file: of the weights.
        settings: of the record of the training.
        rows: its results.
        more: what else the card says.
    """
    holes = {"minutes": sum(row["seconds"] for row in rows) / 60, **settings}
    if file.suffix == ".safetensors":
        with safe_open(file, framework="pt") as stored:
            slices = [stored.get_slice(key) for key in stored.keys()]  # noqa: SIM118
            half = any(each.get_dtype() == "F16" for each in slices)
            params = sum(math.prod(each.get_shape()) for each in slices)
        said = f"`{file.name}`, {'float16' if half else 'float32'}, "
        size, digest = f"{file.stat().st_size / 1e6:.2f} MB, ", f"sha256 `{sha256(file)}`"
        holes |= {"weights": said + digest, "sized_weights": said + size + digest}
        holes = {"params": params} | holes
    return (TEMPLATES / f"{template}.md").read_text("utf-8").format(**holes | more)


def sha256(file: Path) -> str:
    """Hash of a file."""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def publish(
    card: Callable[[Path, dict, list[dict]], str],
    file: Path,
    settings: dict,
    rows: list[dict],
    parts: Mapping[str, str] | None = None,
    quality: str = "",
) -> None:
    """Write the card, the entry of the zoo and the record of a checkpoint; say where.

    Args:
        card: a recipe's; it is given ``file``, ``settings`` and ``rows``.
        file: as for :func:`ship`; the record has the name of its folder.
        settings, rows: of the record.
        parts, quality: as for :func:`ship`.
    """
    ship(card(file, settings, rows), file, parts, quality)
    size = sum(each.stat().st_size for each in file.parent.rglob("*.safetensors")) / 1e6
    name = file.parent.name.replace("-", "_")
    print(f"{file} {size:.2f} MB", records.save(name, settings=settings, results=rows), sep="\n")


def ship(card: str, file: Path, parts: Mapping[str, str] | None = None, quality: str = "") -> None:
    """Write the card into the folder of a checkpoint, and its entry into the list beside it.

    Args:
        card: what :func:`fill` gave.
        file: what a library opens first; its folder has the checkpoint's name.
        parts: further files that it needs, with hashes; see :class:`modarch_utils.zoo.Checkpoint`.
        quality: one line for the zoo. Where another recipe measures it, leave it out: what is
            known of the same weights is kept.
    """
    (file.parent / "README.md").write_text(card, "utf-8")
    name, index = file.parent.name, file.parents[1] / INDEX
    fields = {"kind": "shipped", "location": f"{name}:{file.name}", "sha256": sha256(file)}
    fields |= {"parts": dict(parts)} if parts else {}
    listed = _listed(index)
    known = listed.get(name, {})
    if not quality:
        same = all(known.get(key) == value for key, value in fields.items())
        quality = known["quality"] if same else "not measured yet"
    listed[name] = fields | {"quality": quality}
    index.write_text(tomlkit.dumps(listed), "utf-8")


def measured(index: Path, name: str, quality: str) -> None:
    """Write one line on a checkpoint's quality into the list; nothing else of it changes.

    Raises:
        KeyError: the list has no such checkpoint.
    """
    listed = _listed(index)
    listed[name]["quality"] = quality
    index.write_text(tomlkit.dumps(listed), "utf-8")


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


def _listed(index: Path) -> tomlkit.TOMLDocument:
    """The list, which keeps what is written by hand, comments and order, when it is written."""
    return tomlkit.parse(index.read_text("utf-8") if index.is_file() else "")
