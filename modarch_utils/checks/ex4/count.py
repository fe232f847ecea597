"""Exercise 4, counting: how many pictures go through a U-Net while something runs."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from torch import Tensor

from modarch_utils.checks.core import (
    Case,
    Part,
    Row,
    Unusable,
    part_of_rows,
)
from modarch_utils.checks.ex4 import tiny
from modarch_utils.checks.ex4.watch import watched

CLEAN = "nothing of yours is left"


def count(pipe: DiffusionPipeline, draw: Callable, of: Callable = len, stays: str = "") -> int:
    """A right answer, of which a piece may be another.

    Args:
        pipe: whose U-Net is watched.
        draw: draws with it.
        of: from the U-Net's samples in one call to what it counts.
        stays: "hook" or "forward" is left on the U-Net.
    """
    found, forward = [], pipe.unet.forward

    def counted(sample: Tensor, *args, **options) -> object:
        return forward(sample, *args, **options)

    hook = pipe.unet.register_forward_pre_hook(lambda _, given: found.append(of(given[0])))
    try:
        draw()
    finally:
        if stays != "hook":
            hook.remove()
        if stays == "forward":
            pipe.unet.forward = counted
    return sum(found)


class Counted(NamedTuple):
    """What came of one count."""

    came: float
    times: int
    """Calls of run()."""
    left: str


def _left(pipe: DiffusionPipeline) -> str:
    """Whether something is still on the U-Net, in words: hooks, methods, another U-Net."""
    unet, kind = pipe.unet, UNet2DConditionModel
    if sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in unet.modules()) != 1:
        return "a hook of yours is left on the U-Net"  # the watch has one
    methods = any(name in vars(m) for m in unet.modules() for name in ("forward", "__call__"))
    if methods or type(unet) is not kind or (kind.forward, kind.__call__) != METHODS:
        return "a method of yours is left on the U-Net"
    return CLEAN


METHODS = UNet2DConditionModel.forward, UNet2DConditionModel.__call__


def _read(result: object, args: tuple) -> Counted:
    pipe, _ = args
    came = tiny.number(result, "Return the number alone.")
    if came != int(came):
        raise Unusable(f"{came:g}", "A count is a whole number: divide by nothing.")
    return Counted(came, len(pipe.watch.runs), _left(pipe))


def count_evaluations(seed: int = 0) -> Part:
    """``function(pipe, run)`` calls ``run()`` and gives the samples of ``pipe.unet`` meanwhile.

    Runs draw one picture, several, with guidance, and one fails; all by PNDM.
    """

    def case(pictures: int = 1, steps: int = 2, guidance: float = 1.0) -> Case:
        def make() -> tuple:
            pipe = watched(seed, tiny.pndm())
            options = {"num_inference_steps": steps, "guidance_scale": guidance}
            options |= {"generator": torch.Generator().manual_seed(0), "output_type": "pt"}
            return pipe, lambda: pipe(tiny.PROMPTS[:pictures], **options).images

        return make

    every, total = [case(), case(), case(steps=4), case(3)], []
    every += [case(2, guidance=3.0), case(guidance=3.0)]

    def came(first: int, last: int) -> Callable:
        return lambda counts: [each.came for each in counts[first:last]]

    def steps(pipe: DiffusionPipeline, run: Callable) -> int:
        return len(run()) * pipe.scheduler.num_inference_steps

    def outside(pipe: DiffusionPipeline, run: Callable) -> int:
        total.append(count(pipe, run))
        return sum(total)

    def guessed(pipe: DiffusionPipeline, run: Callable) -> int:
        found = count(pipe, run)
        return found // 2 if pipe.do_classifier_free_guidance else found

    left = "Remove it whatever happens: `with hook:` around run(), or try ... finally."
    rows = {
        "runs": Row("a whole number", "Return the number alone.", view=len),
        "once": Row(
            "run() is called, and only once",
            "Call run() once, and count meanwhile.",
            {
                "Call run() while you are counting.": lambda pipe, run: count(pipe, lambda: None),
                "Call run() once: whatever it does happens once more.": (
                    lambda pipe, run: (run(), count(pipe, run))[1]
                ),
            },
            lambda counts: counts[0].times,
        ),
        "calls": Row(
            "every call of the U-Net counts, as many as there are",
            "Add len(sample) at every call: the hook's inputs are a tuple, and the sample is its "
            "first entry.",
            {
                "Is the factor 2 of guidance assumed? Or is it len(inputs), the two arguments? The "
                "hook's inputs are a tuple: add len(inputs[0]) at every call.": partial(
                    count, of=lambda sample: 2 * len(sample)
                ),
                "These are the steps: PNDM calls the U-Net once more than it makes steps. Count "
                "the calls themselves, in a hook.": steps,
            },
            came(1, 3),
            after=("once", "again"),
        ),
        "pictures": Row(
            "a call for N pictures counts N",
            "Add up the sizes of the batches.",
            {
                "These are calls, or evaluations for one picture. A call works on a whole batch: "
                "add up the sizes of the batches.": partial(count, of=lambda _: 1)
            },
            came(3, 4),
            after=("once", "calls"),
        ),
        "guidance": Row(
            "with guidance each step takes 2 N",
            "Count what the U-Net is given.",
            {
                "With guidance each picture goes through the U-Net twice in a step, once with an "
                "empty prompt: count what the U-Net is given, not what you know.": guessed
            },
            came(4, 6),
            after=("once", "calls", "pictures"),
        ),
        "again": Row(
            "a second count begins at 0",
            "Begin at 0 at every count.",
            {
                "The counter, or the hook with it, lives on from the first count: begin at 0 "
                "inside of the function.": outside
            },
            lambda counts: counts[1].came - counts[0].came,
            after=("once",),
        ),
        "hooks": Row(
            "the U-Net is afterwards as it was",
            "Leave the U-Net as it was.",
            {left: tuple(partial(count, stays=what) for what in ("hook", "forward"))},
            lambda counts: counts[0].left,
        ),
        "error": Row(
            "also if run() raises, which the caller hears of",
            look=tiny.lets_errors_pass(
                *(case(), _left, CLEAN, left),
                "A failed run must not look like a count: let it pass.",
            ),
            after=("once", "hooks"),
        ),
    }
    return part_of_rows("count_evaluations", rows, count, every, read=_read, hint=_hint)


check_count_evaluations = tiny.check(count_evaluations)


def _hint(message: str, args: tuple) -> str:
    if "positional argument" in message and ("hook" in message or "lambda" in message):
        return "A forward hook gets (module, inputs, output), a forward pre-hook (module, inputs)."
    return tiny.hint(message, args)
