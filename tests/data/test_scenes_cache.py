"""The cache of pictures: whole files or none, several builders at once, damage noticed."""

import os
import subprocess
import sys

import pytest
import torch

from modarch_utils.data import cache, pairs, scenes
from tests.data.pictures import same


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MODARCH_CACHE", str(tmp_path))
    monkeypatch.setenv("MODARCH_PROGRESS", "0")
    return tmp_path / "scenes"


@pytest.fixture(params=[scenes, pairs], ids=["scenes", "pairs"])
def kind(request):
    return request.param


def files(folder) -> dict:
    """The files, and what tells whether they were written again."""
    return {path: (path.stat().st_ino, path.read_bytes()) for path in folder.iterdir()}


def test_second_load_reads_what_the_first_wrote(folder, kind, capfd):
    first, written = kind.load(6, 32, seed=2), files(folder)
    assert same(first, kind.load(6, 32, seed=2)) and same(first, kind.render(6, 32, seed=2))
    assert files(folder) == written and len(written) == 1
    (path,) = written  # and what a killed builder has left beside it does not matter
    path.with_name(f".{path.name}.abc.tmp").write_bytes(path.read_bytes()[:100])
    assert same(first, kind.load(6, 32, seed=2)) and files(folder)[path] == written[path]
    assert capfd.readouterr() == ("", "")
    kind.load(7, 32, progress=True)
    assert f"Rendering {kind.__name__.rpartition('.')[2]}" in capfd.readouterr().out


def test_every_argument_is_part_of_the_key(folder, kind, monkeypatch):
    others = [{}, {"n": 4}, {"size": 33}, {"seed": 1}]
    others += [{"framing": "close"}] if kind is scenes else []
    for other in others:
        kind.load(**{"n": 3, "size": 32, **other})
    monkeypatch.setattr(scenes, "version", lambda: "another")
    kind.load(3, 32)
    assert len(files(folder)) == len(others) + 1


DAMAGE = {
    "truncated": lambda data: data[:-1000],
    "flipped": lambda data: data[:-500] + bytes([data[-500] ^ 1]) + data[-499:],
    "empty": lambda data: b"",
    "garbled": lambda data: b"\xff" * 5000,
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed_and_repaired(folder, kind, damage, capfd):
    good = kind.load(4, 32)
    (path,) = folder.iterdir()
    right = path.read_bytes()
    path.write_bytes(DAMAGE[damage](right))
    assert same(kind.load(4, 32), good) and path.read_bytes() == right
    assert capfd.readouterr() == ("", "")


def test_a_failed_write_leaves_nothing(folder, monkeypatch):
    def fail(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyboardInterrupt):
        scenes.load(2, 32)
    assert list(folder.iterdir()) == []


def test_two_processes_may_build_at_once(folder):
    code = (
        "from modarch_utils.data import scenes\n"
        "input()\n"  # both wait here, then build together
        "for _ in range(4):\n"
        "    s = scenes.load(24, 32)\n"
        "    print(s.images.long().sum().item(), s.mask.sum().item(), flush=True)\n"
        "    [p.unlink(missing_ok=True) for p in scenes._path(24, 32, 0, 'wide').parent.iterdir()"
        " if p.suffix == '.safetensors']\n"
        "scenes.load(24, 32)\n"
    )
    pipe = subprocess.PIPE
    both = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            encoding="utf-8",
            env=os.environ,
        )
        for _ in range(2)
    ]
    for one in both:
        one.stdin.write("go\n")
        one.stdin.flush()
    answers = [one.communicate(timeout=120) for one in both]
    expected = scenes.render(24, 32)
    line = f"{expected.images.long().sum().item()} {expected.mask.sum().item()}\n"
    assert answers == [(line * 4, "")] * 2
    (path,) = folder.iterdir()
    assert torch.equal(cache.read(path)["images"], expected.images)
