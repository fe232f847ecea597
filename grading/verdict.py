"""What a submission gets, and why."""

import re
import signal
from dataclasses import dataclass

from .cells import Cell, checks
from .limits import Limits

STATUSES = {
    "graded": "All of it ran.",
    "time": "It ran longer than {seconds} s by the clock.",
    "cpu": "It used more than {cpu} s of the processor.",
    "memory": "It wanted more than {memory} MiB of memory.",
    "output": "It printed more than {output} MiB.",
    "processes": "It started more than {processes} processes.",
    "ended": "It ended its own process",
    "crashed": "Its process was ended by",
    "tampered": "It replaced what the check works with:",
    "forged": "It wrote into the pipe on which the grader waits for verdicts.",
    "grader": "It ended or stopped the grader's process that watched it.",
    "runner": "The grader was ended from outside while this ran, twice.",
    "notebook": "It is no notebook",
    "other": "None of the exercise's answer cells is in it: is it another notebook?",
    "name": "Its name is no exercise's.",
    "twice": "It is one file too many: another of this student's for this exercise was graded.",
    "nothing": "The folder holds no notebook.",
}
"""Status: the sentence for it, or its beginning."""

BROKEN = 70
"""Exit status of a child when the student's code took away what the grader's needs."""
OVER = {"seconds": "time"}  # the other limits are called like their status
SPENT = re.compile(r"MemoryError|can't allocate memory|Unable to allocate|not enough memory")
LOOKS_LIKE_A_VERDICT = re.compile(r"all \d+ right|\bpoints?: *\d|\b\d+(\.\d+)? (/|of) \d+\b", re.I)
# What needs a person's eye: ways to the machine, to the grader, and to finished answers.
REACHES = re.compile(
    r"\b(?:import|from)\s+(os|sys|gc|ctypes|inspect|importlib|builtins|subprocess|socket|signal"
    r"|threading|multiprocessing|shutil|urllib|requests|modarch_utils(?:\.\w+)+|timm[\w.]*)"
    r"|(?<![\w.])(__import__|exec|eval|open|globals|setattr)\s*\("
    r"|(__globals__|__code__|__builtins__|_getframe|sys\.modules|/proc/|\bsolutions\b)"
    r"|^\s*([!%]\w+)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Part:
    """A check cell's verdict."""

    name: str
    points: float
    most: float
    text: str
    """What the check shows, and which cells raised before it."""


@dataclass(frozen=True)
class Verdict:
    """A submission's."""

    status: str
    """A key of :data:`STATUSES`."""
    cause: str
    """One sentence or two."""
    parts: tuple[Part, ...] = ()
    notes: tuple[str, ...] = ()
    """What a person should look at."""
    output: str = ""
    seconds: float = 0.0

    @property
    def points(self) -> float:
        return round(sum(part.points for part in self.parts), 2)


def without_running(status: str, official: list[Cell], words: str = "") -> Verdict:
    """The verdict on what cannot be run: no points."""
    cause = STATUSES[status] + (f": {words}." if words else "")
    return Verdict(status, cause, _parts({}, official, ""))


def judge(
    outcome: dict | None,
    official: list[Cell],
    steps: list[dict],
    missing: list[str],
    limits: Limits,
) -> Verdict:
    """The verdict on a submission that ran.

    Parts that were finished before the process ended keep their points. Replaced checks and
    forged verdicts leave none.

    Args:
        outcome: a server's, or None if the server did not survive.
        official: the exercise's cells.
        steps: what was run.
        missing: answer cells that were not there.
        limits: what was allowed.
    """
    notes = _notes(steps, official)
    if outcome is None:
        return Verdict("grader", STATUSES["grader"], _parts({}, official, ""), notes)
    said = {m["part"]: m for m in outcome["messages"] if "part" in m}
    status, cause = _status(outcome, said, official, limits)
    if status in ("tampered", "forged"):
        said = {}
    if missing:
        cause += f" Missing: the cell {', '.join(missing)}."
    if LOOKS_LIKE_A_VERDICT.search(outcome["output"]):
        notes += ("prints what looks like a verdict",)
    if outcome["left"]:
        notes += (f"left processes running ({outcome['left']}, killed)",)
    parts = _parts(said, official, f"Not graded. {cause}")
    return Verdict(status, cause, parts, notes, outcome["output"], outcome["seconds"])


def _status(outcome: dict, said: dict, official: list[Cell], limits: Limits) -> tuple[str, str]:
    allowed = {name: getattr(limits, name) for name in Limits.__dataclass_fields__}
    if outcome["forged"]:
        return "forged", STATUSES["forged"]
    for message in outcome["messages"]:
        if "changed" in message:
            return "tampered", f"{STATUSES['tampered']} {', '.join(message['changed'])}."
    code, over = outcome["code"], outcome["over"]
    # The kernel sends SIGXCPU, and SIGKILL to a process that carries on.
    if code == -signal.SIGXCPU or (code == -signal.SIGKILL and outcome["cpu"] > limits.cpu):
        over = over or "cpu"
    spent = any(SPENT.search(m["text"] + " ".join(m["errors"])) for m in said.values())
    if over is None and spent:
        over = "memory"
    if over:
        status = OVER.get(over, over)
        return status, STATUSES[status].format_map(allowed)
    if any("end" in message for message in outcome["messages"]):
        return "graded", STATUSES["graded"]
    todo = next((c.grade_id for c in checks(official) if c.grade_id not in said), "its end")
    if code < 0:
        words = signal.strsignal(-code) or "unknown"
        return "crashed", f"{STATUSES['crashed']} signal {-code} ({words}) before {todo}."
    how = "by taking away what the grader needs" if code == BROKEN else f"with status {code}"
    return "ended", f"{STATUSES['ended']} {how}, before {todo}."


def _parts(said: dict, official: list[Cell], otherwise: str) -> tuple[Part, ...]:
    parts = []
    for cell in checks(official):
        message = said.get(cell.grade_id)
        text = "\n".join([message["text"], *message["errors"]]) if message else otherwise
        points = message["points"] if message else 0.0
        parts.append(Part(cell.grade_id, points, cell.most, text))
    return tuple(parts)


def _notes(steps: list[dict], official: list[Cell]) -> tuple[str, ...]:
    """What the student's own lines reach for, each once."""
    given = {line for cell in official for line in cell.text.splitlines()}
    found: dict[str, None] = {}
    for step in steps:
        if step["kind"] == "student":
            own = "\n".join(line for line in step["text"].splitlines() if line not in given)
            for match in REACHES.finditer(own):
                found[next(filter(None, match.groups()))] = None
    return (f"reaches for {', '.join(found)}",) if found else ()
