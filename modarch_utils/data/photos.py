"""Real photographs that come inside scikit-image and scikit-learn: no download, no network.

The files are opened where the packages keep them; the packages' own loaders are not called, because
some of those fetch from the network.
"""

from importlib.resources import files
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

_PHOTOS = {
    "astronaut": ("skimage.data", "astronaut.png"),
    "chelsea": ("skimage.data", "chelsea.png"),
    "china": ("sklearn.datasets.images", "china.jpg"),
    "coffee": ("skimage.data", "coffee.png"),
    "flower": ("sklearn.datasets.images", "flower.jpg"),
    "motorcycle_left": ("skimage.data", "motorcycle_left.png"),
    "motorcycle_right": ("skimage.data", "motorcycle_right.png"),
    "rocket": ("skimage.data", "rocket.jpg"),
}


class Stereo(NamedTuple):
    """Two photographs of one scene, with measured disparity."""

    left: Image.Image
    right: Image.Image
    disparity: np.ndarray
    """(H, W) float32: pixels by which the left picture's point lies further left in the right one;
    NaN where it was not measured. Depth is proportional to 1 / disparity."""


def names() -> tuple[str, ...]:
    """The photographs that :func:`load` knows."""
    return tuple(_PHOTOS)


def load(name: str) -> Image.Image:
    """Return a photograph in RGB; ``chelsea`` is the cat.

    Raises:
        ValueError: there is no photograph of this name.
    """
    if name not in _PHOTOS:
        raise ValueError(f"There is no photograph {name!r}; choose one of {', '.join(_PHOTOS)}.")
    package, file = _PHOTOS[name]
    with files(package).joinpath(file).open("rb") as stream:
        return Image.open(stream).convert("RGB")


def stereo() -> Stereo:
    """The motorcycle of the Middlebury stereo benchmark (2014), at a quarter of its size."""
    with files("skimage.data").joinpath("motorcycle_disp.npz").open("rb") as stream:
        disparity = np.load(stream)["arr_0"].astype(np.float32)
    disparity[~np.isfinite(disparity)] = np.nan
    return Stereo(load("motorcycle_left"), load("motorcycle_right"), disparity)


def digits() -> tuple[Tensor, Tensor]:
    """The 1,797 handwritten digits of scikit-learn.

    Returns:
        images (1797, 1, 8, 8) uint8, ink from 0 to 255, and labels (1797,) int64.
    """
    from sklearn.datasets import load_digits  # slow to import, and seldom needed

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).float() * (255 / 16)
    return images.round().to(torch.uint8)[:, None], torch.from_numpy(bunch.target).long()
