"""Tensors kept on disk between runs: written whole or not at all, and checked when read.

A cache that cannot be read or written costs time and never the lesson: the data are in memory.
"""

import contextlib
import hashlib
import os
import uuid
import warnings
from pathlib import Path

import safetensors
from safetensors.torch import save
from torch import Tensor

_warned: set[Path] = set()
"""Folders of which a warning was given."""


def _digest(tensors: dict[str, Tensor]) -> str:
    total = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        total.update(tensor.numpy())
    return total.hexdigest()


def write(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write ``tensors`` to ``path`` so that a reader sees the old file or the whole new one.

    Any number of processes may write the same path at once: each fills a temporary file of its own
    and renames it, and the last one stays. If it cannot be written, one warning says so for each
    folder and process.
    """
    try:
        write_whole(path, save(tensors, metadata={"sha256": _digest(tensors)}))
    except OSError as error:
        # Windows replaces no file that another process reads, and then that one is good.
        if path.parent in _warned or read(path) is not None:
            return
        _warned.add(path.parent)
        warnings.warn(
            f"{path.parent} cannot be written ({error.strerror}): the data stay in memory, and the "
            "next run makes them again. MODARCH_CACHE may name a folder that can be written.",
            stacklevel=3,
        )


def write_whole(path: Path, content: bytes) -> None:
    """A whole file or none: written to the side, flushed to the disk, then renamed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        # Not a file of `tempfile` or safetensors: these are their owner's alone, and other users
        # of a shared cache could not read it.
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # Windows refuses a handle that only reads
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def read(path: Path) -> dict[str, Tensor] | None:
    """Return the tensors in ``path``, or None if it is missing or not what :func:`write` wrote."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            expected = (file.metadata() or {}).get("sha256")
    except (OSError, safetensors.SafetensorError):
        return None
    return tensors if _digest(tensors) == expected else None
