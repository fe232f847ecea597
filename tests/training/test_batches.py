"""Batches depend on (seed, epoch, step) alone, and augmentation does what it says."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modarch_utils.training.batches import Batches, augment, to_input
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.randomness import derive, generator, seeded

PLAIN = TrainConfig(epochs=1, batch_size=8, augment="none", label_smoothing=0.1)
MIXED = replace(PLAIN, augment="crop_flip", mixup=0.8, cutmix=1.0)


def numbered(n: int = 30) -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose pixels all equal their number, labelled 0, 1, 2, 0, ..."""
    return torch.arange(n, dtype=torch.float32).view(n, 1, 1, 1).expand(n, 2, 4, 4), (
        torch.arange(n) % 3
    )


def ramp() -> torch.Tensor:
    """Pixel (y, x) of a 16x16 image is 100 y + x; 40 copies with two channels, the second +0.5."""
    y, x = torch.arange(16.0)[:, None], torch.arange(16.0)
    image = torch.stack((100 * y + x, 100 * y + x + 0.5))
    return image.expand(40, 2, 16, 16)


def test_an_epoch_visits_each_image_once_but_for_the_incomplete_batch():
    images, labels = numbered()
    batches = Batches(images, labels, PLAIN)
    assert len(batches) == 3
    seen = []
    for x, y in batches.epoch(0):
        assert x.shape == (8, 2, 4, 4)
        assert torch.equal(x[:, 0, 0, 0].long() % 3, y)  # image and label stay together
        seen += x[:, 0, 0, 0].tolist()
    assert len(set(seen)) == 24
    assert seen != sorted(seen)


@given(st.integers(0, 2**31), st.integers(0, 999), st.sampled_from([1, 2, 4]))
def test_batches_depend_on_seed_and_epoch_alone(seed, epoch, world):
    """Not on what ran before, nor on how many share them; they leave data and generators alone."""
    images, labels = (data.clone() for data in numbered())
    before = torch.get_rng_state(), np.random.get_state()[1].copy()

    def made(seed=seed, epoch=epoch, **share):
        config = replace(MIXED, seed=seed)
        return list(Batches(images, labels, config, num_classes=3, **share).epoch(epoch))

    whole = made()
    for x, y in made(seed + 1)[:1] + made(epoch=epoch + 1)[:1]:
        assert not torch.equal(x, whole[0][0]) and not torch.equal(y, whole[0][1])
    shares = [made(rank=rank, world=world) for rank in range(world)]
    for batch, *parts in zip(whole, *shares, strict=True):
        for values, *theirs in zip(batch, *parts, strict=True):
            assert torch.equal(values, torch.cat(theirs))
    assert torch.equal(images, numbered()[0]) and torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()


def test_mixup_blends_images_and_labels_in_the_same_proportion():
    images = torch.eye(3).view(3, 3, 1, 1).expand(3, 3, 4, 4)[torch.arange(24) % 3]
    config = replace(PLAIN, mixup=1.0, label_smoothing=0.0)
    batches = Batches(images, torch.arange(24) % 3, config, num_classes=3)
    blended = 0
    for x, y in batches.epoch(0):
        torch.testing.assert_close(x.mean((2, 3)), y)  # the image *is* its own soft label
        blended += (y.max(1).values < 0.999).sum().item()
    assert blended > 0


def test_flip_mirrors_about_half_of_the_images_and_nothing_else():
    out = augment(ramp(), "flip", generator(0))
    flipped = out[:, 0, 0, 0] == 15
    assert torch.equal(out[flipped], ramp()[flipped].flip(3))
    assert torch.equal(out[~flipped], ramp()[~flipped])
    assert 10 < flipped.sum() < 30


def test_crop_moves_by_up_to_an_eighth_and_repeats_the_border():
    out = augment(ramp(), "crop_flip", generator(0))
    assert torch.equal(out[:, 1], out[:, 0] + 0.5)  # the channels move together
    rows, columns = out[:, 0].div(100, rounding_mode="floor"), out[:, 0] % 100
    dy = rows[:, 8, 0] - 8
    assert dy.unique().tolist() == [-2, -1, 0, 1, 2]
    expected = (torch.arange(16.0) + dy[:, None]).clamp(0, 15)
    assert torch.equal(rows, expected[:, :, None].expand_as(rows))
    middle = columns[:, 0, 8]  # 8 + dx, or 7 + dx in a mirror
    assert middle.unique().tolist() == [5, 6, 7, 8, 9, 10]
    step = columns[:, 0, 5] - columns[:, 0, 4]
    assert set(step.tolist()) == {-1.0, 1.0}
    assert columns.min() == 0 and columns.max() == 15


def test_uint8_becomes_minus_one_to_one_and_floats_stay():
    assert to_input(torch.tensor([0, 255], dtype=torch.uint8)).tolist() == [-1, 1]
    assert to_input(torch.tensor([0.25, 300.0])).tolist() == [0.25, 300]


def test_seeded_is_repeatable_and_restores():
    torch.manual_seed(7)
    expected = torch.rand(2)
    torch.manual_seed(7)
    with seeded(1, 2):
        first = torch.rand(3)
    with seeded(1, 2):
        assert torch.equal(torch.rand(3), first)
    assert torch.equal(torch.rand(2), expected)
    assert len({derive(0), derive(0, 1), derive(1, 0), derive(1)}) == 4


def test_batch_size_must_fit():
    data = numbered()
    with pytest.raises(ValueError, match=r"batch \(64\) is larger than the training set \(30"):
        Batches(*data, replace(PLAIN, batch_size=64))
    with pytest.raises(ValueError, match="multiple of 3"):
        Batches(*data, PLAIN, world=3)
    with pytest.raises(ValueError, match="num_classes"):
        Batches(*data, MIXED)
