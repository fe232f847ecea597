"""Masked pre-training: what is hidden stays hidden, and only it is scored."""

import pytest
import torch
import torch.nn.functional as F

from modarch_utils.models.convnext import GRN, ConvNeXt
from modarch_utils.models.fcmae import FCMAE, patchify, random_mask

CPU = torch.device("cpu")


@pytest.fixture
def model():
    torch.manual_seed(0)
    encoder = ConvNeXt(depths=(1, 1, 2, 1), dims=(8, 12, 16, 24), layer_scale=None, use_grn=True)
    model = FCMAE(encoder, decoder_dim=16)
    for p in model.parameters():  # biases, GRN and norms too: zeros would hide a leak
        p.data += 0.2 * torch.randn_like(p)
    return model.eval()


@pytest.fixture
def images():
    return torch.randn(2, 3, 96, 64, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def visible():
    return torch.tensor([[[1, 0], [0, 1], [0, 0]], [[0, 1], [1, 1], [0, 0]]]).float()[:, None]


def pixels(visible):
    return visible.repeat_interleave(32, 2).repeat_interleave(32, 3)


def test_hidden_pixels_change_nothing(model, images, visible):
    hidden = 1 - pixels(visible)
    other = images + 50 * torch.randn_like(images) * hidden
    with torch.no_grad():
        features = model.encoder.features(images, visible)
        torch.testing.assert_close(model.encoder.features(other, visible), features)
        torch.testing.assert_close(
            model.reconstruct(other, visible), model.reconstruct(images, visible)
        )
        seen = images + torch.randn_like(images) * (1 - hidden)
        assert not torch.allclose(model.encoder.features(seen, visible), features, atol=1e-2)


def test_hidden_positions_stay_zero_in_every_block(model, images, visible):
    outputs = []
    for stage in model.encoder.stages:
        for block in stage:
            block.register_forward_hook(lambda module, args, out: outputs.append(out))
    with torch.no_grad():
        model.encoder.features(images, visible)
    assert len(outputs) == 5
    for out in outputs:
        mask = F.interpolate(visible, out.shape[-2:]).expand_as(out)
        assert not out[mask == 0].any()
        assert (out[mask == 1] != 0).all()


def test_one_visible_patch_is_seen_as_an_image_of_its_own(model, images):
    """What sparse convolution would do: the hidden patches are not there."""
    visible = torch.zeros(2, 1, 3, 2)
    visible[:, :, 1, 1] = 1
    with torch.no_grad():
        masked = model.encoder.features(images, visible)[:, :, 1, 1]
        alone = model.encoder.features(images[:, :, 32:64, 32:64])[:, :, 0, 0]
    torch.testing.assert_close(masked, alone, rtol=1e-4, atol=1e-4)


def test_a_mask_of_ones_is_no_mask(model, images):
    with torch.no_grad():
        masked = model.encoder.features(images, torch.ones(2, 1, 3, 2))
        torch.testing.assert_close(masked, model.encoder.features(images))


def test_grn_is_the_identity_at_first_and_compares_channels_later():
    torch.manual_seed(0)
    grn, x = GRN(6), torch.randn(2, 4, 5, 6)
    assert torch.equal(grn(x), x)
    grn.gamma.data.normal_()
    grn.beta.data.normal_()
    energy = x.square().sum((1, 2)).sqrt()
    share = energy / energy.mean(1, keepdim=True)
    expected = grn.gamma * x * share[:, None, None] + grn.beta + x
    torch.testing.assert_close(grn(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("grid", "ratio", "n_visible"),
    [((7, 7), 0.6, 19), ((5, 4), 0.6, 8), ((2, 5), 0.9, 1), ((2, 5), 0.8, 2), ((3, 4), 0.75, 3)],
)
def test_mask_hides_the_same_number_everywhere(grid, ratio, n_visible):
    torch.manual_seed(0)
    mask = random_mask(64, grid, ratio, CPU)
    assert mask.shape == (64, 1, *grid)
    assert set(mask.unique().tolist()) == {0, 1}
    assert (mask.sum((1, 2, 3)) == n_visible).all()
    assert len(mask.flatten(1).unique(dim=0)) > 1
    # Every patch has its turn: the rarest of 64 draws is far from never.
    assert mask.mean(0).min() > 0


def test_loss_counts_hidden_patches_alone(model, images, visible, monkeypatch):
    target = model.target(images)
    wrong = target + 100 * visible + 3 * (1 - visible)
    monkeypatch.setattr(model, "reconstruct", lambda images, visible: wrong)
    assert model(images, visible).item() == pytest.approx(9, rel=1e-4)
    # One hidden patch of two that is wrong counts half.
    visible = torch.ones(2, 1, 3, 2)
    visible[0, 0, 0, 0] = visible[1, 0, 2, 1] = 0
    wrong = target.clone()
    wrong[0, :, 0, 0] += 2
    assert model(images, visible).item() == pytest.approx(2, rel=1e-4)


def test_target_is_normalised_in_each_patch(model, images):
    target = model.target(5 * images + 2)
    assert target.shape == (2, 32 * 32 * 3, 3, 2)
    torch.testing.assert_close(target.mean(1), torch.zeros(2, 3, 2), rtol=0, atol=1e-5)
    torch.testing.assert_close(target.std(1), torch.ones(2, 3, 2), rtol=1e-4, atol=0)


def test_patchify_round_trip():
    images = torch.randn(2, 3, 24, 16)
    patches = patchify(images, 8)
    assert patches.shape == (2, 8 * 8 * 3, 3, 2)
    assert torch.equal(F.pixel_shuffle(patches, 8), images)
    corner = images[1, :, 16:24, 8:16].flatten()
    assert torch.equal(patches[1, :, 2, 1], corner)  # a patch keeps its own pixels


def test_training_lowers_the_loss_from_a_random_mask(images):
    torch.manual_seed(0)
    model = FCMAE(ConvNeXt(depths=(1, 1), dims=(8, 16), use_grn=True, layer_scale=None), 16)
    assert model.encoder.stride == 8
    first = model(images)
    assert first.ndim == 0
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(30):
        optimizer.zero_grad()
        loss = model(images)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.95 * first.item()


def test_a_v1_encoder_gets_a_v1_decoder():
    model = FCMAE(ConvNeXt(depths=(1, 1), dims=(8, 16)), 16)
    assert not any("grn" in name for name, _ in model.named_parameters())


@pytest.mark.parametrize("size", [(96, 60), (33, 64)])
def test_wrong_size(model, size):
    images = torch.zeros(1, 3, *size)
    for call in (model, lambda x: model.reconstruct(x, torch.ones(1, 1, 2, 2))):
        with pytest.raises(ValueError, match=f"{size[0]}×{size[1]} .* multiples of 32"):
            call(images)
