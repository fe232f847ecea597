"""Grade untrusted notebooks: ``python -m grading FOLDER``.

``FOLDER`` holds ``STUDENT/EXERCISE.ipynb`` (at any depth below STUDENT) or
``STUDENT_EXERCISE.ipynb``, with the names of the notebooks in ``notebooks/exercises``. Each
submission runs in a process of its own, with limits; what is written stands in ``FOLDER-graded``:
``grades.csv``, ``grades.html``, and ``results/``, from which an interrupted run continues.

A student's answer cells, and other cells that may be edited, are run; check cells are the official
ones. It protects against mistakes and against cheap tricks. It does **not** protect against:

* what runs as the same user may read, change and delete that user's files, the solutions and
  these results among them, and end that user's processes;
* the network is open, and the total of the disk is not limited, only each file;
* student code and checks share a process: whoever knows this code can find the token that marks a
  verdict, or replace a function and put it back before anyone looks;
* nobody compares the submissions with each other.

Run it in a container, as a user who owns nothing else, if that matters.
"""

import argparse
import contextlib
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from grading import cells, closure, folder, report, verdict
from grading.folder import Submission
from grading.limits import Limits, adopt_orphans
from grading.store import Store, key
from grading.verdict import Verdict
from grading.worker import ROOT, Crew, ServerError, Stopped, Worker

EXERCISES = ROOT / "notebooks" / "exercises"
# What runs a submission and judges what came of it: code that decides, as the checks do.
JUDGES = "from grading import server, verdict"


class GradeError(Exception):
    """Nothing can be graded; the message says why and what to do."""


class Exercise:
    """An official notebook.

    Args:
        path: the notebook as students get it.
        root: of the repository, whose code and data decide what is right.

    Raises:
        GradeError: it cannot be read, or has no check cell.
    """

    def __init__(self, path: Path, root: Path = ROOT):
        try:
            self.cells = cells.read(path)
        except cells.NotNotebook as problem:
            raise GradeError(f"{path} is no exercise: {problem}.") from None
        if not cells.checks(self.cells):
            raise GradeError(f"{path} is no exercise: it has no check cell. Make it again.")
        self.name, self.imports = path.stem, cells.imports(self.cells)
        package, judges = root / "modarch_utils", root / "grading"
        files = closure.modules(f"{self.imports}\n{JUDGES}", package, judges)
        files += closure.data(package)
        digests = (f"{file.relative_to(root)} {closure.digest(file)}" for file in files)
        self.content = [path.read_bytes(), *map(str.encode, digests)]
        """All of the course's that decides what a right answer is."""


class Grader:
    """Grades a folder.

    Args:
        exercises: by name.
        limits: for each submission.
        store: what is finished.
    """

    def __init__(self, exercises: dict[str, Exercise], limits: Limits, store: Store):
        self.exercises, self.limits, self.store = exercises, limits, store
        self.crew = Crew()
        self.finished: queue.SimpleQueue = queue.SimpleQueue()

    def key(self, submission: Submission) -> str:
        """What the verdict depends on: a change of any of it grades the submission again."""
        official = self.exercises[submission.exercise].content
        return key(submission.path.read_bytes(), repr(self.limits).encode(), *official)

    def without_running(self, submission: Submission) -> Verdict | None:
        """The verdict on what is no notebook of this exercise; None if it has to run."""
        exercise = self.exercises.get(submission.exercise)
        official = exercise.cells if exercise else []
        if submission.problem:
            words = "an exercise is handed in as .ipynb"
            is_other = submission.problem == "notebook"
            return verdict.without_running(submission.problem, official, words * is_other)
        try:
            theirs = cells.read(submission.path)
        except cells.NotNotebook as problem:
            return verdict.without_running("notebook", official, str(problem))
        mine = cells.belongs(official, theirs)
        return None if mine else verdict.without_running("other", official)

    def run(self, submission: Submission, worker: Worker, scratch: Path) -> Verdict:
        """Run a submission and keep its verdict."""
        official = self.exercises[submission.exercise].cells
        steps, missing = cells.steps(official, cells.read(submission.path))
        now = self.key(submission)
        if not self.store.begin(submission, now):
            return verdict.without_running("runner", official)
        own = Path(tempfile.mkdtemp(dir=scratch))
        job = {
            "exercise": submission.exercise,
            "steps": steps,
            "limits": asdict(self.limits),
            "folder": str(own),
        }
        try:
            outcome = worker.grade(job)
        except Stopped:
            self.store.forget(submission)  # nobody's fault
            raise
        shutil.rmtree(own, ignore_errors=True)
        result = verdict.judge(outcome, official, steps, missing, self.limits)
        self.store.put(submission, now, result)
        return result

    def all(self, found: list[Submission], jobs: int) -> Iterator[tuple[Submission, Verdict]]:
        """Yield every submission with its verdict: first what needs no run, then as they come.

        Raises:
            ServerError: the grading process does not start.
        """
        todo: queue.SimpleQueue[Submission] = queue.SimpleQueue()
        for submission in found:
            done = self.without_running(submission)
            if done or (done := self.store.get(submission, self.key(submission))):
                yield submission, done
            else:
                todo.put(submission)
        count = todo.qsize()
        with tempfile.TemporaryDirectory(prefix="grade-", ignore_cleanup_errors=True) as scratch:
            work = (todo, Path(scratch))
            threads = [
                threading.Thread(target=self._work, args=work, daemon=True)
                for _ in range(min(jobs, count))
            ]
            for thread in threads:
                thread.start()
            try:
                for _ in range(count):
                    item = self.finished.get()
                    if isinstance(item, Exception):
                        raise item
                    yield item
            finally:
                self.crew.stop()
                for thread in threads:
                    thread.join()

    def _work(self, todo: queue.SimpleQueue, scratch: Path) -> None:
        try:
            imports = {name: exercise.imports for name, exercise in self.exercises.items()}
            worker = Worker(self.crew, imports, scratch)
            while not todo.empty():
                with contextlib.suppress(queue.Empty):
                    submission = todo.get_nowait()
                    self.finished.put((submission, self.run(submission, worker, scratch)))
        except Stopped:
            return
        except Exception as error:  # the main thread's to report
            self.finished.put(error)


def exercises_in(path: Path) -> dict[str, Exercise]:
    """The official notebooks of a folder, by name.

    Raises:
        GradeError: there is none.
    """
    found = {file.stem: Exercise(file) for file in sorted(path.glob("*.ipynb"))}
    if not found:
        raise GradeError(
            f"There is no exercise in {path}: make them with `python -m tools.exercises build` in "
            "a clone of the course, or name their folder with --exercises."
        )
    return found


def submissions_in(path: Path, exercises: dict[str, Exercise]) -> list[Submission]:
    """The submissions of a folder.

    Raises:
        GradeError: there is no such folder, or nothing in it.
    """
    if not path.is_dir():
        raise GradeError(f"There is no folder {path}: name the one that holds the submissions.")
    found = folder.find(path, exercises)
    if not any(submission.exercise for submission in found):
        example = next(iter(exercises))
        raise GradeError(
            f"There is no submission in {path}: they are found as STUDENT/{example}.ipynb or "
            f"STUDENT_{example}.ipynb."
        )
    return found


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    intro, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m grading",
        description=f"{intro.partition(':')[0]}.",
        epilog=rest.replace("``", "").replace("**", ""),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="holds the submissions")
    parser.add_argument("--out", type=Path, help="for the report (default: FOLDER-graded)")
    parser.add_argument(
        "--exercises", type=Path, default=EXERCISES, help="the official notebooks for students"
    )
    parser.add_argument(
        "--jobs",
        type=_positive,
        default=max(1, (os.cpu_count() or 1) // 2),
        help="submissions at the same time; each takes 0.8 GiB and more (default: %(default)s)",
    )
    helps = {
        "seconds": "by the clock",
        "cpu": "seconds of the processor",
        "memory": "MiB beyond the libraries'",
        "output": "MiB that it prints",
        "file": "MiB of each file that it writes",
        "processes": "at the same time",
    }
    for name, words in helps.items():
        parser.add_argument(
            f"--{name}",
            type=_positive,
            default=getattr(Limits, name),
            metavar="N",
            help=f"limit of a submission: {words} (default: %(default)s)",
        )
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def grade(options: argparse.Namespace) -> None:
    """Grade what the options name, and write the report.

    Raises:
        GradeError: nothing can be graded.
        ServerError: the grading process does not start.
    """
    if not sys.platform.startswith("linux"):
        raise GradeError("Grading needs Linux, whose limits it sets: use a container elsewhere.")
    source = options.folder.resolve()
    exercises = exercises_in(options.exercises.resolve())
    found = submissions_in(source, exercises)
    out = (options.out or source.with_name(f"{source.name}-graded")).resolve()
    if out.is_relative_to(source):
        raise GradeError(f"{out} is inside of {source}: name another folder with --out.")
    limits = Limits(**{name: getattr(options, name) for name in Limits.__dataclass_fields__})
    try:
        store = Store(out / "results")
    except OSError as error:
        raise GradeError(
            f"{out} cannot be written ({error.strerror}): name another folder with --out."
        ) from None
    adopt_orphans()
    with store.locked() as mine:
        if not mine:
            raise GradeError(f"Another run is grading into {out}: wait for it, or use --out.")
        grader = Grader(exercises, limits, store)
        verdicts = {}
        for submission, result in grader.all(found, options.jobs):
            verdicts[submission] = result
            most = sum(part.most for part in result.parts)
            line = f"{submission.student}  {submission.exercise}  {result.points:g} of {most:g}"
            count = f"[{len(verdicts)}/{len(found)}]"
            print(report.plain(f"{count}  {line}  {result.status}"), flush=True)
    rows = [report.Row(submission, verdicts[submission]) for submission in found]
    report.write_csv(out / "grades.csv", rows, source)
    report.write_page(out / "grades.html", rows, source, f"Grades: {source.name}")
    print(f"Written: {out / 'grades.csv'} and {out / 'grades.html'}")


def main(given: list[str] | None = None) -> int:
    options = arguments().parse_args(given)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        grade(options)
    except (GradeError, ServerError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. The same command continues with what is left.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
