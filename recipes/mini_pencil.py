"""Teach ``mini-sd`` a style by a LoRA: pencil sketches (chapter 05_latent_consistency).

``python -m recipes.mini_pencil`` trains adapters with the ordinary diffusion loss on
scenes redrawn with a pencil, on one thread, goes on where it was stopped, and ends by writing them
to ``weights/mini-pencil`` and the course of the training to ``records/mini_pencil.json``; called
again, it writes both again without training. Each epoch writes a picture of what the model draws.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from modarch_utils import profile, records, zoo
from modarch_utils.devices import plain_attention
from modarch_utils.measure import count_params
from modarch_utils.models.mini_sd import token_ids
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.history import History
from modarch_utils.training.latent_consistency import add_lora
from recipes import mini_sd
from recipes.epochs import each_epoch, keep
from recipes.latent_diffusion import LatentDiffusion, train_latent_diffusion
from recipes.latent_students import TEACHER, save_lora, teacher, write_card
from recipes.mini_sd_autoencoder import save_sheet
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

CODE = f"""
from diffusers import DiffusionPipeline, LCMScheduler

from modarch_utils import zoo

pipe = DiffusionPipeline.from_pretrained(zoo.folder("{TEACHER}"))
pipe.load_lora_weights(zoo.folder("mini-lcm-lora"), adapter_name="lcm")
pipe.load_lora_weights(zoo.folder("{NAME}"), adapter_name="pencil")
pipe.set_adapters(["lcm", "pencil"], adapter_weights=[1.0, 0.8])
pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
prompt = "{STYLE} a red torus on a checkerboard floor"
image = pipe(prompt, num_inference_steps=4, guidance_scale=1.0).images[0]
"""


def training_set(pipe: StableDiffusionPipeline) -> tuple[Tensor, Tensor]:
    """Scaled latents (N, C, h, w) of sketches, and their prompts' ids (N, tokens)."""
    images, captions = mini_sd.pictures(0, DATA.singles, DATA.pairs)
    latents = mini_sd.encode_images(pipe.vae, pencil(images))
    return latents, token_ids(pipe.tokenizer, [f"{STYLE} {each}" for each in captions])


def sheet(pipe: StableDiffusionPipeline, file: Path) -> None:
    """Draw the captions of :func:`recipes.mini_sd.prompts`, as sketches."""
    prompts = mini_sd.prompts()
    images = mini_sd.draw(
        pipe,
        [f"{STYLE} {prompt}" for prompt in prompts],
        mini_sd.SHEET_STEPS,
        mini_sd.SHEET_GUIDANCE,
    )
    save_sheet(images, file, [mini_sd.short(prompt) for prompt in prompts])


def main() -> None:
    """Train what is missing of the run; print each epoch; write adapters, card and record."""
    torch.set_num_threads(1)
    pipe = teacher()
    latents, ids = training_set(pipe)
    size = count_params(pipe.unet)
    model = LatentDiffusion(
        add_lora(pipe.unet, RANK, CONFIG.seed),
        pipe.text_encoder.requires_grad_(False),
        token_ids(pipe.tokenizer, [""])[0],
    )
    share = count_params(model, trainable=True) / size

    def until(epoch: int) -> History:
        with plain_attention("cpu"):
            return train_latent_diffusion(
                model,
                latents,
                ids,
                CONFIG,
                mini_sd.CAPTION_DROPOUT,
                out=RUN,
                stop_after=epoch,
                progress=False,
            )

    for epoch, history in each_epoch(until, CONFIG.epochs):
        kept = keep(RUN, epoch, {"loss": history.train_loss[-1], "seconds": history.seconds[-1]})
        average = mini_sd.assembled(pipe.vae, pipe.tokenizer, model, history.ema_weights)
        sheet(average, RUN / f"epoch-{epoch:03d}.png")
    file = save_lora(average.unet, profile.output_dir(zoo.WEIGHTS) / NAME)
    write_card(
        file,
        title=NAME,
        what=f"Adapters of rank {RANK} for `{TEACHER}`'s U-Net ({100 * share:.1f} % of its "
        f"parameters) that draw with a pencil what a prompt behind “{STYLE}” describes. They add "
        "to those of `mini-lcm-lora`.",
        code=CODE,
        facts={
            "Data": f"{DATA.singles:,} scenes with one object, {DATA.pairs:,} with two, and their "
            "mirror images, redrawn by `recipes.sketch.pencil`",
            "Seed": f"{CONFIG.seed}",
            "Length": f"{CONFIG.epochs} epochs, {sum(history.seconds) / 60:.0f} minutes by the "
            "clock on one thread",
        },
        limits=f"It fits `{TEACHER}` and no other network, and it is no artist: its sketches "
        "imitate a filter over renderings. A sketch has no colour, whatever the prompt says.",
    )
    settings = {"data": asdict(DATA), "rank": RANK, "trainable_share": share}
    settings["training"] = asdict(CONFIG)
    rows = [{"epoch": int(epoch)} | values for epoch, values in kept.items()]
    print(file, records.save("mini_pencil", settings=settings, results=rows))


if __name__ == "__main__":
    main()
