"""The workflows: pinned, with few permissions, and closed to forks where it matters."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
WORKFLOWS = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in FILES}


def test_actions_are_pinned_by_commit():
    text = "".join(path.read_text("utf-8") for path in FILES)
    pins = re.findall(r"uses:(.*)", text)
    assert pins
    for pin in pins:
        assert re.fullmatch(r" actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", pin), pin


def test_only_publishing_may_write():
    writing = []
    for stem, workflow in WORKFLOWS.items():
        assert workflow["permissions"] == {"contents": "read"}
        for name, job in workflow["jobs"].items():
            if "write" in job.get("permissions", {}).values():
                writing.append((stem, name))
    assert writing == [("ci", "publish")]


def test_no_fork_reaches_the_gpu_runner():
    """A runner of ours runs a pull request of this repository alone, labelled and approved."""
    own = {
        (stem, name)
        for stem, workflow in WORKFLOWS.items()
        for name, job in workflow["jobs"].items()
        if "self-hosted" in job["runs-on"]
    }
    assert own == {("gpu", "notebooks")}
    triggers = WORKFLOWS["gpu"][True]  # YAML 1.1 reads the key `on` as true
    assert set(triggers) == {"workflow_dispatch", "schedule", "pull_request"}
    assert triggers["pull_request"] == {"types": ["labeled"]}
    (job,) = WORKFLOWS["gpu"]["jobs"].values()
    assert " ".join(job["if"].split()) == (
        "github.event_name != 'pull_request' || (github.event.label.name == 'gpu' && "
        "github.event.pull_request.head.repo.full_name == github.repository)"
    )
    assert "'gpu-pull-request'" in job["environment"]


def test_actionlint_finds_nothing():
    beside_python = Path(sys.executable).with_name("actionlint")
    program = beside_python if beside_python.exists() else shutil.which("actionlint")
    if not program:
        pytest.skip("actionlint is not installed: `make actionlint` fetches it from GitHub")
    result = subprocess.run(
        [program, "-no-color"], cwd=ROOT, capture_output=True, encoding="utf-8", check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
