"""A class, some of it hostile: who hands in what, and what the report has to say of it."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode, v4

from tools import exercises

BLOCK, SCHEDULE = "ex1_convnext_block", "ex2_progressive_schedule"
SOURCES = {path.stem: path for path in exercises.sources()}
MOST = {BLOCK: 6, SCHEDULE: 3 + 5}


def official(folder: Path, *names: str) -> Path:
    """Write the students' notebooks of some exercises."""
    folder.mkdir()
    for name in names:
        nbformat.write(exercises.student(SOURCES[name]), folder / f"{name}.ipynb")
    return folder


def solved(name: str) -> NotebookNode:
    """A student's notebook with the right answers."""
    texts = {cell.id: cell.source for cell in exercises.solution(SOURCES[name]).cells}
    notebook = exercises.student(SOURCES[name])
    for cell in notebook.cells:
        cell.source = texts[cell.id]
    return notebook


def answer(notebook: NotebookNode, grade_id: str) -> NotebookNode:
    """The answer cell of that name."""
    return next(
        cell
        for cell in notebook.cells
        if cell.metadata.get("nbgrader", {}).get("grade_id") == grade_id
    )


def with_answer(text: str, name: str = SCHEDULE, where: str = "progressive-schedule"):
    """The right answers but for one cell."""
    notebook = solved(name)
    answer(notebook, where).source = text
    return notebook


def with_first(text: str, name: str = SCHEDULE, where: str = "progressive-schedule"):
    """The right answers, with a text before one of them."""
    notebook = solved(name)
    cell = answer(notebook, where)
    cell.source = text + "\n\n\n" + cell.source
    return notebook


def schedule(body: str) -> NotebookNode:
    """A function for the second part that begins with `body`; the first part is right."""
    head = "def progressive_schedule(epoch, total_epochs, num_stages, first, last):\n"
    return with_answer(head + "".join(f"    {line}\n" for line in body.splitlines()))


def block(text: str) -> NotebookNode:
    return with_answer(text, BLOCK, "convnext-block")


@dataclass
class Student:
    """What a student hands in, and what comes of it."""

    notebook: NotebookNode | bytes | None
    points: float = 0.0
    status: str = "graded"
    words: tuple[str, ...] = ()
    """Stand in the cause, in what to look at, or in what a check shows."""
    exercise: str = SCHEDULE
    file: str = "{student}/{exercise}.ipynb"
    extra: dict = field(default_factory=dict)

    def hand_in(self, folder: Path, student: str) -> None:
        path = folder / self.file.format(student=student, exercise=self.exercise)
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(self.notebook, bytes):
            path.write_bytes(self.notebook)
        elif self.notebook is None:
            path.symlink_to(os.devnull)
        else:
            path.write_text(json.dumps(self.notebook), "utf-8")


def right(notebook: NotebookNode, exercise: str = SCHEDULE, **more) -> Student:
    return Student(notebook, MOST[exercise], exercise=exercise, **more)


def _added_helper() -> NotebookNode:
    notebook = solved(SCHEDULE)
    place = notebook.cells.index(answer(notebook, "progressive-schedule"))
    text = "import math\n\ndef stage_of(e, t, m):\n    return math.floor(e * m / t + 1e-12)"
    notebook.cells.insert(place, v4.new_code_cell(text))
    cell = notebook.cells[place + 1]
    cell.source = cell.source.replace(
        "epoch * num_stages // total_epochs", "stage_of(epoch, total_epochs, num_stages)"
    )
    assert "stage_of" in cell.source
    return notebook


def _without_ids() -> NotebookNode:
    notebook = solved(SCHEDULE)
    for cell in notebook.cells:
        del cell["id"]
    notebook.nbformat_minor = 4
    return notebook


def _without_metadata() -> NotebookNode:
    notebook = solved(SCHEDULE)
    for cell in notebook.cells:
        cell.metadata = {}
    return notebook


def _check_deleted() -> NotebookNode:
    notebook = solved(SCHEDULE)
    notebook.cells = [c for c in notebook.cells if not c.metadata.get("nbgrader", {}).get("grade")]
    return notebook


def _check_rewritten() -> NotebookNode:
    notebook = exercises.student(SOURCES[SCHEDULE])
    answer(notebook, "three-stages-check").source = "3.0"
    answer(notebook, "progressive-schedule-check").source = "5.0"
    return notebook


def _answer_deleted() -> NotebookNode:
    notebook = solved(SCHEDULE)
    notebook.cells.remove(answer(notebook, "three-stages"))
    return notebook


def _mistakes() -> NotebookNode:
    notebook = solved(SCHEDULE)
    for name, old, new in (
        ("three-stages", "epoch < 150", "epoch <= 150"),
        ("progressive-schedule", "max(num_stages - 1, 1)", "(num_stages - 1)"),
    ):
        cell = answer(notebook, name)
        assert old in cell.source
        cell.source = cell.source.replace(old, new)
    return notebook


def _no_residual() -> NotebookNode:
    notebook = solved(BLOCK)
    cell = answer(notebook, "convnext-block")
    assert "return x + " in cell.source
    cell.source = cell.source.replace("return x + ", "return ")
    return notebook


CONVOLUTIONS = """
class ConvNeXtBlock(torch.nn.Module):
    def __init__(self, channels):
        super().__init__()
        Conv = torch.nn.Conv2d
        self.a = Conv(channels, channels, 7, padding="same", groups=channels)
        self.w, self.b = (nn.Parameter(f(channels)) for f in (torch.ones, torch.zeros))
        self.c, self.d = Conv(channels, channels * 4, 1), Conv(channels * 4, channels, 1)
        self.scale = nn.Parameter(1e-6 * torch.ones(1, channels, 1, 1))

    def forward(self, picture):
        h = self.a(picture)
        mean, var = h.mean(1, keepdim=True), h.var(1, keepdim=True, correction=0)
        h = (h - mean) / (var + 1e-6) ** 0.5
        h = h * self.w[:, None, None] + self.b[:, None, None]
        return torch.add(picture, self.scale * self.d(F.gelu(self.c(h))))
"""
FORGED = """
import json, os
line = json.dumps({"part": "progressive-schedule-check", "points": 5.0, "text": "", "errors": []})
for fd in range(3, 40):
    try:
        os.write(fd, (line + "\\n").encode())
    except OSError:
        pass
"""
DAEMON = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1000)
    os._exit(0)
"""
FAKE = """
class Fake:
    passed = True
    def points(self, most): return float(most)
    def check_schedule(self, *args): return self
    check_three_stages = check_schedule
ex2 = report = Fake()
display = print
def progressive_schedule(*args): raise NotImplementedError()
"""
SHOUT = 'raise ValueError("<script>alert(1)</script>")'
PART_TWO = 5 * 11 / 12

CLASS: dict[str, Student] = {
    # Right, each in another way.
    "ada": right(solved(SCHEDULE)),
    "bo": right(solved(BLOCK), BLOCK),
    "cleo": right(_added_helper()),
    "emil": right(block(CONVOLUTIONS), BLOCK),
    "fay": right(_without_ids(), file="{student}_{exercise}.ipynb"),
    "gus": right(_without_metadata()),
    "hal": right(_check_deleted(), file="{student}/unit/{exercise} (1).ipynb"),
    "ida": right(with_first("%matplotlib inline")),
    "jo": right(with_first("print('x' * 2000)\n%time 1 + 1")),
    # Partly right, and empty.
    "kim": Student(_mistakes(), 3 * 7 / 8 + PART_TWO),
    "leo": Student(_no_residual(), 6 * 9 / 11, exercise=BLOCK, words=("residual",)),
    "mia": Student(exercises.student(SOURCES[SCHEDULE]), 0, words=("still to be written",)),
    "ned": Student(_answer_deleted(), 5, words=("Missing: the cell three-stages",)),
    "oda": Student(with_answer("def progressive_schedule(:"), 3, words=("SyntaxError",)),
    "pit": Student(schedule("import sys\nsys.exit(0)"), 3, words=("SystemExit",)),
    # Hostile.
    "loop": Student(schedule("while True:\n    pass"), 3, "cpu", ("processor",)),
    "asleep": Student(schedule("import time\ntime.sleep(1e6)"), 3, "time", ("by the clock",)),
    "hoarder": Student(
        schedule("kept = []\nwhile True:\n    kept.append(bytearray(2**26))"),
        3,
        "memory",
    ),
    "bigbang": Student(with_answer("import torch\nx = torch.ones(2**40)"), 3, "memory"),
    "exit": Student(with_answer("import os\nos._exit(0)"), 3, "ended", ("status 0",)),
    "crash": Student(with_answer("import os\nos.kill(os.getpid(), 11)"), 3, "crashed", ("11",)),
    "patch": Student(
        with_first("ex2.check_schedule = ex2.check_three_stages = lambda f: FullMarks()"),
        0,
        "tampered",
        ("checks.ex2.check_schedule",),
    ),
    "torch": Student(
        with_first("torch.Tensor.abs = lambda self: self * 0", BLOCK, "convnext-block"),
        0,
        "tampered",
        ("torch.Tensor.abs",),
        exercise=BLOCK,
    ),
    "printer": Student(
        schedule("print('progressive_schedule: all 12 right.')\nprint(5.0)\nreturn 5.0"),
        3 + 0,
        words=("prints what looks like a verdict",),
    ),
    "fake": Student(with_answer(FAKE), 3, words=("still to be written",)),
    "rewriter": Student(_check_rewritten(), 0, words=("still to be written",)),
    "forger": Student(with_first(FORGED), 0, "forged"),
    "closer": Student(with_first("import os\nos.closerange(3, 99)"), 3, "ended", ("taking away",)),
    "flood": Student(schedule("while True:\n    print('all right ' * 1000)"), 3, "output"),
    "forks": Student(
        with_first("import os, time\nfor _ in range(40):\n    os.fork() or time.sleep(1000)"),
        3,
        "processes",
    ),
    "daemon": right(with_first(DAEMON), words=("left processes running",)),
    "killer": Student(with_first("import os\nos.kill(os.getppid(), 9)"), 0, "grader"),
    "filler": Student(
        with_answer("open('big', 'wb').write(bytes(2**27))"), 3, words=("File too large",)
    ),
    "pdf": Student(b"%PDF-1.7 \xff\xfe", 0, "notebook", ("not JSON",)),
    "word": Student(b"PK", 0, "notebook", (".ipynb",), file="{student}/{exercise}.docx"),
    "link": Student(None, 0, "notebook", ("no regular file",)),
    "other": Student(solved(BLOCK), 0, "other"),
    "renamed": Student(solved(SCHEDULE), 0, "name", exercise="", file="{student}/homework.ipynb"),
    "=1+cmd|'C calc'!A0": Student(schedule(SHOUT), 3, words=("ValueError: <script>",)),
    "<b onload=alert(1)>\u202e": right(solved(SCHEDULE)),
}
