"""What the checks of exercise 4 share: small pipelines with random weights, and what they do.

Stable Diffusion's classes with a U-Net of one level, 16×16 pixels, and a LoRA in a folder. Nothing
is trained and nothing is loaded from a hub. What the checks themselves draw is drawn once for each
seed; networks that student code is given are always new copies.
"""

import contextlib
import copy
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    LCMScheduler,
    PNDMScheduler,
    SchedulerMixin,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from diffusers.utils import logging
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch import Tensor, nn

from modarch_utils.checks import core
from modarch_utils.checks.core import (
    RIGHT,
    Case,
    Part,
    Report,
    Seen,
    call,
    near,
    returned,
    wrong,
)
from modarch_utils.models import mini_sd
from modarch_utils.models.mini_sd import MiniSDConfig

SIZE = MiniSDConfig(
    image_size=16,
    vae_channels=(8, 8),
    unet_channels=(32,),
    attention=(False,),  # the middle always has it
    text_dim=32,
    text_layers=1,
    tokens=7,
)
PROMPTS = ["a red cube on grass", "a blue star on grass", "a red star", "a blue cube"]
STABLE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
"""Stable Diffusion's noise schedule."""
OTHER = STABLE | {"beta_end": 0.02, "prediction_type": "v_prediction"}
"""One that no library has as its default."""
TOLERANCE = 1e-3  # of the largest number: adapters beside the weights, or added to them


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No warnings, no messages of diffusers; random numbers and the U-Net's class as they were."""
    level, kind = logging.get_verbosity(), UNet2DConditionModel
    methods = kind.forward, kind.__call__
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.set_verbosity(logging.CRITICAL)
        try:
            yield
        finally:
            logging.set_verbosity(level)
            kind.forward, kind.__call__ = methods  # whatever student code has put there


def check(part: Callable[[int], Part]) -> Callable[..., Report]:
    """A check that students call: all findings on a function, which the part's docstring tells of.

    Args:
        part: from a seed to what a right answer must show.
    """

    def checked(function: Callable, seed: int = 0) -> Report:
        with quiet():
            return part(seed).check(function)

    checked.__doc__ = part.__doc__
    return checked


def pipeline(seed: int = 0, sampler: SchedulerMixin | None = None) -> StableDiffusionPipeline:
    """A small pipeline with random weights.

    Every call gives new networks, with the same weights for the same seed. Without a sampler of
    its own it has PNDM, as Stable Diffusion 1.5.
    """
    pipe = copy.deepcopy(_original(seed))
    pipe.scheduler = sampler or pipe.scheduler
    return pipe


@cache
def _original(seed: int) -> StableDiffusionPipeline:
    """The one that is copied. Student code never gets hold of it."""
    torch.manual_seed(seed)
    words = mini_sd.tokenizer(" ".join(PROMPTS).split(), SIZE.tokens)
    unet, text = mini_sd.unet(SIZE), mini_sd.text_model(words, SIZE)
    with torch.no_grad():
        for p in unet.parameters():
            if p.ndim > 1:
                p.mul_(1.5)
        for p in text.parameters():
            p.mul_(3)
    pipe = mini_sd.pipeline(mini_sd.autoencoder(SIZE), text, words, unet)
    pipe.scheduler = pndm()
    return silent(pipe)


def silent(pipe: DiffusionPipeline) -> DiffusionPipeline:
    """The same pipeline, without its progress bar."""
    pipe.set_progress_bar_config(disable=True)
    return pipe


def pndm() -> PNDMScheduler:
    """Stable Diffusion 1.5's sampler, which calls the U-Net once more than it makes steps."""
    settings = STABLE | {"skip_prk_steps": True, "set_alpha_to_one": False, "clip_sample": False}
    return PNDMScheduler.from_config(settings)


def clipping() -> DDIMScheduler:
    """A sampler saved with ``clip_sample``, which its configuration hands on to others."""
    return ddim(STABLE, "leading", clip=True)


def other() -> DDIMScheduler:
    """A sampler with another noise schedule, of a network that predicts v."""
    return DDIMScheduler(**OTHER, clip_sample=False, set_alpha_to_one=False)


def lcm(schedule: dict, clip: bool = False) -> LCMScheduler:
    """LCM's sampler on a noise schedule."""
    return LCMScheduler(**schedule, clip_sample=clip, set_alpha_to_one=False)


def ddim(schedule: dict, spacing: str = "trailing", clip: bool = False) -> DDIMScheduler:
    """DDIM on a noise schedule."""
    return DDIMScheduler(
        **schedule, clip_sample=clip, set_alpha_to_one=False, timestep_spacing=spacing
    )


def lora(seed: int = 0) -> Path:
    """A folder with a seed's adapters for the small U-Net, written anew; gone when Python ends."""
    folder = _folder(seed).name
    StableDiffusionPipeline.save_lora_weights(folder, _adapters(seed))
    return Path(folder)


@cache
def _folder(seed: int) -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix=f"lora-{seed}-")


@cache
def _adapters(seed: int) -> dict[str, Tensor]:
    """Random adapters, under peft's names."""
    torch.manual_seed(1000 + seed)
    unet = mini_sd.unet(SIZE)
    unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v", "to_out.0"]))
    for name, p in unet.named_parameters():
        if "lora_" in name:
            nn.init.normal_(p, std=0.3)
    return {name: value.clone() for name, value in get_peft_model_state_dict(unet).items()}


@cache
def _with_lora(seed: int, lora: int, times: float) -> UNet2DConditionModel:
    """A seed's U-Net, without adapters, whose weights are W + ``times`` · B A of another seed's."""
    unet, state = pipeline(seed).unet, _adapters(lora)
    with torch.no_grad():
        for name, a in state.items():
            if "lora_A" in name:
                b = state[name.replace("lora_A", "lora_B")]
                unet.get_submodule(name.removesuffix(".lora_A.weight")).weight += times * b @ a
    return unet


def latents(pipe: DiffusionPipeline) -> Tensor:
    """What a pipeline makes of a fixed noise in 3 steps, without guidance; not decoded."""
    shape = 2, SIZE.latent_channels, SIZE.latent_side, SIZE.latent_side
    return pipe(
        PROMPTS[:2],
        num_inference_steps=3,
        guidance_scale=1.0,
        latents=torch.randn(shape, generator=torch.Generator().manual_seed(5)),
        generator=torch.Generator().manual_seed(5),
        output_type="latent",
    ).images


def with_sampler(pipe: DiffusionPipeline, scheduler, unet: nn.Module | None = None):
    """A pipeline of the same parts with another sampler, and another U-Net if one is given."""
    parts = pipe.components | {"unet": unet or pipe.unet}
    made = silent(StableDiffusionPipeline(**parts, requires_safety_checker=False))
    made.scheduler = scheduler  # the constructor would repair one that clips
    return made


def known(seed: int, scheduler, strength: float = 0.0, lora: int = 0) -> Tensor:
    """:func:`latents` by a seed's networks with a sampler.

    Args:
        seed: of :func:`pipeline`.
        scheduler: the sampler, with its settings.
        strength: the part of the adapters that is added to the U-Net's weights.
        lora: the adapters' seed.
    """
    case = seed, scheduler.to_json_string(), strength, lora
    if case not in _KNOWN:
        unet = _with_lora(seed, lora, strength)
        _KNOWN[case] = latents(with_sampler(_original(seed), scheduler, unet))
    return _KNOWN[case]


_KNOWN: dict[tuple, Tensor] = {}


def drawn(result: object) -> Tensor:
    """:func:`latents` of the pipeline that a student's function returns.

    Raises:
        Unusable: it returns something else, or cannot draw.
    """
    pipe = returned(
        result,
        DiffusionPipeline,
        "Return a pipeline that can be called with a prompt, StableDiffusionPipeline(...).",
    )
    read = "Draw one picture with it, and read the error."
    return call(latents, silent(pipe), hint=hint, otherwise=read)


def as_before(seed: int, pipe: DiffusionPipeline) -> str:
    """What has become of a seed's pipeline, which had PNDM, in words. Its sampler is replaced."""
    if same(latents(pipe), known(seed, pndm())):
        return "it draws as before"
    pipe.scheduler = pndm()
    now = latents(pipe)
    if same(now, known(seed, pndm())):
        return "it has another sampler"
    lora = same(now, known(seed, pndm(), 1.0, seed))
    return "it draws with the LoRA" if lora else "it has other weights"


def number(result: object, likely: str = "Return one number.") -> float:
    """The student's number, also from a tensor of one. Raises Unusable for anything else."""
    single = isinstance(result, Tensor) and result.numel() == 1
    return core.number(result.item() if single else result, likely)


def same(a: Tensor, b: Tensor) -> bool:
    """Whether two results are one, up to rounding."""
    return a.shape == b.shape and near(a.double(), b.double(), TOLERANCE)


def hint(message: str, _: object = None) -> str:
    """The likely mistake behind diffusers' words."""
    if "expected" in message and "were passed" in message or "missing" in message:
        return "A pipeline needs all its parts: pass **pipe.components, with those you replace."
    if "no file named" in message or "not a local folder" in message:
        return "Load from the folder that the function is given."
    if "Unknown checkpoint" in message:
        return "A name is fixed in the code: use what the function is given."
    if "already in use" in message or "Adapter with name" in message:
        return "The LoRA is loaded twice into one U-Net: give every fast pipeline its own copy."
    if "list of generators" in message:
        return "There must be as many generators as prompts."
    if "Generator" in message and "__call__" in message:
        return "Pass the generator by its name: generator=..."
    return ""


def lets_errors_pass(
    case: Case, left: Callable[[DiffusionPipeline], str], right: str, likely: str, swallowed: str
) -> Callable[[Callable], Seen]:
    """A property: an error in run(), a case's last argument, reaches the caller; no trace is left.

    What is left on the pipeline, its first, is told in words, and should be `right`; `likely` and
    `swallowed` are the mistakes where something else is, and where no error comes.
    """

    def look(function: Callable) -> Seen:
        *args, draws = case()

        def run() -> None:
            draws()
            raise LookupError("a run that fails")

        try:
            function(*args, run)
        except LookupError:
            now = left(args[0])
            return RIGHT if now == right else wrong(f"after an error in run(), {now}", likely)
        except Exception as error:
            return wrong(type(error).__name__, "Let run()'s own error pass.")
        return wrong("the error is swallowed", swallowed)

    return look
