"""``mini-sd``, its fast students and its style, as they are shipped."""

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DiffusionPipeline,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)

from modarch_utils import zoo
from modarch_utils.data import pairs, scenes
from modarch_utils.models import mini_sd, reader
from modarch_utils.training import reading
from recipes.latent_students import GUIDANCE
from recipes.mini_sd import TOLD, draw

UNSEEN = 40
"""Stream of scenes that nothing was trained or measured on."""
N = 16
"""Of each kind."""


@pytest.fixture(scope="module")
def prompts() -> list[str]:
    one = scenes.load(N, 64, seed=UNSEEN, framing="close").captions
    return one + pairs.load(N, 64, seed=UNSEEN).captions(TOLD)


@pytest.fixture
def pipe() -> StableDiffusionPipeline:
    return zoo.load_pipeline("mini-sd")


@pytest.fixture(scope="module")
def follows():
    judge = reader.load(zoo.folder("mini-reader"))

    def score(images, prompts):
        return reading.score(judge, images / 2 + 0.5, prompts)["follows"]

    return score


def test_it_is_a_whole_pipeline_of_diffusers():
    pipe = DiffusionPipeline.from_pretrained(zoo.folder("mini-sd"))
    assert type(pipe) is StableDiffusionPipeline
    assert {p.dtype for p in pipe.unet.parameters()} == {torch.float32}
    assert pipe.scheduler.config.clip_sample is False
    # Saved as the schedule it was trained with, so that every sampler made from it fits.
    assert pipe.scheduler.config.prediction_type == "epsilon"
    assert DDIMScheduler.from_config(pipe.scheduler.config).config.clip_sample is False


def test_its_vocabulary_is_that_of_the_captions(pipe, prompts):
    words = set(mini_sd.vocabulary(pipe.tokenizer))
    assert {word for prompt in prompts for word in prompt.split()} <= words
    assert "dragon" in mini_sd.vocabulary_warning("a green dragon", pipe.tokenizer)


def test_pictures_follow_their_prompts(pipe, prompts, follows):
    pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config)
    images = draw(pipe, prompts, 10, GUIDANCE)
    assert follows(images, prompts) > 0.6
    others = prompts[1:N] + prompts[:1] + prompts[N + 1 :] + prompts[N : N + 1]
    assert follows(images, others) < 0.4


@pytest.fixture(scope="module")
def undistilled(prompts, follows) -> float:
    """How far one jump of the teacher itself, by LCM's sampler, follows the prompts."""
    pipe = zoo.load_pipeline("mini-sd")
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    return follows(draw(pipe, prompts, 1, 1.0), prompts)


def test_adapters_draw_in_one_step(pipe, prompts, follows, undistilled):
    pipe.load_lora_weights(zoo.folder("mini-lcm-lora"))
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    assert follows(draw(pipe, prompts, 1, 1.0), prompts) > undistilled + 0.05


@pytest.fixture
def lcm(pipe) -> LatentConsistencyModelPipeline:
    unet = UNet2DConditionModel.from_pretrained(zoo.folder("mini-lcm"))
    assert unet.config.time_cond_proj_dim
    parts = pipe.components | {"unet": unet}
    parts["scheduler"] = LCMScheduler.from_config(pipe.scheduler.config)
    return LatentConsistencyModelPipeline(**parts, requires_safety_checker=False)


def test_lcm_draws_in_one_step(lcm, prompts, follows, undistilled):
    assert follows(draw(lcm, prompts, 1, GUIDANCE), prompts) > undistilled + 0.05


def test_lcm_heeds_its_guidance_scale(lcm, prompts):
    weak, strong = (draw(lcm, prompts, 4, scale) for scale in (1.0, 6.0))
    assert (strong - weak).abs().mean() > 0.04  # of a range of 2
    assert strong.std() > weak.std()


def colourfulness(images):
    """Mean difference between a pixel's largest and smallest of red, green and blue."""
    return (images.amax(1) - images.amin(1)).mean().item()


def test_pencil_composes_with_the_fast_adapters(pipe, prompts):
    """Its weight turns colour into pencil, in four steps for which it was never trained."""
    pipe.load_lora_weights(zoo.folder("mini-lcm-lora"), adapter_name="lcm")
    pipe.load_lora_weights(zoo.folder("mini-pencil"), adapter_name="pencil")
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    sketches = [f"a pencil sketch of {prompt}" for prompt in prompts[:: N // 4]]
    found = []
    for weight in (0.0, 1.0):
        pipe.set_adapters(["lcm", "pencil"], adapter_weights=[1.0, weight])
        found.append(colourfulness(draw(pipe, sketches, 4, 1.0)))
    assert found[1] < 0.4 * found[0]
