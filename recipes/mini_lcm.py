"""Distil a whole latent consistency model from ``mini-sd`` (chapter 05_latent_consistency).

``python -m recipes.mini_lcm`` trains a U-Net that is told the guidance scale, on one
thread, goes on where it was stopped, and ends by writing it to ``weights/mini-lcm`` and the course
of the training to ``records/mini_lcm.json``; called again, it writes both again without training.
Now and then it writes a picture of what four steps draw. Autoencoder and text model are
``mini-sd``'s.
"""

from dataclasses import asdict
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

from modarch_utils import profile, zoo
from modarch_utils.measure import count_params
from modarch_utils.models.mini_sd import save_half
from modarch_utils.training.consistency import ConsistencyConfig
from modarch_utils.training.latent_consistency import LatentDistillationConfig, with_guidance
from recipes.cards import Card
from recipes.latent_students import (
    GUIDANCE,
    TEACHER,
    Plan,
    distilled,
    facts,
    finish,
    record_rows,
    teacher,
)

NAME = "mini-lcm"
RUN = Path("runs/mini_lcm")

SCALES = (1.0, 6.0)
"""Bounds of the ``guidance_scale`` that the student learns to imitate."""

# With one learning rate for all layers it heeds the scale less: see the recipe guidance_rate.
PLAN = Plan(
    LatentDistillationConfig(
        steps=1000,
        lr=3e-4,
        guidance_rate=30.0,
        objective=ConsistencyConfig(omega=(SCALES[0] - 1, SCALES[1] - 1)),
    )
)

CODE = f"""
from diffusers import DiffusionPipeline, LCMScheduler, UNet2DConditionModel

from modarch_utils import zoo

unet = UNet2DConditionModel.from_pretrained(zoo.folder("{NAME}"))
pipe = DiffusionPipeline.from_pretrained(zoo.folder("{TEACHER}"), unet=unet)
pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
prompt = "a red torus on a checkerboard floor"
image = pipe(prompt, num_inference_steps=4, guidance_scale={GUIDANCE}).images[0]
"""


def main(plan: Plan = PLAN) -> None:
    """Train what is missing of the run; write U-Net, card and record."""
    torch.set_num_threads(1)
    pipe = teacher()
    unet, curve = distilled(pipe, with_guidance(pipe.unet), plan, RUN)
    file = save_half(unet, profile.output_dir(zoo.WEIGHTS) / NAME)
    settings, rows = asdict(plan.config), record_rows(curve)
    finish(card(file, settings, rows), file, settings, rows, parts={"config.json": ""})


def card(file: Path, settings: dict, rows: list[dict]) -> Card:
    """What the model card says of a saved U-Net, given the settings and rows of its record."""
    low, high = SCALES
    params = count_params(UNet2DConditionModel.from_pretrained(file.parent))
    scales = f"`guidance_scale` {low:g} to {high:g}; loaded again, it is float32"
    return Card(
        NAME,
        f"A `UNet2DConditionModel` of {params:,} parameters that takes the place of `{TEACHER}`'s, "
        "by latent consistency distillation. It draws in about four steps, and takes the guidance "
        "scale as an embedding: one call of the network for each step, whatever the scale.",
        CODE,
        facts(NAME, file, settings, rows, Guidance=scales),
        f"It is no pipeline: autoencoder, text model and tokenizer are `{TEACHER}`'s. Guidance "
        f"scales outside {low:g} to {high:g} it never saw, and negative prompts do nothing, as no "
        "second call is made.",
    )


if __name__ == "__main__":
    main()
