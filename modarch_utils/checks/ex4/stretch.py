"""Exercise 4, stretch parts: quality against steps, an equal budget, and a LoRA's strength."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from modarch_utils.checks.core import RIGHT, Report, Rows, Seen, Unusable, call, wrong
from modarch_utils.checks.ex4 import tiny as tiny
from modarch_utils.checks.ex4.draw import as_pictures
from modarch_utils.checks.ex4.watch import Watch


def check_quality_curve(function: Callable[..., object], seed: int = 0) -> Report:
    """Findings on quality against the number of steps.

    Args:
        function: ``function(pipe, prompts, steps, guidance, score)`` gives a dictionary from each
            of ``steps`` to ``score(images, prompts)`` of the pictures drawn in so many.
        seed: decides weights and marks.
    """
    with tiny.quiet():
        return _Curve(function, seed).report()


class _Curve:
    numbers, guidance, prompts = [1, 2, 4], 2.0, tiny.PROMPTS[:2]

    def __init__(self, function: Callable, seed: int):
        self.function, self.shown = function, []
        pipe = tiny.pipeline(seed)
        pipe.scheduler = tiny.ddim(tiny.STABLE)
        self.watch = Watch(pipe)
        self.random = torch.Generator().manual_seed(seed)

    def report(self) -> Report:
        rows = Rows(
            {
                "runs": "a dictionary: number of steps to a mark",
                "steps": "each number of steps is drawn, with the guidance that is given",
                "noise": "all begin with the same noise",
                "marks": "each is what score() says of the pictures in so many steps",
            }
        )
        if rows.add("runs", self._runs).passed:
            rows.add("steps", self._steps)
            rows.add("noise", self._noise, ("steps",))
            rows.add("marks", self._marks, ("steps",))
        return rows.report("quality_curve")

    def _score(self, images: Tensor, prompts: list[str]) -> float:
        mark = torch.rand((), generator=self.random).item()
        side = tiny.SIZE.image_size
        self.shown.append((as_pictures(images, (len(prompts), 3, side, side)), mark))
        return mark

    def _runs(self) -> Seen:
        arguments = (self.prompts.copy(), self.numbers.copy(), self.guidance, self._score)
        self.curve = call(self.function, self.watch.pipe, *arguments, hint=tiny.hint)
        if not isinstance(self.curve, dict):
            came = "None" if self.curve is None else f"a {type(self.curve).__name__}"
            return wrong(came, "Return a dictionary, a mark for each number of steps.")
        if list(self.curve) != self.numbers:
            return wrong(f"the keys {list(self.curve)}", f"One for each of {self.numbers}.")
        if not all(isinstance(mark, int | float) for mark in self.curve.values()):
            return wrong("values that are no numbers", "Keep what score() returns.")
        return RIGHT

    def _steps(self) -> Seen:
        runs = self.watch.runs
        if any(run.calls[0].guidance != self.guidance for run in runs):
            return wrong("another guidance scale", "Use the guidance that is given.")
        came = [len(run.calls) for run in runs]
        if sorted(set(came)) == self.numbers:
            return RIGHT
        return wrong(
            f"runs of {came} steps where {self.numbers} are asked for",
            "The number of steps does not reach draw(): hand on the loop's.",
        )

    def _noise(self) -> Seen:
        first, *rest = (run.start for run in self.watch.runs)
        if all(tiny.same(first, start) for start in rest):
            return RIGHT
        return wrong(
            "another noise for another number of steps",
            "Keep the seed: otherwise the curve shows luck as well as steps.",
        )

    def _marks(self) -> Seen:
        by_steps = {len(run.calls): run.pictures for run in self.watch.runs}
        for n, mark in self.curve.items():
            own = [m for images, m in self.shown if tiny.same(images, by_steps[n])]
            if not any(abs(mark - m) < 1e-9 for m in own):
                return wrong(
                    f"{mark:.3g} for {n} steps, which is no mark of its pictures",
                    "Marks and steps are mixed up, or other pictures were judged.",
                )
        return RIGHT


def check_steps_for(function: Callable[[int, float], int], seed: int = 0) -> Report:
    """Findings on the steps that a budget of U-Net evaluations allows.

    Args:
        function: from evaluations for one picture, and diffusers' guidance scale, to steps.
        seed: decides the budgets.
    """
    random = torch.Generator().manual_seed(seed)
    budgets = (2 * torch.randint(2, 60, (4,), generator=random)).tolist()
    rows = Rows(
        {
            "without guidance": "an evaluation a step",
            "with guidance": "two a step",
            "odd": "what is left over is no step",
            "limit": "guidance is on above 1, not from 1 on",
            "too little": "ValueError where not a single step can be paid for",
        }
    )

    def run(budget: int, guidance: float) -> int:
        steps = call(function, budget, guidance)
        if isinstance(steps, bool) or not isinstance(steps, int):
            raise Unusable(
                f"{steps!r}, a {type(steps).__name__}", "Steps are counted: an int, so divide by //"
            )
        return steps

    def steps(guidance: float, right: Callable[[int], int], odd: int = 0) -> Seen:
        for budget in (b + odd for b in budgets):
            came, wanted = run(budget, guidance), right(budget)
            if came != wanted:
                said = f"{came} steps for {budget} evaluations at scale {guidance:g}, not {wanted}"
                return wrong(said, likely(came, budget, guidance))
        return RIGHT

    def likely(came: int, budget: int, guidance: float) -> str:
        if guidance <= 1 and came == budget // 2:
            return "Without guidance each picture goes through the U-Net once a step."
        if guidance > 1 and came == budget:
            return "With guidance each picture goes through the U-Net twice a step."
        if came == 2 * budget:
            return "It is upside down: guidance makes a step dearer."
        if guidance > 1 and came == (budget + 1) // 2:
            return "Rounded up it is more than the budget: round down."
        return "Divide the budget by what a step costs."

    def too_little() -> Seen:
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
        return RIGHT

    rows.add("without guidance", lambda: steps(1.0, lambda b: b))
    rows.add("with guidance", lambda: steps(4.5, lambda b: b // 2))
    rows.add("odd", lambda: steps(4.5, lambda b: b // 2, odd=1), ("with guidance",))
    rows.add(
        "limit",
        lambda: (
            RIGHT
            if (run(10, 1.01), run(10, 1.0), run(10, 0.0)) == (5, 10, 10)
            else wrong("another limit", "diffusers guides where guidance_scale > 1.")
        ),
        ("without guidance", "with guidance"),
    )
    rows.add("too little", too_little, ("without guidance", "with guidance"))
    return rows.report("steps_for")


def check_with_strength(function: Callable[..., object], seed: int = 0) -> Report:
    """Findings on a run with a LoRA of another strength.

    Args:
        function: ``function(pipe, strength, run)`` returns ``run()`` with the pipeline's LoRA
            multiplied by ``strength``.
        seed: decides the weights.
    """
    with tiny.quiet(), tiny.lora(seed) as folder:
        return _Strength(function, seed, folder).report()


class _Strength:
    def __init__(self, function: Callable, seed: int, folder: Path):
        self.function, self.seed = function, seed
        self.pipe = tiny.pipeline(seed)
        self.pipe.scheduler = tiny.lcm(tiny.STABLE)
        self.pipe.load_lora_weights(folder)

    def report(self) -> Report:
        rows = Rows(
            {
                "runs": "what run() returns, which is called once",
                "strength": "W + strength · B A, also for 0 and above 1",
                "afterwards": "the LoRA is in the U-Net at its full strength",
                "error": "also if run() raises, which the caller hears of",
            }
        )
        if rows.add("runs", self._runs).passed:
            rows.add("strength", self._strength)
            rows.add("afterwards", self._afterwards)
            rows.add("error", self._error, ("afterwards",))
        return rows.report("with_strength")

    def _known(self, strength: float) -> Tensor:
        return tiny.known(self.seed, tiny.lcm(tiny.STABLE), strength, self.seed)

    def _draw(self) -> Tensor:
        return tiny.latents(self.pipe)

    def _with(self, strength: float) -> Tensor:
        return call(self.function, self.pipe, strength, self._draw, hint=tiny.hint)

    def _runs(self) -> Seen:
        times = []
        came = call(self.function, self.pipe, 0.5, lambda: times.append(1) or "pictures")
        if len(times) != 1:
            return wrong(f"{len(times)} calls", "Call run() once, after the strength is set.")
        if came != "pictures":
            return wrong(f"{came!r}", "Return what run() returns.")
        return RIGHT

    def _strength(self) -> Seen:
        for strength in (0.5, 0.0, 1.5):
            came = self._with(strength)
            if tiny.same(came, self._known(strength)):
                continue
            said = f"other pictures than at strength {strength:g}"
            for other, likely in (
                (1.0, "The strength is not set before run() is called."),
                (strength**2, "The strength is set twice."),
                (0.0, "The LoRA is gone: was it unloaded or disabled?"),
            ):
                if tiny.same(came, self._known(other)):
                    return wrong(said, likely)
            return wrong(said, "pipe.set_adapters(names, strength) sets it.")
        return RIGHT

    def _afterwards(self) -> Seen:
        self._with(0.5)
        return self._left("afterwards", "Set it back to 1 after run().")

    def _error(self) -> Seen:
        def run() -> None:
            raise LookupError("a run that fails")

        try:
            self.function(self.pipe, 0.5, run)
        except LookupError:
            return self._left("after an error", "Set it back whatever happens: try ... finally.")
        return wrong("the error is swallowed", "Let it pass: try ... finally, not except.")

    def _left(self, when: str, likely: str) -> Seen:
        came = self._draw()
        if tiny.same(came, self._known(1.0)):
            return RIGHT
        if tiny.same(came, self._known(0.0)):
            return wrong(f"no LoRA {when}", "It was unloaded or disabled: set its strength to 1.")
        return wrong(f"another strength {when}", likely)
