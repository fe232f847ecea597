"""What the grader's key follows: a changed reference, check or weight grades again."""

import os
import shutil

import pytest

from grading import closure
from grading.__main__ import ROOT, Exercise
from tests.grading.classroom import BLOCK, official

PACKAGE = ROOT / "modarch_utils"


def names(text, package=PACKAGE):
    return {p.relative_to(package).as_posix() for p in closure.modules(text, package)}


@pytest.fixture
def package(tmp_path):
    """A small package with every way to import in it."""
    modules = {
        "__init__": "",
        "a/__init__": "from .inner import x",
        "a/inner": "from ..b import y",
        "b/__init__": "def f():\n    import small.lazy.deep",
        "lazy/__init__": "",
        "lazy/deep": "from . import beside",
        "lazy/beside": "import json, torch",
        "alone": "",
    }
    for name, text in modules.items():
        path = tmp_path / "small" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return tmp_path / "small"


@pytest.mark.parametrize(
    "text", ["import small.a", "from small import a", "from small.a import inner as z"]
)
def test_imports_are_followed_through_folders_functions_and_dots(package, text):
    found = names(text, package)
    assert found == {f"{path.relative_to(package)}" for path in package.rglob("*.py")} - {
        "alone.py"
    }


def test_other_packages_are_left_out(package):
    assert names("import json\nfrom torch import nn\nimport smaller", package) == set()


def test_several_packages_are_followed(package, tmp_path):
    (tmp_path / "large").mkdir()
    (tmp_path / "large" / "__init__.py").write_text("import small.alone", "utf-8")
    found = closure.modules("import large", package, tmp_path / "large")
    assert found == [
        tmp_path / "large" / "__init__.py",
        *(package / f for f in ("__init__.py", "alone.py")),
    ]


def test_what_an_exercise_reaches():
    found = names("from modarch_utils.checks import ex1")
    assert {"checks/ex1/__init__.py", "checks/core.py", "checks/ex1/probe.py"} <= found
    assert {"models/convnext.py", "models/layers.py"} <= found
    assert not found & {"checks/ex2/__init__.py", "models/hyena.py"}


TEXT = '''\
"""A module."""
# Why.
def f(x: int = 1, *rest, **more) -> str:
    """A function."""
    return f"{x:>{3}} {x!r}" "end"
'''


@pytest.mark.parametrize(
    ("after", "same"),
    [
        (TEXT.replace("A module", "The module"), True),
        (TEXT.replace("A function", "It formats"), True),
        (TEXT.replace('    """A function."""\n', ""), True),
        (TEXT.replace("# Why.", "# Because.\n\n"), True),
        (TEXT.replace("x: int = 1", "\n    x: int = 1"), True),
        (TEXT.replace("\n", "\r\n"), True),
        (TEXT.replace("= 1", "= 2"), False),
        (TEXT.replace("= 1", "= 1.0"), False),
        (TEXT.replace("!r", "!s"), False),
        (TEXT.replace('"end"', '"END"'), False),
        (TEXT.replace("return ", ""), False),
        (TEXT.replace("return", "return ("), False),
    ],
)
def test_only_what_a_module_does_counts(tmp_path, after, same):
    before, now = tmp_path / "a.py", tmp_path / "b.py"
    before.write_bytes(TEXT.encode())
    now.write_bytes(after.encode())
    assert (closure.digest(before) == closure.digest(now)) == same


def test_every_version_of_python_gives_the_same_digest(tmp_path):
    path = tmp_path / "a.py"
    path.write_bytes(TEXT.encode())
    assert closure.digest(path) == "b2c3717938b2"


@pytest.mark.parametrize(
    ("before", "after", "same"),
    [
        (b"a = 1\n", b"a = 1\r\n", True),
        (b"a = 1\n", b"a = 2\n", False),
        (b"\0\n", b"\0\r\n", False),  # bytes of a binary are no line ends
    ],
)
def test_line_ends_count_in_binaries_only(tmp_path, before, after, same):
    for name, content in (("a", before), ("b", after)):
        (tmp_path / name).write_bytes(content)
    assert (closure.digest(tmp_path / "a") == closure.digest(tmp_path / "b")) == same


def test_a_file_that_changes_is_read_again(tmp_path):
    path = tmp_path / "papers.toml"
    path.write_text("a = 1", "utf-8")
    first = closure.digest(path)
    path.write_text("a = 10", "utf-8")
    assert closure.digest(path) != first


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    """An exercise, and a copy of its code and data that may be changed (weights are only links)."""
    folder = tmp_path_factory.mktemp("course")
    notebook = official(folder / "exercises", BLOCK) / f"{BLOCK}.ipynb"

    def link(source, target):
        is_large = source.endswith(".safetensors")
        return (os.symlink if is_large else shutil.copy)(source, target)

    for name in ("modarch_utils", "grading"):
        shutil.copytree(ROOT / name, folder / name, copy_function=link)
    return notebook, folder


def test_the_key_is_the_same_for_the_same_course(course):
    notebook, root = course
    assert Exercise(notebook, root).content == Exercise(notebook).content


@pytest.mark.parametrize(
    ("file", "change", "again"),
    [
        ("modarch_utils/models/convnext.py", "\nEXTRA = 1\n", True),
        ("modarch_utils/models/layers.py", "\nEXTRA = 1\n", True),
        ("modarch_utils/checks/core.py", "\nEXTRA = 1\n", True),
        ("grading/verdict.py", "\nEXTRA = 1\n", True),
        ("modarch_utils/records/masked_pretraining.json", " ", True),
        ("modarch_utils/weights/mini-dinov2/config.json", " ", True),
        ("modarch_utils/models/convnext.py", "\n# A comment.\n", False),
        ("modarch_utils/models/hyena.py", "\nEXTRA = 1\n", False),
        ("modarch_utils/weights/mini-dinov2/README.md", "Words.", False),
    ],
)
def test_what_changes_the_key(course, file, change, again):
    notebook, root = course
    before = Exercise(notebook, root).content
    path = root / file
    text = path.read_text("utf-8")
    path.write_text(text + change, "utf-8")
    try:
        assert (Exercise(notebook, root).content != before) == again
    finally:
        path.write_text(text, "utf-8")


def test_other_weights_change_the_key(course):
    notebook, root = course
    before = Exercise(notebook, root).content
    path = root / "modarch_utils/weights/mini-dinov2/model.safetensors"
    original = path.resolve()
    path.unlink()
    path.write_bytes(original.read_bytes()[:-1] + b"\xff")
    assert Exercise(notebook, root).content != before
    path.unlink()
    path.symlink_to(original)
