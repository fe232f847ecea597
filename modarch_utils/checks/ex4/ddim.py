"""Exercise 4, the slow side: whether a student's pipeline samples with DDIM (Song et al. 2021).

What it draws from a fixed noise is compared with what known samplers draw, by the same networks.
"""

from collections.abc import Callable
from typing import NamedTuple

from diffusers import (
    DDPMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
)
from torch import Tensor

from modarch_utils.checks.core import RIGHT, Report, Rows, Seen, wrong
from modarch_utils.checks.ex4 import tiny as tiny

EXPECTED = {
    "runs": "a pipeline that draws",
    "DDIM": "as many U-Net calls as steps, and DDIM's own step",
    "spacing": "steps begin at the last time, 999 (trailing)",
    "clipping": "latents are never clipped to [-1, 1]",
    "noise schedule": "the pipeline's own betas and kind of prediction",
    "caller": "the given pipeline samples afterwards as it did before",
}
SPACINGS = {
    "trailing": "",
    "leading": "Stable Diffusion's own spacing begins early, with one step at t = 1: name "
    'timestep_spacing="trailing" in the call of from_config (written into the configuration, it '
    "may be ignored).",
    "linspace": 'This spacing begins at 999 and ends at 0: set timestep_spacing="trailing".',
}
FROM_SAVED = (
    "clip_sample comes from the pipeline's own configuration: switch it off yourself, "
    "clip_sample=False."
)
FROM_DEFAULT = "DDIMScheduler's default is clip_sample=True, made for pixels: set it to False."
LIBRARY = {"steps_offset": 1}
"""The noise schedule of a DDIMScheduler that is told nothing: linear, from 0.0001 to 0.02."""


class Found(NamedTuple):
    """Settings of DDIM with which the student's numbers come out."""

    spacing: str
    clip: bool
    schedule: dict


def check_ddim_pipeline(function: Callable[[DiffusionPipeline], object], seed: int = 0) -> Report:
    """All findings on a function that makes a pipeline sample with DDIM.

    Args:
        function: from a StableDiffusionPipeline with any sampler to one with DDIM.
        seed: decides the weights.
    """
    with tiny.quiet():
        return _Ddim(function, seed).report()


class _Ddim:
    def __init__(self, function: Callable, seed: int):
        self.function, self.seed = function, seed
        self.found: Found | None = None

    def report(self) -> Report:
        rows = Rows(EXPECTED)
        if rows.add("runs", self._runs).passed:
            rows.add("caller", self._caller)  # of the pipeline that it was just given
            rows.add("DDIM", self._sampler)
            rows.add("spacing", self._spacing, ("DDIM",))
            rows.add("clipping", self._clipping, ("DDIM",))
            rows.add("noise schedule", self._schedule, ("DDIM",))
        return rows.report("ddim_pipeline")

    def _draws(self, scheduler) -> Tensor:
        """What the student's pipeline draws, made from one that has this sampler."""
        self.given = tiny.pipeline(self.seed)
        self.given.scheduler = scheduler
        return tiny.drawn(tiny.made_pipeline(self.function, self.given))

    def _known(self, scheduler) -> Tensor:
        return tiny.known(self.seed, scheduler)

    def _like(self, came: Tensor, schedule: dict, clip: bool) -> bool:
        """Whether DDIM draws this on a noise schedule; the spacing has a row of its own."""
        return any(
            tiny.same(came, self._known(tiny.ddim(schedule, spacing, clip))) for spacing in SPACINGS
        )

    def _runs(self) -> Seen:
        self.came = self._draws(tiny.pndm())
        return RIGHT

    def _sampler(self) -> Seen:
        for schedule in (tiny.STABLE, LIBRARY):
            for clip in (False, True):
                for spacing in SPACINGS:
                    if tiny.same(self.came, self._known(tiny.ddim(schedule, spacing, clip))):
                        self.found = Found(spacing, clip, schedule)
                        return RIGHT
        others = {
            "PNDM": (
                tiny.pndm(),
                "The scheduler is still the pipeline's own, PNDM, which calls the U-Net once more "
                "than it makes steps: replace it.",
            ),
            "LCM": (tiny.lcm(tiny.STABLE), "This is LCM's sampler, which adds noise: part 2's."),
            "DDPM": (
                DDPMScheduler(**tiny.STABLE, clip_sample=False),
                "This is DDPM, which adds noise at every step: take DDIMScheduler.",
            ),
            "Euler's": (
                EulerDiscreteScheduler(**tiny.STABLE),
                "This is Euler's method on another time axis: take DDIMScheduler.",
            ),
            "DPM++": (
                DPMSolverMultistepScheduler(**tiny.STABLE),
                "This is a solver of second order: take DDIMScheduler.",
            ),
        }
        for name, (scheduler, likely) in others.items():
            if tiny.same(self.came, self._known(scheduler)):
                return wrong(f"the steps of {name}", likely)
        return wrong(
            "numbers of no sampler that the check knows",
            "Print pipe.scheduler of what you return. Are its networks the ones that you were "
            "given?",
        )

    def _spacing(self) -> Seen:
        likely = SPACINGS[self.found.spacing]
        return wrong(f"{self.found.spacing} spacing", likely) if likely else RIGHT

    def _clipping(self) -> Seen:
        if self.found.clip:
            return wrong("clipped latents", FROM_DEFAULT)
        if self._like(self._draws(tiny.clipping()), self.found.schedule, clip=False):
            return RIGHT
        return wrong("clipped latents, from a pipeline saved with clip_sample=True", FROM_SAVED)

    def _schedule(self) -> Seen:
        default = wrong(
            "DDIMScheduler's default, which is not Stable Diffusion's",
            "Hand the settings on: DDIMScheduler.from_config(pipe.scheduler.config, ...).",
        )
        if self.found.schedule is LIBRARY:
            return default
        came = self._draws(tiny.other())
        if self._like(came, tiny.OTHER, self.found.clip):
            return RIGHT
        if self._like(came, tiny.STABLE, self.found.clip):
            return wrong(
                "Stable Diffusion 1.5's betas, in a pipeline that has others",
                "The noise schedule is written down in the code: take the settings from "
                "pipe.scheduler.config.",
            )
        return default

    def _caller(self) -> Seen:
        if tiny.same(self._known(tiny.pndm()), tiny.latents(self.given)):
            return RIGHT
        return wrong(
            "it draws something else now",
            "The caller's pipeline was changed in place: make a new one from its parts, "
            "StableDiffusionPipeline(**parts), and replace the scheduler there.",
        )
