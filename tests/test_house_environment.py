"""pyproject.toml, environment.yml and requirements.lock name the same packages and ranges."""

import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
CONDA_NAMES = {"pytorch": "torch"}


def requirements(lines: list[str]) -> dict[str, Requirement]:
    found = (Requirement(line) for line in lines)
    return {canonicalize_name(CONDA_NAMES.get(r.name, r.name)): r for r in found}


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def declared(project) -> dict[str, Requirement]:
    return requirements(project["dependencies"] + project["optional-dependencies"]["dev"])


@pytest.fixture(scope="module")
def locked() -> dict[str, Version]:
    pins = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if not line.startswith("#"):
            requirement = Requirement(line)
            (pin,) = requirement.specifier
            assert pin.operator == "==", f"{line} is not pinned"
            pins[canonicalize_name(requirement.name)] = Version(pin.version)
    return pins


def test_conda_repeats_the_ranges(project, declared):
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (from_pip,) = (entry["pip"] for entry in entries if isinstance(entry, dict))
    assert "-e ." in from_pip
    conda = requirements([e for e in entries if isinstance(e, str)])
    assert conda.pop("python").specifier == Requirement(f"x{project['requires-python']}").specifier
    conda.pop("pip")
    conda |= requirements([e for e in from_pip if e != "-e ."])
    assert {n: r.specifier for n, r in conda.items()} == {
        n: r.specifier for n, r in declared.items()
    }


def test_lock_satisfies_the_ranges(declared, locked):
    missing = declared.keys() - locked.keys()
    assert not missing, f"run `make lock`: requirements.lock lacks {sorted(missing)}"
    outside = [str(r) for n, r in declared.items() if locked[n] not in r.specifier]
    assert not outside, f"requirements.lock pins other versions than {outside} allow"


def test_lock_names_no_place():
    text = (ROOT / "requirements.lock").read_text()
    assert not {"@", "://", "--", "file:"} & set(text.split()) and "/" not in text


def test_torch_and_torchvision_are_a_pair(locked):
    """torchvision 0.N goes with torch 2.(N-15); another pair does not import."""
    assert locked["torchvision"].minor - 15 == locked["torch"].minor
