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

from modarch_utils import profile, zoo
from modarch_utils.models.mini_sd import save_half
from modarch_utils.training.consistency import ConsistencyConfig
from modarch_utils.training.latent_consistency import LatentDistillationConfig, with_guidance
from recipes import cards
from recipes.latent_students import GUIDANCE, Plan, distilled, record_rows, teacher

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


def main(plan: Plan = PLAN) -> None:
    """Train what is missing of the run; write U-Net, card and record."""
    torch.set_num_threads(1)
    pipe = teacher()
    unet, curve = distilled(pipe, with_guidance(pipe.unet), plan, RUN)
    file = save_half(unet, profile.output_dir(zoo.WEIGHTS) / NAME)
    cards.publish(card, file, asdict(plan.config), record_rows(curve), {"config.json": ""})


def card(file: Path, settings: dict, rows: list[dict]) -> str:
    """The model card of saved weights, given the settings and rows of their record."""
    low, high = SCALES
    return cards.fill(NAME, file, settings, rows, guidance=GUIDANCE, low=low, high=high)


if __name__ == "__main__":
    main()
