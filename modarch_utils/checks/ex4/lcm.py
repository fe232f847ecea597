"""Exercise 4, the fast side: whether a student's pipeline is LCM-LoRA (Luo et al. 2023b).

Two things make it: the adapters in its U-Net, and the sampler. What it draws from a fixed noise is
compared with what known samplers draw, with U-Nets to whose weights the adapters are added.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from diffusers import DiffusionPipeline
from torch import Tensor

from modarch_utils.checks.core import AFTER, RIGHT, Report, Rows, Seen, wrong
from modarch_utils.checks.ex4 import tiny as tiny

EXPECTED = {
    "runs": "a pipeline that draws",
    "LoRA": "the folder's adapters are at work in its U-Net, at full strength",
    "LCM": "LCM's sampler: jump to a clean picture, add noise, jump again",
    "clipping": "latents are never clipped to [-1, 1]",
    "noise schedule": "the pipeline's own betas and kind of prediction",
    "folder": "another folder gives another LoRA",
    "caller": "the given pipeline draws afterwards as it did before, without the LoRA",
}
STRENGTHS = {
    1.0: ("", ""),
    0.0: (
        "pictures of the U-Net without any LoRA",
        "The LoRA is not in the U-Net that draws: load it into the pipeline that you return, and "
        "unload nothing.",
    ),
    2.0: ("twice the LoRA", "The LoRA is added twice: load it once, and fuse it at most once."),
    0.5: ("half of the LoRA", "Leave the LoRA's strength at 1."),
}
SAMPLERS = {
    "LCM": (lambda: tiny.lcm(tiny.STABLE), ""),
    "PNDM": (
        tiny.pndm,
        "The scheduler is still the pipeline's own: a LoRA changes the network, and LCMScheduler "
        "has to be set besides.",
    ),
    "DDIM": (
        lambda: tiny.ddim(tiny.STABLE),
        "LCM's network answers with the end of the path; DDIM only takes a step towards it. Set "
        "LCMScheduler.",
    ),
    "DDIM, leading": (
        lambda: tiny.ddim(tiny.STABLE, "leading"),
        "LCM's network answers with the end of the path; DDIM only takes a step towards it. Set "
        "LCMScheduler.",
    ),
    "clipped LCM": (lambda: tiny.lcm(tiny.STABLE, clip=True), ""),
}


class Found(NamedTuple):
    """How the student's numbers come out."""

    strength: float
    sampler: str


def check_lcm_pipeline(
    function: Callable[[DiffusionPipeline, Path], object], seed: int = 0
) -> Report:
    """All findings on a function that makes a pipeline draw in few steps.

    Args:
        function: from a StableDiffusionPipeline and a LoRA's folder to a pipeline with LCM-LoRA.
        seed: decides the weights.
    """
    with tiny.quiet(), tiny.lora(seed) as first, tiny.lora(seed + 1) as second:
        return _Lcm(function, seed, {seed: first, seed + 1: second}).report()


class _Lcm:
    def __init__(self, function: Callable, seed: int, folders: dict[int, Path]):
        self.function, self.seed, self.folders = function, seed, folders
        self.found: Found | None = None

    def report(self) -> Report:
        rows = Rows(EXPECTED)
        if rows.add("runs", self._runs).passed:
            rows.add("caller", self._caller)  # of the pipeline that it was just given
            rows.add("LoRA", self._strength)
            rows.add("LCM", self._sampler)
            rows.add("clipping", self._clipping, ("LCM",))
            rows.add("noise schedule", self._schedule, ("LCM",))
            rows.add("folder", self._folder, ("LoRA",))
        return rows.report("lcm_pipeline")

    def _draws(self, scheduler=None, more: int = 0) -> Tensor:
        """What the student's pipeline draws, made with this sampler; ``more`` is the LoRA's."""
        self.given = tiny.pipeline(self.seed)
        self.given.scheduler = scheduler or self.given.scheduler
        folder = self.folders[self.seed + more]
        return tiny.drawn(tiny.made_pipeline(self.function, self.given, folder))

    def _known(self, scheduler, strength: float, more: int = 0) -> Tensor:
        return tiny.known(self.seed, scheduler, strength, self.seed + more)

    def _runs(self) -> Seen:
        came = self._draws()
        for strength in STRENGTHS:
            for name, (make, _) in SAMPLERS.items():
                if tiny.same(came, self._known(make(), strength)):
                    self.found = Found(strength, name)
                    return RIGHT
        return RIGHT

    def _strength(self) -> Seen:
        if not self.found:
            return AFTER
        came, likely = STRENGTHS[self.found.strength]
        return wrong(came, likely) if likely else RIGHT

    def _sampler(self) -> Seen:
        if not self.found:
            return wrong(
                "numbers of no sampler and LoRA that the check knows",
                "Print pipe.scheduler and pipe.get_active_adapters() of what you return.",
            )
        likely = SAMPLERS[self.found.sampler][1]
        return wrong(f"the steps of {self.found.sampler}", likely) if likely else RIGHT

    def _clipping(self) -> Seen:
        likely = (
            "clip_sample comes from the pipeline's own configuration, or is switched on: "
            "LCMScheduler takes it over too, so say clip_sample=False."
        )
        if self.found.sampler == "clipped LCM":
            return wrong("clipped latents", likely)
        unclipped = self._known(tiny.lcm(tiny.STABLE), self.found.strength)
        if tiny.same(self._draws(tiny.clipping()), unclipped):
            return RIGHT
        return wrong("clipped latents, from a pipeline saved with clip_sample=True", likely)

    def _schedule(self) -> Seen:
        clip = self.found.sampler == "clipped LCM"
        came = self._draws(tiny.other())
        if tiny.same(came, self._known(tiny.lcm(tiny.OTHER, clip), self.found.strength)):
            return RIGHT
        return wrong(
            "LCMScheduler's default, in a pipeline that has another",
            "The default happens to be Stable Diffusion's, and only that: hand the settings on, "
            "LCMScheduler.from_config(pipe.scheduler.config).",
        )

    def _folder(self) -> Seen:
        came = self._draws(more=1)
        scheduler = SAMPLERS[self.found.sampler][0]
        if tiny.same(came, self._known(scheduler(), 1.0, more=1)):
            return RIGHT
        return wrong(
            "not the second folder's LoRA",
            "The LoRA is remembered, or its name is fixed in the code: load what you are given.",
        )

    def _caller(self) -> Seen:
        before = self._known(tiny.pndm(), 0.0)
        if tiny.same(before, tiny.latents(self.given)):
            return RIGHT
        self.given.scheduler = tiny.pndm()
        if tiny.same(before, tiny.latents(self.given)):
            return wrong(
                "the given pipeline has another scheduler",
                "The caller's pipeline was changed in place: make a new one from its parts.",
            )
        return wrong(
            "the given pipeline draws with the LoRA too",
            "Both pipelines share one U-Net, so the LoRA sits in both, and DDIM would be measured "
            "with it: give the fast one a copy, copy.deepcopy(pipe.unet).",
        )
