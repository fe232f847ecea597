"""Train ``mini-sd``, a small Stable Diffusion, on captioned scenes (chapter 05_latent_consistency).

``python -m recipes.mini_sd`` takes the autoencoder that
:mod:`recipes.mini_sd_autoencoder` left in ``weights/mini-sd``, trains U-Net and text
model on two threads, goes on where it was stopped, and ends by writing the whole pipeline to that
folder and the course of the training to ``records/mini_sd.json``; called again, it writes both
again without training. Each epoch writes a picture of what the model draws to ``runs/``.
"""

import copy
import hashlib
import itertools
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from torch import Tensor

from modarch_utils import profile, records, zoo
from modarch_utils.data import cache, pairs, scenes
from modarch_utils.devices import plain_attention
from modarch_utils.measure import count_params
from modarch_utils.models import mini_sd
from modarch_utils.training import autoencoder as ae
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.history import History
from modarch_utils.training.randomness import derive
from recipes import export
from recipes.epochs import each_epoch, keep
from recipes.latent_diffusion import (
    LatentDiffusion,
    held_out_loss,
    train_latent_diffusion,
)
from recipes.mini_sd_autoencoder import FOLDER as AUTOENCODER
from recipes.mini_sd_autoencoder import SIZE, THREADS, save_sheet

NAME = "mini-sd"


@dataclass(frozen=True)
class DataSettings:
    """The scenes: stream 0 to train on, stream 1 held out."""

    singles: int = 6_000
    """With one object, in the close framing."""
    pairs: int = 10_000
    held_out: int = 500
    """Of each."""


DATA = DataSettings()

TOLD: pairs.Side = "left"
"""Two objects are always told from the left one, so that the order of a caption is that of the
picture. Told from either side, a model of this size had not learnt after 7 epochs which is which:
of 64 pictures 34 had them as asked and 25 the other way round."""

STYLES = ("pencil", "sketch", "of")
"""Words of no caption: a tokenizer cannot learn them later, a style's LoRA can."""

CONFIG = TrainConfig(
    epochs=8,
    batch_size=32,
    lr=6e-4,
    weight_decay=0.01,
    warmup_epochs=1.0,
    label_smoothing=0.0,
    ema_decay=0.9995,
    grad_clip=1.0,
    augment="none",
)

CAPTION_DROPOUT = 0.1
MIN_SNR = 5.0
"""The paper's; see :func:`recipes.latent_diffusion.noise_loss`."""

SHEET_STEPS = 25
SHEET_GUIDANCE = 3.0


RUN = Path("runs/mini_sd")


def tokenizer() -> mini_sd.CLIPTokenizer:
    """Knows the words of all captions and of the styles."""
    one = [scenes.caption(*names) for names in itertools.product(*scenes.CLASSES.values())]
    (shape, *_), (colour, *_), (ground, *_) = scenes.CLASSES.values()
    two = pairs.caption((colour, shape), TOLD, (colour, shape), ground)
    return mini_sd.tokenizer({*STYLES, *" ".join([*one, two]).split()}, SIZE.tokens)


def trained_autoencoder() -> AutoencoderKL:
    """The one in ``weights/``, frozen.

    Raises FileNotFoundError when there is none.
    """
    if not AUTOENCODER.is_dir():
        raise FileNotFoundError(
            f"There is no autoencoder in {AUTOENCODER}; "
            f"`python -m recipes.mini_sd_autoencoder` trains it."
        )
    return AutoencoderKL.from_pretrained(AUTOENCODER).eval().requires_grad_(False)


def encode_images(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Scaled means (N, C, h, w) of the latents of images (N, 3, H, W)."""
    return ae.encode(vae, images).mean * vae.config.scaling_factor


def pictures(seed: int, singles: int, two: int) -> tuple[Tensor, list[str]]:
    """Images and captions of scenes with one object and with two, and of their mirror images."""
    one = scenes.load(singles, SIZE.image_size, seed=seed, framing="close")
    images, captions = [one.images, one.images.flip(3)], 2 * one.captions
    both = pairs.load(two, SIZE.image_size, seed=seed)
    for each in (both, both.mirrored()):
        images.append(each.images)
        captions += each.captions(TOLD)
    return torch.cat(images), captions


def training_set(vae: AutoencoderKL) -> tuple[Tensor, list[str]]:
    """Scaled latents (N, C, h, w) of :func:`pictures` of stream 0, kept in ``runs/``; captions."""
    images, captions = pictures(0, DATA.singles, DATA.pairs)
    weights = b"".join(value.numpy().tobytes() for value in vae.state_dict().values())
    version = hashlib.sha256(weights + pairs.version().encode()).hexdigest()[:10]
    file = RUN / f"latents-{len(images)}-{version}.safetensors"
    stored = cache.read(file)
    if stored is None:
        stored = {"latents": encode_images(vae, images)}
        cache.write(file, stored)
    return stored["latents"], captions


def draw(pipe: StableDiffusionPipeline, prompts: list[str], steps: int, guidance: float) -> Tensor:
    """One picture for each prompt, (N, 3, S, S) in [-1, 1], always from the same noises."""
    pipe.set_progress_bar_config(disable=True)
    images = pipe(
        prompts,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=[torch.Generator().manual_seed(derive(0, i)) for i in range(len(prompts))],
        output_type="pt",
    ).images
    return images * 2 - 1


def prompts() -> list[str]:
    """Eight captions with one object and eight with two, all shapes and colours among them."""
    shapes, colours, grounds = scenes.CLASSES.values()

    def thing(i: int) -> tuple[str, str]:
        return colours[(3 * i) % 8], shapes[i % 8]

    one = [scenes.caption(*thing(i)[::-1], grounds[i % 4]) for i in range(8)]
    two = [pairs.caption(thing(i), TOLD, thing(3 * i + 5), grounds[i // 2]) for i in range(8)]
    return one + two


def sheet(pipe: StableDiffusionPipeline, file: Path) -> None:
    """Draw :func:`prompts`."""
    images = draw(pipe, prompts(), SHEET_STEPS, SHEET_GUIDANCE)
    save_sheet(images, file, [short(text) for text in prompts()])


def short(caption: str) -> str:
    """A caption in lines that fit over a small picture."""
    return textwrap.fill(caption, 18)


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
    torch.set_num_threads(THREADS)
    vae, words = trained_autoencoder(), tokenizer()
    train, captions = training_set(vae)
    images, asked = pictures(1, DATA.held_out, DATA.held_out)
    held_out = encode_images(vae, images)
    ids, asked_ids = (mini_sd.token_ids(words, each) for each in (captions, asked))

    torch.manual_seed(CONFIG.seed)
    empty = mini_sd.token_ids(words, [""])[0]
    model = LatentDiffusion(mini_sd.unet(SIZE), mini_sd.text_model(words, SIZE), empty)

    def until(epoch: int) -> History:
        with plain_attention("cpu"):
            return train_latent_diffusion(
                model,
                train,
                ids,
                CONFIG,
                CAPTION_DROPOUT,
                MIN_SNR,
                out=RUN,
                stop_after=epoch,
                progress=False,
            )

    for epoch, history in each_epoch(until, CONFIG.epochs):
        pipe = assembled(vae, words, model, history.ema_weights)
        average = LatentDiffusion(pipe.unet, pipe.text_encoder, empty)
        values = {"loss": history.train_loss[-1], "seconds": history.seconds[-1]}
        values["held_out"] = held_out_loss(average, held_out, asked_ids)
        # What the captions are worth: nothing, as long as the model does not listen.
        values["untold"] = held_out_loss(average, held_out, empty.expand(len(held_out), -1))
        kept = keep(RUN, epoch, values)
        sheet(pipe, RUN / f"epoch-{epoch:03d}.png")
    folder = profile.output_dir(zoo.WEIGHTS) / NAME
    files = mini_sd.save(pipe, folder)
    hashes = {
        file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }
    (folder / "README.md").write_text(card(pipe, hashes, sum(history.seconds) / 60), "utf-8")
    print(folder, f"{sum(file.stat().st_size for file in files) / 1e6:.1f} MB")
    settings = {"scenes": pairs.version(), "sha256": hashes, "size": asdict(SIZE)}
    settings |= {"data": asdict(DATA), "training": asdict(CONFIG), "min_snr": MIN_SNR}
    rows = [{"epoch": int(epoch)} | values for epoch, values in kept.items()]
    print(records.save("mini_sd", settings=settings, results=rows))


def card(pipe: StableDiffusionPipeline, hashes: dict[str, str], minutes: float) -> str:
    """A model card, without the measured quality."""
    parts = [("vae", "autoencoder"), ("unet", "U-Net"), ("text_encoder", "text model")]
    counts = ", ".join(f"{name} {count_params(getattr(pipe, part)):,}" for part, name in parts)
    weights = "\n".join(f"| `{file}` | sha256 `{digest}` |" for file, digest in hashes.items())
    vocabulary = ", ".join(mini_sd.vocabulary(pipe.tokenizer))
    pixels = pipe.vae.config.sample_size
    return f"""{export.FRONT}# {NAME}

A `StableDiffusionPipeline` that draws rendered scenes of {pixels}×{pixels} pixels from a caption. \
Parameters: {counts}. Latents of {pipe.unet.config.sample_size}×{pipe.unet.config.sample_size} in \
{pipe.unet.config.in_channels} channels.

```python
from diffusers import DiffusionPipeline

from modarch_utils import zoo

pipe = DiffusionPipeline.from_pretrained(zoo.folder("{NAME}"))
image = pipe("a red torus on a checkerboard floor", guidance_scale=3.0).images[0]
```

| | |
|---|---|
| Data | {DATA.singles:,} scenes with one object, {DATA.pairs:,} with two, and their mirror \
images, with captions |
| Recipe | `python -m recipes.mini_sd_autoencoder`, then \
`python -m recipes.mini_sd` |
| Seed | {CONFIG.seed} |
| Length | {CONFIG.epochs} epochs of U-Net and text model, {minutes:.0f} minutes by the clock \
on two threads |
| Weights | autoencoder and U-Net stored in float16, text model in float32 |
{weights}
{export.LICENCE}

It knows these words and no other: {vocabulary}.

## What it is not

It is no small copy of Stable Diffusion: it has seen rendered scenes with one object or two and \
no photograph. It has no safety checker, as it can draw nothing but such scenes.
"""


if __name__ == "__main__":
    main()
