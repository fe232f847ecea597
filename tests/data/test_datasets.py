"""Real data sets, from tiny stand-ins in the formats of the real files."""

import errno
import gzip
import hashlib
import pickle
import re
import socket
import ssl
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets as tv

from modarch_utils.data import datasets, scenes


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Empty cache and data folders, no progress bar, and every download fails as if offline."""
    monkeypatch.setenv("MODARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MODARCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("MODARCH_PROGRESS", "0")

    def offline(*_, **__):
        raise OSError("offline")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    return tmp_path / "data"


def idx(values: np.ndarray) -> bytes:
    sizes = b"".join(int(n).to_bytes(4, "big") for n in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.astype(np.uint8).tobytes()


@pytest.fixture(params=["", "fashion-mnist", "FashionMNIST/raw"])
def fashion(own_folders, request):
    """Seven images for training and four for testing; packed as Debian does, or unpacked."""
    folder = own_folders / request.param
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for stem, n in (("train", 7), ("t10k", 4)):
        files = {
            f"{stem}-images-idx3-ubyte": idx(rng.integers(0, 256, (n, 28, 28))),
            f"{stem}-labels-idx1-ubyte": idx(np.arange(n)),
        }
        for name, data in files.items():
            if "raw" in request.param:
                (folder / name).write_bytes(data)
            else:
                (folder / f"{name}.gz").write_bytes(gzip.compress(data))
    return folder


def test_fashion_mnist(fashion):
    images, labels, classes = datasets.load("fashion_mnist")
    assert images.shape == (7, 1, 28, 28) and images.dtype == torch.uint8
    expected = np.random.default_rng(0).integers(0, 256, (7, 28, 28))
    assert np.array_equal(images[:, 0].numpy(), expected)
    assert labels.tolist() == list(range(7)) and labels.dtype == torch.int64
    assert classes[9] == "Ankle boot"
    assert datasets.load("fashion_mnist", "val", size=32).images.shape == (4, 1, 32, 32)


def test_n_is_a_fixed_random_choice(fashion):
    everything = datasets.load("fashion_mnist")
    some, again = (datasets.load("fashion_mnist", n=4) for _ in range(2))
    assert torch.equal(some.images, again.images) and len(set(some.labels.tolist())) == 4
    for image, label in zip(some.images, some.labels, strict=True):
        assert torch.equal(image, everything.images[label])
    with pytest.raises(ValueError, match="Asked for 8 images of a data set that holds 7"):
        datasets.load("fashion_mnist", n=8)


def test_damaged_file_gets_the_same_sentence(fashion):
    for path in fashion.iterdir():
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(FileNotFoundError, match="Fashion-MNIST is missing or damaged in"):
        datasets.load("fashion_mnist")


def test_cifar10(own_folders, monkeypatch):
    folder = own_folders / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    rng, written = np.random.default_rng(0), []

    def write(name: str, content: dict) -> list[str]:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    for i in range(6):
        pixels = rng.integers(0, 256, (3, 3072), dtype=np.uint8)
        written.append((f"batch_{i}", pixels, [i, 8, 9]))
    listed = [write(name, {"data": p, "labels": labels}) for name, p, labels in written]
    monkeypatch.setattr(tv.CIFAR10, "train_list", listed[:5])
    monkeypatch.setattr(tv.CIFAR10, "test_list", listed[5:])
    names = [f"class {i}" for i in range(10)]
    _, md5 = write("batches.meta", {"label_names": names})
    monkeypatch.setattr(tv.CIFAR10, "meta", {**tv.CIFAR10.meta, "md5": md5})

    images, labels, classes = datasets.load("cifar10")
    assert images.shape == (15, 3, 32, 32) and images.dtype == torch.uint8
    assert np.array_equal(images[3].numpy().reshape(-1), written[1][1][0])
    assert labels.tolist()[:6] == [0, 8, 9, 1, 8, 9] and classes == tuple(names)
    assert datasets.load("cifar10", "val").labels.tolist() == [5, 8, 9]


@pytest.fixture(params=["imagenette2-160", "imagenette2-320", "imagenette2"])
def imagenette(own_folders, request):
    """Photographs of one grey each, on a wide black sheet that the crop removes."""
    wnids = list(tv.Imagenette._WNID_TO_CLASS)
    for split, each in (("train", 2), ("val", 1)):
        for k, wnid in enumerate(wnids):
            folder = own_folders / request.param / split / wnid
            folder.mkdir(parents=True)
            for i in range(each):
                photo = Image.new("RGB", (60, 20))
                photo.paste((20 * k + 30,) * 3, (15, 0, 45, 20))
                photo.save(folder / f"{i}.JPEG", quality=95)
    return own_folders


@pytest.mark.parametrize("n", [None, 6])
def test_imagenette(imagenette, n, monkeypatch):
    images, labels, classes = datasets.load("imagenette", n=n, size=48)
    assert images.shape == (n or 20, 3, 48, 48) and images.dtype == torch.uint8
    assert len(classes) == 10 and classes[0] == "tench"
    grey = images[:, :, 10:38, 10:38].float().mean((1, 2, 3))
    assert ((grey - 30) / 20).round().long().tolist() == labels.tolist()
    # The second time nothing is decoded.
    monkeypatch.setattr(datasets, "_square", None)
    again = datasets.load("imagenette", n=n, size=48)
    assert torch.equal(again.images, images) and torch.equal(again.labels, labels)


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10", "imagenette"])
@pytest.mark.parametrize("given", [True, False])
def test_missing_offline_is_one_sentence(name, given, monkeypatch, own_folders, capfd):
    if not given:
        monkeypatch.delenv("MODARCH_DATA")
    with pytest.raises(FileNotFoundError) as caught:
        datasets.load(name)
    text = str(caught.value)
    assert caught.value.__suppress_context__ and "\n" not in text
    assert re.search(r"(Fashion-MNIST|CIFAR-10|Imagenette) is missing or damaged in", text)
    assert (f"MODARCH_DATA={own_folders}" if given else "MODARCH_DATA is not set") in text
    assert "set MODARCH_DATA to a folder that holds" in text and "MODARCH_PROFILE=laptop" in text
    assert capfd.readouterr() == ("", "")


def test_scenes_come_through_the_same_door():
    train, val = (datasets.load("scenes", split, n=5, size=32) for split in ("train", "val"))
    assert train.images.shape == (5, 3, 32, 32) and train.classes == scenes.SHAPES
    expected = scenes.render(5, 32, seed=0, framing="close")
    assert torch.equal(train.images, expected.images)
    assert torch.equal(train.labels, expected.shape)
    assert not torch.equal(train.images, val.images)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(
        ValueError, match="no data set 'mnist'; choose one of scenes, fashion_mnist"
    ):
        datasets.load("mnist")
    with pytest.raises(ValueError, match="no split 'test'; choose one of train, val"):
        datasets.load("scenes", "test")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (URLError(ssl.SSLCertVerificationError(1, "CERTIFICATE_VERIFY_FAILED")), "SSL_CERT_FILE"),
        (URLError(ConnectionRefusedError(111, "Connection refused")), "connection was refused"),
        (URLError(OSError("Tunnel connection failed: 403 Forbidden")), "HTTPS_PROXY"),
        (URLError(socket.gaierror(-2, "Name or service not known")), "go online"),
        (URLError(TimeoutError("timed out")), "go online"),
        (OSError(errno.ENOSPC, "No space left on device"), "cannot be written (No space left"),
        (OSError("418 I am a teapot"), "failed (418 I am a teapot)"),
    ],
)
@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_what_stopped_a_download_is_said(name, error, words, monkeypatch):
    def stop(*_, **__):
        raise error

    monkeypatch.setattr("urllib.request.urlopen", stop)
    with pytest.raises(FileNotFoundError) as said:
        datasets.load(name)
    text = str(said.value)
    assert "MODARCH_DATA" in text and "\n" not in text
    assert words in text and ("go online" in text) == (words == "go online")


def test_a_cache_that_cannot_be_written_is_no_missing_network(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("MODARCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(FileNotFoundError, match="folder cannot be written") as error:
        datasets.load("cifar10")
    assert "go online" not in str(error.value)
