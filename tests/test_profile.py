"""The profile comes from the environment, the device from the machine."""

import dataclasses

import pytest
import torch

from modarch_utils import profile


def test_laptop_is_the_default(monkeypatch):
    monkeypatch.delenv("MODARCH_PROFILE", raising=False)
    found = profile.current()
    assert (found.name, found.classification, found.autocast) == ("laptop", "scenes", "no")
    monkeypatch.setenv("MODARCH_PROFILE", "laptop")
    assert profile.current() == found


def test_gpu(monkeypatch):
    monkeypatch.setenv("MODARCH_PROFILE", "gpu")
    found = profile.current()
    assert (found.name, found.classification, found.width) == ("gpu", "cifar10", 96)


@pytest.mark.parametrize("name", ["", "GPU", "cluster"])
def test_unknown_profile(monkeypatch, name):
    monkeypatch.setenv("MODARCH_PROFILE", name)
    with pytest.raises(ValueError, match=f"MODARCH_PROFILE='{name}' .* laptop, gpu"):
        profile.current()


def test_profiles_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        profile.PROFILES["laptop"].epochs = 100


@pytest.mark.parametrize(
    ("cuda", "mps", "device"),
    [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
@pytest.mark.parametrize("name", ["laptop", "gpu"])
def test_device_is_found_and_not_chosen(monkeypatch, name, cuda, mps, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert profile.PROFILES[name].device.type == device


@pytest.mark.parametrize(("value", "shown"), [(None, True), ("1", True), ("0", False)])
def test_progress(monkeypatch, value, shown):
    if value is None:
        monkeypatch.delenv("MODARCH_PROGRESS", raising=False)
    else:
        monkeypatch.setenv("MODARCH_PROGRESS", value)
    assert profile.current().progress is shown


def test_cache_dir(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.delenv("MODARCH_CACHE", raising=False)
    assert profile.cache_dir() == tmp_path / "user" / "modarch"
    monkeypatch.setenv("MODARCH_CACHE", str(tmp_path / "a" / "b"))
    assert profile.cache_dir() == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").is_dir() and (tmp_path / "user" / "modarch").is_dir()
