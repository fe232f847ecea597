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
from recipes import cards
from recipes.latent_students import GUIDANCE, Plan, distilled, record_rows, save_lora, teacher

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
    cards.publish(card, file, settings, record_rows(curve))


def card(file: Path, settings: dict, rows: list[dict]) -> str:
    """The model card of saved weights, given the settings and rows of their record."""
    layers = sum(name.endswith("lora_A.weight") for name in load_file(file))
    share = 100 * settings["trainable_share"]
    return cards.fill(NAME, file, settings, rows, guidance=GUIDANCE, layers=layers, share=share)


if __name__ == "__main__":
    main()
