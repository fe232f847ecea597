"""The one place that knows how big the machine is.

A notebook never asks which hardware it runs on. It asks ``profile.current()`` for a
:class:`Profile` and uses the names and lengths written there. Two profiles exist:

* ``laptop`` (the default, and what CI runs): no network, the rendered ``scenes``, short training.
* ``gpu`` (``MODARCH_PROFILE=gpu``): real data sets, hub checkpoints, full-size networks.

The *device* is found, not chosen by the profile: a laptop with a GPU uses it, unless
``MODARCH_DEVICE`` says otherwise.
"""

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch

from modarch_utils import devices

T = TypeVar("T")


@dataclass(frozen=True)
class Profile:
    """What two chapters or more use on this machine; :func:`pick` is for what one has alone."""

    name: str
    """``"laptop"`` or ``"gpu"``."""
    classification: str
    """Data set for classification, a name that ``data.datasets.load`` knows."""
    classifier: str
    """Checkpoint that knows ImageNet's classes, a name that ``zoo`` knows."""
    dino: str
    """Network of DINOv2's kind, a folder that ``zoo`` knows."""
    dino_size: int
    """Side of the square pictures that it is shown, in pixels."""
    dino_patches: str
    """The one whose patches chapter 04 paints and exercise 3 compares."""
    text_to_image: str
    """Stable Diffusion, a pipeline that ``zoo`` knows."""
    lcm_lora: str
    """Adapters that make it fast, a folder that ``zoo`` knows."""
    timed_gmacs: float
    """Networks with more billions of multiply-adds for one picture are not timed live."""
    image_size: int
    """Side of a training image in pixels."""
    train_images: int
    """Training images that a live run may use."""
    val_images: int
    """Held-out images that a live run is scored on."""
    epochs: int
    """Epochs of a live training run."""
    width: int
    """Channels of a trained network's first stage (the papers' is 96)."""
    autocast: str
    """Precision that pays in training here: ``"no"``, ``"bf16"`` or ``"fp16"``."""

    @property
    def device(self) -> torch.device:
        """The fastest device that works; see :func:`modarch_utils.devices.current`."""
        return devices.current()

    @property
    def progress(self) -> bool:
        """Whether long steps draw a progress bar (``MODARCH_PROGRESS=0`` turns it off)."""
        return os.environ.get("MODARCH_PROGRESS", "1") != "0"


PROFILES = {
    "laptop": Profile(
        name="laptop",
        classification="scenes",
        classifier="efficientnet_lite0",
        dino="mini-dinov2",
        dino_size=64,
        dino_patches="mini-dinov2-pretrained",
        text_to_image="mini-sd",
        lcm_lora="mini-lcm-lora",
        timed_gmacs=40,
        image_size=32,
        train_images=4_000,
        val_images=1_000,
        epochs=2,
        width=16,
        autocast="no",
    ),
    "gpu": Profile(
        name="gpu",
        classification="cifar10",
        classifier="convnext_tiny",
        dino="dinov2_with_registers_small",
        dino_size=224,
        dino_patches="dinov2_with_registers_small",
        text_to_image="stable-diffusion-v1-5",
        lcm_lora="lcm-lora-sdv1-5",
        timed_gmacs=float("inf"),
        image_size=32,
        train_images=50_000,
        val_images=10_000,
        epochs=30,
        width=96,
        autocast="bf16",
    ),
}


def current() -> Profile:
    """Return the profile named by ``MODARCH_PROFILE`` (``laptop`` when unset or empty).

    Its ``autocast`` is what this machine's device can do.

    Raises:
        ValueError: the variable names no profile.
    """
    given = os.environ.get("MODARCH_PROFILE", "")
    name = given.strip().lower() or "laptop"
    if name not in PROFILES:
        raise ValueError(
            f"MODARCH_PROFILE={given!r} names no profile; set it to one of {', '.join(PROFILES)}."
        )
    found = PROFILES[name]
    return replace(found, autocast=devices.precision(found.autocast))


def pick(laptop: T, gpu: T) -> T:
    """Return the one for the profile in use; for a setting that one chapter has alone.

    Raises:
        ValueError: as :func:`current`.
    """
    return {"laptop": laptop, "gpu": gpu}[current().name]


def cache_dir() -> Path:
    """Return the folder for rendered and downloaded data, which may not exist yet.

    ``MODARCH_CACHE`` when set, otherwise ``modarch`` under the user's cache folder.
    """
    if own := os.environ.get("MODARCH_CACHE", "").strip():
        return Path(os.path.expanduser(own))
    if users := os.environ.get("XDG_CACHE_HOME"):
        return Path(users) / "modarch"
    try:
        return Path.home() / ".cache" / "modarch"
    except RuntimeError:  # a user without a home, as containers have
        return Path(tempfile.gettempdir()) / "modarch"


def output_dir(folder: Path, package: Path = Path(__file__).parent) -> Path:
    """Where a recipe writes what is shipped in ``folder``, making it if needed.

    The folder itself in a clone of the course. An installed package is not to be changed, and a
    clone may be another user's: then a folder of the same name under ``made`` in the current one,
    or a temporary one where that cannot be, and one printed sentence says so. ``package`` is where
    the package lies.
    """
    installed = folder.is_relative_to(package) and not (package.parent / "pyproject.toml").is_file()
    if not installed and (os.access(folder, os.W_OK) or not folder.exists()):
        return folder
    own = Path.cwd() / "made" / folder.name
    try:
        own.mkdir(parents=True, exist_ok=True)
    except OSError:  # hours of computing are not lost for a folder
        own = Path(tempfile.mkdtemp(prefix="modarch-"))
    print(f"What is made is written to {own}, as {folder} is not to be changed.")
    return own
