"""Exercise 4, the comparison: whether its table says what the pipelines did.

Small pipelines draw; a clock of their own moves by what their networks are given, so that seconds
are known beforehand and nothing waits. A stand-in for the reading network gives each method's
pictures a mark, and notes what it was shown.
"""

from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import torch
from torch import Tensor

from modarch_utils.checks.core import (
    Known,
    Part,
    Row,
    Unusable,
    agree,
    part_of_rows,
    returned,
)
from modarch_utils.checks.ex4 import tiny
from modarch_utils.checks.ex4.clock import another_clock, medians, timing
from modarch_utils.checks.ex4.count import count
from modarch_utils.checks.ex4.draw import draws
from modarch_utils.checks.ex4.watch import AS_DRAWN, OTHERS, Judge, Run, relation, watched

KEYS = "evaluations", "seconds", "speedup", "follows"
PROMPTS = tiny.PROMPTS[:2]  # fewer than methods, so that no number stands for another
# So slow that no real clock can be taken for this one.
COLD, JUDGING = 2e6, 7e6  # seconds of a pipeline's first call, and of a look at its pictures
COSTS = {"unet": 5000.0, "vae": 2500.0}  # seconds for a sample


class Method(NamedTuple):
    """One row of the table that is asked for."""

    scheduler: Callable
    steps: int
    guidance: float
    seconds: float
    """Of its U-Net, relative to the others'."""

    @property
    def copies(self) -> int:
        """Samples of the U-Net for each picture."""
        return 2 if self.guidance > 1 else 1


METHODS = {
    "PNDM, guided": Method(tiny.pndm, 4, 3.0, 1.0),
    "LCM": Method(lambda: tiny.lcm(tiny.STABLE), 2, 1.0, 0.6),
    "DDIM": Method(lambda: tiny.ddim(tiny.STABLE), 3, 1.0, 1.7),
}
FIRST, *_, LAST = METHODS


class Scene:
    """Pipelines, the clock that they move, and a judge.

    Args:
        seed: decides weights and marks.
    """

    def __init__(self, seed: int):
        self.now, self.cold = 500.0, set(METHODS)
        self.pipes = {
            name: watched(seed, method.scheduler(), partial(self._moves, name))
            for name, method in METHODS.items()
        }
        self.runs = {name: pipe.watch.runs for name, pipe in self.pipes.items()}
        self.judge = Judge(seed, lambda: self.runs)
        with torch.no_grad():  # the prompts as the U-Net reads them
            self.asked = self.pipes[FIRST].encode_prompt(PROMPTS, "cpu", 1, False)[0]

    def _moves(self, name: str, what: str, samples: int) -> None:
        self.now += samples * COSTS[what] * METHODS[name].seconds
        if name in self.cold:
            self.cold.discard(name)
            self.now += COLD

    def clock(self) -> float:
        return self.now

    def score(self, images: Tensor, prompts: list[str]) -> float:
        self.now += JUDGING
        return self.judge.score(images, prompts)

    def arguments(self) -> tuple:
        """What the student's function is given."""
        methods = {name: (self.pipes[name], m.steps, m.guidance) for name, m in METHODS.items()}
        return methods, PROMPTS.copy(), self.score, self.clock


# The right answer, and others.


def table(
    methods: dict,
    prompts: list[str],
    score: Callable,
    clock: Callable,
    *,
    run: Callable = draws,
    time: Callable = medians,
    judge: Callable = lambda score, images, prompts, again: score(images, prompts),
    **columns: Callable,
) -> dict[str, dict[str, float]]:
    """A right answer, of which a piece may be another.

    Args:
        methods: as the student's function has them, like the next three.
        prompts: for every method.
        score: the judge.
        clock: gives seconds.
        run: draws with a pipeline, prompts, steps, guidance and a seed.
        time: gives the seconds of runs.
        judge: from ``score``, pictures, prompts and a function that draws with a seed, to a mark.
        columns: for a key, from a row, the method's settings and the right table to its number.
    """
    runs = {name: partial(run, pipe, prompts, *how) for name, (pipe, *how) in methods.items()}
    seconds = time({n: partial(one, 0) for n, one in runs.items()}, 3, clock)
    found, size = {}, len(prompts)
    for name, one in runs.items():
        images = []
        evaluations = count(methods[name][0], lambda: images.append(one(0)))  # noqa: B023
        found[name] = {
            "evaluations": evaluations / size,
            "seconds": seconds[name] / size,
            "speedup": seconds[list(runs)[0]] / seconds[name],
            "follows": judge(score, images[0], prompts, one),
        }
    return {
        name: row | {key: make(row, METHODS[name], found) for key, make in columns.items()}
        for name, row in found.items()
    }


def _with(change: Callable) -> Callable:
    """The right answer to other methods: from name, steps and guidance to others of these."""

    def function(methods: dict, *rest) -> dict:
        return table({n: (p, *change(n, *how)) for n, (p, *how) in methods.items()}, *rest)

    return function


def _last_pipe(methods: dict, *rest) -> dict:
    """A lambda in a loop sees the loop's last variables."""
    *_, last = methods.values()
    return table(dict.fromkeys(methods, last), *rest)


def _judging_timed(methods: dict, prompts: list[str], score: Callable, clock: Callable) -> dict:
    def run(pipe, *how):
        images = draws(pipe, *how)
        score(images, prompts)
        return images

    return table(methods, prompts, score, clock, run=run)


N = len(PROMPTS)
RUNS = 5  # of a method, in a right answer: a warm-up, three that are timed, one that is counted
WHOLE = {  # how a number comes to be so many times too large
    "These are for the whole batch: divide by the number of pictures.": N,
    "Divided by the number of pictures twice.": 1 / N,
}
FACTORS = {
    "evaluations": WHOLE
    | {
        "These are of all runs together: count one.": RUNS,
        "These are of all runs and pictures together: count one run, and divide by its "
        "pictures.": RUNS * N,
    },
    "seconds": WHOLE,
    "follows": {"Leave it from 0 to 1.": 100},
}
COLUMNS = {  # what stands there instead: from a row, its method, and all rows
    "evaluations": {
        "These are the steps: count what the U-Net is given; guidance doubles it, and PNDM makes "
        "one call more.": lambda row, method, _: method.steps,
        "The calls are counted, and not that guidance sends each picture through the U-Net "
        "twice.": lambda row, method, _: row["evaluations"] / method.copies,
        "Steps times two with guidance is what one would expect; PNDM makes one call more: "
        "count.": lambda row, method, _: method.steps * method.copies,
    },
    "seconds": {
        "The first call is counted, which is slow, and the batch is not divided by its "
        "pictures.": lambda row, *_: N * row["seconds"] + COLD,
        "The clock runs while the pictures are judged, and the batch is not divided by its "
        "pictures.": lambda row, *_: N * row["seconds"] + JUDGING,
        "These are seconds for a step: people wait for pictures.": (
            lambda row, method, _: row["seconds"] / method.steps
        ),
        "These are pictures in a second: turn it round.": lambda row, *_: 1 / row["seconds"],
    },
    "speedup": {
        "It is upside down: the first method's seconds divided by this one's.": (
            lambda row, *_: 1 / row["speedup"]
        ),
        "It is relative to the last method: take the first.": (
            lambda row, _, rows: rows[LAST]["seconds"] / row["seconds"]
        ),
        "It is relative to the fastest: take the first.": (
            lambda row, _, rows: min(r["seconds"] for r in rows.values()) / row["seconds"]
        ),
        "This is a ratio of steps, not of seconds.": (
            lambda row, method, _: METHODS[FIRST].steps / method.steps
        ),
        "This is a ratio of U-Net evaluations, not of seconds.": (
            lambda row, _, rows: rows[FIRST]["evaluations"] / row["evaluations"]
        ),
        "This is a difference: divide.": (
            lambda row, _, rows: rows[FIRST]["seconds"] - row["seconds"]
        ),
        "This is a share saved: divide the first method's seconds by this one's.": (
            lambda row, *_: 1 - 1 / row["speedup"]
        ),
    },
    "follows": {"Marks and methods are mixed up.": lambda row, _, rows: rows[FIRST]["follows"]},
}


def _column(key: str) -> Known:
    """Mistakes in one column; see :func:`table`."""
    makes = COLUMNS[key] | {
        words: lambda row, *_, by=by: by * row[key] for words, by in FACTORS.get(key, {}).items()
    }
    return {words: partial(table, **{key: make}) for words, make in makes.items()}


# What rows look at.


class Compared(NamedTuple):
    """What came of one call."""

    rows: dict[str, dict[str, float]]
    scene: Scene

    def column(self, key: str) -> dict[str, float]:
        """A number of every method."""
        return {name: row[key] for name, row in self.rows.items()}


def _read(result: object, args: tuple) -> Compared:
    rows = returned(result, dict, "Return a dictionary, method to row.")
    if list(rows) != list(METHODS):
        came = ", ".join(map(str, rows))
        raise Unusable(f"the methods {came}", "Use the names of `methods`, in their order.")
    for name, row in rows.items():
        if not isinstance(row, dict) or set(row) != set(KEYS):
            came = sorted(map(str, row)) if isinstance(row, dict) else f"a {type(row).__name__}"
            raise Unusable(f"{came} for {name}", f"Each row has the keys {', '.join(KEYS)}.")
    plain = {n: {k: tiny.number(v) for k, v in row.items()} for n, row in rows.items()}
    return Compared(plain, args[-1].__self__)


def _drawn(found: Compared) -> str:
    for name, runs in found.scene.runs.items():
        if all(run.pictures is None for run in runs):
            return f"{name!r} has drawn nothing"
    return "all have drawn"


def _settings(found: Compared) -> dict[str, list[str]]:
    """Guidance and U-Net calls of each method's runs; one entry if all are alike."""

    def said(run: Run) -> str:
        return f"guidance {run.calls[0].guidance:g}, {len(run.calls)} calls"

    return {name: sorted(set(map(said, runs))) for name, runs in found.scene.runs.items()}


def _alike(found: Compared, of: str, right: Tensor, words: tuple[str, str]) -> dict[str, str]:
    """Whether every run of a method began with what is right, in these words."""
    said = {}
    for name, runs in found.scene.runs.items():
        came = torch.cat([getattr(run, of) for run in runs])
        same = tiny.same(came, right.repeat(len(came) // N, *[1] * (came.ndim - 1)))
        said[name] = words[not same]
    return said


def _prompts(found: Compared) -> dict[str, str]:
    return _alike(found, "text", found.scene.asked, ("all prompts in every run", "other prompts"))


def _noise(found: Compared) -> dict[str, str]:
    first = torch.cat([run.start for run in found.scene.runs[FIRST]])[:N]
    return _alike(found, "start", first, ("the same noise in every run", "another noise in a run"))


def _seconds(found: Compared) -> dict[str, float | str]:
    return {
        name: "next to no time" if 3e-4 < abs(value) < 12 else value
        for name, value in found.column("seconds").items()
    }


def _speedup(found: Compared) -> list[dict[str, float]]:
    """The column, and what it is of the one that the student's own seconds make."""
    seconds, speedup = found.column("seconds"), found.column("speedup")
    if not all(seconds.values()):
        return [speedup, "seconds of 0, by which nothing can be divided"]
    return [speedup, {n: speedup[n] * seconds[n] / seconds[FIRST] for n in METHODS}]


def _either(came: list, right: list) -> bool:
    """Wrong seconds have a row of their own."""
    return any(map(agree, came, right))


def _judged(found: Compared) -> dict[str, str]:
    """How what was shown is made of what each method has drawn; the prompts that came with it."""
    shown = found.scene.judge.shown
    if not shown:
        return dict.fromkeys(("prompts", *METHODS), "score() was never called")
    said = {"prompts": "as drawn" if all(prompts == PROMPTS for _, prompts in shown) else "others"}
    fewer = {f"{len(images)} pictures" for images, _ in shown if len(images) != N}
    for name, runs in found.scene.runs.items():
        drawn = torch.cat([run.pictures for run in runs]).split(N)
        ways = {relation(images, some) for images, _ in shown for some in drawn} - {OTHERS}
        said[name] = AS_DRAWN if AS_DRAWN in ways else min(ways | fewer, default=OTHERS)
    return said


@cache
def compare(seed: int = 0) -> Part:
    """``function(methods, prompts, score, clock)`` gives a dictionary of four numbers a method.

    `methods` maps a name to ``(pipe, steps, guidance)``: three of them, of which the first has
    guidance and makes a call more than steps. `seed` decides weights and marks.
    """

    def judged(judge: Callable) -> Callable:
        return partial(table, judge=judge)

    def row(
        expected: str, otherwise: str, known: Known, view: Callable, *after: str, **more
    ) -> Row:
        return Row(expected, otherwise, known, lambda found: view(found[0]), after, **more)

    def another_seed(pipe, prompts, steps, guidance, seed):
        return draws(pipe, prompts, steps, guidance, seed + steps)

    def first_prompt(pipe, prompts, steps, *rest):
        some = prompts[:1] * len(prompts) if steps == METHODS["LCM"].steps else prompts
        return draws(pipe, some, steps, *rest)

    others = dict(zip(METHODS, reversed(METHODS.values()), strict=True))
    rows = {
        "runs": row(
            "a dictionary: method to a dictionary of four numbers",
            "Draw with every method's pipeline.",
            {"Draw with every method's pipeline: a lambda in a loop sees the last.": _last_pipe},
            _drawn,
        ),
        "settings": row(
            "each method draws with its own pipeline, steps and guidance",
            "Some run has its own number of steps or guidance: all of a method's runs, also the "
            "counted and the judged, have the method's.",
            {
                "One guidance scale is used for all (7.5 is the pipeline's default): a LoRA with "
                "guidance built in would be guided twice.": (
                    _with(lambda name, steps, _: (steps, 7.5)),
                    _with(lambda name, steps, _: (steps, METHODS[FIRST].guidance)),
                ),
                "Another method's steps, or one number for all: are they swapped?": (
                    _with(lambda name, steps, scale: (others[name].steps, scale)),
                    _with(lambda name, steps, scale: (METHODS[FIRST].steps, scale)),
                ),
            },
            _settings,
            "runs",
        ),
        "prompts": row(
            "every method draws all prompts, in one order",
            "Every run of every method draws the same prompts, all of them.",
            {
                "A method draws fewer prompts than the others: every run of every method draws "
                "the same prompts, all of them.": partial(table, run=first_prompt)
            },
            _prompts,
            "runs",
        ),
        "noise": row(
            "every run of every method begins with the same noise",
            "Every run begins with the seed 0.",
            {
                "The seed differs from method to method, or from run to run: then luck is compared "
                "too, and what is judged is not what was timed.": partial(table, run=another_seed),
                "What is judged is not what was timed: another seed.": judged(
                    lambda score, images, prompts, again: score(again(1), prompts)
                ),
            },
            _noise,
            "prompts",
        ),
        "evaluations": row(
            "of the U-Net for one picture, counted",
            "Count one run, and divide by its pictures.",
            _column("evaluations"),
            lambda found: found.column("evaluations"),
            "settings",
            "prompts",
        ),
        "seconds": row(
            "for one picture; warm, by the given clock, drawing and nothing else",
            "Time warm runs that draw and do nothing else, by `clock`.",
            {
                "Another clock was read than the given one: hand `clock` on to timed().": partial(
                    table, time=another_clock
                ),
                "The clock runs while the pictures are judged: time the drawing alone.": (
                    _judging_timed
                ),
                "The first call is counted, which is slow: warm up.": partial(
                    table, time=timing(warm=0, repeats=1)
                ),
            }
            | _column("seconds"),
            _seconds,
            "settings",
            "prompts",
        ),
        "speedup": row(
            "times as fast as the first method",
            "The first method's seconds divided by this one's.",
            _column("speedup"),
            _speedup,
            "runs",
            same=_either,
        ),
        "judged": row(
            "score() is shown what the method has drawn, from 0 to 1, with the prompts",
            "Other pictures are judged than were drawn and timed for this method.",
            {
                "Let score() judge each method's pictures.": judged(lambda *_: 1.0),
                "score() wants pictures from 0 to 1.": judged(
                    lambda score, images, prompts, _: score(images * 2 - 1, prompts)
                ),
                "score() needs the prompts that were drawn, all of them, in their order.": judged(
                    lambda score, images, prompts, _: score(images, prompts[::-1])
                ),
                "Show it all pictures at once.": judged(
                    lambda score, images, prompts, _: score(images[:1], prompts)
                ),
            },
            _judged,
            "prompts",
        ),
        "follows": row(
            "what score() says of the method's pictures",
            "Keep score()'s answer.",
            _column("follows"),
            lambda found: found.column("follows"),
            "judged",
        ),
    }
    likely = "It calls your functions of the parts before: are those right?"
    options = {"read": _read, "hint": tiny.hint, "otherwise": likely}
    return part_of_rows("compare", rows, table, [lambda: Scene(seed).arguments()], **options)


check_compare = tiny.check(compare)
