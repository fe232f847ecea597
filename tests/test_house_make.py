"""The Makefile: the promised targets, in the promised order, and its one complaint."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROMISED = ["help", "setup", "course", "lab", "test", "test-quick"]
PROMISED += ["notebooks", "book", "bench", "lint", "weights"]


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment, capture_output=True, encoding="utf-8"
    )


@pytest.fixture(scope="module")
def help_text() -> str:
    return make().stdout


@pytest.mark.parametrize("target", PROMISED)
def test_help_explains(help_text, target):
    (line,) = [x for x in help_text.splitlines() if x.split()[:2] == ["make", target]]
    assert len(line.split()) > 3


def test_test_runs_every_step_in_order():
    plan = make("--dry-run", "--assume-old=.venv/.ready", "test").stdout
    steps = [
        "tests --ignore tests/book",
        "--nbval --nbval-sanitize-with tools/nbval_sanitize.cfg",
        "tests/book tests/lab",
    ]
    places = [plan.find(step) for step in steps]
    assert -1 not in places and places == sorted(places), plan


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


def test_ci_runs_make_test_with_a_browser():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = script.read_text("utf-8").splitlines()
    assert "set -euo pipefail" in lines
    assert lines.index("export MODARCH_REQUIRE_BROWSER=1") < lines.index("make test")
