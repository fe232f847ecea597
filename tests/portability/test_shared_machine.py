"""Laboratories and shared servers: homes that cannot be written, full disks, other users' files."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from modarch_utils.data import cache

ROOT = Path(__file__).parents[2]
# The superuser may write everywhere, unless it gives up that right.
SET = shutil.which("setpriv")
COMMON = [SET, "--bounding-set=-dac_override,-dac_read_search", "--"] if SET else []
# Each case makes one folder useless and draws in it twice; the last limits what a file may hold.
LESSON = """
import os, pathlib, sys, warnings
from modarch_utils.data import scenes

def draw(case, folder):
    os.environ["MODARCH_CACHE"] = str(folder)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        both = [scenes.load(2, 32).images.long().sum().item() for _ in range(2)]
    assert both == [expected] * 2, case
    print(case, *(str(w.message) for w in told), sep="|")

expected = scenes.render(2, 32).images.long().sum().item()
here = pathlib.Path(sys.argv[1])
good = here / "good"
draw("good", good)
(file,) = (good / "scenes").iterdir()
content = file.read_bytes()
for case, mode in (("readable", 0o644), ("private", 0o000)):
    theirs = here / case / "scenes" / file.name
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(content)
    theirs.chmod(mode)
    theirs.parent.chmod(0o555)
    draw(case, here / case)
(here / "home").mkdir(mode=0o555)
draw("home", here / "home" / "cache")
(here / "file").touch()
draw("file", here / "file" / "cache")
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
draw("full", here / "full")
assert not any((here / "full" / "scenes").iterdir())
"""


@pytest.mark.skipif(os.name == "nt", reason="the modes of files are Unix's")
@pytest.mark.skipif(
    hasattr(os, "geteuid") and os.geteuid() == 0 and not SET, reason="root, and no setpriv"
)
def test_a_cache_that_cannot_be_used_costs_one_warning(tmp_path):
    run = subprocess.run(
        [*COMMON, sys.executable, "-c", LESSON, tmp_path],
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
        env=os.environ | {"MODARCH_PROGRESS": "0"},
    )
    for folder in ("home", "readable/scenes", "private/scenes"):
        (tmp_path / folder).chmod(0o755)  # for pytest, which clears away
    assert run.returncode == 0, run.stderr
    told = dict(
        line.split("|", 1) if "|" in line else (line, "") for line in run.stdout.splitlines()
    )
    assert list(told) == ["good", "readable", "private", "home", "file", "full"]
    assert (told["good"], told["readable"]) == ("", "")
    for case, reason in {
        "private": "Permission denied",
        "home": "Permission denied",
        "file": "Not a directory",
        "full": "File too large",
    }.items():
        assert f"cannot be written ({reason})" in told[case] and "MODARCH_CACHE" in told[case]
        assert told[case].count("cannot be written") == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows has no umask")
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600)])
def test_files_are_as_readable_as_their_owner_wants(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        cache.write(tmp_path / "x.safetensors", {"x": torch.zeros(2)})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x.safetensors").stat().st_mode) == mode
