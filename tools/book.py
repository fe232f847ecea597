"""Build the site in ``_build/html`` from the outputs that the notebooks hold; nothing is run.

Warnings are errors. With ``--notebooks DIR`` the chapters come from ``DIR/notebooks``, where
``make course`` leaves what it measured.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# All that a build reads beside the notebooks.
PARTS = ("_config.yml", "_toc.yml", "references.bib", "_static", "book", "tools")


def stage(folder: Path) -> None:
    """Put all that a build needs beside the notebooks of ``folder``."""
    for part in PARTS:
        source, copy = ROOT / part, folder / part
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "ledger.md")
            shutil.copytree(source, copy, dirs_exist_ok=True, ignore=ignored)
        else:
            shutil.copy(source, copy)


def build(source: Path = ROOT, out: Path = ROOT / "_build") -> subprocess.CompletedProcess[str]:
    """Build the site of ``source`` in ``out/html``; the result holds the log as ``stdout``."""
    command = [Path(sys.executable).with_name("jupyter-book"), "build", source, "--all"]
    command += ["--path-output", out.parent, "-W", "-n", "--keep-going"]
    return subprocess.run(
        list(map(str, command)), text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools.book", description=__doc__.splitlines()[0])
    parser.add_argument("--notebooks", type=Path, help="take the chapters from here")
    options = parser.parse_args()
    source = ROOT
    if options.notebooks:
        source = options.notebooks.resolve()
        stage(source)
    result = build(source)
    if result.returncode:
        print(result.stdout)
        print("The site was not built: the first WARNING or ERROR above says why.")
        return 1
    print(f"The site is built: open {ROOT / '_build/html/index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
