"""The cache of scenes: whole files or none, several builders at once, damage noticed."""

import os
import subprocess
import sys

import pytest
import torch

from modarch_utils.data import cache, renderer, scenes


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("MODARCH_CACHE", str(tmp_path))
    monkeypatch.setenv("MODARCH_PROGRESS", "0")
    return tmp_path / "scenes"


@pytest.fixture
def renders(monkeypatch) -> list:
    """One entry for each time that the renderer runs."""
    calls, draw = [], renderer.draw

    def counted(factors, size, done):
        calls.append(len(factors))
        return draw(factors, size, done)

    monkeypatch.setattr(renderer, "draw", counted)
    return calls


def test_second_load_reads_what_the_first_wrote(folder, renders, capfd):
    first = scenes.load(6, 32, seed=2, framing="close")
    second = scenes.load(6, 32, seed=2, framing="close")
    direct = scenes.render(6, 32, seed=2, framing="close")
    assert renders == [6, 6]
    for some in (first, second):
        assert torch.equal(some.images, direct.images) and torch.equal(some.mask, direct.mask)
        assert torch.equal(some.depth, direct.depth) and some.captions == direct.captions
    assert capfd.readouterr() == ("", "")


def test_every_argument_is_part_of_the_key(folder, renders, monkeypatch):
    scenes.load(3, 32)
    for other in ({"n": 4}, {"size": 33}, {"seed": 1}, {"framing": "close"}):
        scenes.load(**{"n": 3, "size": 32, **other})
    monkeypatch.setattr(scenes, "version", lambda: "another")
    scenes.load(3, 32)
    assert renders == [3, 4, 3, 3, 3, 3]


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


def flip(path):
    data = bytearray(path.read_bytes())
    data[-5000] ^= 1
    path.write_bytes(data)


def empty(path):
    path.write_bytes(b"")


def garble(path):
    path.write_bytes(b"\xff" * 5000)


@pytest.mark.parametrize("damage", [truncate, flip, empty, garble])
def test_damage_is_noticed_and_repaired(folder, renders, damage, capfd):
    good = scenes.load(4, 32)
    (path,) = folder.iterdir()
    damage(path)
    again = scenes.load(4, 32)
    assert renders == [4, 4]
    assert torch.equal(again.images, good.images) and torch.equal(again.depth, good.depth)
    scenes.load(4, 32)
    assert renders == [4, 4]
    assert capfd.readouterr() == ("", "")


def test_a_failed_write_leaves_nothing(folder, monkeypatch):
    def fail(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(KeyboardInterrupt):
        scenes.load(2, 32)
    assert list(folder.iterdir()) == []


def test_leftovers_of_a_killed_builder_do_not_matter(folder, renders):
    scenes.load(2, 32)
    (path,) = folder.iterdir()
    path.with_name(f".{path.name}.abc.tmp").write_bytes(path.read_bytes()[:100])
    scenes.load(2, 32)
    assert renders == [2]


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


def test_people_see_a_progress_bar(folder, monkeypatch, capfd):
    monkeypatch.setenv("MODARCH_PROGRESS", "1")
    scenes.load(2, 32)
    assert "Rendering scenes" in capfd.readouterr().out
