"""Latent diffusion's training: the loss against diffusers, it learns, it resumes exactly."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from diffusers.training_utils import compute_snr

from modarch_utils.models import mini_sd
from modarch_utils.models.mini_sd import MiniSDConfig
from modarch_utils.training.config import TrainConfig
from recipes import latent_diffusion as ld

TINY = MiniSDConfig(
    image_size=32, vae_channels=(8, 8, 8), unet_channels=(32, 32), text_dim=32, text_layers=1
)
CONFIG = TrainConfig(
    epochs=3, batch_size=16, lr=2e-3, warmup_epochs=0.5, augment="none", ema_decay=0.9
)
PROMPTS = ["a red star", "a blue cube"]
TOKENIZER = mini_sd.tokenizer({word for prompt in PROMPTS for word in prompt.split()})


def fresh(seed=0):
    torch.manual_seed(seed)
    empty = mini_sd.token_ids(TOKENIZER, [""])[0]
    return ld.LatentDiffusion(mini_sd.unet(TINY), mini_sd.text_model(TOKENIZER, TINY), empty)


def data(n=64):
    """Two prompts, and a pattern of latents for each, opposite to the other's."""
    rng = torch.Generator().manual_seed(3)
    kind = torch.arange(n) % 2
    pattern = torch.randn(1, 4, 8, 8, generator=rng) * (1 - 2.0 * kind.view(-1, 1, 1, 1))
    latents = pattern + 0.1 * torch.randn(n, 4, 8, 8, generator=rng)
    return latents / latents.std(), mini_sd.token_ids(TOKENIZER, PROMPTS)[kind]


def train(model, config=CONFIG, **options):
    return ld.train_latent_diffusion(model, *data(), config, progress=False, **options)


def same(a, b):
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours.keys() | theirs.keys())


def test_the_loss_is_the_libraries():
    model = fresh().eval()
    latents, ids = (part[:5] for part in data())
    t, noise = torch.tensor([0, 19, 400, 801, 999]), torch.randn_like(latents)
    library = DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False
    )
    noisy = library.add_noise(latents, noise, t)
    said = model.unet(noisy, t, model.text_encoder(ids)[0]).sample
    loss = ld.noise_loss(model, latents, ids, t, noise)
    torch.testing.assert_close(loss, F.mse_loss(said, noise))


def test_times_weigh_as_the_library_s_snr_says():
    model = fresh().eval()
    latents, ids = (part[:5] for part in data())
    t, noise = torch.tensor([0, 19, 150, 400, 999]), torch.randn_like(latents)
    library = DDPMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    snr = compute_snr(library, t)
    weight = torch.minimum(snr, torch.full_like(snr, 5.0)) / snr
    assert 0 < weight[0] < 0.01 and weight[-1] == 1
    torch.testing.assert_close(ld.snr_weight(t, 5.0), weight, rtol=1e-4, atol=0)
    each = [
        ld.noise_loss(model, *(part[i : i + 1] for part in (latents, ids, t, noise)))
        for i in range(5)
    ]
    loss = ld.noise_loss(model, latents, ids, t, noise, min_snr=5.0)
    torch.testing.assert_close(loss, (torch.stack(each) * weight).mean())


def test_the_noise_is_that_of_the_shipped_scheduler():
    ours, sampler = ld.schedule(), mini_sd.scheduler()
    torch.testing.assert_close(ours.alphas[:-1] ** 2, sampler.alphas_cumprod)
    assert sampler.config.num_train_timesteps == ld.TIMES


def test_captions_are_withheld_in_their_share():
    ids, empty = torch.ones(20_000, 5, dtype=torch.int64), torch.zeros(5, dtype=torch.int64)
    torch.manual_seed(0)
    dropped = ld.drop_captions(ids, empty, 0.1)
    whole = dropped.sum(1)
    assert set(whole.tolist()) == {0, 5}  # a caption is kept or gone, never cut
    assert (whole == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)
    assert torch.equal(ld.drop_captions(ids, empty, 0.0), ids)


def test_captions_are_withheld_in_training(monkeypatch):
    model, seen = fresh(), []
    forward = ld.LatentDiffusion.forward

    def spy(self, noisy, t, ids):
        seen.append((ids, t))
        return forward(self, noisy, t, ids)

    monkeypatch.setattr(ld.LatentDiffusion, "forward", spy)
    train(model, caption_dropout=0.5)
    ids, t = (torch.cat(column) for column in zip(*seen, strict=True))
    gone = (ids == model.empty).all(1)
    assert len(ids) == 3 * 64 and 0.3 < gone.float().mean() < 0.7
    assert t.min() < 50 and t.max() > 950 and len(t.unique()) > 150


def test_it_learns():
    model = fresh()
    before = ld.held_out_loss(model.eval(), *data())
    history = train(model, replace(CONFIG, epochs=15))
    assert history.train_loss[-1] < 0.6 * history.train_loss[0]
    assert ld.held_out_loss(model, *data()) < 0.6 * before
    average = fresh()
    average.load_state_dict(history.ema_weights)
    assert ld.held_out_loss(average.eval(), *data()) < 0.7 * before


def test_text_learns_too_and_leaves_the_unknown_alone():
    model = fresh()
    before = fresh().text_encoder.state_dict()
    train(model)
    after = model.text_encoder.state_dict()
    assert all(
        not torch.equal(after[name], before[name]) for name in before if name.endswith("weight")
    )
    embedding = model.text_encoder.get_input_embeddings().weight
    assert not embedding[TOKENIZER.unk_token_id].any()


def test_a_stopped_run_ends_in_the_same_bits(tmp_path):
    straight = fresh()
    expected = train(straight)
    train(fresh(), out=tmp_path, stop_after=1)
    resumed = fresh(seed=9)
    history = train(resumed, out=tmp_path)
    assert same(resumed, straight) and history.step_loss == expected.step_loss
    for name, value in expected.ema_weights.items():
        assert torch.equal(history.ema_weights[name], value)
    assert not torch.equal(history.ema_weights["unet.conv_in.weight"], straight.unet.conv_in.weight)


def test_held_out_loss_repeats_itself():
    model = fresh().eval()
    latents, ids = data()
    once = ld.held_out_loss(model, latents, ids, batch_size=10)
    assert ld.held_out_loss(model, latents, ids) == pytest.approx(once, rel=1e-5)
    assert ld.held_out_loss(model, latents, ids, seed=1) != pytest.approx(once, rel=1e-5)


@pytest.mark.parametrize(
    ("scale", "change", "options", "message"),
    [
        (3.0, {}, {}, "deviation is 3, .* scaling_factor"),
        (1.0, {"augment": "flip"}, {}, "augment='none'"),
        (1.0, {}, {"caption_dropout": 1.0}, "caption_dropout must lie"),
    ],
)
def test_what_cannot_work(scale, change, options, message):
    latents, ids = data()
    with pytest.raises(ValueError, match=message):
        ld.train_latent_diffusion(
            fresh(), latents * scale, ids, replace(CONFIG, **change), **options
        )
