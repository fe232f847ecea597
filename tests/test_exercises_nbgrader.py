"""nbgrader itself: an instructor's release, three submissions, and the points they get.

On one exercise, because each submission starts a kernel. That the cells of the others have the same
kind of metadata, and give nbgrader the same kind of values, is tested in ``test_exercises.py``.
"""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

import nbformat
import pytest
from nbgrader.api import Gradebook
from nbgrader.apps import NbGraderAPI
from traitlets.config import Config

from tools import exercises, notebooks

NAME, MOST = "ex2_progressive_schedule", 3 + 5
# One mistake in each graded part: a piece of the solution, and what the student wrote.
MISTAKES = {
    "not 0 <= epoch < 150": "not 0 <= epoch <= 150",
    "share = stage / max(num_stages - 1, 1)": "share = stage / (num_stages - 1)",
}
STUDENTS = ("right", "wrong", "empty")

pytestmark = pytest.mark.filterwarnings("ignore:Object of type")  # SQLAlchemy's, on nbgrader


@contextmanager
def environment():
    """A notebook's, with the environment's programs on the path: nbgrader calls alembic."""
    programs = str(Path(sys.executable).parent) + os.pathsep + os.environ["PATH"]
    with pytest.MonkeyPatch.context() as patch:
        for key, value in (notebooks.kernel_environment("laptop") | {"PATH": programs}).items():
            patch.setenv(key, value)
        yield


def save(notebook, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)


def answered(released, solved, mistakes):
    """The released notebook with a student's text in its solution cells."""
    texts = {cell.id: cell.source for cell in solved.cells}
    for cell in released.cells:
        if cell.metadata.get("nbgrader", {}).get("solution"):
            cell.source = texts[cell.id]
            for old, new in mistakes.items():
                cell.source = cell.source.replace(old, new)
    return released


@pytest.fixture(scope="module")
def gradebook(tmp_path_factory):
    course = tmp_path_factory.mktemp("course")
    source = exercises.SOLUTIONS / "source" / f"{NAME}.py"
    solved = notebooks.rendered(exercises.solution(source), notebooks.target(source))
    assert all(any(old in cell.source for cell in solved.cells) for old in MISTAKES)
    save(solved, course / "source" / "unit" / f"{NAME}.ipynb")
    config = Config()
    config.CourseDirectory.root = str(course)
    config.CourseDirectory.course_id = "modarch"
    config.Exchange.root = str(course / "exchange")
    config.Execute.timeout = 1800  # as the instructors' page says
    api = NbGraderAPI(config=config)
    with environment():
        done = api.generate_assignment("unit")
        assert done["success"], done
        for student in STUDENTS:
            notebook = nbformat.read(course / "release" / "unit" / f"{NAME}.ipynb", 4)
            # What nbgrader releases is the course's notebook for students.
            ours = exercises.released(source)
            assert [c.source for c in notebook.cells] == [c.source for c in ours.cells]
            if student != "empty":
                notebook = answered(notebook, solved, MISTAKES if student == "wrong" else {})
            save(notebook, course / "submitted" / student / "unit" / f"{NAME}.ipynb")
            done = api.autograde("unit", student)
            assert done["success"], done
    with Gradebook(f"sqlite:///{course}/gradebook.db") as book:
        yield book


def test_right_wrong_and_empty(gradebook):
    notebook = {s: gradebook.find_submission_notebook(NAME, "unit", s) for s in STUDENTS}
    assert {s: (n.score, n.max_score) for s, n in notebook.items()} == {
        "right": (MOST, MOST),
        "wrong": (pytest.approx(3 * 7 / 8 + 5 * 11 / 12, abs=0.02), MOST),  # one row in each part
        "empty": (0, MOST),
    }


def test_nothing_waits_for_a_person(gradebook):
    for student in STUDENTS:
        assert not gradebook.find_submission("unit", student).needs_manual_grade
