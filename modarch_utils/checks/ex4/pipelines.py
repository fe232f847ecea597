"""Exercise 4: does a student's pipeline sample with DDIM (Song et al. 2021), or with LCM-LoRA?

What it draws from a fixed noise is looked up among what known samplers draw by the same networks,
for LCM-LoRA (Luo et al. 2023b) with the adapters added to the U-Net's weights.
"""

import copy
from collections.abc import Callable, Iterable
from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
)
from torch import Tensor

from modarch_utils.checks.core import Case, Part, Row, part_of_rows
from modarch_utils.checks.ex4 import tiny

FIXED, DEFAULT = "Stable Diffusion's noise schedule", "DDIMScheduler's default"
SCHEDULES = {
    FIXED: tiny.STABLE,
    "another noise schedule": tiny.OTHER,
    DEFAULT: {"steps_offset": 1},  # linear, from 0.0001 to 0.02
}
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


class Made(NamedTuple):
    """How a pipeline draws."""

    sampler: str = "nothing that the check knows"
    schedule: str = ""
    clipping: str = ""
    spacing: str = ""
    strength: str = ""
    """Of the LoRA."""
    folder: str = ""
    """Whose LoRA it is."""
    given: DiffusionPipeline | None = None
    """The one that it was made from, as it is now."""


def _made(seed: int, given: DiffusionPipeline, latents: Tensor, known: Iterable) -> Made:
    """The first of the known ways to draw with which latents come out.

    Args:
        seed: of the networks.
        given: the pipeline that the student's was made from.
        latents: that the student's draws.
        known: ways to draw, each with :func:`tiny.known`'s further arguments; the likely first.
    """
    for made, *how in known:
        if tiny.same(latents, tiny.known(seed, *how)):
            return made._replace(given=given)
    return Made(given=given)


def _cases(seed: int, *loras: int) -> Iterable[list[Case]]:
    """From pipelines with PNDM, with a sampler that clips, and with another noise schedule."""
    for sampler in (tiny.pndm, tiny.clipping, tiny.other):
        yield [lambda make=sampler: (tiny.pipeline(seed, make()), *map(tiny.lora, loras))]


# DDIM.


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
    """From a StableDiffusionPipeline with any sampler to one with DDIM; `seed` decides weights."""
    plain, clips, other = _cases(seed)
    ways = product(SCHEDULES, CLIPPING, ("trailing", "leading", "linspace"))
    known = [
        (Made("DDIM", *way), tiny.ddim(SCHEDULES[way[0]], way[2], CLIPPING[way[1]])) for way in ways
    ] + [(Made(name), sampler()) for name, (sampler, _) in OTHERS.items()]

    def read(result: object, args: tuple) -> Made:
        return _made(seed, *args, tiny.drawn(result), known)

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
                "on: DDIMScheduler.from_config(pipe.scheduler.config, ...).": _always(
                    lambda: tiny.ddim(SCHEDULES[DEFAULT])
                ),
                "The noise schedule is written down in the code, and it is Stable Diffusion 1.5's: "
                "take the settings from pipe.scheduler.config.": _always(
                    lambda: tiny.ddim(SCHEDULES[FIXED])
                ),
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


check_ddim_pipeline = tiny.check(ddim_pipeline)


# LCM-LoRA.

STRENGTHS = 1.0, 0.0, 2.0, 0.5  # of a LoRA: the right one, and others
FOLDERS = "the first folder's LoRA", "the second folder's LoRA"
CLIP = (
    "clip_sample comes from the pipeline's own configuration, or is switched on: LCMScheduler "
    "takes it over too, so say clip_sample=False."
)


def fast(
    sampler: Callable | None = None, strength: float = 1.0, own: bool = True, **settings
) -> Callable[[DiffusionPipeline, Path], DiffusionPipeline]:
    """A right answer, of which a piece may be another.

    Args:
        sampler: from the given pipeline to the new one's sampler.
        strength: of the LoRA.
        own: whether the U-Net is a copy.
        settings: for the call of ``from_config``.
    """

    def lcm(pipe: DiffusionPipeline) -> LCMScheduler:
        return LCMScheduler.from_config(pipe.scheduler.config, **{"clip_sample": False} | settings)

    def function(pipe: DiffusionPipeline, folder: Path) -> DiffusionPipeline:
        unet = copy.deepcopy(pipe.unet) if own else pipe.unet
        made = tiny.with_sampler(pipe, (sampler or lcm)(pipe), unet)
        made.load_lora_weights(folder)
        made.set_adapters(made.get_active_adapters(), strength)
        return made

    return function


def _sampler_in_place(pipe: DiffusionPipeline, folder: Path) -> DiffusionPipeline:
    made = fast()(pipe, folder)
    pipe.scheduler = made.scheduler
    return made


@cache
def lcm_pipeline(seed: int = 0) -> Part:
    """From a StableDiffusionPipeline and a LoRA's folder to a pipeline with LCM-LoRA."""
    plain, clips, other = _cases(seed, seed)
    second, *_ = _cases(seed, seed + 1)
    samplers = [
        (Made("LCM", schedule, clip), tiny.lcm(SCHEDULES[schedule], CLIPPING[clip]))
        for clip, schedule in product(CLIPPING, (FIXED, "another noise schedule"))
    ]
    samplers.append((Made("the pipeline's own sampler"), tiny.pndm()))
    samplers += [(Made("DDIM"), tiny.ddim(tiny.STABLE, way)) for way in ("trailing", "leading")]
    known = [
        (made._replace(strength=f"{times:g} times the LoRA", folder=folder), sampler, times, lora)
        for times, (lora, folder) in product(STRENGTHS, enumerate(FOLDERS, seed))
        for made, sampler in samplers
    ]

    def read(result: object, args: tuple) -> Made:
        return _made(seed, args[0], tiny.drawn(result), known)

    look = "Print pipe.scheduler and pipe.get_active_adapters() of what you return."
    rows = {
        "runs": Row("a pipeline that draws", "Return a pipeline.", view=len),
        "LoRA": Row(
            "the folder's adapters are at work in its U-Net, at full strength",
            look,
            {
                "The LoRA is not in the U-Net that draws: load it into the pipeline that you "
                "return, and unload nothing.": fast(strength=0.0),
                "The LoRA is added twice: load it once, and fuse it at most once.": fast(
                    strength=2.0
                ),
                "Leave the LoRA's strength at 1.": fast(strength=0.5),
            },
            lambda made: made[0].strength,
        ),
        "LCM": Row(
            "LCM's sampler: jump to a clean picture, add noise, jump again",
            look,
            {
                "The scheduler is still the pipeline's own: a LoRA changes the network, and "
                "LCMScheduler has to be set besides.": fast(lambda pipe: pipe.scheduler),
                "LCM's network answers with the end of the path; DDIM only takes a step towards "
                "it. Set LCMScheduler.": fast(lambda _: tiny.ddim(tiny.STABLE)),
            },
            lambda made: made[0].sampler,
        ),
        "clipping": Row(
            "latents are never clipped to [-1, 1]",
            CLIP,
            {
                CLIP: (
                    fast(clip_sample=True),
                    fast(lambda pipe: LCMScheduler.from_config(pipe.scheduler.config)),
                )
            },
            lambda made: [each.clipping for each in made],
            after=("LCM",),
            cases=plain + clips,
        ),
        "noise schedule": Row(
            "the pipeline's own betas and kind of prediction",
            "Hand the settings on: LCMScheduler.from_config(pipe.scheduler.config).",
            {
                "LCMScheduler's default happens to be Stable Diffusion's, and only that: hand the "
                "settings on, LCMScheduler.from_config(pipe.scheduler.config).": fast(
                    lambda _: tiny.lcm(tiny.STABLE)
                )
            },
            lambda made: made[0].schedule,
            after=("LCM",),
            cases=other,
        ),
        "folder": Row(
            "another folder gives another LoRA",
            "Load the LoRA from the folder that is given.",
            {
                "The LoRA is remembered, or its name is fixed in the code: load what you are "
                "given.": lambda pipe, _: fast()(pipe, tiny.lora(seed))
            },
            lambda made: made[0].folder,
            after=("LoRA",),
            cases=second,
        ),
        "caller": Row(
            "the given pipeline draws afterwards as it did before, without the LoRA",
            "The given pipeline's networks have changed: leave them alone.",
            {
                "The caller's pipeline was changed in place: make a new one from its "
                "parts.": _sampler_in_place,
                "Both pipelines share one U-Net, so the LoRA sits in both, and DDIM would be "
                "measured with it: give the fast one a copy, copy.deepcopy(pipe.unet).": (
                    fast(own=False)
                ),
            },
            lambda made: tiny.as_before(seed, made[0].given),
        ),
    }
    return part_of_rows("lcm_pipeline", rows, fast(), plain, read=read, hint=tiny.hint)


check_lcm_pipeline = tiny.check(lcm_pipeline)
