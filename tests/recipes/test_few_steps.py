"""From a reader to the table of few steps, with tiny untrained generators in its place."""

import json
import re
import tomllib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from sklearn.decomposition import PCA

from modarch_utils import measure, records, zoo
from modarch_utils.data import factors, pairs
from modarch_utils.models import mini_sd
from modarch_utils.training import reading
from recipes import cards, few_steps, mini_reader
from tests.recipes import tiny

SD = replace(tiny.SD, image_size=64)
SETTINGS = few_steps.Settings(
    prompts=4, seeds=2, references=2, fitted=8, components=4, batch_size=5, timed=2, turns=1
)


@pytest.fixture
def bench(place):
    """No pipeline of another test is taken for this one's."""
    cached = few_steps._renderings, few_steps.judge, few_steps.pipeline
    for each in cached:
        each.cache_clear()
    yield place
    for each in cached:
        each.cache_clear()


def generators():
    """A teacher, a LoRA and an LCM of random weights, as the recipes write them."""
    torch.manual_seed(0)
    words = mini_sd.tokenizer(["a", "red", "torus", "on", "grass"], SD.tokens)
    text, unet = mini_sd.text_model(words, SD), mini_sd.unet(SD)
    pipe = mini_sd.pipeline(mini_sd.autoencoder(SD), text, words, unet)
    mini_sd.save(pipe, zoo.WEIGHTS / few_steps.TEACHER)
    mini_sd.unet(SD, guidance_dim=32).save_pretrained(zoo.WEIGHTS / few_steps.LCM)
    unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "conv1"], init_lora_weights=False))
    StableDiffusionPipeline.save_lora_weights(
        zoo.WEIGHTS / few_steps.LORA, get_peft_model_state_dict(unet)
    )


def train_reader():
    mini_reader.main(
        mini_reader.ReaderSettings(per_kind=8, held_out=4),
        replace(mini_reader.CONFIG, epochs=2, batch_size=8),
    )


def test_from_a_reader_to_the_table(bench, monkeypatch, capsys):
    with pytest.raises(FileNotFoundError, match="mini_sd`"):
        few_steps.main()
    train_reader()
    kept = json.loads((bench / "mini_reader.json").read_text("utf-8"))
    assert [row["epoch"] for row in kept["results"]] == [1, 2]
    assert kept["settings"]["sha256"] == tiny.listed(mini_reader.NAME)["sha256"]
    assert (zoo.WEIGHTS / mini_reader.NAME / "README.md").read_text("utf-8").count("\n| 1 | ") == 2

    generators()
    index = zoo.WEIGHTS / cards.INDEX
    with index.open("a", encoding="utf-8") as file:
        file.writelines(f"\n[{name}]\n" for name in few_steps.SHOWN)
    begun, pipes, real_draw = [], set(), few_steps.draw

    def watched(pipe, prompts, **options):
        given = []  # to the network, call by call
        with pipe.unet.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0][:1])):
            images = real_draw(pipe, prompts, **options)
        if len(prompts) == 8:
            pipes.add(pipe)
            begun.append((options["seed"], given[0].clone()))
        return images

    monkeypatch.setattr(few_steps, "draw", watched)
    grid = {
        name: (scales, tuple(n for n in steps if n <= 2))
        for name, (scales, steps) in few_steps.GRID.items()
    }
    shown = {
        name: (method, guidance, 2, how)
        for name, (method, guidance, _, how) in few_steps.SHOWN.items()
    }
    few_steps.main(SETTINGS, grid, shown)
    assert len(pipes) == 5
    for name in shown:
        told = tomllib.loads(index.read_text("utf-8"))[name]["quality"]
        assert re.fullmatch(r"[\d.]+ % of 8 prompts' .* in 2 (guided )?steps", told)
    # Every method is given the same noise; another seed gives another.
    noise = {seed: [x for s, x in begun if s == seed] for seed in (0, 1)}
    assert all(torch.equal(x, noise[0][0]) for x in noise[0])
    assert not torch.equal(noise[0][0], noise[1][0])

    record = json.loads((bench / "few_steps.json").read_text("utf-8"))
    calls = {
        (r["method"], r["guidance"], r["steps"]): r.get("evaluations") for r in record["results"]
    }
    assert calls[("ddim", 3.0, 2)] == 4 and calls[("ddim", 1.0, 2)] == 2
    assert calls[("dpm++", 3.0, 2)] == 4 and calls[("ddim_leading", 3.0, 1)] == 2
    assert calls[("lcm_lora", 1.0, 2)] == 2 and calls[("lcm_lora", 1.5, 2)] == 4
    assert calls[("lcm", 3.0, 2)] == 2 and calls[("lcm", 1.0, 1)] == 1
    assert calls[("real", 0.0, 0)] is None
    seeds = Counter(r["method"] for r in record["results"] if r["steps"] in (0, 2))
    assert seeds == {
        "ddim": 4, "dpm++": 4, "lcm_lora": 4, "lcm": 4, "ddim_leading": 1, "real": 2,
        "autoencoder": 2,
    }  # fmt: skip
    assert all(r["batch_seconds"] > 0 for r in record["results"] if r["steps"])
    assert "mini-lcm/diffusion_pytorch_model.safetensors" in record["settings"]["weights"]
    assert len(records.select(record, "frechet", method="lcm", steps=2, guidance=3.0)) == 2
    assert "lcm_lora" in capsys.readouterr().out

    # An embedded scale, and a LoRA, change what is drawn.
    options = {"steps": 1, "seed": 0, "batch_size": 4}
    prompts = ["a red torus on grass"] * 4
    strong, weak, lora, plain = (
        real_draw(few_steps.pipeline(name), prompts, guidance=scale, **options)
        for name, scale in (("lcm", 3.0), ("lcm", 1.0), ("lcm_lora", 1.0), ("ddim", 1.0))
    )
    assert not torch.allclose(strong, weak) and not torch.allclose(lora, plain)
    # A picture does not depend on its batch.
    options |= {"guidance": 3.0, "steps": 2}
    pair, alone = (
        real_draw(few_steps.pipeline("lcm"), prompts, **options | {"batch_size": n}) for n in (4, 1)
    )
    torch.testing.assert_close(pair, alone, atol=1e-4, rtol=0)


def test_real_pictures_are_judged_by_hand(bench):
    train_reader()
    row = few_steps.one_run("real", 0.0, 0, 1, SETTINGS)
    sets = [few_steps.real_set(i, SETTINGS) for i in range(4)]
    assert len({image.numpy().tobytes() for s in sets for image in s.images}) == 32
    network = zoo.load_timm("efficientnet_lite0")
    network.reset_classifier(0)  # timm's own way to pooled features

    def pooled(images):
        with torch.no_grad():
            return network(images.float() / 127.5 - 1).double().numpy()

    one, two = few_steps._renderings(SETTINGS)
    known = pooled(torch.cat((one.images[-8:], two.images[-8:])))
    pca = PCA(4, svd_solver="full").fit(known)
    found, *references = (
        torch.from_numpy(pca.transform(pooled(sets[i].images))) for i in (1, 2, 3)
    )
    expected = np.mean([measure.frechet_distance(found, each) for each in references])
    assert row["frechet"] == pytest.approx(expected, rel=1e-3)
    shown = reading.labels(two[4:8])
    asked = reading.asked(sets[1].captions[4:])
    assert all(torch.equal(a, b) for a, b in zip(shown, asked, strict=True))


def test_samplers_begin_where_the_noise_is(bench):
    generators()
    for method, first in (("ddim", 999), ("dpm++", 999), ("lcm_lora", 999), ("lcm", 999)):
        scheduler = few_steps.pipeline(method).scheduler
        scheduler.set_timesteps(2)
        assert scheduler.timesteps[0] == first
    leading = few_steps.pipeline("ddim_leading").scheduler
    leading.set_timesteps(1)
    assert leading.timesteps.tolist() == [1]


def test_the_prompts_hold_every_class():
    """Of the full settings; classes are drawn, nothing is rendered."""
    settings = few_steps.Settings()
    one = factors.draw(settings.prompts, seed=settings.stream, framing="close")
    both = pairs.draw(settings.prompts, seed=settings.stream)
    for each in (one, *both):
        for name, count in (("shape", 8), ("colour", 8), ("ground", 4)):
            assert len(getattr(each, name).unique()) == count
    assert len(few_steps.cases()) == len(set(few_steps.cases())) == 38
