"""Exercise 4, drawing: whether the same call gives the same pictures, and which ones."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modarch_utils.checks.core import RIGHT, Report, Rows, Seen, Unusable, call, wrong
from modarch_utils.checks.ex3.guess import Guess, named
from modarch_utils.checks.ex4 import tiny as tiny
from modarch_utils.checks.ex4.watch import Run, Watch, encoded

SIDE = tiny.SIZE.image_size
EXPECTED = {
    "runs": "one tensor (N, 3, H, W)",
    "range": "numbers from 0 to 1",
    "prompts": "one picture for each prompt, in their order",
    "steps": "as many as asked for",
    "guidance": "the scale that is asked for; 1 is none",
    "repeat": "the same call gives the same pictures, whatever happened before",
    "seeds": "another seed is another noise",
    "noise": "each picture begins with a noise of its own",
    "methods": "DDIM and LCM begin with the same noise",
}
PIPES = {"DDIM": tiny.ddim, "LCM": tiny.lcm}


def check_draw(function: Callable[..., object], seed: int = 0) -> Report:
    """All findings on a function that draws with a pipeline.

    Args:
        function: ``function(pipe, prompts, steps, guidance, seed)`` gives ``(N, 3, H, W)``.
        seed: decides the weights.
    """
    with tiny.quiet():
        return _Draw(function, seed).report()


class _Draw:
    def __init__(self, function: Callable, seed: int):
        self.function, self.first = function, 10 * seed
        self.watches = {}
        for name, make in PIPES.items():
            pipe = tiny.pipeline(seed)
            pipe.scheduler = make(tiny.STABLE)
            self.watches[name] = Watch(pipe)
        self.drawn: dict[tuple, tuple[Tensor, list[Run]]] = {}

    def report(self) -> Report:
        rows = Rows(EXPECTED)
        if rows.add("runs", self._runs).passed:
            rows.add("range", self._range)
            for what in ("prompts", "steps", "guidance", "repeat"):
                rows.add(what, getattr(self, f"_{what}"))
            rows.add("seeds", self._seeds, ("repeat",))
            rows.add("noise", self._noise)
            rows.add("methods", self._methods, ("repeat",))
        return rows.report("draw")

    def _draw(
        self, name="DDIM", pictures=2, steps=2, guidance=1.0, more=0, again=False
    ) -> tuple[Tensor, list[Run]]:
        """The student's pictures, and the pipeline's runs that they came of.

        Rows that look at the same call share it, unless it is made `again`; `more` is the seed's.
        """
        case = name, pictures, steps, guidance, more
        if case in self.drawn and not again:
            return self.drawn[case]
        watch, seed = self.watches[name], self.first + more
        before = len(watch.runs)
        prompts = tiny.PROMPTS[:pictures]
        result = call(self.function, watch.pipe, prompts.copy(), steps, guidance, seed, hint=_hint)
        runs = watch.runs[before:]
        if not runs:
            raise Unusable("the pipeline was never called", "Call pipe(prompts, ...).")
        self.drawn[case] = as_pictures(result, (pictures, 3, SIDE, SIDE)), runs
        return self.drawn[case]

    def _one(self, **options) -> tuple[Tensor, Run]:
        """As :meth:`_draw`, of one run; several runs with a picture each are joined."""
        result, runs = self._draw(**options)
        if len(runs) == 1:
            return result, runs[0]
        joined = Run(pictures=torch.cat([run.pictures for run in runs]))
        for calls in zip(*(run.calls for run in runs), strict=True):
            sample, text = (torch.cat([getattr(c, n) for c in calls]) for n in ("sample", "text"))
            joined.calls.append(calls[0]._replace(sample=sample, text=text))
        return result, joined

    def _runs(self) -> Seen:
        self._draw(pictures=3)
        return RIGHT

    def _range(self) -> Seen:
        result, run = self._one(pictures=3)
        right = run.pictures
        if tiny.same(result, right):
            return RIGHT
        guesses = [
            Guess(
                lambda: right * 2 - 1,
                "numbers from -1 to 1",
                "The networks compute in [-1, 1]; pictures are wanted in [0, 1], as output_type="
                '"pt" gives them.',
            ),
            Guess(lambda: right * 255, "numbers from 0 to 255", "Leave them in [0, 1]."),
            Guess(
                lambda: right / 2 + 0.5,
                "numbers from 0.5 to 1",
                'output_type="pt" is in [0, 1] already: do not move it there again.',
            ),
        ]
        otherwise = wrong(
            "other numbers than the pipeline's pictures",
            "Return what the pipeline draws, as it is.",
        )
        return named(result, guesses, otherwise)

    def _prompts(self) -> Seen:
        _, run = self._one(pictures=3)
        asked = encoded(self.watches["DDIM"].pipe, tiny.PROMPTS[:3])
        if run.text.shape == asked.shape and torch.allclose(run.text, asked, atol=1e-5):
            return RIGHT
        return wrong(
            "other prompts, or another order", "Hand the list of prompts on to the pipeline."
        )

    def _steps(self) -> Seen:
        for steps in (3, 2):
            _, run = self._one(steps=steps)
            if len(run.calls) != steps:
                return wrong(
                    f"{len(run.calls)} steps where {steps} were asked for",
                    "The number of steps is fixed in the code, or left to the pipeline's 50: pass "
                    "num_inference_steps.",
                )
        return RIGHT

    def _guidance(self) -> Seen:
        for guidance in (1.0, 2.5):
            _, run = self._one(guidance=guidance)
            came = run.calls[0].guidance
            if came == 7.5 != guidance:
                return wrong(
                    f"scale 7.5 where {guidance:g} was asked for",
                    "7.5 is the pipeline's default (or fixed in the code): pass guidance_scale, "
                    "also where it is 1.",
                )
            if came != guidance:
                return wrong(
                    f"scale {came:g} where {guidance:g} was asked for",
                    "diffusers' guidance_scale is the scale itself, and 1 is none: hand it on.",
                )
        return RIGHT

    def _repeat(self) -> Seen:
        for name in PIPES:
            (first, one), (second, two) = self._one(name=name), self._one(name=name, again=True)
            if tiny.same(first, second):
                continue
            if tiny.same(one.start, two.start):
                return wrong(
                    f"with {name}, the same first noise and other pictures",
                    "LCM adds noise between its steps: it needs the seeded generator too, not "
                    "only the first latents.",
                )
            return wrong(
                "other pictures at the second call",
                "The noise is not tied to the seed: make new generators from it in every call. "
                "(One that lives outside of the function is used up bit by bit.)",
            )
        return RIGHT

    def _seeds(self) -> Seen:
        runs = [self._one(more=i)[1] for i in range(3)]
        if any(tiny.same(runs[0].start, run.start) for run in runs[1:]):
            return wrong("the same noise", "The seed is fixed in the code, or not used.")
        return RIGHT

    def _noise(self) -> Seen:
        start = self._one(pictures=3)[1].start
        if len(start) == 3 and not any(tiny.same(start[0], other) for other in start[1:]):
            return RIGHT
        return wrong(
            "one noise for all pictures",
            "Every generator has the same seed, or one noise is repeated: they must differ from "
            "picture to picture.",
        )

    def _methods(self) -> Seen:
        starts = [self._one(name=name)[1].start for name in PIPES]
        if tiny.same(*starts):
            return RIGHT
        return wrong("two noises", "The noise may depend on the seed only, not on the pipeline.")


def as_pictures(result: object, shape: tuple[int, ...]) -> Tensor:
    """The student's pictures. Raises Unusable for what is no tensor of this shape."""
    if result is None:
        raise Unusable("None", "A way through the function has no `return`.")
    if hasattr(result, "images"):
        raise Unusable("diffusers' output object", "Its pictures are in the field `images`.")
    if isinstance(result, tuple):
        raise Unusable("a tuple", "Return the pictures alone.")
    if isinstance(result, list) and result and isinstance(result[0], Image.Image):
        raise Unusable(
            "a list of PIL pictures",
            'The reading network wants a tensor: output_type="pt" gives one.',
        )
    if isinstance(result, np.ndarray):
        raise Unusable("a NumPy array", 'Return a tensor: output_type="pt" gives one.')
    if not isinstance(result, Tensor):
        raise Unusable(f"a {type(result).__name__}", "Return one tensor (N, 3, H, W).")
    came = tuple(result.shape)
    if came == shape:
        if not result.is_floating_point():
            raise Unusable(f"{result.dtype}", "Return numbers from 0 to 1, not whole ones.")
        if not result.isfinite().all():
            raise Unusable("numbers that are NaN or infinite", "Return the pipeline's pictures.")
        return result.detach().float().clone()  # some functions write over it later
    n, _, side, _ = shape
    likely = "Print the shape: (N, 3, H, W) is right."
    if came == (n, side, side, 3):
        likely = "Channels come second: (N, 3, H, W)."
    elif came[1:2] == (4,):
        likely = 'These are latents, not pictures: output_type="pt" decodes them.'
    elif came[1:] == shape[1:]:
        likely = f"One picture for each prompt: there were {n} prompts."
    elif came == shape[1:]:
        likely = "The axis N is gone: [0] takes the first picture only."
    raise Unusable(f"shape {came} where {shape} is right", likely)


def _hint(message: str) -> str:
    """The likely mistake behind diffusers' words."""
    if "list of generators" in message:
        return "There must be as many generators as prompts."
    if "Generator" in message and "__call__" in message:
        return "Pass the generator by its name: generator=..."
    return tiny.hint(message)
