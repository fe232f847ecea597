"""Exercise 4, drawing: whether the same call gives the same pictures, and which ones.

Noises may be made in many ways, so pictures are compared with what the networks have drawn in the
same call, and noises with each other.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from modarch_utils.checks.core import Case, Part, Row, Unusable, part_of_rows
from modarch_utils.checks.ex4 import tiny
from modarch_utils.checks.ex4.watch import SIDE, Run, pictures, relation, watched


def draws(pipe, prompts: list[str], steps: int, guidance: float, seed: int, **options) -> Tensor:
    """A right answer, of which options of the pipeline may be others."""
    settings = {"num_inference_steps": steps, "guidance_scale": guidance, "output_type": "pt"}
    settings["generator"] = [_random(100 * seed + i) for i, _ in enumerate(prompts)]
    return pipe(prompts, **settings | options).images


def _random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Drawn(NamedTuple):
    """What came of one call."""

    pictures: Tensor
    """The student's."""
    run: Run
    """What the pipeline did."""


def _read(result: object, args: tuple) -> Drawn:
    pipe, prompts, *_ = args
    if not pipe.watch.runs:
        raise Unusable("the pipeline was never called", "Call pipe(prompts, ...).")
    return Drawn(pictures(result, (len(prompts), 3, SIDE, SIDE)), pipe.watch.joined())


# What rows look at, in the calls that `draw` makes.


def _steps(drawn: list[Drawn]) -> list[int] | str:
    calls = [len(each.run.calls) for each in drawn]
    return calls if len(set(calls)) > 1 else "the same number at every call"


def _repeated(drawn: list[Drawn]) -> list[str]:
    """What becomes of a second call, with DDIM and with LCM."""
    found = []
    for one, two in (drawn[:2], drawn[2:4]):
        start = tiny.same(one.run.start, two.run.start)
        words = "the same first noise and other pictures" if start else "another noise"
        found.append("the same pictures" if tiny.same(one.pictures, two.pictures) else words)
    return found


def _shared(*starts: Tensor) -> str:
    """Whether the first noise comes again among the others."""
    first, *rest = starts
    return "the same noise" if any(tiny.same(first, other) for other in rest) else "other noises"


@cache
def draw(seed: int = 0) -> Part:
    """``function(pipe, prompts, steps, guidance, seed)`` gives pictures (N, 3, H, W) in [0, 1].

    It is called with DDIM and LCM, twice, and with other seeds, steps and guidance.
    """

    def case(sampler: Callable, steps: int = 2, guidance: float = 1.0, more: int = 0) -> Case:
        return lambda: (
            watched(seed, sampler(tiny.STABLE)),
            tiny.PROMPTS[:3],
            steps,
            guidance,
            10 * seed + more,
        )

    twice = [case(sampler) for sampler in (tiny.ddim, tiny.lcm) for _ in range(2)]
    cases = [*twice, case(tiny.ddim, more=1), case(tiny.ddim, more=2), case(tiny.ddim, 3, 2.5)]

    def by(change: Callable) -> Callable:
        return lambda *args: change(draws(*args))

    def called(change: Callable, **options) -> Callable:
        """The right answer to other arguments."""
        return lambda *args: draws(*change(*args), **options)

    def same_seed(pipe, prompts, *rest):
        return draws(pipe, prompts, *rest, generator=[_random(rest[-1]) for _ in prompts])

    def first_latents(pipe, prompts, *rest):
        start = torch.randn(len(prompts), 4, 8, 8, generator=_random(rest[-1]))
        return draws(pipe, prompts, *rest, latents=start, generator=None)

    rows = {
        "runs": Row("one tensor (N, 3, H, W)", "Return one tensor (N, 3, H, W).", view=len),
        "range": Row(
            "numbers from 0 to 1",
            "Return what the pipeline draws, as it is.",
            {
                'The networks compute in [-1, 1]; pictures are wanted in [0, 1], as output_type="'
                'pt" gives them.': by(lambda images: images * 2 - 1),
                "Leave them in [0, 1].": by(lambda images: images * 255),
                'output_type="pt" is in [0, 1] already: do not move it there again.': by(
                    lambda images: images / 2 + 0.5
                ),
            },
            lambda drawn: relation(drawn[0].pictures, drawn[0].run.pictures),
        ),
        "prompts": Row(
            "one picture for each prompt, in their order",
            "Print what the pipeline is given: the list of prompts, as it is.",
            {
                "One prompt is drawn for all: hand the list of prompts on.": called(
                    lambda pipe, prompts, *rest: (pipe, prompts[:1] * len(prompts), *rest)
                ),
                "The order has changed: hand the list of prompts on.": called(
                    lambda pipe, prompts, *rest: (pipe, prompts[::-1], *rest)
                ),
            },
            lambda drawn: drawn[0].run.text,
            same=tiny.same,
        ),
        "steps": Row(
            "as many as asked for",
            "Hand on the number of steps as it is: num_inference_steps.",
            {
                "The number of steps is fixed in the code, or left to the pipeline's 50: pass "
                "num_inference_steps.": called(lambda pipe, p, n, *rest: (pipe, p, 4, *rest))
            },
            _steps,
        ),
        "guidance": Row(
            "the scale that is asked for; 1 is none",
            "diffusers' guidance_scale is the scale itself: hand it on.",
            {
                "7.5 is the pipeline's default (or fixed in the code): pass guidance_scale, also "
                "where it is 1.": called(lambda pipe, p, n, _, seed: (pipe, p, n, 7.5, seed)),
                "diffusers' guidance_scale is the scale itself, and 1 is none: do not take 1 "
                "away.": called(lambda pipe, p, n, scale, seed: (pipe, p, n, scale - 1, seed)),
            },
            lambda drawn: [drawn[k].run.calls[0].guidance for k in (0, -1)],
        ),
        "repeat": Row(
            "the same call gives the same pictures, whatever happened before",
            "Make new generators from the seed in every call.",
            {
                "The noise is not tied to the seed: make new generators from it in every call. "
                "(One that lives outside of the function is used up bit by bit.)": called(
                    lambda *args: args, generator=None
                ),
                "LCM adds noise between its steps: it needs the seeded generator too, not only "
                "the first latents.": first_latents,
            },
            _repeated,
        ),
        "seeds": Row(
            "another seed is another noise",
            "Make the generators from the seed that is given.",
            {"The seed is fixed in the code, or not used.": called(lambda *a: (*a[:-1], 42))},
            lambda drawn: _shared(*(drawn[k].run.start for k in (0, 4, 5))),
            after=("repeat",),
        ),
        "noise": Row(
            "each picture begins with a noise of its own",
            "Noises must differ from picture to picture.",
            {
                "Every generator has the same seed, or one noise is repeated: they must differ "
                "from picture to picture.": same_seed
            },
            lambda drawn: _shared(*drawn[0].run.start),
        ),
        "methods": Row(
            "DDIM and LCM begin with the same noise",
            "The same generators for both.",
            {
                "The noise may depend on the seed only, not on the pipeline.": called(
                    lambda pipe, *r, seed=0: (pipe, *r[:-1], r[-1] + len(str(type(pipe.scheduler))))
                )
            },
            lambda drawn: _shared(drawn[0].run.start, drawn[2].run.start),
            after=("repeat",),
        ),
    }
    return part_of_rows("draw", rows, draws, cases, read=_read, hint=tiny.hint)


check_draw = tiny.check(draw)
