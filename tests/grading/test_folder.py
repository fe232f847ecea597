"""Whose file is which."""

import pytest

from grading.folder import find

NAMES = ("ex1_block", "ex1_block_more")


def found(tmp_path, *files):
    for name in files:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return [(s.student, s.exercise, s.problem) for s in find(tmp_path, NAMES)]


@pytest.mark.parametrize(
    ("file", "student", "exercise"),
    [
        ("ada/ex1_block.ipynb", "ada", "ex1_block"),
        ("ada/week 1/ex1_block.ipynb", "ada", "ex1_block"),
        ("ada/ex1_block (2).ipynb", "ada", "ex1_block"),
        ("ada/ex1_block copy.ipynb", "ada", "ex1_block"),
        ("ada/lovelace_ex1_block.ipynb", "ada", "ex1_block"),
        ("ada_ex1_block.ipynb", "ada", "ex1_block"),
        ("ada_of_london_ex1_block_more.ipynb", "ada_of_london", "ex1_block_more"),
    ],
)
def test_layouts(tmp_path, file, student, exercise):
    assert found(tmp_path, file) == [(student, exercise, "")]


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
