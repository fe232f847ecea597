"""Which cells run, and whose text they have."""

import json
import os

import nbformat
import pytest
from nbformat import v4

from grading import cells
from tests.grading.classroom import SOURCES, official, solved


def cell(text, id_="", role="", name="", points=None):
    meta = {"solution": role == "answer", "grade": role == "check", "grade_id": name}
    if points is not None:
        meta["points"] = points
    return {
        "cell_type": "code",
        "id": id_,
        "metadata": {"nbgrader": meta} if role else {},
        "source": text,
        "outputs": [],
        "execution_count": None,
    }


OFFICIAL = [
    cell("import os", "i"),
    cell("todo_a", "a", "answer", "A"),
    cell("check_a", "ca", "check", "A-check", 2),
    cell("given", "g"),
    cell("todo_b", "b", "answer", "B"),
    cell("check_b", "cb", "check", "B-check", 3),
    cell("stretch", "s"),
]


def load(tmp_path, given):
    path = tmp_path / "x.ipynb"
    path.write_text(json.dumps({"nbformat": 4, "cells": given}), "utf-8")
    return cells.read(path)


def ran(tmp_path, theirs):
    steps, missing = cells.steps(load(tmp_path, OFFICIAL), load(tmp_path, theirs))
    return [(step["kind"][0], step["text"]) for step in steps], missing


def changed(**texts):
    """The official notebook with other texts in the cells of these ids."""
    return [{**c, "source": texts.get(c["id"], c["source"])} for c in OFFICIAL]


UNTOUCHED = [
    ("g", "import os"),
    ("s", "todo_a"),
    ("c", "check_a"),
    ("g", "given"),
    ("s", "todo_b"),
    ("c", "check_b"),
]


def test_untouched(tmp_path):
    assert ran(tmp_path, OFFICIAL) == (UNTOUCHED, [])


def test_answers_are_the_students_and_checks_are_not(tmp_path):
    steps, _ = ran(tmp_path, changed(a="mine", ca="2.0", cb="3.0"))
    assert steps == [step if step[1] != "todo_a" else ("s", "mine") for step in UNTOUCHED]


def test_an_edited_given_cell_runs_as_edited_and_then_as_given(tmp_path):
    steps, _ = ran(tmp_path, changed(i="import os, re", g="other"))
    assert steps[:2] == [("s", "import os, re"), ("g", "import os")]
    assert steps[4:6] == [("s", "other"), ("g", "given")]


def test_added_cells_stay_where_they_are_and_stop_with_the_last_check(tmp_path):
    own = [cell(f"own {i}", f"o{i}") for i in range(3)]
    theirs = [own[0], *OFFICIAL[:4], own[1], *OFFICIAL[4:6], own[2], OFFICIAL[6]]
    steps, _ = ran(tmp_path, theirs)
    assert steps == [("s", "own 0"), *UNTOUCHED[:4], ("s", "own 1"), *UNTOUCHED[4:]]


def test_a_missing_answer_is_named_and_the_empty_one_stands_in(tmp_path):
    steps, missing = ran(tmp_path, OFFICIAL[2:])
    assert missing == ["A"] and ("g", "todo_a") in steps


def test_a_copied_check_cell_of_the_students_own_never_runs(tmp_path):
    theirs = [*OFFICIAL, cell("fake", "z", "check", "other-check", 9)]
    assert ran(tmp_path, theirs) == (UNTOUCHED, [])


def test_an_answer_in_two_cells(tmp_path):
    theirs = [*OFFICIAL[:2], cell("more", "q", "answer", "A"), *OFFICIAL[2:]]
    steps, _ = ran(tmp_path, theirs)
    assert steps[:4] == [UNTOUCHED[0], UNTOUCHED[1], ("s", "more"), ("c", "check_a")]


@pytest.mark.parametrize("name", SOURCES)
def test_every_exercise_can_be_graded(tmp_path, name):
    ours = cells.read(official(tmp_path / "ex", name) / f"{name}.ipynb")
    nbformat.write(solved(name), tmp_path / "solved.ipynb")
    theirs = cells.read(tmp_path / "solved.ipynb")
    assert cells.belongs(ours, theirs) and not cells.belongs(ours, theirs[:0])
    steps, missing = cells.steps(ours, theirs)
    assert missing == []
    checks = [step for step in steps if step["kind"] == "check"]
    assert steps[-1] == checks[-1] and len(checks) == len(cells.checks(ours))
    assert all(step["most"] > 0 for step in checks)
    assert not any("raise NotImplementedError()" in step["text"] for step in steps)
    assert "from modarch_utils.checks import" in cells.imports(ours)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"3", "not a notebook's"),
        (b"{}", "not a notebook's"),
        (b'{"nbformat": 3, "worksheets": []}', "format 3"),
        (b'{"nbformat": 4, "cells": {"a": 1}}', "not a notebook's"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "code", "metadata": 3}]}', "not a notebook's"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "code", "metadata": {}}]}', "not a notebook's"),
    ],
)
def test_what_is_no_notebook(tmp_path, content, words):
    path = tmp_path / "x.ipynb"
    path.write_bytes(content)
    with pytest.raises(cells.NotNotebook, match=words):
        cells.read(path)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.ipynb")  # reading it would wait for ever
    (tmp_path / "link.ipynb").symlink_to("/dev/zero")
    (tmp_path / "folder.ipynb").mkdir()
    for path in tmp_path.iterdir():
        with pytest.raises(cells.NotNotebook, match="no regular file"):
            cells.read(path)


def test_what_is_too_large(tmp_path):
    text = v4.new_notebook(cells=[v4.new_code_cell("x" * 2**20)])
    nbformat.write(text, tmp_path / "x.ipynb")
    with pytest.raises(cells.NotNotebook, match="1 MiB: clear its outputs"):
        cells.read(tmp_path / "x.ipynb", largest=2**20)
