"""A real run over a class: killed half-way, continued, and started once more."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from grading.verdict import STATUSES
from tests.grading.classroom import BLOCK, CLASS, SCHEDULE, official

# An endless loop meets the limit on the processor, a sleep the one on the clock.
LIMITS = ["--cpu", "6", "--seconds", "25", "--memory", "800", "--jobs", "2"]
HALF = len(CLASS) // 2


def start(folder: Path, *options: str) -> subprocess.Popen:
    """A run of its own, whose servers can be told from others by their environment."""
    command = [sys.executable, "-u", "-m", "grading", folder / "class"]
    command += ["--exercises", folder / "exercises", *options]
    return subprocess.Popen(
        list(map(str, command)),
        env=os.environ | {"TMPDIR": str(folder / "scratch"), "SECRET": "of the instructor's"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        # Whoever starts the tests in the background hands an ignored SIGINT down to here.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def prepare(folder: Path, students: dict, *exercises: str) -> None:
    (folder / "scratch").mkdir()
    official(folder / "exercises", *exercises)
    for name, student in students.items():
        student.hand_in(folder / "class", name)


def running(folder: Path) -> list[int]:
    """The processes that a run in `folder` has started and that still live."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if f"={folder}/scratch".encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue
    return found


def wait_for(condition, seconds: float = 10.0) -> bool:
    until = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < until:
        time.sleep(0.1)
    return met


def results(folder: Path) -> dict[Path, int]:
    found = (folder / "class-graded" / "results").glob("*.json")
    return {path: path.stat().st_mtime_ns for path in found}


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    folder = tmp_path_factory.mktemp("course")
    prepare(folder, CLASS, BLOCK, SCHEDULE)
    return folder


@pytest.fixture(scope="module")
def runs(course):
    """Three runs: killed half-way; the rest; nothing to do."""
    first = start(course, *LIMITS)
    seen = [line for line, _ in zip(first.stdout, range(HALF), strict=False)]
    assert len(seen) == HALF, seen
    before = running(course)
    first.kill()
    first.wait()
    alone = wait_for(lambda: not running(course))
    kept = results(course)
    second = start(course, *LIMITS)
    log, _ = second.communicate(timeout=400)
    after = results(course)
    report = (course / "class-graded" / "grades.csv").read_bytes()
    begun = time.monotonic()
    third = start(course, *LIMITS)
    again, _ = third.communicate(timeout=60)
    return {
        "before": before,
        "alone": alone,
        "kept": kept,
        "after": after,
        "log": log,
        "codes": (second.returncode, third.returncode),
        "report": report,
        "again": again,
        "seconds": time.monotonic() - begun,
    }


@pytest.fixture(scope="module")
def rows(runs):
    text = runs["report"].decode("utf-8").splitlines()
    return {(row["student"], row["exercise"]): row for row in csv.DictReader(text)}


@pytest.fixture(scope="module")
def page(course, runs):
    return BeautifulSoup(
        (course / "class-graded" / "grades.html").read_text("utf-8"), "html.parser"
    )


def shown(name: str) -> str:
    """A student's name in the report."""
    name = name.replace("\u202e", "\ufffd")
    return f"'{name}" if name.startswith("=") else name


def section(page, name: str):
    name = shown(name).removeprefix("'")
    return next(s for s in page.find_all("section") if s.h2.text.startswith(f"{name} "))


def test_the_class_meets_every_status():
    assert set(STATUSES) - {student.status for student in CLASS.values()} == {
        "twice",  # in test_folder
        "nothing",
        "runner",  # in test_store
    }


@pytest.mark.parametrize("name", CLASS)
def test_each_gets_its_points_and_its_cause(name, rows, page):
    student = CLASS[name]
    row = rows[shown(name), student.exercise]
    assert row["status"] == student.status, row
    assert float(row["points"]) == pytest.approx(student.points, abs=0.01), row
    said = row["cause"] + row["look"] + section(page, name).text
    assert all(words in said for words in student.words), said


def test_a_killed_run_leaves_nothing_running(runs):
    assert len(runs["before"]) >= 2, "two servers"
    assert runs["alone"]


def test_nothing_is_graded_twice(runs):
    assert len(runs["kept"]) >= HALF // 2
    assert {path: runs["after"][path] for path in runs["kept"]} == runs["kept"]
    assert runs["codes"] == (0, 0)


def test_what_is_finished_needs_no_second_look(course, runs):
    assert results(course) == runs["after"]
    assert (course / "class-graded" / "grades.csv").read_bytes() == runs["report"]
    assert runs["seconds"] < 10 and f"[{len(CLASS)}/{len(CLASS)}]" in runs["again"]


def test_nothing_is_left_behind(course, runs):
    assert running(course) == []
    left = [path for path in (course / "scratch").iterdir() if path.name.startswith("grade-")]
    assert len(left) <= 1, "only what the killed run could not delete"
    assert not list((course / "class-graded" / "results").glob("*.begun"))


def test_the_log_shows_one_line_for_each(runs):
    lines = runs["log"].splitlines()
    assert sum(line.startswith("[") for line in lines) == len(CLASS)
    assert "\u202e" not in runs["log"]
    assert lines[-1].startswith("Written: ") and "grades.html" in lines[-1]


def test_the_table_is_whole_and_no_formula(rows):
    assert len(rows) == len(CLASS)
    for row in rows.values():
        assert row["cause"] and not any(text.startswith(tuple("=+-@")) for text in row.values())
        assert float(row["points"]) <= float(row["most"])


def test_the_page_is_escaped_and_complete_in_itself(course, page):
    assert not page.find_all(["script", "img", "link", "iframe", "b"])
    for tag in page.find_all(True):
        assert not any(name.startswith("on") for name in tag.attrs)
        assert tag.get("href", "#").startswith("#") and not tag.get("src")
    text = (course / "class-graded" / "grades.html").read_text("utf-8")
    assert "<script" not in text and "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "default-src 'none'" in page.find("meta", {"http-equiv": True})["content"]
    assert len(page.find_all("section")) == len(CLASS)
