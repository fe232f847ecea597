"""The wheel works from a foreign folder, and writes nothing where it is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# All that a wheel is built from. A copy, as setuptools leaves its traces in the source.
PARTS = ("pyproject.toml", "README.md", "LICENSE", "LICENSE-content", "modarch_utils")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder with the wheel alone in it, not to be written."""
    base = tmp_path_factory.mktemp("wheel")
    source, site = base / "source", base / "site"
    source.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(
                ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__")
            )
        else:
            shutil.copy(ROOT / part, source / part)
    pip = [sys.executable, "-m", "pip"]
    for command in (
        ["wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", base, source],
        ["install", "--quiet", "--no-deps", "--no-index", "--find-links", base]
        + ["--target", site, "modarch-utils"],
    ):
        subprocess.run([*pip, *map(str, command)], check=True)
    for path in [site, *site.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    yield site
    for path in [site, *site.rglob("*")]:
        path.chmod(path.stat().st_mode | 0o200)


def test_it_holds_every_file_of_the_package(site):
    def files(folder: Path) -> set[Path]:
        found = (p for p in folder.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
        return {path.relative_to(folder) for path in found}

    assert files(site / "modarch_utils") == files(ROOT / "modarch_utils")


def test_it_brings_its_licences(site):
    (info,) = site.glob("modarch_utils-*.dist-info")
    assert {"LICENSE", "LICENSE-content"} <= {path.name for path in (info / "licenses").iterdir()}
    assert "License-Expression: MIT AND CC-BY-4.0" in (info / "METADATA").read_text("utf-8")


def test_it_works_from_a_foreign_folder(site, tmp_path):
    """tools/smoke.py says what that means; here the wheel hides the clone's own package."""
    result = subprocess.run(
        [sys.executable, "-P", str(ROOT / "tools" / "smoke.py")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site), "MODARCH_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        encoding="utf-8",
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"modules of {site / 'modarch_utils'} import" in result.stdout
    assert f"What was written is in {tmp_path}" in result.stdout
