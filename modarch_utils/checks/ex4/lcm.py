"""Exercise 4, the fast side: whether a student's pipeline is LCM-LoRA (Luo et al. 2023b).

Two things make it: the adapters in its U-Net, and the sampler. What it draws from a fixed noise is
looked up among what known samplers draw, with U-Nets to whose weights the adapters are added.
"""

import copy
from collections.abc import Callable, Iterator
from functools import cache
from itertools import product
from pathlib import Path
from typing import NamedTuple

from diffusers import DiffusionPipeline, LCMScheduler
from torch import Tensor

from modarch_utils.checks.core import Case, Look, Mutant, Part, Report, one_row
from modarch_utils.checks.ex4 import tiny

EXPECTED = {
    "runs": "a pipeline that draws",
    "LoRA": "the folder's adapters are at work in its U-Net, at full strength",
    "LCM": "LCM's sampler: jump to a clean picture, add noise, jump again",
    "clipping": "latents are never clipped to [-1, 1]",
    "noise schedule": "the pipeline's own betas and kind of prediction",
    "folder": "another folder gives another LoRA",
    "caller": "the given pipeline draws afterwards as it did before, without the LoRA",
}


SAMPLERS = {
    "": None,
    "The scheduler is still the pipeline's own: a LoRA changes the network, and LCMScheduler has "
    "to be set besides.": lambda pipe: pipe.scheduler,
    "LCM's network answers with the end of the path; DDIM only takes a step towards it. Set "
    "LCMScheduler.": lambda _: tiny.ddim(tiny.STABLE),
}
STRENGTHS = {
    "": 1.0,
    "The LoRA is not in the U-Net that draws: load it into the pipeline that you return, and "
    "unload nothing.": 0.0,
    "The LoRA is added twice: load it once, and fuse it at most once.": 2.0,
    "Leave the LoRA's strength at 1.": 0.5,
}


def check_lcm_pipeline(
    function: Callable[[DiffusionPipeline, Path], object], seed: int = 0
) -> Report:
    """All findings on a function that makes a pipeline draw in few steps.

    Args:
        function: from a StableDiffusionPipeline and a LoRA's folder to a pipeline with LCM-LoRA.
        seed: decides the weights.
    """
    with tiny.quiet():
        return lcm_pipeline(seed).check(function)


class Made(NamedTuple):
    """How a pipeline draws."""

    given: DiffusionPipeline
    """The one that it was made from, as it is now."""
    sampler: str
    clipping: str = ""
    schedule: str = ""
    strength: str = ""
    """Of the LoRA."""
    folder: str = ""
    """Whose LoRA it is."""


def _known(given: DiffusionPipeline) -> Iterator[tuple[Made, object]]:
    """Ways to draw, each with its sampler; what is likely comes first."""
    schedules = {"the pipeline's noise schedule": tiny.STABLE, "another noise schedule": tiny.OTHER}
    clipping = {"not clipped": False, "clipped latents": True}
    for clip, schedule in product(clipping, schedules):
        sampler = tiny.lcm(schedules[schedule], clipping[clip])
        yield Made(given, "LCM", clip, schedule), sampler
    yield Made(given, "the pipeline's own sampler"), tiny.pndm()
    for spacing in ("trailing", "leading"):
        yield Made(given, "DDIM"), tiny.ddim(tiny.STABLE, spacing)


def _made(seed: int, given: DiffusionPipeline, latents: Tensor) -> Made:
    """The sampler, its settings and the LoRA with which latents come out."""
    folders = "the first folder's LoRA", "the second folder's LoRA"
    for strength, (k, folder) in product(STRENGTHS.values(), enumerate(folders)):
        for made, sampler in _known(given):
            if tiny.same(latents, tiny.known(seed, sampler, strength, seed + k)):
                return made._replace(strength=f"{strength:g} times the LoRA", folder=folder)
    return Made(given, "no sampler and LoRA that the check knows")


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


def _as_saved(pipe: DiffusionPipeline) -> LCMScheduler:
    return LCMScheduler.from_config(pipe.scheduler.config)


def _sampler_in_place(pipe: DiffusionPipeline, folder: Path) -> DiffusionPipeline:
    made = fast()(pipe, folder)
    pipe.scheduler = made.scheduler
    return made


@cache
def lcm_pipeline(seed: int = 0) -> Part:
    """From pipelines with PNDM, one that clips and one with another noise schedule; two LoRAs."""

    def case(sampler: Callable, lora: int = 0) -> Case:
        return lambda: (tiny.pipeline(seed, sampler()), tiny.lora(seed + lora))

    def read(result: object, args: tuple) -> Made:
        return _made(seed, args[0], tiny.drawn(result))

    plain, clips, other = ([case(make)] for make in (tiny.pndm, tiny.clipping, tiny.other))
    clip = (
        "clip_sample comes from the pipeline's own configuration, or is switched on: LCMScheduler "
        "takes it over too, so say clip_sample=False."
    )
    mistakes = tuple(
        Mutant(
            {row: words for row, words in (("LCM", other), ("LoRA", weak)) if words},
            fast(sampler, strength),
        )
        for (other, sampler), (weak, strength) in product(SAMPLERS.items(), STRENGTHS.items())
    )
    looks = (
        one_row("runs", plain, "Return a pipeline.", view=len),
        one_row(
            "caller",
            plain,
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
        Look(
            ("LCM", "LoRA"),
            plain,
            "Print pipe.scheduler and pipe.get_active_adapters() of what you return.",
            mistakes[1:],
            lambda made: [made[0].sampler, made[0].strength],
        ),
        one_row(
            "clipping",
            plain + clips,
            clip,
            {clip: (fast(clip_sample=True), fast(_as_saved))},
            lambda made: [each.clipping for each in made],
            after=("LCM",),
        ),
        one_row(
            "noise schedule",
            other,
            "Hand the settings on: LCMScheduler.from_config(pipe.scheduler.config).",
            {
                "LCMScheduler's default happens to be Stable Diffusion's, and only that: hand the "
                "settings on, LCMScheduler.from_config(pipe.scheduler.config).": fast(
                    lambda _: tiny.lcm(tiny.STABLE)
                )
            },
            lambda made: made[0].schedule,
            after=("LCM",),
        ),
        one_row(
            "folder",
            [case(tiny.pndm, lora=1)],
            "Load the LoRA from the folder that is given.",
            {
                "The LoRA is remembered, or its name is fixed in the code: load what you are "
                "given.": lambda pipe, _: fast()(pipe, tiny.lora(seed))
            },
            lambda made: made[0].folder,
            after=("LoRA",),
        ),
    )
    return Part("lcm_pipeline", EXPECTED, fast(), looks, read, tiny.hint)
