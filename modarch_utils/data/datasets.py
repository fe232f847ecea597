"""One door to every data set for classification: the rendered scenes, and real ones.

``load("scenes")`` needs nothing. Fashion-MNIST, CIFAR-10 and Imagenette are looked for in the
folder that ``MODARCH_DATA`` names, then in the course's cache; if they are in neither, torchvision
downloads them into the cache.
"""

import contextlib
import gzip
import io
import os
import socket
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import datasets as tv
from torchvision.transforms.v2.functional import resize

from modarch_utils import bars, network, profile
from modarch_utils.data import cache, scenes

SPLITS = ("train", "val")


class Classification(NamedTuple):
    """Images with one class each."""

    images: Tensor
    """(N, C, H, W) uint8; C is 1 for Fashion-MNIST and 3 otherwise."""
    labels: Tensor
    """(N,) int64, index into ``classes``."""
    classes: tuple[str, ...]


def load(
    name: str, split: str = "train", *, n: int | None = None, size: int | None = None
) -> Classification:
    """Load a data set by name.

    Args:
        name: ``"scenes"``, ``"fashion_mnist"``, ``"cifar10"`` or ``"imagenette"``.
        split: ``"train"`` or ``"val"``; of Fashion-MNIST and CIFAR-10, ``"val"`` is their test set.
        n: how many images: a fixed random choice of the real ones, all when None; scenes are
            rendered, 4,000 for training and 1,000 for validation when None.
        size: height and width; by default 32 (scenes), 28, 32 and 160.

    Scenes are framed close and classified by shape.

    Raises:
        ValueError: unknown name or split, or more images asked for than there are.
        FileNotFoundError: the data set is not on this machine and cannot be downloaded.
    """
    loaders = {"scenes": _scenes, **_REAL}
    if name not in loaders:
        raise ValueError(f"There is no data set {name!r}; choose one of {', '.join(loaders)}.")
    if split not in SPLITS:
        raise ValueError(f"There is no split {split!r}; choose one of {', '.join(SPLITS)}.")
    return loaders[name](split, n, size)


def _scenes(split: str, n: int | None, size: int | None) -> Classification:
    if n is None:
        n = {"train": 4000, "val": 1000}[split]
    rendered = scenes.load(n, size or 32, seed=SPLITS.index(split), framing="close")
    return Classification(rendered.images, rendered.shape, scenes.SHAPES)


def _fashion_mnist(split: str, n: int | None, size: int | None) -> Classification:
    stem = {"train": "train", "val": "t10k"}[split]
    images, labels = _find(
        "Fashion-MNIST",
        "fashion-mnist/ or FashionMNIST/raw/",
        lambda root: [_idx(root, f"{stem}-{kind}") for kind in ("images-idx3", "labels-idx1")],
        lambda root: tv.FashionMNIST(root, download=True),
    )
    images, labels = _choose(images[:, None], labels.long(), n)
    return Classification(_resized(images, size), labels, tuple(tv.FashionMNIST.classes))


def _idx(root: Path, stem: str) -> Tensor:
    """Read an IDX file: two zeros, the type (8 is uint8), the rank, the sizes, the values."""
    # The folder itself, Debian's dataset-fashion-mnist under /usr/share/datasets, torchvision's.
    for folder in (root, root / "fashion-mnist", root / "FashionMNIST" / "raw"):
        for suffix, opener in (("-ubyte", open), ("-ubyte.gz", gzip.open)):
            path = folder / f"{stem}{suffix}"
            if path.exists():
                try:
                    with opener(path, "rb") as file:
                        data = file.read()
                    sizes = np.frombuffer(data, ">i4", count=data[3], offset=4)
                    values = np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
                    return torch.from_numpy(values.reshape(sizes).copy())
                except (EOFError, IndexError, ValueError, zlib.error) as cut_short:
                    raise OSError(f"{path} is damaged") from cut_short
    raise FileNotFoundError(stem)


def _cifar10(split: str, n: int | None, size: int | None) -> Classification:
    found = _find(
        "CIFAR-10",
        "cifar-10-batches-py/",
        lambda root: tv.CIFAR10(root, train=split == "train"),
        lambda root: tv.CIFAR10(root, download=True),
    )
    images = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
    images, labels = _choose(images, torch.tensor(found.targets), n)
    return Classification(_resized(images, size), labels, tuple(found.classes))


def _imagenette(split: str, n: int | None, size: int | None) -> Classification:
    size = size or 160
    # The smallest edition that needs no enlarging, or else whichever is there.
    editions = [e for e in ("160px", "320px", "full") if e == "full" or int(e[:3]) >= size]
    editions += [e for e in ("320px", "160px") if e not in editions]

    def read(root: Path) -> tv.Imagenette:
        for edition in editions:
            with contextlib.suppress(RuntimeError):
                return tv.Imagenette(root, split, edition)
        raise FileNotFoundError(root)

    found = _find(
        "Imagenette",
        "imagenette2-160/, imagenette2-320/ or imagenette2/",
        read,
        lambda root: tv.Imagenette(root, split, editions[0], download=True),
    )
    indices, labels = _choose(
        torch.arange(len(found)), torch.tensor([label for _, label in found._samples]), n
    )
    path = (
        profile.cache_dir() / "data" / f"{found._size_root.name}-{split}-{size}px-n{len(indices)}"
    )
    stored = cache.read(path.with_suffix(".safetensors"))
    if stored is None:
        bar = bars.bar(indices.tolist(), progress=None, desc="Reading Imagenette")
        stored = {"images": torch.stack([_square(found[i][0], size) for i in bar])}
        cache.write(path.with_suffix(".safetensors"), stored)
    return Classification(stored["images"], labels, tuple(names[0] for names in found.classes))


def _square(photo: Image.Image, size: int) -> Tensor:
    """The middle square of a photograph, (3, size, size) uint8."""
    side = min(photo.size)
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    box = (left, top, left + side, top + side)
    small = photo.convert("RGB").resize((size, size), Image.Resampling.BICUBIC, box=box)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1)


_REAL = {"fashion_mnist": _fashion_mnist, "cifar10": _cifar10, "imagenette": _imagenette}


def _find(title: str, layout: str, read: Callable, download: Callable):
    """Read from ``MODARCH_DATA`` or the cache, or else download and read.

    ``read`` and ``download`` take a folder, and raise an error of torchvision's or of the file
    system when they fail; the user gets one sentence instead.
    """
    own = os.environ.get("MODARCH_DATA")
    kept = profile.cache_dir() / "data"
    for root in ([Path(own)] if own else []) + [kept]:
        with contextlib.suppress(OSError, RuntimeError):
            return read(root)
    try:
        with _quietly():
            download(kept)
            return read(kept)
    except (OSError, RuntimeError) as error:
        where = f"MODARCH_DATA={own}" if own else f"{kept} (MODARCH_DATA is not set)"
        raise FileNotFoundError(
            f"{title} is missing or damaged in {where} and could not be downloaded, as "
            f"{network.why(error)}; or set MODARCH_DATA to a folder that holds {layout}, or use "
            "MODARCH_PROFILE=laptop, which needs no download."
        ) from None


@contextlib.contextmanager
def _quietly():
    """Give up on a silent server after 20 seconds; show progress only to people."""
    timeout = socket.getdefaulttimeout()
    socket.setdefaulttimeout(20)
    try:
        if profile.current().progress:
            yield
        else:
            sink = io.StringIO()
            with contextlib.redirect_stderr(sink), contextlib.redirect_stdout(sink):
                yield
    finally:
        socket.setdefaulttimeout(timeout)


def _choose(images: Tensor, labels: Tensor, n: int | None) -> tuple[Tensor, Tensor]:
    """A fixed random choice of ``n``, or everything."""
    if n is None:
        return images, labels
    if not 1 <= n <= len(images):
        raise ValueError(f"Asked for {n} images of a data set that holds {len(images)}.")
    index = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:n]
    return images[index], labels[index]


def _resized(images: Tensor, size: int | None) -> Tensor:
    if size is None or size == images.shape[-1]:
        return images
    return resize(images, [size, size], antialias=True)
