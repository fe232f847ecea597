"""Teach ``mini-sd`` a style by a LoRA: pencil sketches (chapter 05_latent_consistency).

``python -m recipes.mini_pencil`` trains adapters with the ordinary diffusion loss on
scenes redrawn with a pencil, on one thread, goes on where it was stopped, and ends by writing them
to ``weights/mini-pencil`` and the course of the training to ``records/mini_pencil.json``; called
again, it writes both again without training. Each epoch writes a picture of what the model draws.
"""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from modarch_utils import profile, zoo
from modarch_utils.devices import plain_attention
from modarch_utils.measure import count_params
from modarch_utils.models.mini_sd import token_ids
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.history import History
from modarch_utils.training.latent_consistency import add_lora
from recipes import cards, mini_sd
from recipes.epochs import measured
from recipes.latent_diffusion import LatentDiffusion, train_latent_diffusion
from recipes.latent_students import save_lora, teacher
from recipes.sketch import pencil

NAME = "mini-pencil"
RUN = Path("runs/mini_pencil")

RANK = 8
STYLE = "a pencil sketch of"


@dataclass(frozen=True)
class DataSettings:
    """The scenes that are redrawn, each with its mirror image."""

    singles: int = 1_000
    pairs: int = 1_000


DATA = DataSettings()

CONFIG = TrainConfig(
    epochs=8,
    batch_size=32,
    lr=1e-3,
    weight_decay=0.0,
    warmup_epochs=0.5,
    label_smoothing=0.0,
    ema_decay=0.999,
    grad_clip=1.0,
    augment="none",
)


def training_set(pipe: StableDiffusionPipeline, data: DataSettings) -> tuple[Tensor, Tensor]:
    """Scaled latents (N, C, h, w) of sketches, and their prompts' ids (N, tokens)."""
    images, captions = mini_sd.pictures(0, data.singles, data.pairs, pipe.vae.config.sample_size)
    latents = mini_sd.encode_images(pipe.vae, pencil(images))
    return latents, token_ids(pipe.tokenizer, [f"{STYLE} {each}" for each in captions])


def main(
    data: DataSettings = DATA,
    config: TrainConfig = CONFIG,
    sheet: mini_sd.Sheet = mini_sd.SHEET,
) -> None:
    """Train what is missing of the run; print each epoch; write adapters, card and record."""
    torch.set_num_threads(1)
    sheet = replace(sheet, style=STYLE)
    pipe = teacher()
    latents, ids = training_set(pipe, data)
    size = count_params(pipe.unet)
    model = LatentDiffusion(
        add_lora(pipe.unet, RANK, config.seed),
        pipe.text_encoder.requires_grad_(False),
        token_ids(pipe.tokenizer, [""])[0],
    )
    share = count_params(model, trainable=True) / size
    dropout, options = mini_sd.CAPTION_DROPOUT, {"out": RUN, "progress": False}

    def until(epoch: int) -> History:
        with plain_attention("cpu"):
            return train_latent_diffusion(
                model, latents, ids, config, dropout, stop_after=epoch, **options
            )

    def average(history: History) -> StableDiffusionPipeline:
        return mini_sd.assembled(pipe.vae, pipe.tokenizer, model, history.ema_weights)

    def measure(epoch: int, history: History) -> dict[str, float]:
        sheet.draw(average(history), RUN / f"epoch-{epoch:03d}.png")
        return {}

    history, rows = measured(until, config.epochs, RUN, measure)
    file = save_lora(average(history).unet, profile.output_dir(zoo.WEIGHTS) / NAME)
    settings = {"data": asdict(data), "rank": RANK, "trainable_share": share}
    settings["training"] = asdict(config)
    seen = "looked at in 05_latent_consistency; not measured"
    cards.publish(card, file, settings, rows, quality=seen)


def card(file: Path, settings: dict, rows: list[dict]) -> str:
    """The model card of saved weights, given the settings and rows of their record."""
    share = 100 * settings["trainable_share"]
    return cards.fill(NAME, file, settings, rows, share=share, style=STYLE)


if __name__ == "__main__":
    main()
