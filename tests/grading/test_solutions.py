"""Every exercise's own solution, graded: nobody who is right is accused of anything."""

import csv

import pytest

from tests.grading.classroom import SOURCES, Student, exercises, solved
from tests.grading.test_class import prepare, start


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("solutions")
    prepare(folder, {}, *SOURCES)
    for name, source in SOURCES.items():
        Student(solved(name), exercise=name).hand_in(folder / "class", "solution")
        Student(exercises.student(source), exercise=name).hand_in(folder / "class", "empty")
    log, _ = start(folder, "--jobs", "2").communicate(timeout=900)
    assert "Written: " in log, log
    with (folder / "class-graded" / "grades.csv").open(encoding="utf-8") as file:
        return {(row["student"], row["exercise"]): row for row in csv.DictReader(file)}


@pytest.mark.parametrize("name", SOURCES)
def test_the_solution_gets_all_points(rows, name):
    row = rows["solution", name]
    assert row["status"] == "graded" and row["points"] == row["most"] != "0", row


@pytest.mark.parametrize("name", SOURCES)
def test_the_untouched_exercise_gets_none(rows, name):
    row = rows["empty", name]
    assert (row["status"], row["points"]) == ("graded", "0"), row
