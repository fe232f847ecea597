"""What exercises ask for, from ``exN/graded.py``: each function's check, and how to compare it."""

from importlib import import_module
from pathlib import Path

FOLDERS = sorted(path.parent.name for path in Path(__file__).parent.glob("ex*/graded.py"))
GRADED = {name: import_module(f"tests.checks.{name}.graded").GRADED for name in FOLDERS}
PARTS = {
    f"{name}-{function}": graded.part
    for name, some in GRADED.items()
    for function, graded in some.items()
    if graded.part
}
