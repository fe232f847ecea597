"""The reader of pictures: what captions ask for, what counts as right, and that it learns sides."""

import itertools
import math

import pytest
import torch
from scipy.ndimage import gaussian_filter

from modarch_utils import zoo
from modarch_utils.data import pairs, scenes
from modarch_utils.data.scenes import COLOURS, GROUNDS, SHAPES
from modarch_utils.models import reader as reader_
from modarch_utils.models.reader import Logits, Reader, ReaderConfig
from modarch_utils.training import reading
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.reading import NONE, Following, Reading
from recipes import reader_training

TINY = ReaderConfig(2, 3, 2, image_size=16, stem=8, stages=((16, 1),), head=4)


def fresh(config=TINY):
    torch.manual_seed(0)
    return Reader(config)


def test_captions_are_understood_from_either_side():
    objects = list(itertools.product(range(len(COLOURS)), range(len(SHAPES))))
    prompts, shape, colour, ground = [], [], [], []
    for i, (c, s) in enumerate(objects):
        where, (c2, s2) = i % len(GROUNDS), objects[-i]
        told = [(COLOURS[c], SHAPES[s]), (COLOURS[c2], SHAPES[s2])]
        prompts.append(scenes.caption(SHAPES[s], COLOURS[c], GROUNDS[where]))
        prompts.append(pairs.caption(told[0], "left", told[1], GROUNDS[where]))
        prompts.append(pairs.caption(told[1], "right", told[0], GROUNDS[where]))
        shape += [[s, NONE], [s, s2], [s, s2]]
        colour += [[c, NONE], [c, c2], [c, c2]]
        ground += [where] * 3
    asked = reading.asked(prompts)
    assert asked.shape.tolist() == shape
    assert asked.colour.tolist() == colour
    assert asked.ground.tolist() == ground
    assert asked.count.tolist() == [1, 2, 2] * len(objects)


@pytest.mark.parametrize(
    "prompt",
    ["a red torus", "a red zebra on grass", "a red torus on the moon", "a red torus on grass."],
)
def test_other_sentences_are_refused(prompt):
    with pytest.raises(ValueError, match="Only captions"):
        reading.asked(["a red torus on grass", prompt])


def test_scenes_show_what_their_captions_say():
    one, two = scenes.render(6, 32, framing="close"), pairs.render(6, 32)
    for data, captions in (
        (one, one.captions),
        (two, two.captions("right")),
        (two.mirrored(), two.mirrored().captions("left")),
    ):
        for shown, said in zip(reading.labels(data), reading.asked(captions), strict=True):
            assert torch.equal(shown, said)


def shown(*rows):
    """Rows of left shape, left colour, right shape, right colour, ground."""
    table = torch.tensor(rows)
    return Reading(table[:, [0, 2]], table[:, [1, 3]], table[:, 4])


ASKED = shown(
    [1, 2, NONE, NONE, 3], [1, 2, NONE, NONE, 3], [1, 2, 4, 5, 3], [1, 2, 4, 5, 3], [1, 2, 4, 5, 3]
)
FOUND = shown(
    [1, 2, NONE, NONE, 3],  # right
    [1, 2, 4, 5, 0],  # one object too many, another ground
    [1, 2, 4, 5, 3],  # right
    [1, 2, NONE, NONE, 3],  # the right object is missing
    [4, 5, 1, 2, 3],  # exchanged
)


def test_what_follows_a_prompt():
    following = reading.follows(FOUND, ASKED)
    assert following.share.tolist() == pytest.approx([1, 2 / 3, 1, 3 / 5, 1 / 5])
    assert following.all_right.tolist() == [True, False, True, False, False]
    assert following.count.tolist() == [True, False, True, False, True]
    # Everything asked for is there, and something else too.
    extra = reading.follows(shown([1, 2, 4, 5, 3]), ASKED.take(slice(0, 1)))
    assert extra.share.item() == 1 and not extra.all_right.item()


def test_the_summary_is_a_mean_over_pictures():
    found = reading.summary(reading.follows(FOUND, ASKED))
    assert found == pytest.approx(
        {
            "follows": (1 + 2 / 3 + 1 + 3 / 5 + 1 / 5) / 5,
            "follows_one": (1 + 2 / 3) / 2,
            "follows_two": (1 + 3 / 5 + 1 / 5) / 3,
            "all_right": 2 / 5,
            "all_right_one": 1 / 2,
            "all_right_two": 1 / 3,
            "shape": 5 / 8,  # of eight objects that were asked for
            "colour": 5 / 8,
            "ground": 4 / 5,
            "count": 3 / 5,
        },
        abs=1e-4,
    )
    single = Following(*(values[:2] for values in reading.follows(FOUND, ASKED)))
    assert "follows_two" not in reading.summary(single)


def test_the_loss_is_the_sum_of_cross_entropies():
    rng = torch.Generator().manual_seed(0)
    sizes = {"count": (2,), "shape": (2, 3), "colour": (2, 4), "ground": (2,)}
    logits = Logits(*(torch.randn(2, *size, generator=rng) for size in sizes.values()))
    wanted = shown([1, 3, NONE, NONE, 0], [2, 0, 0, 1, 1])
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


def test_a_reader_is_kept_in_half_precision(tmp_path):
    with pytest.raises(FileNotFoundError, match="config.json is missing.*mini_reader"):
        reader_.load(tmp_path)
    reader = fresh()
    images, wanted = coloured_halves(32, 0)
    config = TrainConfig(epochs=1, batch_size=16, augment="none")
    reader_training.train_reader(reader, images, wanted, config, progress=False)
    file = reader_.save(reader, tmp_path / "new")
    params = sum(p.numel() for p in reader.parameters())
    assert file.stat().st_size < 2 * params + 6000
    loaded = reader_.load(file.parent)
    assert loaded.config == TINY and not loaded.training
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    x = reading.to_input(images)
    for ours, theirs in zip(loaded(x), reader.eval()(x), strict=True):
        torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0.02)


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match="multiple of 4"):
        ReaderConfig(image_size=18, stages=((16, 1),))
    with pytest.raises(ValueError, match=r"\(N, 3, 16, 16\), not \(1, 3, 32, 32\)"):
        fresh()(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ValueError, match="2 pictures cannot follow 1"):
        reading.score(fresh(), torch.zeros(2, 3, 16, 16), ["a red torus on grass"])


def test_the_shipped_reader_reads_scenes_it_has_not_seen():
    shipped = reader_.load(zoo.folder("mini-reader"))
    assert zoo.path("mini-reader").stat().st_size < 700_000
    one, two = scenes.render(100, 64, seed=23, framing="close"), pairs.render(100, 64, seed=23)
    images = torch.cat((one.images, two.images))
    prompts = one.captions + two.captions("right")
    found = reading.score(shipped, images / 255, prompts)
    for name in ("shape", "colour", "ground", "count"):
        assert found[name] >= 0.97, found
    # Prompts of other pictures: colour and shape are right for about one object in eight.
    wrong = reading.score(shipped, images.roll(1, 0) / 255, prompts)
    assert wrong["shape"] < 0.3 and wrong["colour"] < 0.3 and not math.isclose(wrong["ground"], 1)
