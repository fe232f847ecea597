"""What a notebook was made of is noted while it runs, and a change of any of it is seen."""

import re
import shutil
from pathlib import Path

import nbformat
import numpy as np
import pytest
from safetensors.numpy import save_file

from tools import exercises, freshness, notebooks

PACKAGE = {
    "__init__.py": "",
    "unused.py": "x = 1\n",
    "late.py": "x = 1\n",
    "study.py": '''\
"""A study."""
import json
import tomllib
from importlib import resources
from pathlib import Path

from safetensors.numpy import load_file

HERE = Path(__file__).parent


def run():
    """Read a little of everything."""
    # Imported where it is needed.
    from modarch_utils import late

    papers = resources.files("modarch_utils").joinpath("papers.toml")
    figures = tomllib.loads(papers.read_text("utf-8"))
    record = json.loads((HERE / "records" / "small.json").read_text("utf-8"))
    (HERE / "weights" / "mini" / "config.json").read_bytes()
    tensors = load_file(HERE / "weights" / "mini" / "model.safetensors")
    return late.x + figures["a"] + record["b"] + float(tensors["w"][0])
''',
    "papers.toml": "a = 1\n",
    "records/small.json": '{"b": 1}\n',
    "records/unread.json": '{"b": 1}\n',
    "weights/mini/config.json": "{}\n",
    "weights/mini/README.md": "A card.\n",
    "weights/unread/config.json": "{}\n",
}
SOURCE = """\
# %% [markdown]
# # Small

# %%
from pathlib import Path

from modarch_utils import study

print(study.run())

# %%
scratch = Path("scratch.txt")
scratch.write_text("made here")
print(scratch.read_text("utf-8"), Path("absent.txt").exists())
print([name for name in dir() if "watch" in name or "hook" in name or "used" in name])
"""
READ = {
    "modarch_utils/__init__.py",
    "modarch_utils/study.py",
    "modarch_utils/late.py",
    "modarch_utils/papers.toml",
    "modarch_utils/records/small.json",
    "modarch_utils/weights/mini/config.json",
    "modarch_utils/weights/mini/model.safetensors",
}


def write(root: Path) -> Path:
    """A repository with one chapter; returns the chapter's source."""
    for name, text in PACKAGE.items():
        path = root / "modarch_utils" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    weights = root / "modarch_utils" / "weights" / "mini" / "model.safetensors"
    save_file({"w": np.ones(3, np.float32)}, weights)
    source = root / "notebooks" / "source" / "07_small.py"
    source.parent.mkdir(parents=True)
    source.write_text(SOURCE, "utf-8")
    return source


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The chapter, run."""
    root = tmp_path_factory.mktemp("repository")
    source = write(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(root))
        notebooks.make(source, notebooks.target(source), strict=True)
    return source


@pytest.fixture
def chapter(built, tmp_path):
    """A copy of it, to be changed."""
    root = shutil.copytree(built.parents[2], tmp_path / "repository")
    return root / built.relative_to(built.parents[2])


def kept(source: Path) -> dict[str, str]:
    return nbformat.read(notebooks.target(source), as_version=4).metadata.modarch.inputs


def test_everything_that_was_read_is_kept_and_nothing_else(built):
    assert set(kept(built)) == READ
    assert notebooks.stale(built) is None


def test_watching_leaves_no_trace_in_the_notebook(built):
    first, second = nbformat.read(notebooks.target(built), as_version=4).cells[-2:]
    assert (first.execution_count, second.execution_count) == (1, 2)
    assert first.outputs[0].text == "4.0\n"
    assert second.outputs[0].text == "made here False\n[]\n"


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("late.py", "x = 1", "x = 2"),
        ("study.py", "late.x +", "late.x -"),
        ("__init__.py", "", "y = 1"),
        ("papers.toml", "1", "2"),
        ("records/small.json", "1", "2"),
        ("weights/mini/config.json", "{}", "{ }"),
        ("weights/mini/model.safetensors", "\0", "\1"),
    ],
)
def test_a_change_of_what_it_read_is_named(chapter, file, old, new):
    path = chapter.parents[2] / "modarch_utils" / file
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode(), 1))
    assert notebooks.stale(chapter) == f"modarch_utils/{file} changed after it was run"


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("study.py", "A study.", "The study."),  # more of this in tests/grading/test_closure.py
        ("papers.toml", "\n", "\r\n"),
        ("unused.py", "1", "2"),
        ("records/unread.json", "1", "2"),
        ("weights/mini/README.md", "A card.", "The card."),
        ("weights/unread/config.json", "{}", "{ }"),
    ],
)
def test_what_decides_no_output_may_change(chapter, file, old, new):
    path = chapter.parents[2] / "modarch_utils" / file
    before = path.read_bytes()
    path.write_bytes(before.replace(old.encode(), new.encode()))
    assert path.read_bytes() != before
    assert notebooks.stale(chapter) is None


def test_what_is_gone_is_named(chapter):
    (chapter.parents[2] / "modarch_utils" / "late.py").unlink()
    assert notebooks.stale(chapter) == "modarch_utils/late.py changed after it was run"


def test_many_changes_make_a_short_sentence(chapter):
    shutil.rmtree(chapter.parents[2] / "modarch_utils")
    assert notebooks.stale(chapter) == (
        "modarch_utils/__init__.py, modarch_utils/late.py, modarch_utils/papers.toml and 4 more "
        "changed after it was run"
    )


def test_a_notebook_without_a_list_is_stale(chapter):
    path = notebooks.target(chapter)
    notebook = nbformat.read(path, as_version=4)
    del notebook.metadata.modarch["inputs"]
    nbformat.write(notebook, path)
    assert notebooks.stale(chapter) == "it does not say which files it was made from"


def test_an_edit_during_the_run_makes_it_stale(tmp_path, monkeypatch):
    source = write(tmp_path / "repository")
    edit = "path = Path(study.HERE / 'late.py')\npath.write_text('x = 5  # edited')\n"
    source.write_text(f"{SOURCE}\n# %%\n{edit}", "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "repository"))
    notebooks.make(source, notebooks.target(source), strict=True)
    assert notebooks.stale(source) == "modarch_utils/late.py changed after it was run"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import time; time.sleep(60)", "timed out"),
        ("import os; os._exit(1)", "Kernel died"),
    ],
)
def test_a_failed_notebook_is_kept_with_what_it_had_done(tmp_path, code, words):
    source = tmp_path / "notebooks" / "source" / "07_small.py"
    source.parent.mkdir(parents=True)
    source.write_text(f'# %% [markdown]\n# # A\n\n# %%\nprint("so far")\n\n# %%\n{code}\n', "utf-8")
    with pytest.raises(notebooks.NotebookError, match=words) as caught:
        notebooks.make(source, notebooks.target(source), strict=True, timeout=8)
    path = tmp_path / "_build" / "failed" / "07_small.ipynb"
    assert str(path) in str(caught.value)
    first, _ = nbformat.read(path, as_version=4).cells[-2:]
    assert first.outputs[0].text == "so far\n"


def named(source: Path) -> set[str]:
    """The modules, records, papers and shipped weights that a source names outright."""
    text, package = source.read_text("utf-8"), notebooks.ROOT / "modarch_utils"
    found = {f"records/{name}.json" for name in re.findall(r'records\.load\("(\w+)"\)', text)}
    for module, names in re.findall(r"^from modarch_utils(\S*) import ([\w, ]+)$", text, re.M):
        folder = module.replace(".", "/").strip("/")
        parts = [folder, *(f"{folder}/{name}".strip("/") for name in names.split(", "))]
        found |= {file for part in parts for file in (f"{part}.py", f"{part}/__init__.py")}
    for name in re.findall(r'zoo\.\w+\("([\w-]+)"', text):
        weights = package.glob(f"weights/{name}/**/*.safetensors")
        found |= {path.relative_to(package).as_posix() for path in weights}
    found |= {f"papers/{name}.toml" for name in re.findall(r'claims\.paper\(f?"(\w+)', text)}
    return {f"modarch_utils/{file}" for file in found if (package / file).is_file()}


@pytest.mark.parametrize(
    "source", [*notebooks.sources(), *exercises.sources()], ids=lambda path: path.stem
)
def test_a_notebooks_list_holds_all_that_its_source_names(source):
    expected = named(source)
    assert expected
    assert expected <= set(kept(source))


def test_a_missing_answer_of_the_kernel_is_no_empty_list():
    class Kernel:
        @staticmethod
        async def execute_interactive(*_, **__):
            return {"content": {"status": "error", "ename": "KeyError"}}

    class Client:
        kc = Kernel

    with pytest.raises(RuntimeError, match="does not tell which files it reads.*KeyError"):
        freshness.watch(Client)
