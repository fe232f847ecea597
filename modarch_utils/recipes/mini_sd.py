"""Train ``mini-sd``, a small Stable Diffusion, on captioned scenes (chapter 05_latent_consistency).

``python -m modarch_utils.recipes.mini_sd`` takes the autoencoder that
:mod:`modarch_utils.recipes.mini_sd_autoencoder` left in ``runs/``, trains U-Net and text model on
one thread, goes on where it was stopped, and ends by writing the whole pipeline to
``weights/mini-sd`` and the course of the training to ``records/mini_sd.json``; called again, it
writes both again without training. With another ``--epochs`` than the recipe's it is a trial,
which ends in ``runs/`` instead and leaves no record. Some epochs write a picture of what the model
draws. ``--side 16`` trains on larger latents.
"""

import argparse
import copy
import hashlib
import itertools
import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import Tensor

from modarch_utils import records, zoo
from modarch_utils.data import cache, scenes
from modarch_utils.measure import count_params
from modarch_utils.models import mini_sd
from modarch_utils.recipes.epochs import SCORES, each_epoch, keep
from modarch_utils.recipes.mini_sd_autoencoder import (
    DATA,
    SIZES,
    load,
    run_folder,
    save_sheet,
)
from modarch_utils.training import autoencoder as ae
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.history import History
from modarch_utils.training.latent_diffusion import (
    LatentDiffusion,
    held_out_loss,
    train_latent_diffusion,
)
from modarch_utils.training.randomness import derive
from modarch_utils.training.self_distillation import plain_attention

NAME = "mini-sd"

CONFIG = TrainConfig(
    epochs=50,
    batch_size=48,
    lr=6e-4,
    weight_decay=0.01,
    warmup_epochs=1.0,
    label_smoothing=0.0,
    ema_decay=0.9995,
    grad_clip=1.0,
    augment="none",
    autocast="bf16",  # it pays in the matrix products, with plain attention
)

CAPTION_DROPOUT = 0.1

SHEET_EVERY = 5
"""Epochs between two pictures."""
SHEET_STEPS = 25
SHEET_GUIDANCE = 3.0


def captions() -> list[str]:
    """All sentences that describe a scene."""
    return [scenes.caption(*names) for names in itertools.product(*scenes.CLASSES.values())]


def tokenizer(tokens: int) -> mini_sd.CLIPTokenizer:
    """Knows the words of all captions."""
    return mini_sd.tokenizer({word for each in captions() for word in each.split()}, tokens)


def trained_autoencoder(side: int) -> AutoencoderKL:
    """The one in ``runs/``, frozen.

    Raises FileNotFoundError when there is none.
    """
    folder = run_folder(side, "mini_sd_autoencoder") / "vae"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no autoencoder in {folder}; "
            f"`python -m modarch_utils.recipes.mini_sd_autoencoder --side {side}` trains it."
        )
    return AutoencoderKL.from_pretrained(folder).eval().requires_grad_(False)


def latents(vae: AutoencoderKL, images: Tensor, file: Path) -> Tensor:
    """Scaled means (N, C, h, w) of images' latents, kept in ``file``."""
    stored = cache.read(file)
    if stored is None:
        stored = {"mean": ae.encode(vae, images).mean * vae.config.scaling_factor}
        cache.write(file, stored)
    return stored["mean"]


def latent_set(vae: AutoencoderKL, stream: int, side: int, mirrored: bool) -> tuple[Tensor, list]:
    """Latents and captions of a stream's scenes, and of their mirror images, which the captions
    describe as well."""
    data = load(stream)
    weights = b"".join(value.numpy().tobytes() for value in vae.state_dict().values())
    version = hashlib.sha256(weights).hexdigest()[:10]
    parts = []
    for flipped in (False, True)[: 1 + mirrored]:
        images = data.images.flip(3) if flipped else data.images
        name = f"latents-seed{stream}{'-mirrored' * flipped}-{scenes.version()}-{version}"
        parts.append(latents(vae, images, run_folder(side, "mini_sd") / f"{name}.safetensors"))
    return torch.cat(parts), data.captions * len(parts)


def draw(pipe: StableDiffusionPipeline, prompts: list[str], seed: int = 0) -> Tensor:
    """One picture for each prompt, (N, 3, S, S) in [-1, 1], by DDIM with guidance."""
    pipe.set_progress_bar_config(disable=True)
    images = pipe(
        prompts,
        num_inference_steps=SHEET_STEPS,
        guidance_scale=SHEET_GUIDANCE,
        generator=[torch.Generator().manual_seed(derive(seed, i)) for i in range(len(prompts))],
        output_type="pt",
    ).images
    return images * 2 - 1


def sheet(pipe: StableDiffusionPipeline, file: Path) -> None:
    """Draw 16 captions in which each shape and each colour stands twice, each ground four times."""
    shapes, colours, grounds = scenes.CLASSES.values()
    some = [
        scenes.caption(shapes[i % 8], colours[(i + 3 * (i // 8)) % 8], grounds[(i + i // 8) % 4])
        for i in range(16)
    ]
    save_sheet(draw(pipe, some), file, [short(text) for text in some])


def short(caption: str) -> str:
    """A caption in two lines, to stand over a small picture."""
    head, _, tail = caption.partition(" on ")
    return f"{head}\non {tail}"


def assembled(
    vae: AutoencoderKL,
    words: mini_sd.CLIPTokenizer,
    model: LatentDiffusion,
    weights: dict[str, Tensor] | None,
) -> StableDiffusionPipeline:
    """The pipeline with a copy of the averaged weights, or of the model's own if there are none."""
    average = copy.deepcopy(model)
    if weights is not None:
        average.load_state_dict(weights)
    return mini_sd.pipeline(vae, average.text_encoder, words, average.unet)


def main() -> None:
    """Train what is missing of the run; print each epoch; write pipeline, card and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, choices=SIZES, default=8, help="of the latents")
    parser.add_argument("--epochs", type=int, default=CONFIG.epochs, help="length of the schedule")
    options = parser.parse_args()
    torch.set_num_threads(1)
    side, size, run = options.side, SIZES[options.side], run_folder(options.side, "mini_sd")
    config = replace(CONFIG, epochs=options.epochs)
    vae, words = trained_autoencoder(side), tokenizer(size.tokens)
    train, train_captions = latent_set(vae, 0, side, mirrored=True)
    held_out, asked = latent_set(vae, 1, side, mirrored=False)
    ids, asked_ids = (mini_sd.token_ids(words, each) for each in (train_captions, asked))

    torch.manual_seed(config.seed)
    empty = mini_sd.token_ids(words, [""])[0]
    model = LatentDiffusion(mini_sd.unet(size), mini_sd.text_model(words, size), empty)

    def until(epoch: int) -> History:
        with plain_attention("cpu"):
            return train_latent_diffusion(
                model,
                train,
                ids,
                config,
                CAPTION_DROPOUT,
                out=run,
                stop_after=epoch,
                progress=False,
            )

    for epoch, history in each_epoch(until, config.epochs):
        pipe = assembled(vae, words, model, history.ema_weights)
        average = LatentDiffusion(pipe.unet, pipe.text_encoder, empty)
        values = {"loss": history.train_loss[-1], "seconds": history.seconds[-1]}
        values["held_out"] = held_out_loss(average, held_out, asked_ids)
        # What the captions are worth: nothing, as long as the model does not listen.
        values["untold"] = held_out_loss(average, held_out, empty.expand(len(held_out), -1))
        keep(run, epoch, values)
        if epoch % SHEET_EVERY == 0 or epoch == config.epochs:
            sheet(pipe, run / f"epoch-{epoch:03d}.png")
    whole = config.epochs == CONFIG.epochs
    folder = (zoo.WEIGHTS if whole else run) / NAME
    files = mini_sd.save(pipe, folder)
    (folder / "README.md").write_text(card(pipe, files, config, sum(history.seconds) / 60))
    print(folder, f"{sum(file.stat().st_size for file in files) / 1e6:.1f} MB")
    if whole:
        settings = {"side": side, "scenes": scenes.version(), "size": asdict(size)}
        settings |= {"data": asdict(DATA), "training": asdict(config)}
        kept = json.loads((run / SCORES).read_text())
        rows = [{"epoch": int(epoch)} | values for epoch, values in kept.items()]
        print(records.save("mini_sd", settings=settings, results=rows))


def card(
    pipe: StableDiffusionPipeline, files: list[Path], config: TrainConfig, minutes: float
) -> str:
    """A model card, without the measured quality."""
    parts = [("vae", "autoencoder"), ("unet", "U-Net"), ("text_encoder", "text model")]
    counts = ", ".join(f"{name} {count_params(getattr(pipe, part)):,}" for part, name in parts)
    hashes = "\n".join(
        f"| `{file.relative_to(file.parents[1])}` | "
        f"sha256 `{hashlib.sha256(file.read_bytes()).hexdigest()}` |"
        for file in files
    )
    vocabulary = ", ".join(mini_sd.vocabulary(pipe.tokenizer))
    pixels = pipe.vae.config.sample_size
    return f"""# {NAME}

A `StableDiffusionPipeline` that draws rendered scenes of {pixels}×{pixels} pixels from a caption. \
Parameters: {counts}. Latents of {pipe.unet.config.sample_size}×{pipe.unet.config.sample_size} in \
{pipe.unet.config.in_channels} channels.

```python
from diffusers import DiffusionPipeline

pipe = DiffusionPipeline.from_pretrained("modarch_utils/weights/{NAME}")
image = pipe("a red torus on a checkerboard floor", guidance_scale=3.0).images[0]
```

| | |
|---|---|
| Data | {DATA.images:,} scenes and their mirror images, framing `{DATA.framing}`, \
stream 0, with captions |
| Recipe | `python -m modarch_utils.recipes.mini_sd_autoencoder`, then \
`python -m modarch_utils.recipes.mini_sd` |
| Seed | {config.seed} |
| Length | {config.epochs} epochs of U-Net and text model, {minutes:.0f} minutes by the clock \
on one thread |
| Weights | autoencoder and U-Net stored in float16, text model in float32 |
{hashes}

It knows these words and no other: {vocabulary}.

## What it is not

It is no small copy of Stable Diffusion: it has seen rendered scenes with one object each and no \
photograph. It has no safety checker, as it can draw nothing but such scenes.
"""


if __name__ == "__main__":
    main()
