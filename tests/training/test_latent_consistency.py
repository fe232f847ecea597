"""Latent consistency distillation: equal to diffusers where it samples, it learns, it resumes."""

import copy
import math
from dataclasses import replace

import pytest
import torch
from diffusers import LatentConsistencyModelPipeline, LCMScheduler
from torch import nn

from modarch_utils.measure import count_params
from modarch_utils.models import mini_sd
from modarch_utils.models.mini_sd import MiniSDConfig
from modarch_utils.training import consistency
from modarch_utils.training import latent_consistency as lc
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.consistency import ConsistencyConfig
from recipes.latent_diffusion import LatentDiffusion, train_latent_diffusion
from tests.training.example import same

TINY = MiniSDConfig(
    image_size=16,
    vae_channels=(8, 8, 8),
    unet_channels=(32, 32),
    text_dim=32,
    text_layers=1,
)
SHAPE = 4, 4, 4
PROMPTS = ["a red star", "a blue cube"]
TOKENIZER = mini_sd.tokenizer({word for prompt in PROMPTS for word in prompt.split()})
EMPTY = mini_sd.token_ids(TOKENIZER, [""])[0]
CONFIG = lc.LatentDistillationConfig(
    steps=6, lr=1e-3, batch_size=4, warmup=2, objective=ConsistencyConfig(omega=(2.0, 2.0))
)
RANK = 3


def pipeline():
    torch.manual_seed(0)
    parts = mini_sd.autoencoder(TINY), mini_sd.text_model(TOKENIZER, TINY), TOKENIZER
    pipe = mini_sd.pipeline(*parts, mini_sd.unet(TINY))
    pipe.set_progress_bar_config(disable=True)
    return pipe


def data(n=64):
    """Two prompts, and a pattern of latents for each, opposite to the other's."""
    rng = torch.Generator().manual_seed(3)
    kind = torch.arange(n) % 2
    pattern = torch.randn(1, *SHAPE, generator=rng) * (1 - 2.0 * kind.view(-1, 1, 1, 1))
    latents = pattern + 0.1 * torch.randn(n, *SHAPE, generator=rng)
    return latents / latents.std(), mini_sd.token_ids(TOKENIZER, PROMPTS)[kind]


@pytest.fixture(scope="module")
def trained():
    """A pipeline that has learnt the two patterns, the latents, and their prompts."""
    pipe = pipeline()
    config = TrainConfig(
        epochs=30, batch_size=32, lr=1e-2, warmup_epochs=2, augment="none", ema_decay=None
    )
    model = LatentDiffusion(pipe.unet, pipe.text_encoder, EMPTY)
    train_latent_diffusion(model, *data(), config, progress=False)
    latents, ids = data()
    return pipe, latents, lc.encode_prompts(pipe.text_encoder, ids, EMPTY)


def lora(unet, rank=RANK, moved=0.0):
    """A copy with adapters, whose B are drawn with this deviation."""
    student = lc.add_lora(copy.deepcopy(unet), rank)
    torch.manual_seed(1)
    for name, value in student.named_parameters():
        if moved and "lora_B" in name:
            nn.init.normal_(value, std=moved)
    return student


def inputs(n=3):
    rng = torch.Generator().manual_seed(5)
    x, text = torch.randn(n, *SHAPE, generator=rng), torch.randn(n, 20, 32, generator=rng)
    return x, torch.tensor([19, 499, 999])[:n], text


def distil(trained, student, config=CONFIG, **options):
    pipe, latents, prompts = trained
    return lc.distil(pipe.unet, student, latents, prompts, config, progress=False, **options)


@pytest.mark.parametrize("dim", [4, 64, 256])
def test_the_guidance_embedding_is_diffusers(dim):
    omega = torch.tensor([0.0, 0.5, 2.0, 7.5, 13.999])
    expected = LatentConsistencyModelPipeline.get_guidance_scale_embedding(None, omega, dim)
    assert torch.equal(lc.guidance_embedding(omega, dim), expected)


def test_the_network_is_the_unet():
    unet, (x, t, text) = mini_sd.unet(TINY), inputs()
    expected = unet(x, t, text).sample
    assert torch.equal(lc.LatentNetwork(unet)(x, t, text), expected)
    assert torch.equal(lc.LatentNetwork(unet)(x, t, text, torch.ones(3)), expected)
    half = lc.LatentNetwork(unet, autocast=True)(x, t, text)
    assert half.dtype == torch.float32 and not torch.equal(half, expected)
    torch.testing.assert_close(half, expected, atol=0.03, rtol=0.03)


def test_a_copy_with_guidance_answers_as_before_and_can_learn_to_listen():
    unet, (x, t, text) = mini_sd.unet(TINY), inputs()
    told, omega = lc.LatentNetwork(lc.with_guidance(unet, 16)), torch.tensor([0.0, 2.0, 14.0])
    found = told(x, t, text, omega)
    assert torch.equal(found, unet(x, t, text).sample)
    found.square().sum().backward()
    weight = told.unet.time_embedding.cond_proj.weight
    assert weight.shape == (32, 16) and weight.grad.abs().min() > 0
    with torch.no_grad():
        weight.normal_()
    assert not torch.allclose(told(x, t, text, omega), found, atol=1e-3)
    with pytest.raises(ValueError, match="give omega"):
        told(x, t, text)
    with pytest.raises(ValueError, match="takes a guidance scale already"):
        lc.with_guidance(told.unet)


def test_adapters_change_nothing_at_first():
    unet, (x, t, text) = mini_sd.unet(TINY), inputs()
    before = torch.get_rng_state()
    student = lora(unet)
    assert torch.equal(student(x, t, text).sample, unet(x, t, text).sample)
    assert not torch.allclose(lora(unet, moved=0.1)(x, t, text).sample, unet(x, t, text).sample)
    torch.set_rng_state(before)
    lc.add_lora(copy.deepcopy(unet), RANK)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(lora(unet), student)
    assert all(p.requires_grad for p in unet.parameters())


def test_adapters_lie_where_lcm_loras_do():
    unet = mini_sd.unet(TINY)
    expected, left = 0, []
    for name, layer in unet.named_modules():
        if not isinstance(layer, nn.Linear | nn.Conv2d):
            continue
        if name in ("conv_in", "conv_out") or name.startswith("time_embedding."):
            left.append(name)
            continue
        out, inside = layer.weight.shape[0], layer.weight[0].numel()
        expected += RANK * (inside + out)
    assert len(left) == 4
    assert count_params(lora(unet), trainable=True) == expected


def test_prompts_are_encoded_as_by_the_pipeline():
    pipe, asked = pipeline(), [PROMPTS[i] for i in (1, 0, 1, 1, 0)]
    ids = mini_sd.token_ids(TOKENIZER, asked)
    prompts = lc.encode_prompts(pipe.text_encoder, ids, EMPTY, chunk=1)
    text, empty = pipe.encode_prompt(asked, "cpu", 1, True, 5 * [""])
    torch.testing.assert_close(prompts.of(torch.arange(5)), text)
    torch.testing.assert_close(prompts.empty, empty[:1])
    assert len(prompts.text) == 2


@pytest.mark.parametrize("steps", [1, 4])
@pytest.mark.parametrize("told", [False, True])
def test_sampling_is_the_pipelines(steps, told):
    pipe, noise, omega = pipeline(), torch.randn(2, *SHAPE), None
    pipe.scheduler, scale = LCMScheduler.from_config(pipe.scheduler.config), 1.0
    if told:
        unet, omega, scale = lc.with_guidance(pipe.unet, 16), torch.tensor([3.0, 3.0]), 4.0
        nn.init.normal_(unet.time_embedding.cond_proj.weight)
        parts = pipe.components | {"unet": unet}
        pipe = LatentConsistencyModelPipeline(**parts, requires_safety_checker=False)
        pipe.set_progress_bar_config(disable=True)
    expected = pipe(
        PROMPTS,
        latents=noise,
        num_inference_steps=steps,
        guidance_scale=scale,
        generator=torch.Generator().manual_seed(1),
        output_type="latent",
    ).images
    ids = mini_sd.token_ids(TOKENIZER, PROMPTS)
    found = consistency.sample(
        lc.LatentNetwork(pipe.unet),
        noise,
        steps,
        ConsistencyConfig(),
        torch.Generator().manual_seed(1),
        lc.encode_prompts(pipe.text_encoder, ids, EMPTY).of(torch.arange(2)),
        omega,
    )
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("kind", "left"), [("lora", 0.9), ("full", 0.85)])
def test_a_student_comes_nearer_to_the_teachers_ends(trained, kind, left):
    pipe, latents, prompts = trained
    objective = ConsistencyConfig(skip=250, ema=0.8, omega=(1.0, 1.0))
    rng = torch.Generator().manual_seed(8)
    x, rows, omega = torch.randn(16, *SHAPE, generator=rng), torch.arange(16), torch.ones(16)
    text, net = prompts.of(rows), lc.LatentNetwork(pipe.unet)

    def guided(x, t, condition):
        without = net(x, t, prompts.empty.expand(len(x), -1, -1))
        return consistency.guided(net(x, t, condition), without, omega)

    ends = consistency.ddim(guided, x, 4, objective, text)[-1]

    def away(model):
        found = consistency.sample(model.target, x, 1, objective, rng, text, omega)
        return (found - ends).abs().mean().item()

    student = lora(pipe.unet) if kind == "lora" else lc.with_guidance(pipe.unet, 16)
    # In the first 40 steps the average wavers: how far it gets depends on the processor's rounding.
    config = replace(CONFIG, steps=80, lr=1e-2, batch_size=16, warmup=5, objective=objective)
    _, curve = distil(trained, student, config, watch=away, every=40)
    assert [row.step for row in curve] == [0, 40, 80]
    assert curve[-1].value < left * curve[0].value, curve


def test_teacher_and_frozen_weights_stay(trained):
    pipe = trained[0]
    before = copy.deepcopy(pipe.unet)
    student = lora(pipe.unet)
    model, _ = distil(trained, student)
    assert same(pipe.unet, before) and not any(p.requires_grad for p in pipe.unet.parameters())
    base = before.state_dict()
    for network in (student, model.target.unet):
        for name, value in network.state_dict().items():
            if "lora_" in name:
                continue
            assert torch.equal(value, base[name.replace(".base_layer", "")]), name
    moved = [p for name, p in student.named_parameters() if "lora_B" in name]
    assert moved and all(p.any() for p in moved)
    (x, t, text) = inputs()
    assert not same(model.target, model.student)
    assert torch.equal(model.student(x, t, text), student(x, t, text).sample)
    half, _ = distil(trained, lora(pipe.unet), replace(CONFIG, steps=1, autocast=True))
    assert half.teacher.autocast and half.student.autocast and half.target.autocast


def test_latents_go_with_their_prompts(trained, monkeypatch):
    seen = []

    def spy(model, optimizer, x, draw, condition, unconditional):
        seen.append((x, draw, condition, unconditional, optimizer.param_groups[0]["lr"]))
        return consistency.train_step(model, optimizer, x, draw, condition, unconditional)

    monkeypatch.setattr(lc, "train_step", spy)
    pipe, latents, prompts = trained
    config = replace(CONFIG, objective=ConsistencyConfig(omega=(1.0, 4.0)))
    distil(trained, lc.with_guidance(pipe.unet, 16), config)
    text, _ = pipe.encode_prompt(PROMPTS, "cpu", 1, False)
    used = []
    for x, draw, condition, unconditional, _ in seen:
        for one, told in zip(x, condition, strict=True):
            row = (latents - one).abs().amax((1, 2, 3)).argmin().item()
            assert torch.equal(latents[row], one)
            torch.testing.assert_close(told, text[row % 2])
            used.append(row)
        assert torch.equal(unconditional, prompts.empty.expand(4, -1, -1))
        assert len(draw.omega.unique()) == 4
    assert len(set(used)) > 15
    cosine = [0.5 * (1 + math.cos(math.pi * i / 4)) for i in range(4)]
    assert [lr for *_, lr in seen] == pytest.approx([5e-4, 1e-3, *(1e-3 * c for c in cosine)])


def test_the_layer_of_the_guidance_embedding_has_a_rate_of_its_own(trained):
    student = lc.with_guidance(trained[0].unet, 16)
    before = copy.deepcopy(student.state_dict())
    config = replace(CONFIG, steps=1, warmup=1, guidance_rate=30.0)
    distil(trained, student, config)
    moved = {
        name: (value - before[name]).abs().max().item()
        for name, value in student.state_dict().items()
    }
    # Adam's first step is as long as the rate, and shorter where gradients are tiny.
    told = moved.pop("time_embedding.cond_proj.weight")
    assert told == pytest.approx(30 * CONFIG.lr, rel=0.02)
    assert max(moved.values()) == pytest.approx(CONFIG.lr, rel=0.02)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_stopped_run_ends_in_the_same_bits(trained, tmp_path, kind):
    pipe = trained[0]

    def fresh():
        return lora(pipe.unet) if kind == "lora" else lc.with_guidance(pipe.unet, 16)

    def options():
        return {"every": 2, "watch": lambda model: len(watched) or watched.append(1)}

    watched = []
    straight, expected = distil(trained, fresh(), **options())
    assert [row.step for row in expected] == [0, 2, 4, 6]
    watched = []
    distil(trained, fresh(), out=tmp_path, stop_after=3, **options())
    resumed, curve = distil(trained, fresh(), out=tmp_path, **options())
    assert [row.step for row in curve] == [0, 2, 3, 4, 6] and curve[0].loss is None
    assert curve[1].loss == expected[1].loss and curve[-1].loss == expected[-1].loss
    assert (curve[2].loss + curve[3].loss) / 2 == pytest.approx(expected[2].loss)
    assert same(resumed, straight)
    again, rows = distil(trained, fresh(), out=tmp_path, **options())
    assert same(again, straight) and rows == curve


def test_what_cannot_work(trained, tmp_path):
    pipe, latents, prompts = trained
    unet, other = pipe.unet, copy.deepcopy(pipe)
    other.unet.conv_in.bias.data += 1
    frozen, one, out = copy.deepcopy(unet).requires_grad_(False), torch.ones(1), tmp_path
    distil(trained, lora(unet), out=out, stop_after=1)
    faster = replace(CONFIG, lr=2e-3)
    for call, words in [
        (lambda: lc.guidance_embedding(one, 2), "even length of at least 4, not 2"),
        (lambda: lc.guidance_embedding(one, 7), "even length of at least 4, not 7"),
        (lambda: lc.add_lora(unet, 0), "rank must be at least 1, not 0"),
        (lambda: lc.add_lora(lora(unet), 2), "has adapters already"),
        (lambda: distil((pipe, latents[1:], prompts), lora(unet)), "63 latents but 64 prompts"),
        (lambda: distil(trained, unet), "are the same network"),
        (lambda: distil(trained, frozen), "nothing to train"),
        (lambda: replace(CONFIG, lr=0.0), "lr and guidance_rate must be positive"),
        (lambda: replace(CONFIG, guidance_rate=-1.0), "lr and guidance_rate must be positive"),
        (lambda: replace(CONFIG, steps=0), "at least 1 step"),
        (lambda: distil(trained, lora(unet), faster, out=out), "lr: 0.001 there, 0.002 here"),
        (lambda: distil(trained, lora(unet, rank=2), out=out), "different model"),
        (
            lambda: distil((other, latents, prompts), lora(unet), out=out),
            "different teacher data",
        ),
    ]:
        with pytest.raises(ValueError, match=words):
            call()
