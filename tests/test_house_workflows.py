"""The workflows: pinned, least permissions, and nothing but make targets."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def workflow(request) -> dict:
    return yaml.safe_load(request.param.read_text())


def steps(workflow: dict) -> list[dict]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def load(name: str) -> dict:
    return yaml.safe_load((ROOT / ".github" / "workflows" / name).read_text())


def test_the_three_workflows_exist():
    assert [path.stem for path in FILES] == ["book", "ci", "gpu"]


def test_actions_are_pinned_by_commit(workflow):
    for step in steps(workflow):
        if "uses" in step:
            assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step["uses"])


def test_pins_agree_and_name_their_version():
    pins = set()
    for path in FILES:
        for line in path.read_text().splitlines():
            if "uses:" in line:
                assert re.search(r"# v\d+\.\d+\.\d+$", line), f"{path.name}: {line.strip()}"
                pins.add(line.split("uses:")[1].strip())
    assert len({pin.split("@")[0] for pin in pins}) == len(pins), "one action, two versions"


def test_commands_are_make_targets(workflow):
    for step in steps(workflow):
        if "run" in step:
            command, target, *variables = step["run"].split()
            assert command == "make" and target in TARGETS, step["run"]
            assert all(re.fullmatch(r"[A-Z]+=\w+", variable) for variable in variables)


def test_permissions_start_at_read(workflow):
    assert workflow["permissions"] == {"contents": "read"}


def test_only_publishing_may_write():
    writing = [
        (path.stem, name)
        for path in FILES
        for name, job in yaml.safe_load(path.read_text())["jobs"].items()
        if "write" in job.get("permissions", {}).values()
    ]
    assert writing == [("book", "publish")]


def test_runs_are_bounded(workflow):
    assert workflow["concurrency"]["group"]
    assert all(0 < job["timeout-minutes"] <= 180 for job in workflow["jobs"].values())


def test_credentials_do_not_stay(workflow):
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_no_fork_reaches_the_gpu_runner():
    workflow = load("gpu.yml")
    triggers = workflow[True]  # YAML 1.1 reads the key `on` as true
    assert set(triggers) == {"workflow_dispatch", "schedule", "pull_request"}
    assert triggers["pull_request"] == {"types": ["labeled"]}
    (job,) = workflow["jobs"].values()
    assert job["runs-on"] == ["self-hosted", "gpu"]
    assert " ".join(job["if"].split()) == (
        "github.event_name != 'pull_request' || (github.event.label.name == 'gpu' && "
        "github.event.pull_request.head.repo.full_name == github.repository)"
    )
    assert "'gpu-pull-request'" in job["environment"]


def test_the_site_is_published_from_main_only():
    workflow = load("book.yml")
    assert workflow["jobs"]["build"]["if"] == "github.ref == 'refs/heads/main'"
    assert workflow["jobs"]["publish"]["needs"] == "build"
    assert workflow[True]["push"] == {"branches": ["main"]}
    assert "pull_request" not in workflow[True]


def test_every_night_meets_the_newest_releases():
    workflow = load("ci.yml")
    assert workflow[True]["schedule"]
    job = workflow["jobs"]["newest-releases"]
    assert "github.event_name == 'schedule'" in job["if"]
    assert "make test LATEST=1" in [step.get("run") for step in job["steps"]]


def test_actionlint_finds_nothing():
    beside_python = Path(sys.executable).with_name("actionlint")
    program = beside_python if beside_python.exists() else shutil.which("actionlint")
    if not program:
        pytest.skip("actionlint is not installed: `make actionlint` fetches it from GitHub")
    result = subprocess.run(
        [program, "-no-color"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
