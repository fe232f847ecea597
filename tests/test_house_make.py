"""The Makefile: the promised targets, and its one complaint."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROMISED = ["help", "setup", "course", "lab", "test", "test-quick"]
PROMISED += ["notebooks", "book", "bench", "lint", "weights"]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment, capture_output=True, encoding="utf-8"
    )


def test_help_explains_what_is_promised():
    lines = [line.split() for line in make().stdout.splitlines() if line.strip()]
    assert set(PROMISED) <= {line[1] for line in lines if line[0] == "make" and len(line) > 3}


def test_missing_python_is_one_sentence(tmp_path):
    result = make("setup", "PYTHON=no-such-python", f"VENV={tmp_path / 'venv'}")
    assert result.returncode != 0
    assert "needs Python 3.11 or newer: 'no-such-python'" in result.stdout
    assert not (tmp_path / "venv").exists()


def test_every_recipe_exists():
    plan = make("--dry-run", "--assume-old=.venv/.ready", "weights").stdout
    names = plan.split("for recipe in ")[1].split(";")[0].split()
    assert names
    for name in names:
        assert (ROOT / "recipes" / f"{name}.py").exists(), name
