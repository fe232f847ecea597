"""What Windows does not have, and what its git does to text."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from modarch_utils import zoo
from modarch_utils.data import cache
from modarch_utils.models import reader
from modarch_utils.training import checkpoint

ROOT = Path(__file__).parents[2]


@pytest.fixture
def strict_fsync(monkeypatch):
    """Refuses a handle that only reads, as Windows does; lists the others."""
    fcntl = pytest.importorskip("fcntl")
    done, plain = [], os.fsync

    def strict(handle):
        if fcntl.fcntl(handle, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(errno.EBADF, "Bad file descriptor")
        done.append(handle)
        plain(handle)

    monkeypatch.setattr(os, "fsync", strict)
    return done


@pytest.mark.filterwarnings("error")
def test_what_is_flushed_is_open_for_writing(strict_fsync, tmp_path):
    tensors = {"x": torch.arange(3)}
    cache.write(tmp_path / "x.safetensors", tensors)
    assert torch.equal(cache.read(tmp_path / "x.safetensors")["x"], tensors["x"])
    assert len(strict_fsync) == 1
    checkpoint.save(tmp_path, {"history": {}, "fingerprint": {}})
    assert checkpoint.load(tmp_path, {}) == {"history": {}, "fingerprint": {}}
    assert len(strict_fsync) == 3


@pytest.mark.filterwarnings("error")
def test_a_file_that_another_process_reads_stays(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    cache.write(path, {"x": torch.zeros(3)})

    def held(*_):
        raise PermissionError(errno.EACCES, "The process cannot access the file", None, 1224)

    monkeypatch.setattr(os, "replace", held)
    cache.write(path, {"x": torch.zeros(3)})
    assert list(tmp_path.iterdir()) == [path] and cache.read(path) is not None


WITHOUT_UNIX = """
import importlib, pkgutil, sys
import torch, IPython, matplotlib.pyplot  # which know what they lack on Windows
sys.modules |= {"fcntl": None, "resource": None}
import grading
from grading import __main__ as grade
for module in pkgutil.iter_modules(grading.__path__, "grading."):
    importlib.import_module(module.name)
try:
    grade.main(["--help"])
except SystemExit as end:
    assert end.code == 0
sys.platform = "win32"
code = grade.main(["class"])
sys.platform = "linux"
sys.exit(code)
"""


def test_the_grader_says_that_it_needs_linux():
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT_UNIX], capture_output=True, encoding="utf-8", cwd=ROOT
    )
    assert run.returncode == 2, run.stderr
    assert "usage: python -m grading" in run.stdout
    assert run.stderr.startswith("Grading needs Linux") and run.stderr.count("\n") == 1


@pytest.mark.skipif(
    shutil.which("git") is None or not (ROOT / ".git").exists(), reason="there is no repository"
)
def test_a_clone_with_windows_line_ends_loads_every_checkpoint(tmp_path, monkeypatch):
    clone = tmp_path / "한 clone"
    command = ["git", "-c", "core.autocrlf=true", "clone", "--quiet", "--depth=1"]
    subprocess.run([*command, ROOT.as_uri(), clone], check=True)
    assert b"\r" not in (clone / "modarch_utils" / "papers" / "dino.toml").read_bytes()
    monkeypatch.setattr(zoo, "WEIGHTS", clone / "modarch_utils" / "weights")
    shipped = [entry.name for entry in zoo.CHECKPOINTS.values() if entry.kind == "shipped"]
    assert all(zoo.folder(name).is_relative_to(clone) for name in shipped)
    pipe = zoo.load_pipeline("mini-sd")
    assert pipe.tokenizer("a red torus").input_ids[1:4] == pipe.tokenizer.convert_tokens_to_ids(
        ["a</w>", "red</w>", "torus</w>"]
    )
    assert (
        reader.load(zoo.folder("mini-reader")).config
        == reader.load(ROOT / "modarch_utils" / "weights" / "mini-reader").config
    )
