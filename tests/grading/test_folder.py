"""Whose file is which."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grading.folder import find

NAMES = ("ex1_block", "ex1_block_more")


def found(tmp_path, *files):
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return [(s.student, s.exercise, s.problem) for s in find(tmp_path, NAMES)]


LAYOUTS = (
    "{student}/{exercise}.ipynb",
    "{student}/week 1/{exercise}.ipynb",
    "{student}/{exercise} (2).ipynb",
    "{student}/{exercise} copy.ipynb",
    "{student}/anybody_{exercise}.ipynb",
    "{student}_{exercise}.ipynb",
)
ROWS = st.tuples(
    st.text("aé_7 ", min_size=1, max_size=6), st.sampled_from(NAMES), st.sampled_from(LAYOUTS)
)


@given(st.lists(ROWS, unique_by=lambda row: row[:2], max_size=12))
def test_each_file_of_a_mixed_folder_is_its_students(rows):
    with TemporaryDirectory() as folder:
        files = [layout.format(student=s, exercise=e) for s, e, layout in rows]
        assert sorted(found(Path(folder), *files)) == sorted((s, e, "") for s, e, _ in rows)


@pytest.mark.parametrize(
    ("file", "row"),
    [
        ("ada/homework.ipynb", ("ada", "", "name")),
        ("homework.ipynb", ("homework", "", "name")),
        ("ex1_block.ipynb", ("ex1_block", "", "name")),
        ("ada/ex1_block.py", ("ada", "ex1_block", "notebook")),
        ("ada_ex1_block.pdf", ("ada", "ex1_block", "notebook")),
    ],
)
def test_what_cannot_be_graded_is_named(tmp_path, file, row):
    assert found(tmp_path, file) == [row]


def test_files_beside_the_notebook_do_not_count(tmp_path):
    files = ("ada/ex1_block.ipynb", "ada/cat.png", "ada/.ipynb_checkpoints/ex1_block.ipynb", ".x/y")
    assert found(tmp_path, *files, "roster.csv") == [("ada", "ex1_block", "")]


def test_an_empty_folder_is_named(tmp_path):
    assert found(tmp_path, "ada/notes.txt") == [("ada", "", "nothing")]


def test_the_second_of_two_is_named(tmp_path):
    files = ("ada/ex1_block.ipynb", "ada/old/ex1_block.ipynb", "ada_ex1_block.ipynb")
    problems = [problem for _, _, problem in found(tmp_path, *files)]
    assert sorted(problems) == ["", "twice", "twice"]


def test_links_to_folders_are_not_followed(tmp_path):
    found(tmp_path, "ada/ex1_block.ipynb")
    (tmp_path / "eve").symlink_to(tmp_path / "ada")
    (tmp_path / "ada" / "loop").symlink_to(tmp_path)
    assert [s.student for s in find(tmp_path, NAMES)] == ["ada"]
