"""``mini-sd``'s parts: words are tokens, the saved folder needs no code of ours."""

import itertools
import subprocess
import sys

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from hypothesis import given
from hypothesis import strategies as st
from transformers import CLIPTokenizer

from modarch_utils.data import scenes
from modarch_utils.models import mini_sd
from modarch_utils.models.mini_sd import MiniSDConfig

CAPTIONS = [scenes.caption(*classes) for classes in itertools.product(*scenes.CLASSES.values())]
LENGTH = MiniSDConfig.tokens
WORDS = {word for caption in CAPTIONS for word in caption.split()}
TINY = MiniSDConfig(
    image_size=32, vae_channels=(8, 8, 8), unet_channels=(32, 32), text_dim=32, text_layers=1
)


@pytest.fixture(scope="module")
def tokenizer():
    return mini_sd.tokenizer(WORDS)


@pytest.fixture(scope="module")
def saved(tokenizer, tmp_path_factory):
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights") / "mini-sd"
    parts = mini_sd.autoencoder(TINY), mini_sd.text_model(tokenizer, TINY)
    pipe = mini_sd.pipeline(*parts, tokenizer, mini_sd.unet(TINY))
    return pipe, folder, mini_sd.save(pipe, folder)


@pytest.fixture(scope="module", params=["made", "loaded"])
def either(request, tokenizer, saved):
    """The tokenizer, and what comes back from its folder."""
    if request.param == "made":
        return tokenizer
    return CLIPTokenizer.from_pretrained(saved[1] / "tokenizer")


def test_each_word_of_each_caption_is_one_token(either):
    assert len(CAPTIONS) == 256
    ids = mini_sd.token_ids(either, CAPTIONS)
    assert ids.shape == (256, LENGTH)
    for caption, row in zip(CAPTIONS, ids, strict=True):
        words = [word + "</w>" for word in caption.split()]
        start, *middle = either.convert_ids_to_tokens(row)
        assert start == mini_sd.START
        assert middle == words + [mini_sd.END] * (LENGTH - 1 - len(words))
        assert either.decode(row, skip_special_tokens=True) == caption
    assert len(ids.unique(dim=0)) == 256


@given(st.lists(st.sampled_from(sorted(WORDS)), max_size=12), st.randoms(use_true_random=False))
def test_capitals_and_spaces_do_not_matter(either, words, chance):
    typed = [
        chance.choice([" ", "\t", " \n"]) + "".join(chance.choice([c, c.upper()]) for c in word)
        for word in words
    ]
    assert either("".join(typed)).input_ids == either(" ".join(words)).input_ids


def test_strange_prompts_do_not_break(either):
    ids = mini_sd.token_ids(either, ["", "日本 7!", "a dog on grass", "red " * 40])
    names = [either.convert_ids_to_tokens(row) for row in ids]
    assert names[0] == [mini_sd.START] + [mini_sd.END] * (LENGTH - 1)
    assert set(names[1][1:9]) == {mini_sd.UNKNOWN}
    assert names[2][1] == "a</w>" and {"dog</w>", "dog"}.isdisjoint(names[2])
    assert names[2].count("grass</w>") == 1
    assert names[3] == [mini_sd.START] + ["red</w>"] * (LENGTH - 2) + [mini_sd.END]


def test_unknown_words_tell_the_text_model_nothing(tokenizer):
    embedding = mini_sd.text_model(tokenizer, TINY).get_input_embeddings().weight
    ids = mini_sd.token_ids(tokenizer, ["dig é", "red star"])
    unknown, known = (row[(row != tokenizer.eos_token_id)][1:] for row in ids)
    assert len(unknown) > 2 and not embedding[unknown].any()
    assert (embedding[known].norm(dim=1) > 0).all() and len(known) == 2
    assert embedding[:2].any(1).all()  # start and end


def test_unknown_words_are_named_with_the_vocabulary(either):
    prompt = "A dog, a red torus and a dog on grass."
    assert mini_sd.unknown_words(prompt, either) == ["dog", "and"]
    warning = mini_sd.vocabulary_warning(prompt, either)
    assert "'dog', 'and'" in warning and warning.count(".") == 1
    assert all(f" {word}" in warning for word in WORDS)
    assert all(mini_sd.vocabulary_warning(caption, either) is None for caption in CAPTIONS)
    assert mini_sd.vocabulary(either) == sorted(WORDS)


@pytest.mark.parametrize("words", [[], ["red torus"], ["Red"], ["wi-fi"], [""]])
def test_what_is_no_vocabulary(words):
    with pytest.raises(ValueError, match="at least one word|small letters only"):
        mini_sd.tokenizer(words)


def test_each_word_is_one_token_whatever_the_words(tokenizer):
    other = mini_sd.tokenizer({*WORDS, "pencil", "sketch", "of", "two", "tired", "octahedron"})
    names = other.convert_ids_to_tokens(other("a tired octahedron of red").input_ids)
    assert names[1:-1] == ["a</w>", "tired</w>", "octahedron</w>", "of</w>", "red</w>"]


STRANGER = """
import sys, torch
from diffusers import DiffusionPipeline
pipe = DiffusionPipeline.from_pretrained(sys.argv[1])
pipe.set_progress_bar_config(disable=True)
parts = (pipe.vae, pipe.unet, pipe.text_encoder)
assert all(p.dtype == torch.float32 for part in parts for p in part.parameters())
rng = torch.Generator().manual_seed(3)
image = pipe("a red torus on grass", num_inference_steps=2, guidance_scale=3.0, generator=rng,
             output_type="pt").images
torch.save(image, sys.argv[2])
assert not any(name.startswith("modarch") for name in sys.modules)
"""


def test_a_folder_does_not_tell_where_its_parts_came_from(saved, tmp_path):
    """Saved from a pipeline that was loaded, it is the same, byte for byte."""
    _, folder, files = saved
    again = mini_sd.save(StableDiffusionPipeline.from_pretrained(folder), tmp_path)
    assert [file.read_bytes() for file in again] == [file.read_bytes() for file in files]
    for file in folder.rglob("*.json"):
        copy = tmp_path / file.relative_to(folder)
        assert str(folder) not in copy.read_text("utf-8")
        if file.parent.name in ("vae", "unet"):
            assert copy.read_text("utf-8") == file.read_text("utf-8")


def test_a_stranger_loads_the_folder(saved, tmp_path):
    pipe, folder, files = saved
    command = [sys.executable, "-c", STRANGER, str(folder), str(tmp_path / "image.pt")]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    image = torch.load(tmp_path / "image.pt")
    assert image.shape == (1, 3, 32, 32)
    pipe.set_progress_bar_config(disable=True)
    options = {"num_inference_steps": 2, "guidance_scale": 3.0, "output_type": "pt"}
    rng = torch.Generator().manual_seed(3)
    ours = pipe("a red torus on grass", generator=rng, **options).images
    torch.testing.assert_close(image, ours, atol=5e-3, rtol=0)  # its weights are rounded
    assert [file.parent.name for file in files] == ["text_encoder", "unet", "vae"]
    params = sum(p.numel() for part in (pipe.vae, pipe.unet) for p in part.parameters())
    assert sum(f.stat().st_size for f in files[1:]) < 2 * params + 60_000
    assert next(pipe.unet.parameters()).dtype == torch.float32  # saving leaves it as it was


@pytest.mark.parametrize("channels", [(8, 8, 8, 8), (8, 8, 8)])
def test_latents_have_the_side_that_the_unet_takes(channels):
    config = MiniSDConfig(image_size=32, vae_channels=channels, unet_channels=(32, 32))
    vae = mini_sd.autoencoder(config)
    latents = vae.encode(torch.zeros(1, 3, 32, 32)).latent_dist.mean
    assert latents.shape == (1, 4, config.latent_side, config.latent_side)
    assert mini_sd.unet(config).config.sample_size == config.latent_side == 32 // config.down
    assert vae.decode(latents).sample.shape == (1, 3, 32, 32)


def test_the_unet_takes_a_guidance_embedding():
    net: UNet2DConditionModel = mini_sd.unet(TINY, guidance_dim=16)
    noisy, text = torch.randn(2, 4, 8, 8), torch.randn(2, 16, 32)
    said = [
        net(noisy, torch.tensor(9), text, timestep_cond=cond).sample
        for cond in (torch.zeros(2, 16), torch.ones(2, 16))
    ]
    assert said[0].shape == noisy.shape and not torch.allclose(*said)
    assert mini_sd.unet(TINY).config.time_cond_proj_dim is None


def test_the_scheduler_is_stable_diffusions():
    ours = mini_sd.scheduler()
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2
    torch.testing.assert_close(ours.betas, betas)
    assert not ours.config.clip_sample and ours.config.steps_offset == 1
    ours.set_timesteps(50)
    assert (ours.timesteps[0], ours.timesteps[-1]) == (981, 1)
    for other in (PNDMScheduler, DDIMScheduler):
        torch.testing.assert_close(other.from_config(ours.config).betas, betas)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 38}, "cannot be halved so often"),
        ({"unet_channels": (32,) * 6, "attention": (True,) * 6}, "cannot be halved 5 times"),
        ({"attention": (True,)}, "one answer for each level"),
        ({"text_dim": 48}, "text_dim must be multiples"),
        ({"unet_channels": (40, 64)}, "unet_channels must be multiples"),
    ],
)
def test_sizes_that_do_not_fit(change, message):
    with pytest.raises(ValueError, match=message):
        MiniSDConfig(**change)
