"""Does a latent consistency model listen to its guidance scale? (chapter 05_latent_consistency)

``python -m recipes.guidance_rate`` distils ``mini-lcm`` once for each learning rate
of the layer that reads the scale, goes on where it was stopped, and writes to
``records/guidance_rate.json`` how far the scale moves what the students draw.
"""

from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler

from modarch_utils import records, zoo
from modarch_utils.training.latent_consistency import with_guidance
from recipes import few_steps, jobs, mini_lcm
from recipes.latent_students import GUIDANCE, TEACHER, Plan, distilled, few_step_pipeline, teacher

NAME = "guidance_rate"
RUN = Path("runs/guidance_rate")

RATES = (1.0, 10.0, mini_lcm.PLAN.config.guidance_rate)
"""``guidance_rate`` of each training; the last one is ``mini-lcm``'s own."""


@dataclass(frozen=True)
class Settings:
    """What is drawn, always from the same noises."""

    every: int = 4
    """One in so many of the prompts of :mod:`recipes.few_steps` is drawn."""
    scales: tuple[float, ...] = (mini_lcm.SCALES[0], GUIDANCE, mini_lcm.SCALES[1])
    steps: int = 4
    teacher_steps: int = 25
    prompts: few_steps.Settings = few_steps.SETTINGS


SETTINGS = Settings()


def one_run(
    rate: float, settings: Settings = SETTINGS, plan: Plan = mini_lcm.PLAN
) -> dict[str, Any]:
    """Distil one student and draw; that of the plan's own rate is ``mini-lcm`` itself.

    Returns:
        ``moved``: mean change of a pixel between the first scale and the last, in units of the
        change of the teacher's. ``contrast`` and ``teacher_contrast``: for each scale the
        deviation of all pixels, which lie in [0, 1]. ``training_minutes``: by the clock.
    """
    pipe = teacher()
    own = rate == plan.config.guidance_rate
    plan = replace(plan, config=replace(plan.config, guidance_rate=rate))
    run = mini_lcm.RUN if own else RUN / f"{rate:g}"
    unet, curve = distilled(pipe, with_guidance(pipe.unet), plan, run)
    student = few_step_pipeline(pipe, unet)
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, timestep_spacing="trailing")
    pipe.set_progress_bar_config(disable=True)
    prompts = few_steps.real_set(0, settings.prompts).captions[:: settings.every]
    options = {"seed": 0, "batch_size": len(prompts)}
    contrast, moved = [], []
    for drawing, steps in ((student, settings.steps), (pipe, settings.teacher_steps)):
        drawn = [
            few_steps.draw(drawing, prompts, guidance=scale, steps=steps, **options)
            for scale in settings.scales
        ]
        contrast.append([round(images.std().item(), 4) for images in drawn])
        moved.append((drawn[-1] - drawn[0]).abs().mean().item())
    return {
        "moved": round(moved[0] / moved[1], 4),
        "contrast": contrast[0],
        "teacher_contrast": contrast[1],
        "training_minutes": round(sum(row.seconds for row in curve) / 60, 1),
    }


def main(settings: Settings = SETTINGS, plan: Plan = mini_lcm.PLAN) -> None:
    """Run what is missing, write the record, print it."""
    torch.set_num_threads(1)
    shared = asdict(settings) | {"training": asdict(plan.config)}
    shared["teacher"] = zoo.find(TEACHER).parts  # another teacher's runs are not taken over
    function = partial(one_run, settings=settings, plan=plan)
    results = jobs.run(NAME, function, [{"rate": rate} for rate in RATES], shared)
    print(records.save(NAME, settings=shared, results=results))
    print(*results, sep="\n")


if __name__ == "__main__":
    jobs.start(__spec__.name)
