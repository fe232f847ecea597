"""Tensors kept on disk between runs: written whole or not at all, and checked when read."""

import hashlib
import os
import tempfile
from pathlib import Path

import safetensors
from safetensors.torch import save_file
from torch import Tensor


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
    and renames it, and the last one stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    try:
        save_file(tensors, temporary, metadata={"sha256": _digest(tensors)})
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
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
