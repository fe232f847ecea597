"""One file that holds a run between two epochs, written so that a kill cannot damage it."""

import hashlib
import io
import json
import pickle
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from modarch_utils.data.cache import write_whole
from modarch_utils.training.config import TrainConfig

NAME = "checkpoint.pt"


def fingerprint(
    model: nn.Module, config: TrainConfig, data: dict[str, tuple[Tensor, ...]]
) -> dict[str, str]:
    """What must be the same for a run to be continued: settings, parameter shapes, data bytes."""
    shapes = {name: list(value.shape) for name, value in model.state_dict().items()}
    prints = {
        "settings": json.dumps(asdict(config), sort_keys=True),
        "model": _digest(json.dumps(shapes).encode()),
    }
    for name, tensors in data.items():
        parts = (
            part
            for tensor in tensors
            for part in (
                f"{tensor.dtype}{tuple(tensor.shape)}".encode(),
                tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy(),
            )
        )
        prints[f"{name} data"] = _digest(*parts)
    return prints


def _digest(*parts: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def save(folder: Path, state: dict[str, Any]) -> None:
    """Writes `folder/checkpoint.pt`, and its history as `folder/history.json` for people."""
    file = io.BytesIO()
    torch.save(state, file)
    write_whole(folder / NAME, file.getvalue())
    write_whole(folder / "history.json", json.dumps(state["history"], indent=1).encode())


def load(folder: Path, expected: dict[str, str]) -> dict[str, Any] | None:
    """The checkpoint in `folder`, or None if there is none.

    Raises ValueError when it cannot be read, or belongs to a run with other settings, model or
    data.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is damaged: delete it to start this run again.") from error
    found = state["fingerprint"]
    for key in sorted(expected.keys() | found.keys()):
        if found.get(key) != expected.get(key):
            raise ValueError(
                f"{folder} holds a run with a different {key}{_difference(key, found, expected)}: "
                f"choose another folder for out=, or delete this one to start again."
            )
    return state


def _difference(key: str, found: dict[str, str], expected: dict[str, str]) -> str:
    if key != "settings":
        return ""
    old, new = json.loads(found[key]), json.loads(expected[key])
    changed = [k for k in new if old.get(k) != new[k]]
    return " (" + ", ".join(f"{k}: {old.get(k)} there, {new[k]} here" for k in changed) + ")"
