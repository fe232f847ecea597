"""Exercise 4, stretch parts: quality against steps, an equal budget, and a LoRA's strength."""

import random
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from diffusers import DiffusionPipeline
from torch import Tensor

from modarch_utils.checks.core import (
    RIGHT,
    Case,
    Part,
    Row,
    Seen,
    Unusable,
    call,
    given,
    part_of_rows,
    returned,
    wrong,
)
from modarch_utils.checks.ex4 import tiny
from modarch_utils.checks.ex4.draw import draws
from modarch_utils.checks.ex4.watch import Judge, Run, watched

NUMBERS, GUIDANCE = [1, 2, 4], 2.0


class Curve(NamedTuple):
    """A student's curve, and what the pipeline did for it."""

    marks: dict[int, float]
    runs: list[Run]


def _curve(drawn: Callable = draws, marks: Callable = dict) -> Callable:
    """A right answer, with other arguments of the drawing, or other marks made of its own."""

    def function(pipe, prompts: list[str], steps: list[int], guidance: float, score: Callable):
        found = {n: score(drawn(pipe, prompts, n, guidance, 0), prompts) for n in steps}
        return marks(found)

    return function


@cache
def quality_curve(seed: int = 0) -> Part:
    """``function(pipe, prompts, steps, guidance, score)`` gives a dictionary, steps to marks.

    Each of the three numbers in `steps` has ``score(images, prompts)`` of the pictures drawn in so
    many, by DDIM; they have a mark of their own.
    """

    def case() -> tuple:
        pipe = watched(seed, tiny.ddim(tiny.STABLE))
        judge = Judge(seed, lambda: {len(run.calls): [run] for run in pipe.watch.runs})
        return pipe, tiny.PROMPTS[:2], NUMBERS.copy(), GUIDANCE, judge.score

    def read(result: object, args: tuple) -> Curve:
        curve = returned(result, dict, "Return a dictionary, a mark for each number of steps.")
        if list(curve) != NUMBERS:
            raise Unusable(f"the keys {list(curve)}", f"One for each of {NUMBERS}.")
        marks = {n: tiny.number(mark, "Keep what score() returns.") for n, mark in curve.items()}
        return Curve(marks, args[0].watch.runs)

    def settings(curves: list[Curve]) -> list[str]:
        runs = curves[0].runs
        return sorted({f"{len(r.calls)} steps, guidance {r.calls[0].guidance:g}" for r in runs})

    def noise(curves: list[Curve]) -> str:
        first, *rest = (run.start for run in curves[0].runs)
        same = all(tiny.same(first, start) for start in rest)
        return "one noise" if same else "another noise for another number of steps"

    cases = [case]
    hand_on = "Use the guidance that is given, and the loop's number of steps."
    rows = {
        "runs": Row("a dictionary: number of steps to a mark", "Return a dictionary.", view=len),
        "steps": Row(
            "each number of steps is drawn, with the guidance that is given",
            hand_on,
            {
                "The number of steps does not reach draw(): hand on the loop's.": _curve(
                    lambda pipe, prompts, _, *rest: draws(pipe, prompts, 4, *rest)
                ),
                "Use the guidance that is given.": _curve(
                    lambda pipe, prompts, n, _, seed: draws(pipe, prompts, n, 7.5, seed)
                ),
                "Use the guidance that is given: it is swapped with the steps.": _curve(
                    lambda pipe, prompts, n, g, seed: draws(pipe, prompts, int(g), n, seed)
                ),
            },
            settings,
        ),
        "noise": Row(
            "all begin with the same noise",
            "Begin every run with the seed 0.",
            {
                "Keep the seed: otherwise the curve shows luck as well as steps.": _curve(
                    lambda pipe, prompts, n, guidance, _: draws(pipe, prompts, n, guidance, n)
                )
            },
            noise,
            after=("steps",),
        ),
        "marks": Row(
            "each is what score() says of the pictures in so many steps",
            "Other pictures were judged than were drawn in so many steps.",
            {
                "Marks and steps are mixed up: they run backwards.": _curve(
                    marks=lambda m: dict(zip(m, reversed(m.values()), strict=True))
                ),
                "Marks and steps are mixed up: one mark for all.": _curve(
                    marks=lambda m: dict.fromkeys(m, m[NUMBERS[-1]])
                ),
            },
            lambda curves: curves[0].marks,
            after=("steps",),
        ),
    }
    return part_of_rows("quality_curve", rows, _curve(), cases, read=read, hint=tiny.hint)


check_quality_curve = tiny.check(quality_curve)


# The same work.


ENOUGH = "One step can be paid for: refuse only what is less."


def _steps(guided: Callable = lambda scale: scale > 1, of: Callable = int.__floordiv__) -> Callable:
    """A right answer, with another limit of guidance, or other steps of budget and cost."""

    def function(evaluations: int, guidance: float) -> int:
        cost = 2 if guided(guidance) else 1
        if evaluations < cost:
            raise ValueError(f"A step costs {cost}.")
        return of(evaluations, cost)

    return function


def steps_for(seed: int = 0) -> Part:
    """From U-Net evaluations for one picture, and diffusers' guidance scale, to whole steps.

    Budgets are even, odd, and such that pay for nothing; scales lie around 1.
    """
    draw = random.Random(seed)
    budgets = [2 * draw.randint(2, 60) for _ in range(4)]

    def cases(*scales: float, more: int = 0) -> list[Case]:
        return [given(budget + more, scale) for budget in budgets for scale in scales]

    def whole(result: object, _: tuple) -> int:
        if isinstance(result, bool) or not isinstance(result, int):
            came = f"{result!r}, a {type(result).__name__}"
            raise Unusable(came, "Steps are counted: an int, so divide by //")
        return result

    def too_little(function: Callable) -> Seen:
        for budget, guidance in ((1, 3.0), (0, 1.0)):
            try:
                came = function(budget, guidance)
            except ValueError as error:
                if str(error):
                    continue
                return wrong("a ValueError without a word", "Say what is wrong and what to do.")
            except Exception as error:
                return wrong(f"{type(error).__name__}", "Raise ValueError, with a sentence.")
            return wrong(
                f"{came!r} for {budget} evaluations at scale {guidance:g}",
                "Nothing can be drawn with it: refuse before you return.",
            )
        for enough in ((1, 1.0), (2, 3.0)):
            if (came := call(function, *enough, otherwise=ENOUGH)) != 1:
                return wrong(f"{came!r} for {enough[0]} at scale {enough[1]:g}", ENOUGH)
        return RIGHT

    divide = "Divide the budget by what a step costs."
    both = "without guidance", "with guidance"
    rows = {
        "without guidance": Row(
            "an evaluation a step",
            divide,
            {
                "Without guidance each picture goes through the U-Net once a step.": _steps(
                    lambda _: True
                )
            },
        ),
        "with guidance": Row(
            "two a step",
            divide,
            {
                "With guidance each picture goes through the U-Net twice a step.": _steps(
                    lambda _: False
                ),
                "It is upside down: guidance makes a step dearer.": _steps(of=int.__mul__),
            },
            cases=cases(4.5),
        ),
        "odd": Row(
            "what is left over is no step",
            divide,
            {
                "Rounded up it is more than the budget: round down.": _steps(
                    of=lambda budget, cost: -(-budget // cost)
                )
            },
            after=("with guidance",),
            cases=cases(4.5, more=1),
        ),
        "limit": Row(
            "guidance is on above 1, not from 1 on",
            "diffusers guides where guidance_scale > 1.",
            {
                "diffusers guides where guidance_scale > 1, also a little above.": _steps(
                    lambda scale: scale >= 2
                )
            },
            after=both,
            cases=cases(1.01, 1.0, 0.0),
        ),
        "too little": Row(
            "ValueError where not a single step can be paid for", look=too_little, after=both
        ),
    }
    return part_of_rows("steps_for", rows, _steps(), cases(1.0), read=whole)


check_steps_for = tiny.check(steps_for)


# A LoRA's strength.


FULL = "the LoRA at its full strength"


class Drawing:
    """A run: draws with a pipeline, and keeps what came of it."""

    def __init__(self, pipe: DiffusionPipeline):
        self.pipe, self.drawn = pipe, []

    def __call__(self) -> Tensor:
        self.drawn.append(tiny.latents(self.pipe))
        return self.drawn[-1]


class Strong(NamedTuple):
    """What came of one call."""

    result: str
    latents: Tensor
    afterwards: str


def _set(pipe: DiffusionPipeline, strength: float) -> None:
    pipe.set_adapters(pipe.get_active_adapters(), strength)


def _strong(
    first: Callable = _set,
    then: Callable = lambda pipe: _set(pipe, 1.0),
    of: Callable = lambda draw: draw(),
) -> Callable:
    """A right answer, which sets the strength, runs, or sets it back in another way."""

    def function(pipe: DiffusionPipeline, strength: float, draw: Callable) -> object:
        first(pipe, strength)
        try:
            return of(draw)
        finally:
            then(pipe)

    return function


@cache
def with_strength(seed: int = 0) -> Part:
    """``function(pipe, strength, run)`` returns ``run()`` with the LoRA multiplied by `strength`.

    That is a half, none and more than 1.
    """

    def case(strength: float) -> Case:
        def make() -> tuple:
            pipe = tiny.pipeline(seed, tiny.lcm(tiny.STABLE))
            pipe.load_lora_weights(tiny.lora(seed))
            return pipe, strength, Drawing(pipe)

        return make

    def left(pipe: DiffusionPipeline) -> str:
        now = tiny.latents(pipe)
        for strength, words in ((1.0, FULL), (0.0, "no LoRA")):
            if tiny.same(now, tiny.known(seed, tiny.lcm(tiny.STABLE), strength, seed)):
                return words
        return "another strength"

    def read(result: object, args: tuple) -> Strong:
        pipe, _, drawing = args
        drawn = drawing.drawn or [None]
        what = "what it gives" if result is drawn[-1] else "something else"
        calls = f"run() is called {len(drawing.drawn)} times"
        return Strong(f"{calls}, {what} is returned", drawn[-1], left(pipe))

    def both(came: list[Tensor], right: list[Tensor]) -> bool:
        return all(map(tiny.same, came, right))

    cases = [case(strength) for strength in (0.5, 0.0, 1.5)]
    once = "Call run() once, after the strength is set."
    rows = {
        "runs": Row(
            "what run() returns, which is called once",
            once,
            {
                once: _strong(of=lambda draw: (draw(), draw())[1]),
                "Return what run() returns.": _strong(of=lambda draw: [draw()][1:]),
            },
            lambda found: found[0].result,
        ),
        "strength": Row(
            "W + strength · B A, also for 0 and above 1",
            "pipe.set_adapters(names, strength) sets it.",
            {
                "The strength is not set before run() is called.": _strong(lambda *_: None),
                "The strength is set twice.": _strong(lambda pipe, s: _set(pipe, s**2)),
                "The LoRA is gone: was it unloaded or disabled?": _strong(
                    lambda pipe, _: _set(pipe, 0.0)
                ),
            },
            lambda found: [each.latents for each in found],
            same=both,
            after=("runs",),
        ),
        "afterwards": Row(
            "the LoRA is in the U-Net at its full strength",
            "Set it back to 1 after run(), as it was.",
            {
                "Set it back to 1 after run().": _strong(then=lambda _: None),
                "It was unloaded or disabled: set its strength to 1.": _strong(
                    then=lambda pipe: pipe.disable_lora()
                ),
            },
            lambda found: found[0].afterwards,
        ),
        "error": Row(
            "also if run() raises, which the caller hears of",
            look=tiny.lets_errors_pass(
                *(case(0.5), left, FULL, "Set it back whatever happens: try ... finally."),
                "Let it pass: try ... finally, not except.",
            ),
            after=("afterwards",),
        ),
    }
    return part_of_rows("with_strength", rows, _strong(), cases, read=read, hint=tiny.hint)


check_with_strength = tiny.check(with_strength)
