"""The reader's training: its loss by hand, mild damage, it learns left from right, it resumes."""

import pytest
import torch
from scipy.ndimage import gaussian_filter

from modarch_utils.data import scenes
from modarch_utils.models.reader import Logits, Reader, ReaderConfig
from modarch_utils.training import reading
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.reading import NONE, Reading
from recipes import reader_training

TINY = ReaderConfig(2, 3, 2, image_size=16, stem=8, stages=((16, 1),), head=4)


def fresh():
    torch.manual_seed(0)
    return Reader(TINY)


def test_the_loss_is_the_sum_of_cross_entropies():
    rng = torch.Generator().manual_seed(0)
    sizes = {"count": (2,), "shape": (2, 3), "colour": (2, 4), "ground": (2,)}
    logits = Logits(*(torch.randn(2, *size, generator=rng) for size in sizes.values()))
    wanted = Reading(
        torch.tensor([[1, NONE], [2, 0]]), torch.tensor([[3, NONE], [0, 1]]), torch.tensor([0, 1])
    )
    found = reader_training.reading_loss(logits, wanted.attributes, wanted.count)
    log = Logits(*(-each.log_softmax(-1) for each in logits))
    expected = (
        (log.count[0, 0] + log.count[1, 1]) / 2
        + (log.shape[0, 0, 1] + log.shape[1, 0, 2] + log.shape[1, 1, 0]) / 3
        + (log.colour[0, 0, 3] + log.colour[1, 0, 0] + log.colour[1, 1, 1]) / 3
        + (log.ground[0, 0] + log.ground[1, 1]) / 2
    )
    torch.testing.assert_close(found, expected)


def test_blur_is_gaussian():
    image = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    for sigma in (0.4, 1.0, 1.7):
        radius = int(3 * sigma) + 1
        expected = gaussian_filter(
            image.numpy(), sigma, mode="mirror", axes=(2, 3), radius=(radius, radius)
        )
        torch.testing.assert_close(reader_training.blur(image, sigma), torch.from_numpy(expected))


def test_degrading_is_mild_and_leaves_the_pictures_alone():
    images = scenes.render(8, 32, framing="close").to_float()
    before = images.clone()
    torch.manual_seed(0)
    first = reader_training.degrade(images)
    assert torch.equal(images, before)
    error = (first - images).abs().flatten(1).mean(1)
    assert (error > 0.01).all() and (error < 0.3).all()
    torch.manual_seed(0)
    assert torch.equal(reader_training.degrade(images), first)


def coloured_halves(n, seed):
    """Pictures whose halves have one of three colours; of one colour: one object."""
    rng = torch.Generator().manual_seed(seed)
    left = torch.randint(3, (n,), generator=rng)
    right = torch.where(
        torch.rand(n, generator=rng) < 0.5, (left + 1 + torch.arange(n) % 2) % 3, left
    )
    images = torch.zeros(n, 3, 16, 16, dtype=torch.uint8)
    for i in range(n):
        images[i, left[i], :, :8] = 255
        images[i, right[i], :, 8:] = 255
    one = left == right
    colour = torch.stack((left, torch.where(one, NONE, right)), 1)
    shape = torch.stack((left % 2, torch.where(one, NONE, right % 2)), 1)
    return images, Reading(shape, colour, left % 2)


def test_it_learns_left_from_right_and_resumes(tmp_path):
    images, wanted = coloured_halves(96, 0)
    config = TrainConfig(
        epochs=10, batch_size=16, lr=1e-2, warmup_epochs=1, augment="none", ema_decay=0.9
    )
    whole = fresh()
    reader_training.train_reader(whole, images, wanted, config, progress=False)
    new, truth = coloured_halves(64, 1)
    found = reading.follows(reading.read(whole, new), truth)
    assert found.all_right.float().mean() > 0.95
    # The untrained network must not be able to.
    blind = reading.follows(reading.read(fresh().eval(), new), truth)
    assert blind.all_right.float().mean() < 0.5

    stopped = fresh()
    for until in (4, None):
        reader_training.train_reader(
            stopped, images, wanted, config, out=tmp_path, stop_after=until, progress=False
        )
    ours, theirs = stopped.state_dict(), whole.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    with pytest.raises(ValueError, match="exchanges left and right"):
        reader_training.train_reader(whole, images, wanted, TrainConfig(augment="flip"))
