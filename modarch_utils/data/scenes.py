"""``scenes``: the course's own data set, rendered instead of downloaded.

One object of eight shapes and eight colours rests on one of four grounds, under a sun and a sky.
Every sample carries all its labels: classes, caption, the object's mask, depth, camera and pose.

>>> from modarch_utils.data import scenes
>>> train = scenes.load(4000, size=32, seed=0, framing="close")
>>> train.images.shape, train.captions[0]

``wide`` shows a small object in its surroundings (about 1/20 to 1/8 of the frame); ``close`` is
framed as photographs of things are (a third of the frame and more, on average 0.43). Training and
validation sets are different seeds. ``python -m modarch_utils.data.scenes`` prints how fast this
machine renders.
"""

import hashlib
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from modarch_utils import bars, profile
from modarch_utils.data import cache, renderer
from modarch_utils.data import factors as factors_
from modarch_utils.data.factors import COLOURS, FRAMINGS, GROUNDS, SHAPES, Factors

SIZES = (32, 256)
CLASSES = {"shape": SHAPES, "colour": COLOURS, "ground": GROUNDS}

_ON = {
    "checkerboard": "on a checkerboard floor",
    "wood": "on a wooden floor",
    "grass": "on grass",
    "tiles": "on a tiled floor",
}


class Camera(NamedTuple):
    """A pinhole camera. A world point ``p`` projects as ``c = rotation @ (p - eye)``, then
    ``column = size * (0.5 + focal * c[0] / c[2])``, ``row = size * (0.5 - focal * c[1] / c[2])``;
    pixel ``(i, j)`` has its centre at ``(i + 0.5, j + 0.5)``."""

    eye: Tensor
    """(N, 3) position in the world, ``y`` up, ground at ``y = 0``."""
    rotation: Tensor
    """(N, 3, 3) rows: right, up, forward."""
    focal: Tensor
    """(N,) focal length in frame widths."""


@dataclass(frozen=True)
class Scenes:
    """``N`` rendered scenes with their labels, all on the CPU."""

    images: Tensor
    """(N, 3, H, W) uint8, sRGB."""
    mask: Tensor
    """(N, H, W) bool: the ray through the pixel's centre meets the object."""
    depth: Tensor
    """(N, H, W) float32: distance along that ray to the object or the ground; inf in the sky."""
    factors: Factors
    """What the scenes were rendered from: pose, camera, light and colours."""

    @property
    def shape(self) -> Tensor:
        """(N,) int64, index into ``SHAPES``."""
        return self.factors.shape

    @property
    def colour(self) -> Tensor:
        """(N,) int64, index into ``COLOURS``."""
        return self.factors.colour

    @property
    def ground(self) -> Tensor:
        """(N,) int64, index into ``GROUNDS``."""
        return self.factors.ground

    @property
    def camera(self) -> Camera:
        return Camera(self.factors.eye, self.factors.rotation, self.factors.focal)

    @property
    def captions(self) -> list[str]:
        """One sentence a scene, such as "a red torus on a checkerboard floor"."""
        rows = zip(self.shape.tolist(), self.colour.tolist(), self.ground.tolist(), strict=True)
        return [caption(SHAPES[s], COLOURS[c], GROUNDS[g]) for s, c, g in rows]

    def labels(self, name: str) -> Tensor:
        """Classes (N,) int64 of ``"shape"``, ``"colour"`` or ``"ground"``; names in ``CLASSES``."""
        if name not in CLASSES:
            raise ValueError(f"Scenes have no label {name!r}; choose one of {', '.join(CLASSES)}.")
        return getattr(self, name)

    def to_float(self, mean: float | tuple = 0.5, std: float | tuple = 0.5) -> Tensor:
        """Images as float32 (N, 3, H, W), ``(value - mean) / std`` of values in [0, 1].

        ``mean`` and ``std`` are numbers or one number a channel.
        """
        mean, std = (torch.as_tensor(m, dtype=torch.float32).reshape(-1, 1, 1) for m in (mean, std))
        return (self.images.float() / 255 - mean) / std

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int | slice | Tensor) -> "Scenes":
        """The scenes in ``index``; an integer gives a set of one."""
        if isinstance(index, int):
            if not -len(self) <= index < len(self):
                raise IndexError(f"There is no scene {index} in a set of {len(self)}.")
            index = slice(index, index + 1 or None)
        return Scenes(
            self.images[index], self.mask[index], self.depth[index], self.factors.take(index)
        )


def caption(shape: str, colour: str, ground: str) -> str:
    """The sentence that describes a scene, from the names of its classes."""
    article = "an" if colour[0] in "aeiou" else "a"
    return f"{article} {colour} {shape} {_ON[ground]}"


def render(
    n: int,
    size: int = 64,
    *,
    seed: int = 0,
    framing: str = "wide",
    start: int = 0,
    progress: bool | None = False,
) -> Scenes:
    """Render samples ``start`` .. ``start + n - 1`` of the stream ``seed``.

    A sample's bytes depend on ``(seed, its number, framing, size)`` only; its labels do not depend
    on ``size``.

    Args:
        n: how many.
        size: height and width in pixels, 32 to 256.
        framing: ``"wide"`` or ``"close"``.
        progress: show a progress bar; None: as the profile says.

    Raises:
        ValueError: an argument is out of range.
    """
    _check(n, size, seed, framing, start)
    factors = factors_.draw(n, seed=seed, framing=framing, start=start)
    with bars.bar(total=n, desc="Rendering scenes", unit="scene", progress=progress) as bar:
        images, mask, depth = renderer.draw(factors, size, done=bar.update)
    return Scenes(images, mask, depth, factors)


def load(
    n: int,
    size: int = 64,
    *,
    seed: int = 0,
    framing: str = "wide",
    progress: bool | None = None,
) -> Scenes:
    """The same as :func:`render` from sample 0, kept on disk under ``profile.cache_dir()``.

    A damaged file, or one of another version of the renderer, is rendered anew.

    Args:
        progress: show a progress bar while rendering; by default as the profile says.

    Raises:
        ValueError: an argument is out of range.
    """
    _check(n, size, seed, framing, 0)
    path = _path(n, size, seed, framing)
    stored = cache.read(path)
    if stored is not None:
        own = {name: stored.pop(name) for name in ("images", "mask", "depth")}
        return Scenes(**own, factors=Factors(**stored))
    scenes = render(n, size, seed=seed, framing=framing, progress=progress)
    tensors = {f.name: getattr(scenes.factors, f.name) for f in fields(Factors)}
    tensors |= {name: getattr(scenes, name) for name in ("images", "mask", "depth")}
    cache.write(path, tensors)
    return scenes


def _path(n: int, size: int, seed: int, framing: str) -> Path:
    name = f"{framing}-{size}px-seed{seed}-n{n}-{version()}.safetensors"
    return profile.cache_dir() / "scenes" / name


def version() -> str:
    """Changes whenever the code that decides the pixels does, so a cache is never stale."""
    code = hashlib.sha256()
    for name in ("sdf.py", "march.py", "factors.py", "grounds.py", "renderer.py"):
        code.update(Path(__file__).with_name(name).read_bytes())
    return code.hexdigest()[:10]


def _check(n: int, size: int, seed: int, framing: str, start: int) -> None:
    if n < 1:
        raise ValueError(f"Cannot render {n} scenes; ask for at least 1.")
    if not SIZES[0] <= size <= SIZES[1]:
        raise ValueError(f"Scenes are {SIZES[0]} to {SIZES[1]} pixels wide; {size} is not.")
    if framing not in FRAMINGS:
        raise ValueError(f"There is no framing {framing!r}; choose one of {', '.join(FRAMINGS)}.")
    if seed < 0 or start < 0:
        raise ValueError(f"Seed and start must not be negative, got {seed} and {start}.")


def _speed(n: int = 2048, size: int = 64) -> None:
    """Print images per second of both framings."""
    for framing in FRAMINGS:
        render(64, size, framing=framing)
        began = time.perf_counter()
        render(n, size, framing=framing)
        rate = n / (time.perf_counter() - began)
        print(f"{framing}: {rate:.0f} images/s at {size}x{size}, {torch.get_num_threads()} threads")


if __name__ == "__main__":
    _speed()
