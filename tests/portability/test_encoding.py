"""Text is UTF-8 on every machine, whatever its language."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path
    for room in ("modarch_utils", "recipes", "grading", "tools", "tests")
    for path in (ROOT / room).rglob("*.py")
)


def unsaid(source: str) -> list[int]:
    """Lines that read or write text in the machine's own encoding."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    return [call.lineno for call in calls if _unsaid(call)]


def _unsaid(call: ast.Call) -> bool:
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in named:
        return False
    if "text" in named:  # of subprocess
        return getattr(named["text"], "value", None) is True
    method = isinstance(call.func, ast.Attribute)
    name = call.func.attr if method else getattr(call.func, "id", "")
    if name in ("read_text", "write_text"):
        return len(call.args) < (1 if name == "read_text" else 2)
    if name in ("open", "fdopen"):
        # open(path, mode), os.fdopen(number, mode), but path.open(mode).
        place = 1 if name == "fdopen" or not method else 0
        mode = named.get("mode", call.args[place] if len(call.args) > place else None)
        text = mode is None or (isinstance(mode, ast.Constant) and isinstance(mode.value, str))
        opens_files = not method or mode is not None or not call.args
        return opens_files and text and (mode is None or "b" not in mode.value)
    return False


@pytest.mark.parametrize(
    "line",
    [
        "p.read_text()",
        "p.write_text(words)",
        "open(p)",
        "open(p, 'w')",
        "p.open()",
        "p.open('w')",
        "os.fdopen(1, 'w')",
        "subprocess.run(c, text=True)",
    ],
)
def test_the_rule_finds_each_way(line):
    assert unsaid(f"x = 1\n{line}") == [2]


@pytest.mark.parametrize(
    "line",
    [
        "p.read_text('utf-8')",
        "p.write_text(words, encoding='utf-8')",
        "open(p, 'rb')",
        "p.open('xb')",
        "open(p, encoding='utf-8')",
        "os.open(p, flags)",
        "Image.open(p)",
        "subprocess.run(c)",
    ],
)
def test_the_rule_lets_pass_what_is_right(line):
    assert unsaid(line) == []


def test_every_file_names_its_encoding():
    assert len(SOURCES) > 100
    found = {str(path.relative_to(ROOT)): unsaid(path.read_text("utf-8")) for path in SOURCES}
    assert {path: lines for path, lines in found.items() if lines} == {}


# Windows in Japan and Korea. Python asks for the machine's encoding where it opens text without
# one, so that is where another is put: only here, as the libraries' own files are not our matter.
ABROAD = """
import builtins, io, sys
from pathlib import Path
import torch, transformers
plain = io.open
def abroad(file, mode="r", buffering=-1, encoding=None, *rest, **more):
    if "b" not in mode and encoding in (None, "locale"):
        encoding = sys.argv[1]
    return plain(file, mode, buffering, encoding, *rest, **more)
builtins.open = io.open = abroad
"""
LESSON = """
import json
from modarch_utils import claims, profile, records, zoo
from modarch_utils.models import mini_sd, reader
from recipes import cards
here = Path(sys.argv[2])
known = [file.stem for file in records.FOLDER.glob("*.json")]
assert all(records.load(name)["results"] for name in known)
claims.paper("choosing.top1")
read = reader.load(zoo.folder("mini-reader"))
reader.save(read, here)
reader.load(here)
(here / "README.md").write_text("# Größe 가\\n\\n" + cards.QUALITY, "utf-8")
cards.write_quality(here, "größer ≥ 가")
assert "größer ≥ 가" in (here / "README.md").read_text("utf-8")
records.FOLDER = here
settings = {"name": "Größe ≥ 가"}
records.save("some", settings=settings, results=[{"seconds": 1.0}])
assert records.load("some")["settings"] == settings
print("done")
"""


@pytest.mark.parametrize("encoding", ["cp932", "cp949"])
def test_records_papers_cards_and_checkpoints_are_read_anywhere(encoding, tmp_path):
    folder = tmp_path / "내 폴더"
    folder.mkdir()
    run = subprocess.run(
        [sys.executable, "-c", ABROAD + LESSON, encoding, str(folder)],
        capture_output=True,
        encoding="utf-8",
        cwd=ROOT,
        env=os.environ | {"PYTHONUTF8": "0"},
    )
    assert run.stdout == "done\n", run.stderr
