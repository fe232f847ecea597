"""The recipes that begin with ``mini-sd``, made tiny: what they write, diffusers loads."""

import json
import warnings
from dataclasses import replace
from functools import partial

import pytest
import torch
from diffusers import (
    DiffusionPipeline,
    LatentConsistencyModelPipeline,
    LCMScheduler,
    UNet2DConditionModel,
)
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from modarch_utils import zoo
from modarch_utils.models import mini_sd as parts
from modarch_utils.training.autoencoder import encode
from modarch_utils.training.latent_consistency import add_lora
from recipes import (
    autoencoder_training,
    few_steps,
    guidance_rate,
    latent_students,
    mini_lcm,
    mini_lcm_lora,
    mini_pencil,
    mini_sd,
)
from tests.recipes.tiny import SD, interrupted, listed

PROMPT = "a red torus on a checkerboard floor"
FEW = {"singles": 4, "pairs": 4}
SHEET = mini_sd.Sheet(steps=2, prompts=(PROMPT,) * 2)


def small(plan):
    config = replace(plan.config, steps=2, batch_size=4, warmup=1, autocast=False)
    return replace(
        plan, config=config, data=mini_sd.DataSettings(**FEW), every=1, sheet_every=1, sheet=SHEET
    )


@pytest.fixture
def tiny(place, monkeypatch):
    """A folder with an untrained pipeline as ``mini-sd``."""
    monkeypatch.setattr(zoo, "folder", lambda name: zoo.WEIGHTS / name)
    torch.manual_seed(0)
    words, vae = mini_sd.tokenizer(SD.tokens), parts.autoencoder(SD)
    images, _ = mini_sd.pictures(0, 4, 4, SD.image_size)
    autoencoder_training.set_scaling(vae, encode(vae, images))
    pipe = parts.pipeline(vae, parts.text_model(words, SD), words, parts.unet(SD))
    parts.save(pipe, zoo.WEIGHTS / "mini-sd")
    return place


def made(folder, name, key):
    """The file that a recipe wrote, its weights and the settings of its record, all looked at."""
    file = zoo.WEIGHTS / listed(name)["location"].replace(":", "/")
    weights = load_file(file)
    assert {value.dtype for value in weights.values()} == {torch.float16}
    assert all(value.any() for value in weights.values())
    kept = json.loads((folder / f"{name.replace('-', '_')}.json").read_text("utf-8"))
    assert [row[key] for row in kept["results"]] == [1, 2]
    return file, weights, kept["settings"]


def shipped(**components):
    pipe = DiffusionPipeline.from_pretrained(zoo.WEIGHTS / "mini-sd", **components)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def load(pipe, name, adapter=None):
    with warnings.catch_warnings():
        # Of adapters in the file that find no layer.
        warnings.filterwarnings("error", message=".*an inconsistency was discovered")
        pipe.load_lora_weights(zoo.WEIGHTS / name, adapter_name=adapter)


def inputs():
    rng = torch.Generator().manual_seed(5)
    x, text = torch.randn(2, 4, 8, 8, generator=rng), torch.randn(2, 20, 32, generator=rng)
    return x, torch.tensor([259, 999]), text


def random_lora(name, seed, rank):
    """Write adapters that change a lot, and return the U-Net that they are in."""
    unet = add_lora(shipped().unet, rank, seed)
    torch.manual_seed(seed)
    for key, value in unet.named_parameters():
        if "lora_B" in key:
            nn.init.normal_(value, std=0.1)
    latent_students.save_lora(unet, zoo.WEIGHTS / name)
    return unet


def delta(folder, layer):
    """B A of one layer, as its weight's shape, from the file."""
    state = load_file(folder / "pytorch_lora_weights.safetensors")
    a, b = (state[f"unet.{layer}.lora_{side}.weight"].float() for side in "AB")
    return (b.flatten(1) @ a.flatten(1)).view(len(b), *a.shape[1:])


@torch.no_grad()
def test_adapters_are_loaded_as_they_were_trained(tiny):
    unet, pipe = random_lora("some", 0, 3), shipped()
    before = pipe.unet(*inputs()).sample
    load(pipe, "some")
    found, expected = pipe.unet(*inputs()).sample, unet(*inputs()).sample
    torch.testing.assert_close(found, expected, atol=2e-3, rtol=2e-3)  # half precision
    assert (expected - before).abs().mean() > 50 * (found - expected).abs().mean()
    assert {p.dtype for p in pipe.unet.parameters()} == {torch.float32}


@torch.no_grad()
def test_two_adapters_add_up(tiny):
    random_lora("fast", 0, 3)
    random_lora("style", 1, 2)
    pipe = shipped()
    load(pipe, "fast", "lcm")
    load(pipe, "style", "pencil")
    pipe.set_adapters(["lcm", "pencil"], adapter_weights=[1.0, 0.8])
    assert pipe.get_active_adapters() == ["lcm", "pencil"]
    summed = shipped().unet
    layers = {
        key.removeprefix("unet.").removesuffix(".lora_A.weight")
        for key in load_file(zoo.WEIGHTS / "fast" / "pytorch_lora_weights.safetensors")
        if key.endswith("lora_A.weight")
    }
    for layer in layers:
        weight = summed.get_submodule(layer).weight
        weight += delta(zoo.WEIGHTS / "fast", layer) + 0.8 * delta(zoo.WEIGHTS / "style", layer)
    assert len(layers) > 50
    expected = summed(*inputs()).sample
    torch.testing.assert_close(pipe.unet(*inputs()).sample, expected, atol=1e-4, rtol=1e-4)
    pipe.set_adapters("lcm")
    assert not torch.allclose(pipe.unet(*inputs()).sample, expected, atol=1e-2)


def test_lcm_lora(tiny, capsys, monkeypatch):
    make = partial(mini_lcm_lora.main, small(mini_lcm_lora.PLAN))
    interrupted(make, mini_sd, "save_sheet", monkeypatch)
    make()
    printed = capsys.readouterr().out
    # It goes on with what was printed last: the sheet is what the stop cost.
    assert printed.count("step 1: loss") == 2 and printed.count("step 2: loss") == 1
    assert Image.open(tiny / "runs" / "mini_lcm_lora" / "step-00002.png").width > 100
    file, weights, settings = made(tiny, "mini-lcm-lora", "step")
    assert f"{len(weights) // 2} layers" in file.with_name("README.md").read_text("utf-8")
    assert settings["rank"] == 8 and 0 < settings["trainable_share"] < 1
    before = file.read_bytes()
    make()  # finished: it writes the same again
    assert file.read_bytes() == before
    pipe = shipped()
    load(pipe, "mini-lcm-lora")
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    image = pipe(PROMPT, num_inference_steps=4, guidance_scale=1.0).images[0]
    assert image.size == (32, 32)
    assert pipe.scheduler.timesteps.tolist() == [999, 759, 499, 259]


def test_lcm(tiny, capsys):
    mini_lcm.main(small(mini_lcm.PLAN))
    assert capsys.readouterr().out.count("loss") == 2
    file, *_ = made(tiny, "mini-lcm", "step")
    assert listed("mini-lcm")["parts"] == {"config.json": ""}
    unet = UNet2DConditionModel.from_pretrained(file.parent)
    assert {p.dtype for p in unet.parameters()} == {torch.float32}
    assert unet.time_embedding.cond_proj.weight.any()  # it was zero before

    plain = shipped(unet=unet)
    plain.scheduler = LCMScheduler.from_config(plain.scheduler.config)
    own = LatentConsistencyModelPipeline(**plain.components, requires_safety_checker=False)
    own.set_progress_bar_config(disable=True)
    calls, drawn = [], []
    unet.register_forward_hook(lambda *_: calls.append(1))
    for pipe, scale in ((plain, 3.0), (own, 3.0), (own, 5.0)):
        options = {"num_inference_steps": 4, "guidance_scale": scale, "output_type": "latent"}
        rng = torch.Generator().manual_seed(0)
        drawn.append(pipe(PROMPT, generator=rng, **options).images)
    assert len(calls) == 3 * 4
    torch.testing.assert_close(drawn[0], drawn[1])
    assert not torch.equal(drawn[1], drawn[2])


def test_guidance_rate(tiny):
    plan = small(mini_lcm.PLAN)
    prompts = few_steps.Settings(prompts=2, seeds=1, references=1, fitted=2)
    guidance_rate.main(guidance_rate.Settings(every=2, teacher_steps=2, prompts=prompts), plan)
    one, _, own = json.loads((tiny / "guidance_rate.json").read_text("utf-8"))["results"]
    assert (one["rate"], own["rate"]) == (1.0, 30.0)
    assert own["moved"] > 5 * one["moved"] > 0
    assert one["teacher_contrast"] == own["teacher_contrast"] and len(own["contrast"]) == 3
    # The last training is mini-lcm's own.
    assert mini_lcm.RUN.is_dir() and not (guidance_rate.RUN / "30").exists()


def test_pencil(tiny, capsys, monkeypatch):
    config = replace(mini_pencil.CONFIG, epochs=2, batch_size=8, autocast="no")
    make = partial(mini_pencil.main, mini_pencil.DataSettings(**FEW), config, SHEET)
    interrupted(make, mini_sd, "save_sheet", monkeypatch)
    make()
    printed = capsys.readouterr().out
    assert printed.count("epoch 1:") == printed.count("epoch 2:") == 1
    assert Image.open(tiny / "runs" / "mini_pencil" / "epoch-002.png").width > 100
    made(tiny, "mini-pencil", "epoch")
    random_lora("mini-lcm-lora", 0, 2)
    pipe = shipped()
    load(pipe, "mini-lcm-lora", "lcm")
    load(pipe, "mini-pencil", "pencil")
    pipe.set_adapters(["lcm", "pencil"], adapter_weights=[1.0, 0.8])
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    prompt = f"{mini_pencil.STYLE} {PROMPT}"
    assert pipe(prompt, num_inference_steps=4, guidance_scale=1.0).images[0].size == (32, 32)


def test_sketches_and_their_prompts(tiny):
    pipe = latent_students.teacher()
    latents, ids = mini_pencil.training_set(pipe, mini_pencil.DataSettings(**FEW))
    images, captions = mini_sd.pictures(0, 4, 4, SD.image_size)
    assert len(latents) == len(ids) == len(captions) == 16
    text = pipe.tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert [each.strip() for each in text] == [f"a pencil sketch of {each}" for each in captions]
    # The longest sentence is not cut.
    assert (ids[:, -1] == pipe.tokenizer.eos_token_id).all()
    scenes = mini_sd.encode_images(pipe.vae, images)
    assert latents.shape == scenes.shape and not torch.allclose(latents, scenes)
