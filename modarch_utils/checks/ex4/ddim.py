"""Exercise 4, the slow side: whether a student's pipeline samples with DDIM (Song et al. 2021).

What it draws from a fixed noise is looked up among what known samplers draw, by the same networks.
"""

from collections.abc import Callable
from functools import cache
from itertools import product
from typing import NamedTuple

from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
)
from torch import Tensor

from modarch_utils.checks.core import Case, Part, Report, Row, part_of_rows
from modarch_utils.checks.ex4 import tiny

SCHEDULES = {
    "Stable Diffusion's noise schedule": tiny.STABLE,
    "another noise schedule": tiny.OTHER,
    "DDIMScheduler's default": {"steps_offset": 1},  # linear, from 0.0001 to 0.02
}
SPACINGS = "trailing", "leading", "linspace"
CLIPPING = {"not clipped": False, "clipped latents": True}
OTHERS = {
    "PNDM": (
        tiny.pndm,
        "The scheduler is still the pipeline's own, PNDM, which calls the U-Net once more than it "
        "makes steps: replace it.",
    ),
    "LCM": (
        lambda: tiny.lcm(tiny.STABLE),
        "This is LCM's sampler, which adds noise: part 2's.",
    ),
    "DDPM": (
        lambda: DDPMScheduler(**tiny.STABLE, clip_sample=False),
        "This is DDPM, which adds noise at every step: take DDIMScheduler.",
    ),
    "Euler's method": (
        lambda: EulerDiscreteScheduler(**tiny.STABLE),
        "This is Euler's method on another time axis: take DDIMScheduler.",
    ),
    "DPM++": (
        lambda: DPMSolverMultistepScheduler(**tiny.STABLE),
        "This is a solver of second order: take DDIMScheduler.",
    ),
}


def check_ddim_pipeline(function: Callable[[DiffusionPipeline], object], seed: int = 0) -> Report:
    """All findings on a function that makes a pipeline sample with DDIM.

    Args:
        function: from a StableDiffusionPipeline with any sampler to one with DDIM.
        seed: decides the weights.
    """
    with tiny.quiet():
        return ddim_pipeline(seed).check(function)


class Made(NamedTuple):
    """How a pipeline samples."""

    given: DiffusionPipeline
    """The one that it was made from, as it is now."""
    sampler: str
    spacing: str = ""
    clipping: str = ""
    schedule: str = ""


def _made(seed: int, given: DiffusionPipeline, latents: Tensor) -> Made:
    """The sampler, and DDIM's settings, with which latents come out."""
    for schedule, clip, spacing in product(
        SCHEDULES, CLIPPING, ("trailing", "leading", "linspace")
    ):
        sampler = tiny.ddim(SCHEDULES[schedule], spacing, CLIPPING[clip])
        if tiny.same(latents, tiny.known(seed, sampler)):
            return Made(given, "DDIM", spacing, clip, schedule)
    for name, (sampler, _) in OTHERS.items():
        if tiny.same(latents, tiny.known(seed, sampler())):
            return Made(given, name)
    return Made(given, "no sampler that the check knows")


def ddim(drop: str = "", **settings) -> Callable[[DiffusionPipeline], DiffusionPipeline]:
    """A right answer, of which a setting may be another, or be left out."""
    settings = {"timestep_spacing": "trailing", "clip_sample": False} | settings
    settings.pop(drop, None)

    def function(pipe: DiffusionPipeline) -> DiffusionPipeline:
        sampler = DDIMScheduler.from_config(pipe.scheduler.config, **settings)
        return tiny.with_sampler(pipe, sampler)

    return function


def _always(sampler: Callable) -> Callable[[DiffusionPipeline], DiffusionPipeline]:
    return lambda pipe: tiny.with_sampler(pipe, sampler())


def _in_place(pipe: DiffusionPipeline) -> DiffusionPipeline:
    pipe.scheduler = ddim()(pipe).scheduler
    return pipe


@cache
def ddim_pipeline(seed: int = 0) -> Part:
    """From pipelines with PNDM, with a sampler that clips, and with another noise schedule."""

    def case(sampler: Callable) -> Case:
        return lambda: (tiny.pipeline(seed, sampler()),)

    def read(result: object, args: tuple) -> Made:
        return _made(seed, *args, tiny.drawn(result))

    plain, clips, other = ([case(make)] for make in (tiny.pndm, tiny.clipping, tiny.other))
    fixed, default = (
        _always(lambda name=name: tiny.ddim(SCHEDULES[name]))
        for name in ("Stable Diffusion's noise schedule", "DDIMScheduler's default")
    )
    rows = {
        "runs": Row("a pipeline that draws", "Return a pipeline.", view=len),
        "DDIM": Row(
            "as many U-Net calls as steps, and DDIM's own step",
            "Print pipe.scheduler of what you return. Are its networks the ones that you were "
            "given?",
            {words: _always(sampler) for sampler, words in OTHERS.values()},
            lambda made: made[0].sampler,
        ),
        "spacing": Row(
            "steps begin at the last time, 999 (trailing)",
            'Set timestep_spacing="trailing".',
            {
                "Stable Diffusion's own spacing begins early, with one step at t = 1: name "
                'timestep_spacing="trailing" in the call of from_config (written into the '
                "configuration, it may be ignored).": ddim("timestep_spacing"),
                'This spacing begins at 999 and ends at 0: set timestep_spacing="trailing".': ddim(
                    timestep_spacing="linspace"
                ),
            },
            lambda made: made[0].spacing,
            after=("DDIM",),
        ),
        "clipping": Row(
            "latents are never clipped to [-1, 1]",
            "Name clip_sample=False.",
            {
                "DDIMScheduler's default is clip_sample=True, made for pixels: set it to "
                "False.": ddim(clip_sample=True),
                "clip_sample comes from the pipeline's own configuration: switch it off yourself, "
                "clip_sample=False.": ddim("clip_sample"),
            },
            lambda made: [each.clipping for each in made],
            after=("DDIM",),
            cases=plain + clips,
        ),
        "noise schedule": Row(
            "the pipeline's own betas and kind of prediction",
            "Hand the settings on: DDIMScheduler.from_config(pipe.scheduler.config, ...).",
            {
                "This is the library's default, which is not Stable Diffusion's. Hand the settings "
                "on: DDIMScheduler.from_config(pipe.scheduler.config, ...).": default,
                "The noise schedule is written down in the code, and it is Stable Diffusion 1.5's: "
                "take the settings from pipe.scheduler.config.": fixed,
            },
            lambda made: [each.schedule for each in made],
            after=("DDIM",),
            cases=plain + other,
        ),
        "caller": Row(
            "the given pipeline samples afterwards as it did before",
            "The given pipeline's networks have changed: leave them alone.",
            {
                "The caller's pipeline was changed in place: make a new one from its parts, "
                "StableDiffusionPipeline(**parts), and replace the scheduler there.": _in_place
            },
            lambda made: tiny.as_before(seed, made[0].given),
        ),
    }
    return part_of_rows("ddim_pipeline", rows, ddim(), plain, read=read, hint=tiny.hint)
