"""Distil LCM-LoRA from ``mini-sd`` (chapter 05_latent_consistency).

``python -m recipes.mini_lcm_lora`` trains adapters on one thread, goes on where it
was stopped, and ends by writing them to ``weights/mini-lcm-lora`` and the course of the training to
``records/mini_lcm_lora.json``; called again, it writes both again without training. Now and then
it writes a picture of what four steps draw.
"""

import copy
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import load_file

from modarch_utils import profile, zoo
from modarch_utils.measure import count_params
from modarch_utils.training.consistency import ConsistencyConfig
from modarch_utils.training.latent_consistency import LatentDistillationConfig, add_lora
from recipes.cards import Card
from recipes.latent_students import (
    GUIDANCE,
    TEACHER,
    Plan,
    distilled,
    facts,
    finish,
    record_rows,
    save_lora,
    teacher,
)

NAME = "mini-lcm-lora"
RUN = Path("runs/mini_lcm_lora")

RANK = 8

PLAN = Plan(
    LatentDistillationConfig(
        steps=1000,
        lr=1e-3,
        objective=ConsistencyConfig(omega=(GUIDANCE - 1, GUIDANCE - 1)),
    )
)

CODE = f"""
from diffusers import DiffusionPipeline, LCMScheduler

from modarch_utils import zoo

pipe = DiffusionPipeline.from_pretrained(zoo.folder("{TEACHER}"))
pipe.load_lora_weights(zoo.folder("{NAME}"))
pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
prompt = "a red torus on a checkerboard floor"
image = pipe(prompt, num_inference_steps=4, guidance_scale=1.0).images[0]
"""


def main(plan: Plan = PLAN) -> None:
    """Train what is missing of the run; write adapters, card and record."""
    torch.set_num_threads(1)
    pipe = teacher()
    student = add_lora(copy.deepcopy(pipe.unet), RANK, plan.config.seed)
    share = count_params(student, trainable=True) / count_params(pipe.unet)
    # Guidance is built in: a scale of 1 turns the pipeline's own off.
    unet, curve = distilled(pipe, student, plan, RUN, guidance=1.0)
    file = save_lora(unet, profile.output_dir(zoo.WEIGHTS) / NAME)
    settings = asdict(plan.config) | {"rank": RANK, "trainable_share": share}
    rows = record_rows(curve)
    finish(card(file, settings, rows), file, settings, rows)


def card(file: Path, settings: dict, rows: list[dict]) -> Card:
    """What the model card says of saved adapters, given the settings and rows of their record."""
    layers = sum(name.endswith("lora_A.weight") for name in load_file(file))
    return Card(
        NAME,
        f"Adapters of rank {settings['rank']} for {layers} layers of `{TEACHER}`'s U-Net "
        f"({100 * settings['trainable_share']:.1f} % of its parameters), by latent consistency "
        "distillation. With them it draws in about four steps what it draws in dozens with "
        f"`guidance_scale={GUIDANCE}`.",
        CODE,
        facts(NAME, file, settings, rows),
        f"It fits `{TEACHER}` and no other network. Guidance is built in at one scale, which the "
        "student was not told: a `guidance_scale` above 1 guides a second time, and "
        f"{GUIDANCE} is too much.",
    )


if __name__ == "__main__":
    main()
