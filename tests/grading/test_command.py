"""The command: what it says to bad input, and how it stops."""

import signal
import time

import pytest

from grading import __main__ as grade
from grading import worker
from grading.store import Store
from tests.grading import test_class
from tests.grading.classroom import DAEMON, SCHEDULE, Student, official, solved, with_first


@pytest.fixture
def course(tmp_path):
    official(tmp_path / "exercises", SCHEDULE)
    (tmp_path / "class").mkdir()
    return tmp_path


def said(capsys, *arguments) -> str:
    """The one sentence that the command ends with."""
    assert grade.main(list(map(str, arguments))) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1 and "Traceback" not in err
    return err


@pytest.mark.parametrize("name", ["clas", "file"])
def test_no_folder(course, capsys, name):
    (course / "file").touch()
    words = said(capsys, course / name, "--exercises", course / "exercises")
    assert "There is no folder" in words and f"{name}:" in words


@pytest.mark.parametrize("files", [(), ("ada/notes.txt",), ("ada/homework.ipynb",)])
def test_no_submission(course, capsys, files):
    for name in files:
        (course / "class" / name).parent.mkdir(exist_ok=True)
        (course / "class" / name).touch()
    words = said(capsys, course / "class", "--exercises", course / "exercises")
    assert f"STUDENT/{SCHEDULE}.ipynb" in words and f"STUDENT_{SCHEDULE}.ipynb" in words


def test_no_exercises(course, capsys):
    words = said(capsys, course / "class", "--exercises", course / "class")
    assert "no exercise in" in words and "tools.exercises build" in words


@pytest.mark.parametrize("text", ["{}", '{"nbformat": 4, "cells": []}'])
def test_an_exercise_without_checks(course, capsys, text):
    (course / "exercises" / "ex0.ipynb").write_text(text, "utf-8")
    words = said(capsys, course / "class", "--exercises", course / "exercises")
    assert "ex0.ipynb is no exercise: " in words


def hand_in(course, **students):
    for name, student in students.items():
        student.hand_in(course / "class", name)


def test_results_are_no_submissions(course, capsys):
    hand_in(course, ada=Student(solved(SCHEDULE)))
    out = course / "class" / "graded"
    words = said(capsys, course / "class", "--exercises", course / "exercises", "--out", out)
    assert "inside of" in words and not out.exists()


def test_one_run_at_a_time(course, capsys):
    hand_in(course, ada=Student(solved(SCHEDULE)))
    with Store(course / "out" / "results").locked():
        words = said(
            capsys,
            course / "class",
            *("--exercises", course / "exercises", "--out", course / "out"),
        )
    assert "Another run is grading" in words


@pytest.mark.parametrize("value", ["0", "-3", "1.5", "many"])
def test_limits_are_whole_numbers(course, capsys, value):
    with pytest.raises(SystemExit) as stopped:
        grade.main([str(course / "class"), "--seconds", value])
    assert stopped.value.code == 2
    assert f"{value!r} is not a whole number from 1" in capsys.readouterr().err


def test_help_says_what_it_does_not_protect_against(capsys):
    with pytest.raises(SystemExit) as stopped:
        grade.main(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert stopped.value.code == 0
    for words in ("does not protect against", "same user", "network", "container", "--memory"):
        assert words in text


def test_a_students_process_gets_nothing_of_the_instructors(monkeypatch, tmp_path):
    monkeypatch.setenv("COURSE_TOKEN", "of the instructor's")
    given = worker.environment(tmp_path)
    assert "COURSE_TOKEN" not in given and given["HOME"] == str(tmp_path)
    assert given["HF_HUB_OFFLINE"] == "1" and given["MODARCH_PROFILE"] == "laptop"


# IPython makes a folder in what is HOME there.
SECRETS = "import os\nassert 'SECRET' not in os.environ and os.listdir() == ['.ipython']"


def test_an_interrupt_stops_all_and_blames_nobody(tmp_path):
    sleeper = Student(with_first(f"{DAEMON}\n{SECRETS}\ntime.sleep(1000)"))
    test_class.prepare(tmp_path, {"ada": sleeper}, SCHEDULE)
    results = tmp_path / "class-graded" / "results"
    run = test_class.start(tmp_path)
    assert test_class.wait_for(lambda: list(results.glob("*.begun")), 300)
    # The runner, the server, the submission, and its daemon, which has a session of its own.
    assert test_class.wait_for(lambda: len(test_class.running(tmp_path)) >= 4, 30)
    time.sleep(2)
    assert run.poll() is None  # it sleeps: it found no secrets
    begun = time.monotonic()
    run.send_signal(signal.SIGINT)
    log, _ = run.communicate(timeout=30)
    assert run.returncode == 130 and time.monotonic() - begun < 20, log
    assert log.strip().endswith("Stopped. The same command continues with what is left.")
    assert "Traceback" not in log
    assert test_class.running(tmp_path) == []
    assert not list(results.iterdir()) or not list(results.glob("*.[bj]*"))
    assert not list((tmp_path / "scratch").glob("grade-*"))
