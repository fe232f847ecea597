"""Probes find what is in features, and nothing where nothing is."""

import pytest
import torch
import torch.nn.functional as F

from modarch_utils.training import probes
from modarch_utils.training.probes import Frozen
from tests.training.tiny_backbone import TinyBackbone


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def discs(n=60, grid=(6, 4), patch=4, channels=5, seed=0):
    """Features that say linearly whether a patch lies in a rectangle, among louder noise."""
    generator = rng(seed)
    mask = torch.zeros(n, *grid, dtype=torch.bool)
    for one in mask:
        top, left = (int(torch.randint(1, side - 2, (1,), generator=generator)) for side in grid)
        one[top : top + 2, left : left + 2] = True
    patches = torch.randn(n, grid[0] * grid[1], channels, generator=generator)
    patches[..., 2] = 20 * mask.flatten(1) + 0.1 * patches[..., 2] + 7
    full = mask.repeat_interleave(patch, 1).repeat_interleave(patch, 2)
    return Frozen(patches.mean(1), patches, grid), full


def test_nearest_neighbours_compare_directions():
    generator = rng()
    labels = torch.arange(60) % 3
    x = 5 * F.one_hot(labels, 8).float() + torch.randn(60, 8, generator=generator)
    scale = 10 ** torch.randn(60, 1, generator=generator)
    clear = probes.knn_accuracy((x[:30], labels[:30]), ((scale * x)[30:], labels[30:]), k=5)
    assert clear == 1
    shuffled = labels[torch.randperm(60, generator=generator)]
    assert probes.knn_accuracy((x[:30], shuffled[:30]), (x[30:], shuffled[30:]), k=5) < 0.7
    x, wrong = torch.eye(2), torch.tensor([1, 0])
    assert probes.knn_accuracy((x, torch.tensor([0, 1])), (x, wrong), k=1) == 0


def test_linear_probe_chooses_on_validation_and_scores_on_test():
    def part(n, seed, signal=3.0):
        labels = torch.randint(0, 3, (n,), generator=rng(seed))
        noise = torch.randn(n, 40, generator=rng(seed + 50))
        return noise + signal * F.one_hot(labels, 40), labels

    train, val, test = part(60, 1), part(200, 2), part(300, 3)
    found = probes.linear_probe(train, val, test)
    on_val = {c: probes.linear_probe(train, val, val, (c,)).accuracy for c in probes.STRENGTHS}
    assert on_val[found.strength] == max(on_val.values()) > min(on_val.values())
    assert found.accuracy == found.classifier.score(*(t.numpy() for t in test))
    assert found.accuracy > 0.75
    blind = probes.linear_probe(part(60, 1, 0), part(200, 2, 0), part(300, 3, 0))
    assert abs(blind.accuracy - 1 / 3) < 0.1


def test_probe_does_not_care_about_scales():
    labels = torch.randint(0, 2, (80,), generator=rng())
    x = torch.randn(80, 3, generator=rng(1))
    x[:, 0] += 4 * labels
    scaled = x * torch.tensor([1e-3, 100.0, 1.0])
    a, b = (probes.linear_probe((f, labels), (f, labels), (f, labels)) for f in (x, scaled))
    assert a.accuracy == pytest.approx(b.accuracy, abs=0.02) and a.accuracy > 0.95


def test_segmentation_at_full_size_and_not_square():
    known, masks = discs()
    asked, truth = discs(seed=1)
    head = probes.segment_linear(known, masks)
    answers = head.predict(asked, (24, 16))
    assert answers.shape == truth.shape and not answers.requires_grad
    assert probes.mean_iou(answers > 0, truth) > 0.75
    blind = [f._replace(patches=torch.randn(60, 24, 5, generator=rng())) for f in (known, asked)]
    guess = probes.segment_linear(blind[0], masks).predict(blind[1], (24, 16)) > 0
    assert probes.mean_iou(guess, truth) < 0.5


def test_upsampling_answers_is_upsampling_features():
    frozen, _ = discs(3)
    head = probes.DenseHead(frozen)
    torch.nn.init.normal_(head.layers[-1].weight)
    standard = frozen._replace(patches=(frozen.patches - head.mean) / head.std)
    large = F.interpolate(standard.patch_map(), (24, 16), mode="bilinear", align_corners=False)
    torch.testing.assert_close(head.predict(frozen, (24, 16)), head.layers(large)[:, 0].detach())


def test_mean_iou_by_hand():
    masks = torch.tensor([[[True, True, False, False]]])
    found = torch.tensor([[[True, False, False, False]]])
    assert probes.mean_iou(found, masks) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert probes.mean_iou(masks, masks) == 1


@pytest.mark.parametrize("fit", [probes.depth_linear, probes.depth_head])
def test_depth_leaves_the_sky_out(fit):
    known, masks = discs()
    depth = torch.where(masks, 2.0, 8.0)
    depth[:, 0] = torch.inf
    asked, truth = discs(seed=1)
    wanted = torch.where(truth, 2.0, 8.0)
    wanted[:, 0] = torch.inf
    error = probes.depth_error(fit(known, depth).predict(asked, (24, 16)), wanted)
    mean = depth[depth.isfinite()].log().mean()
    baseline = probes.depth_error(mean, wanted)
    assert error.rmse_log < 0.75 * baseline.rmse_log
    assert error.abs_rel < baseline.abs_rel


def test_depth_head_repeats_itself_and_leaves_the_generator_alone():
    known, masks = discs(20)
    depth = torch.where(masks, 2.0, 8.0)
    before = torch.random.get_rng_state()
    a, b = (probes.depth_head(known, depth, steps=5).state_dict() for _ in range(2))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_depth_error_by_hand():
    depth = torch.tensor([[[1.0, 2.0, torch.inf]]])
    found = probes.depth_error(torch.tensor(2.0).log(), depth)
    assert found.rmse_log == pytest.approx((torch.tensor(2.0).log().item() ** 2 / 2) ** 0.5)
    assert found.abs_rel == pytest.approx(0.5)


@pytest.mark.parametrize("sign", [1, -1])
def test_first_component_finds_the_object_whatever_its_sign(sign):
    frozen, masks = discs()
    frozen = frozen._replace(patches=sign * frozen.patches)
    found = probes.principal_object(frozen, (24, 16))
    assert ((found & masks).sum() / (found | masks).sum()) > 0.6
    maps = probes.principal_maps(frozen)
    assert maps.shape == (60, 3, 6, 4)
    spread = maps.transpose(0, 1).flatten(1).std(1)
    assert spread[0] > spread[1] > spread[2]


def test_nearest():
    gallery = torch.tensor([[1.0, 0.0], [0.0, 3.0], [5.0, 5.0]])
    assert probes.nearest(gallery, torch.tensor([[0.1, 2.0]]), 2).tolist() == [[1, 2]]


def test_pixels_are_the_pixels():
    images = torch.rand(2, 3, 16, 24, generator=rng())
    found = probes.pixels(images, 8, 4)
    assert found.grid == (2, 3) and found.patches.shape == (2, 6, 192)
    assert torch.equal(found.patches[1, 4].view(3, 8, 8), images[1, :, 8:, 8:16])
    assert found.cls.shape == (2, 48)
    assert found.cls.view(2, 3, 4, 4).mean() == pytest.approx(images.mean().item(), abs=1e-5)
    assert torch.equal(found.patch_map()[0, :, 1, 2], found.patches[0, 5])
    torch.testing.assert_close(found.mean_patch[0], found.patches[0].mean(0))


def test_extract_works_in_batches_and_keeps_the_order():
    images = torch.randint(0, 256, (7, 3, 8, 8), generator=rng(), dtype=torch.uint8)
    torch.manual_seed(0)
    tiny = TinyBackbone(6).eval()

    class WithGrid(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.tiny = tiny

        def forward(self, x):
            out = self.tiny(x)
            return Frozen(out.cls, out.patches, (2, 2))

    whole, parts = (probes.extract(WithGrid(), images, size) for size in (7, 3))
    torch.testing.assert_close(whole.cls, parts.cls)
    torch.testing.assert_close(whole.patches, parts.patches)
    assert not whole.cls.requires_grad
    assert whole.take(slice(2)).patches.shape == (2, 4, 6)
