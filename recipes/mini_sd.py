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

from modarch_utils import profile, zoo
from modarch_utils.data import cache, pairs, scenes
from modarch_utils.devices import plain_attention
from modarch_utils.measure import count_params
from modarch_utils.models import mini_sd
from modarch_utils.training import autoencoder as ae
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.history import History
from modarch_utils.training.randomness import derive
from recipes import cards, mini_sd_autoencoder
from recipes.epochs import measured
from recipes.latent_diffusion import LatentDiffusion, held_out_loss, train_latent_diffusion
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

GUIDANCE = 3.0
"""Its good ``guidance_scale``; the paper's ω is 1 less."""

RUN = Path("runs/mini_sd")


def tokenizer(tokens: int = SIZE.tokens) -> mini_sd.CLIPTokenizer:
    """Knows the words of all captions and of the styles; a prompt has so many tokens."""
    one = [scenes.caption(*names) for names in itertools.product(*scenes.CLASSES.values())]
    (shape, *_), (colour, *_), (ground, *_) = scenes.CLASSES.values()
    two = pairs.caption((colour, shape), TOLD, (colour, shape), ground)
    return mini_sd.tokenizer({*STYLES, *" ".join([*one, two]).split()}, tokens)


def trained_autoencoder() -> AutoencoderKL:
    """The one in ``weights/``, frozen.

    Raises FileNotFoundError when there is none.
    """
    folder = mini_sd_autoencoder.folder()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"There is no autoencoder in {folder}; "
            f"`python -m recipes.mini_sd_autoencoder` trains it."
        )
    return AutoencoderKL.from_pretrained(folder).eval().requires_grad_(False)


def encode_images(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """Scaled means (N, C, h, w) of the latents of images (N, 3, H, W)."""
    return ae.encode(vae, images).mean * vae.config.scaling_factor


def pictures(
    seed: int, singles: int, two: int, size: int = SIZE.image_size
) -> tuple[Tensor, list[str]]:
    """Images and captions of scenes with one object and with two, and of their mirror images."""
    one = scenes.load(singles, size, seed=seed, framing="close")
    images, captions = [one.images, one.images.flip(3)], 2 * one.captions
    both = pairs.load(two, size, seed=seed)
    for each in (both, both.mirrored()):
        images.append(each.images)
        captions += each.captions(TOLD)
    return torch.cat(images), captions


def training_set(vae: AutoencoderKL, data: DataSettings = DATA) -> tuple[Tensor, list[str]]:
    """Scaled latents (N, C, h, w) of :func:`pictures` of stream 0, kept in ``runs/``; captions."""
    images, captions = pictures(0, data.singles, data.pairs, vae.config.sample_size)
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


def prompts() -> tuple[str, ...]:
    """Eight captions with one object and eight with two, all shapes and colours among them."""
    shapes, colours, grounds = scenes.CLASSES.values()

    def thing(i: int) -> tuple[str, str]:
        return colours[(3 * i) % 8], shapes[i % 8]

    one = [scenes.caption(*thing(i)[::-1], grounds[i % 4]) for i in range(8)]
    two = [pairs.caption(thing(i), TOLD, thing(3 * i + 5), grounds[i // 2]) for i in range(8)]
    return (*one, *two)


@dataclass(frozen=True)
class Sheet:
    """What is drawn of a model now and then, to be looked at."""

    steps: int = 25
    guidance: float = GUIDANCE
    prompts: tuple[str, ...] = prompts()
    style: str = ""
    """A word or more before each prompt."""

    def draw(self, pipe: StableDiffusionPipeline, file: Path) -> None:
        """Write the pictures, each under its prompt."""
        styled = [f"{self.style} {prompt}".strip() for prompt in self.prompts]
        images = draw(pipe, styled, self.steps, self.guidance)
        save_sheet(images, file, [textwrap.fill(prompt, 18) for prompt in self.prompts])


SHEET = Sheet()


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


def main(
    data: DataSettings = DATA,
    config: TrainConfig = CONFIG,
    size: mini_sd.MiniSDConfig = SIZE,
    sheet: Sheet = SHEET,
) -> None:
    """Train what is missing of the run; print each epoch; write pipeline, card and record."""
    torch.set_num_threads(THREADS)
    vae, words = trained_autoencoder(), tokenizer(size.tokens)
    train, captions = training_set(vae, data)
    images, asked = pictures(1, data.held_out, data.held_out, size.image_size)
    held_out = encode_images(vae, images)
    ids, asked_ids = (mini_sd.token_ids(words, each) for each in (captions, asked))
    empty = mini_sd.token_ids(words, [""])[0]
    torch.manual_seed(config.seed)
    model = LatentDiffusion(mini_sd.unet(size), mini_sd.text_model(words, size), empty)
    options = {"out": RUN, "progress": False}

    def until(epoch: int) -> History:
        with plain_attention("cpu"):
            return train_latent_diffusion(
                model, train, ids, config, CAPTION_DROPOUT, MIN_SNR, stop_after=epoch, **options
            )

    def measure(epoch: int, history: History) -> dict[str, float]:
        pipe = assembled(vae, words, model, history.ema_weights)
        sheet.draw(pipe, RUN / f"epoch-{epoch:03d}.png")
        average = LatentDiffusion(pipe.unet, pipe.text_encoder, empty)
        return {
            "held_out": held_out_loss(average, held_out, asked_ids),
            # What the captions are worth: nothing, as long as the model does not listen.
            "untold": held_out_loss(average, held_out, empty.expand(len(held_out), -1)),
        }

    history, rows = measured(until, config.epochs, RUN, measure)
    folder = profile.output_dir(zoo.WEIGHTS) / NAME
    files = mini_sd.save(assembled(vae, words, model, history.ema_weights), folder)
    hashes = {file.relative_to(folder).as_posix(): cards.sha256(file) for file in files}
    settings = {"scenes": pairs.version(), "sha256": hashes, "size": asdict(size)}
    settings |= {"data": asdict(data), "training": asdict(config), "min_snr": MIN_SNR}
    cards.publish(card, folder / "model_index.json", settings, rows, hashes)


def card(file: Path, settings: dict, rows: list[dict]) -> str:
    """The model card of a saved pipeline, given the settings and rows of its record."""
    pipe = StableDiffusionPipeline.from_pretrained(file.parent)
    parts = ("vae", "unet", "text_encoder")
    return cards.fill(
        NAME,
        file,
        settings,
        rows,
        size=pipe.vae.config.sample_size,
        latent=pipe.unet.config.sample_size,
        channels=pipe.unet.config.in_channels,
        counts={part: count_params(getattr(pipe, part)) for part in parts},
        vocabulary=", ".join(mini_sd.vocabulary(pipe.tokenizer)),
        guidance=GUIDANCE,
        table="\n".join(f"| `{k}` | sha256 `{v}` |" for k, v in settings["sha256"].items()),
    )


if __name__ == "__main__":
    main()
