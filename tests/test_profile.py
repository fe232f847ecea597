"""The profile comes from the environment, the device from the machine."""

import dataclasses
import tempfile
from pathlib import Path

import pytest

from modarch_utils import profile


@pytest.mark.parametrize(
    ("given", "name"),
    [(None, "laptop"), ("", "laptop"), (" ", "laptop"), ("laptop", "laptop"), (" GPU ", "gpu")],
)
def test_the_variable_names_the_profile(monkeypatch, given, name):
    monkeypatch.delenv("MODARCH_PROFILE", raising=False)
    if given is not None:
        monkeypatch.setenv("MODARCH_PROFILE", given)
    found = profile.current()
    assert found.name == name
    assert found.classification == {"laptop": "scenes", "gpu": "cifar10"}[name]


def test_unknown_profile(monkeypatch):
    monkeypatch.setenv("MODARCH_PROFILE", "cluster")
    with pytest.raises(ValueError, match="MODARCH_PROFILE='cluster' .* laptop, gpu"):
        profile.current()


def test_the_precision_is_what_the_device_can_do(monkeypatch):
    monkeypatch.setattr(profile.devices, "precision", {"bf16": "fp16", "no": "no"}.get)
    for name, autocast in (("gpu", "fp16"), ("laptop", "no")):
        monkeypatch.setenv("MODARCH_PROFILE", name)
        assert profile.current().autocast == autocast


def test_a_chapter_picks_what_the_profile_says(monkeypatch):
    for name in ("laptop", "gpu"):
        monkeypatch.setenv("MODARCH_PROFILE", name)
        assert profile.pick(laptop=("laptop",), gpu=("gpu",)) == (name,)


def test_profiles_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        profile.PROFILES["laptop"].epochs = 100


@pytest.mark.parametrize(("value", "shown"), [(None, True), ("1", True), ("0", False)])
def test_progress(monkeypatch, value, shown):
    if value is None:
        monkeypatch.delenv("MODARCH_PROGRESS", raising=False)
    else:
        monkeypatch.setenv("MODARCH_PROGRESS", value)
    assert profile.current().progress is shown


def test_cache_dir(monkeypatch, tmp_path):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    for name in ("MODARCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert profile.cache_dir() == tmp_path / ".cache" / "modarch"
    for name, blank in (("XDG_CACHE_HOME", ""), ("MODARCH_CACHE", ""), ("MODARCH_CACHE", "  ")):
        monkeypatch.setenv(name, blank)
        assert profile.cache_dir() == tmp_path / ".cache" / "modarch"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert profile.cache_dir() == tmp_path / "user" / "modarch"
    monkeypatch.setenv("MODARCH_CACHE", "~/my cache")
    assert profile.cache_dir() == tmp_path / "my cache"
    assert list(tmp_path.iterdir()) == []


def test_a_user_without_a_home_has_a_cache(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("MODARCH_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(profile.Path, "home", homeless)
    assert profile.cache_dir() == Path(tempfile.gettempdir()) / "modarch"


def test_what_is_made_lies_in_the_clone():
    shipped = Path(profile.__file__).parent / "records"
    assert profile.output_dir(shipped) == shipped


def test_an_installed_package_is_not_changed(monkeypatch, tmp_path, capsys):
    package = tmp_path / "site-packages" / "modarch_utils"
    (package / "records").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert profile.output_dir(package / "records", package) == tmp_path / "made" / "records"
    said = capsys.readouterr().out
    assert str(tmp_path / "made" / "records") in said and said.count("\n") == 1


def test_what_was_computed_is_kept_where_nothing_else_can_be_written(monkeypatch, tmp_path, capsys):
    package = tmp_path / "site-packages" / "modarch_utils"
    (package / "records").mkdir(parents=True)
    (tmp_path / "made").write_text("a file, not a folder", "utf-8")
    monkeypatch.chdir(tmp_path)
    folder = profile.output_dir(package / "records", package)
    (folder / "result.json").write_text("{}", "utf-8")
    assert str(folder) in capsys.readouterr().out
