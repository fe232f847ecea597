"""Few steps, measured: LCM-LoRA and LCM against DDIM and DPM++ (chapter 05_latent_consistency).

``python -m recipes.few_steps`` draws the same prompts from the same noise with every
sampler of ``GRID``, by the diffusers pipelines themselves, goes on where it was stopped, and writes
``records/few_steps.json``. Prompts are the captions of renderings that neither the generator nor
the reader has seen; half of them ask for two objects.

Prompt-following: see :mod:`modarch_utils.training.reading`.

Fréchet distance: pooled features of EfficientNet-Lite0, trained on ImageNet, in the subspace of
the first principal components of real renderings. 256 pictures say too little of the 1,280 channels
themselves: a covariance estimated from them has rank 255, and the estimate's error outweighs what
is to be measured. The subspace is fixed before any picture is generated; what it does not hold is
not measured. The distance is biased upwards for few pictures, so all sets have the same size; the
mean over several disjoint sets of real renderings is taken, whose captions have the same
distribution. The floor, ``real``, is a further set of real renderings, judged in the same way as
generated ones; ``autoencoder`` is what the pipeline's autoencoder leaves of them.

DDIM and DPM++ begin at the last time of the noise schedule, as LCM does (spacing ``"trailing"``,
Lin et al. 2023, arXiv 2305.08891). Stable Diffusion's own spacing begins earlier, with one step at
t = 1, though it is given pure noise; ``ddim_leading`` shows what that costs.
"""

import itertools
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from typing import Any, NamedTuple

import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor

from modarch_utils import measure, records, zoo
from modarch_utils.data import pairs, scenes
from modarch_utils.models import reader
from modarch_utils.training import autoencoder, reading
from modarch_utils.training.randomness import generator
from recipes import cards, jobs, mini_lcm, mini_lcm_lora, mini_reader, mini_sd
from recipes.latent_students import GUIDANCE, TEACHER

NAME = "few_steps"
LORA, LCM = mini_lcm_lora.NAME, mini_lcm.NAME


@dataclass(frozen=True)
class Settings:
    """Pictures and repeats."""

    prompts: int = 128
    """With one object, and as many with two."""
    seeds: int = 3
    """Draws of the noise, and of the real renderings of ``real`` and ``autoencoder``."""
    stream: int = 22
    """Of the scenes: the generator's are 0 and 1, the reader's 20 and 21."""
    references: int = 4
    """Sets of real renderings that every set of pictures is compared with."""
    fitted: int = 1024
    """Real renderings of each kind whose principal components are taken."""
    components: int = 64
    batch_size: int = 64
    timed: int = 16
    """Pictures whose time is taken, in one batch."""
    turns: int = 3


SETTINGS = Settings()

Grid = Mapping[str, tuple[tuple[float, ...], tuple[int, ...]]]
GRID: Grid = {
    "ddim": ((GUIDANCE, 1.0), (1, 2, 4, 8, 25, 50)),
    "ddim_leading": ((GUIDANCE,), (1, 2, 4, 8)),
    "dpm++": ((GUIDANCE, 1.0), (2, 4, 8)),
    "lcm_lora": ((1.0, 1.5), (1, 2, 4, 8)),
    "lcm": ((GUIDANCE, 1.0), (1, 2, 4, 8)),
}
"""Guidance scales and numbers of steps. Of DDIM and DPM++, scales above 1 are classifier-free
guidance, which calls the U-Net twice a step; LCM-LoRA has :data:`GUIDANCE` built in, and 1.5 is
classifier-free guidance on top of it; LCM takes the scale as an embedding."""

Shown = Mapping[str, tuple[str, float, int, str]]
SHOWN: Shown = {
    TEACHER: ("ddim", GUIDANCE, 50, "guided steps"),
    LORA: ("lcm_lora", 1.0, 4, "steps"),
    LCM: ("lcm", GUIDANCE, 4, "steps"),
}
"""Method, guidance scale, steps and their name: by what the zoo tells how good a checkpoint is."""

ONE_SEED = ("ddim_leading",)
"""What is drawn once only: it is a warning, not a rival."""

NOT_DRAWN = ("real", "autoencoder")


class Set(NamedTuple):
    """Real renderings, half with one object and half with two, and their captions."""

    images: Tensor
    """(N, 3, S, S) uint8"""
    captions: list[str]


def real_set(index: int, settings: Settings) -> Set:
    """Disjoint sets of real renderings: 0, 1, ...; the captions of set 0 are the prompts."""
    one, two = _renderings(settings)
    part = slice(index * settings.prompts, (index + 1) * settings.prompts)
    one, two = one[part], two[part]
    return Set(torch.cat((one.images, two.images)), one.captions + two.captions(mini_sd.TOLD))


@lru_cache
def _renderings(settings: Settings) -> tuple[scenes.Scenes, pairs.Pairs]:
    """The sets of :func:`real_set`, then those to which principal components are fitted."""
    n = _sets(settings) * settings.prompts + settings.fitted
    one = scenes.load(n, 64, seed=settings.stream, framing="close")
    return one, pairs.load(n, 64, seed=settings.stream)


def _sets(settings: Settings) -> int:
    return settings.seeds + settings.references


class Judge:
    """Reads pictures, and compares their features with those of real renderings."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.reader = reader.load(zoo.WEIGHTS / mini_reader.NAME)
        self.network = zoo.load_timm("efficientnet_lite0")
        known = torch.cat([each.images[-settings.fitted :] for each in _renderings(settings)])
        self.mean, self.components = principal(self._pooled(known), settings.components)
        sets = range(settings.seeds, _sets(settings))
        self.references = [self.features(real_set(i, settings).images) for i in sets]

    @torch.no_grad()
    def _pooled(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W), uint8 or in [-1, 1], to (N, 1280)."""
        parts = images.split(self.settings.batch_size)
        floats = (reading.to_input(part) for part in parts)
        maps = (self.network.forward_features(part) for part in floats)
        return torch.cat([self.network.forward_head(each, pre_logits=True) for each in maps])

    def features(self, images: Tensor) -> Tensor:
        """Images (N, 3, H, W), uint8 or in [-1, 1], to coordinates (N, components)."""
        return (self._pooled(images) - self.mean) @ self.components.T

    def __call__(self, images: Tensor, prompts: list[str]) -> dict[str, float]:
        """How far images (N, 3, H, W) in [0, 1] follow their prompts, and how real they look."""
        found = self.features(images * 2 - 1)
        distances = [measure.frechet_distance(found, each) for each in self.references]
        return {
            **reading.score(self.reader, images, prompts),
            "frechet": round(sum(distances) / len(distances), 4),
        }


judge = lru_cache(Judge)


def principal(features: Tensor, components: int) -> tuple[Tensor, Tensor]:
    """Mean (D,) of features (N, D), and their first principal components (components, D)."""
    mean = features.mean(0)
    return mean, torch.linalg.svd(features - mean, full_matrices=False).Vh[:components]


@lru_cache
def pipeline(method: str) -> DiffusionPipeline:
    """The pipeline of a method of :data:`GRID`, put together as a user of diffusers would."""
    pipe = StableDiffusionPipeline.from_pretrained(zoo.WEIGHTS / TEACHER)
    for name in ("vae", "unet", "text_encoder"):
        zoo.whole(getattr(pipe, name), zoo.WEIGHTS / TEACHER / name)
    config = pipe.scheduler.config
    if method == "ddim":
        pipe.scheduler = DDIMScheduler.from_config(config, timestep_spacing="trailing")
    elif method == "ddim_leading":
        pipe.scheduler = DDIMScheduler.from_config(config, timestep_spacing="leading")
    elif method == "dpm++":
        pipe.scheduler = DPMSolverMultistepScheduler.from_config(
            config, timestep_spacing="trailing"
        )
    elif method == "lcm_lora":
        pipe.load_lora_weights(zoo.WEIGHTS / LORA)
        zoo.whole(pipe.unet, zoo.WEIGHTS / LORA)
        pipe.scheduler = LCMScheduler.from_config(config)
    else:
        parts = pipe.components | {"scheduler": LCMScheduler.from_config(config)}
        unet = UNet2DConditionModel.from_pretrained(zoo.WEIGHTS / LCM)
        parts["unet"] = zoo.whole(unet, zoo.WEIGHTS / LCM)
        pipe = LatentConsistencyModelPipeline(**parts, requires_safety_checker=False)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def draw(
    pipe: DiffusionPipeline,
    prompts: list[str],
    *,
    guidance: float,
    steps: int,
    seed: int,
    batch_size: int,
) -> Tensor:
    """One picture for each prompt, (N, 3, S, S) in [0, 1].

    Picture i begins with the noise of ``(seed, i)``, whatever the method and the batch; LCM's
    later noise is a function of them too.
    """
    unet, numbers = pipe.unet.config, range(len(prompts))
    shape = unet.in_channels, unet.sample_size, unet.sample_size
    noise = torch.stack([torch.randn(shape, generator=generator(seed, 0, i)) for i in numbers])
    later = [generator(seed, 1, i) for i in numbers]
    images = []
    for start in range(0, len(prompts), batch_size):
        part = slice(start, start + batch_size)
        drawn = pipe(
            prompts[part],
            num_inference_steps=steps,
            guidance_scale=guidance,
            latents=noise[part],
            generator=later[part],
            output_type="pt",
        )
        images.append(drawn.images)
    return torch.cat(images)


def one_run(
    method: str, guidance: float, steps: int, seed: int, settings: Settings = SETTINGS
) -> dict[str, Any]:
    """Draw and judge one set; ``evaluations`` is the number of U-Net calls for each picture.

    For the methods of :data:`NOT_DRAWN` guidance and steps mean nothing.
    """
    if method in NOT_DRAWN:
        images, prompts = real_set(seed, settings)
        floats = images.float() / 255
        if method == "autoencoder":
            found = autoencoder.reconstruct(pipeline("ddim").vae, images)
            floats = (found / 2 + 0.5).clamp(0, 1)
        return judge(settings)(floats, prompts)
    pipe, prompts = pipeline(method), real_set(0, settings).captions
    calls: list[int] = []
    hook = pipe.unet.register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    with hook:
        size = settings.batch_size
        images = draw(pipe, prompts, guidance=guidance, steps=steps, seed=seed, batch_size=size)
    return judge(settings)(images, prompts) | {"evaluations": sum(calls) / len(prompts)}


def cases(grid: Grid = GRID) -> list[tuple[str, float, int]]:
    """(method, guidance, steps) of all that is drawn."""
    return [
        (method, guidance, steps)
        for method, (scales, numbers) in grid.items()
        for guidance, steps in itertools.product(scales, numbers)
    ]


def timing(what: str, settings: Settings = SETTINGS, grid: Grid = GRID) -> dict[str, Any]:
    """Seconds that a batch of ``settings.timed`` pictures takes on one thread.

    All cases take turns in one process, so that a slow moment of the machine does not harm one of
    them; the clock stops while other programs have the core.

    Returns:
        ``turns``: of each case, "METHOD GUIDANCE STEPS", the seconds of every turn.
    """
    prompts = real_set(0, settings).captions[:: 2 * settings.prompts // settings.timed]
    turns: dict[str, list[float]] = {f"{m} {g:g} {s}": [] for m, g, s in cases(grid)}
    options = {"seed": 0, "batch_size": len(prompts)}
    for method in grid:  # warm-up
        draw(pipeline(method), prompts, guidance=2.0, steps=2, **options)
    for _ in range(settings.turns):
        for method, guidance, steps in cases(grid):
            before = time.process_time()
            draw(pipeline(method), prompts, guidance=guidance, steps=steps, **options)
            elapsed = time.process_time() - before
            turns[f"{method} {guidance:g} {steps}"].append(round(elapsed, 4))
    return {"pictures": len(prompts), "turns": turns}


def hashes() -> dict[str, str]:
    """Of all weights that take part, as file names within ``weights/``."""
    folders = [zoo.WEIGHTS / name for name in (TEACHER, LORA, LCM, mini_reader.NAME)]
    for folder in folders:
        if not folder.is_dir():
            recipe = folder.name.replace("-", "_")
            raise FileNotFoundError(
                f"There are no weights in {folder}; `python -m recipes.{recipe}` trains them."
            )
    files = sorted(file for folder in folders for file in folder.rglob("*.safetensors"))
    return {str(file.relative_to(zoo.WEIGHTS)): cards.sha256(file) for file in files}


def table(results: list[dict]) -> str:
    """Means over the seeds, one line for each case."""
    columns = {
        "evaluations": "calls",
        "batch_seconds": "seconds",
        "follows": "follows",
        "follows_one": "one",
        "follows_two": "two",
        "all_right": "all right",
        "frechet": "Fréchet",
    }
    head = f"{'method':12} {'scale':>5} {'steps':>5}"
    lines = [head + "".join(f"{title:>10}" for title in columns.values())]
    key = ("method", "guidance", "steps")
    for case, rows in itertools.groupby(results, lambda row: [row[name] for name in key]):
        group = list(rows)
        means = (sum(row.get(name, 0) for row in group) / len(group) for name in columns)
        lines.append("{:12} {:5g} {:5}".format(*case) + "".join(f"{m:10.3f}" for m in means))
    return "\n".join(lines)


def quality(record: dict, method: str, guidance: float, steps: int, how: str) -> str:
    """What the zoo says of a checkpoint: how far its pictures follow their prompts."""
    case = {"method": method, "guidance": guidance, "steps": steps}
    share = 100 * records.select(record, "follows", **case).mean()
    n = 2 * record["settings"]["prompts"]
    return f"{share:.1f} % of {n} prompts' shapes, colours and grounds, in {steps} {how}"


def main(settings: Settings = SETTINGS, grid: Grid = GRID, shown: Shown = SHOWN) -> None:
    """Run what is missing, write the record and the zoo's list, print the table."""
    torch.set_num_threads(1)
    shared = asdict(settings) | {"guidance": GUIDANCE, "weights": hashes()}
    shared |= {"scenes": pairs.version()}  # rendered here, once, before the processes start
    _renderings(settings)
    judged = [(method, 0.0, 0) for method in NOT_DRAWN]
    todo = [
        {"method": method, "guidance": guidance, "steps": steps, "seed": seed}
        for method, guidance, steps in judged + cases(grid)
        for seed in range(1 if method in ONE_SEED else settings.seeds)
    ]
    results = jobs.run(NAME, partial(one_run, settings=settings), todo, shared)
    timed = partial(timing, settings=settings, grid=grid)
    (times,) = jobs.run(NAME, timed, [{"what": "timing"}], shared)
    for row in results:
        seconds = times["turns"].get(f"{row['method']} {row['guidance']:g} {row['steps']}")
        if seconds:
            row["batch_seconds"] = torch.tensor(seconds).median().item()
    print(records.save(NAME, settings=shared | {"timing": times}, results=results))
    print(table(results))
    record = records.load(NAME)
    for name, case in shown.items():
        cards.measured(zoo.WEIGHTS / cards.INDEX, name, quality(record, *case))


if __name__ == "__main__":
    jobs.start(__spec__.name)
