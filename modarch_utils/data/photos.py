"""Real photographs that come inside scikit-image and scikit-learn: no download, no network.

The files are opened where the packages keep them; the packages' own loaders are not called, because
some of those fetch from the network.
"""

from importlib.resources import files

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
    "rocket": ("skimage.data", "rocket.jpg"),
}


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


def digits() -> tuple[Tensor, Tensor]:
    """The 1,797 handwritten digits of scikit-learn.

    Returns:
        images (1797, 1, 8, 8) uint8, ink from 0 to 255, and labels (1797,) int64.
    """
    from sklearn.datasets import load_digits  # slow to import, and seldom needed

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).float() * (255 / 16)
    return images.round().to(torch.uint8)[:, None], torch.from_numpy(bunch.target).long()
