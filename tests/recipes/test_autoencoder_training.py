"""The autoencoder's training: its terms by hand, it learns, it resumes, its latents are scaled."""

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from modarch_utils.data import scenes
from modarch_utils.models import mini_sd
from modarch_utils.models.mini_sd import MiniSDConfig
from modarch_utils.training.autoencoder import Codes, encode, reconstruct
from modarch_utils.training.config import TrainConfig
from recipes import autoencoder_training as ae

TINY = MiniSDConfig(image_size=32, vae_channels=(8, 8, 8), unet_channels=(32, 32), text_dim=32)
CONFIG = TrainConfig(
    epochs=3, batch_size=8, lr=3e-3, warmup_epochs=0.5, grad_clip=1.0, augment="none", ema_decay=0.9
)


@pytest.fixture(scope="module")
def images():
    return scenes.render(24, 32, framing="close").images


def fresh(seed=0):
    torch.manual_seed(seed)
    return mini_sd.autoencoder(TINY)


def pooled(x):
    """A stand-in for a network's features."""
    return [torch.nn.functional.avg_pool2d(x, side) for side in (2, 4)]


def train(vae, images, config=CONFIG, **options):
    return ae.train_autoencoder(vae, images, config, features=pooled, progress=False, **options)


def same(a, b):
    ours, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(ours[name], theirs[name]) for name in ours.keys() | theirs.keys())


def test_edges_are_what_counts():
    flat, step = torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4)
    step[..., 2:] = 1  # one of three differences across, none down
    assert ae.edge_error(step, flat).item() == pytest.approx(1 / 6)
    assert ae.edge_error(flat + 0.7, flat).item() == 0  # another brightness has the same edges


def test_perceptual_distance_sees_directions():
    x = [torch.tensor([3.0, 4.0]).view(1, 2, 1, 1), torch.tensor([1.0, 0.0]).view(1, 2, 1, 1)]
    y = [torch.tensor([6.0, 8.0]).view(1, 2, 1, 1), torch.tensor([0.0, 2.0]).view(1, 2, 1, 1)]
    # The first pair points the same way, the second is at right angles: (0 + 2) / 2.
    assert ae.perceptual_distance(x, y).item() == pytest.approx(1.0, abs=1e-6)


def test_the_loss_is_the_sum_of_its_terms(images):
    x = images[:4].float() / 127.5 - 1
    model = ae.Autoencoding(fresh())
    torch.manual_seed(1)
    coded = model(x)
    torch.manual_seed(1)
    posterior = model.vae.encode(x).latent_dist
    wanted = model.vae.decode(posterior.mean + posterior.std * torch.randn(4, 4, 8, 8)).sample
    torch.testing.assert_close(coded.image, wanted)
    normal = torch.distributions.Normal(0, 1)
    kl = torch.distributions.kl_divergence(
        torch.distributions.Normal(posterior.mean, posterior.std), normal
    )
    torch.testing.assert_close(coded.kl, kl.sum((1, 2, 3)), rtol=1e-4, atol=1e-3)
    goal = ae.AutoencoderObjective(edge=2.0, perceptual=3.0, kl=5.0)
    parts = [
        (wanted - x).abs().mean(),
        2 * ae.edge_error(wanted, x),
        5 * kl.sum((1, 2, 3)).mean() / (3 * 32 * 32),
    ]
    torch.testing.assert_close(ae.autoencoder_loss(coded, x, goal), sum(parts))
    seen = 3 * ae.perceptual_distance(pooled(wanted), pooled(x))
    torch.testing.assert_close(ae.autoencoder_loss(coded, x, goal, pooled), sum(parts) + seen)


def test_it_learns_and_holds_the_average(images):
    vae = fresh()
    pictures = images.float() / 127.5 - 1
    before = ae.psnr(reconstruct(vae, images), pictures)
    history = train(vae, images, TrainConfig(**{**CONFIG.__dict__, "epochs": 12}))
    assert history.train_loss[-1] < 0.7 * history.train_loss[0]
    assert ae.psnr(reconstruct(vae, images), pictures) > before + 2
    for name, value in vae.state_dict().items():
        assert torch.equal(value, history.ema_weights[f"vae.{name}"])


def test_a_stopped_run_ends_in_the_same_bits(images, tmp_path):
    straight, stopped = fresh(), fresh()
    expected = train(straight, images)
    train(stopped, images, out=tmp_path, stop_after=2)
    resumed = fresh(seed=9)
    history = train(resumed, images, out=tmp_path)
    assert same(resumed, straight) and history.step_loss == expected.step_loss
    assert not same(stopped, straight)


def test_latents_have_a_deviation_of_one(images):
    vae = fresh()
    codes = encode(vae, images, batch_size=7)
    assert codes.mean.shape == codes.std.shape == (24, 4, 8, 8) and (codes.std > 0).all()
    with torch.no_grad():
        wanted = vae.encode(images.float() / 127.5 - 1).latent_dist.mean
    torch.testing.assert_close(codes.mean, wanted, rtol=1e-4, atol=1e-5)
    factor = ae.set_scaling(vae, codes)
    assert vae.config.scaling_factor == factor
    assert (codes.mean * factor).std().item() == pytest.approx(1, abs=1e-5)


def test_latents_that_are_all_the_same_have_no_scale():
    same_everywhere = Codes(torch.ones(2, 4, 2, 2), torch.ones(2, 4, 2, 2))
    with pytest.raises(ValueError, match="deviation is 0.0: the autoencoder is not trained"):
        ae.set_scaling(fresh(), same_everywhere)


def test_psnr_is_scikit_images():
    rng = torch.Generator().manual_seed(0)
    a, b = (torch.rand(3, 3, 8, 8, generator=rng) * 2 - 1 for _ in range(2))
    wanted = [
        peak_signal_noise_ratio(x.numpy(), y.numpy(), data_range=2)
        for x, y in zip(a, b, strict=True)
    ]
    assert ae.psnr(a, b) == pytest.approx(math.fsum(wanted) / 3, rel=1e-5)


def test_bad_weights():
    with pytest.raises(ValueError, match="must not be negative"):
        ae.AutoencoderObjective(edge=-1.0)
