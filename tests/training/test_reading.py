"""The reader of pictures: what captions ask for, what counts as right, and that it reads."""

import itertools
import math

import pytest
import torch

from modarch_utils import zoo
from modarch_utils.data import pairs, scenes
from modarch_utils.data.scenes import COLOURS, GROUNDS, SHAPES
from modarch_utils.models import reader as reader_
from modarch_utils.models.reader import Reader, ReaderConfig
from modarch_utils.training import reading
from modarch_utils.training.reading import NONE, Following, Reading

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


def test_a_reader_is_kept_in_half_precision(tmp_path):
    with pytest.raises(FileNotFoundError, match="config.json is missing.*mini_reader"):
        reader_.load(tmp_path)
    reader = fresh()
    x = torch.rand(32, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    reader(x)  # moves the running statistics, which are kept too
    file = reader_.save(reader, tmp_path / "new")
    params = sum(p.numel() for p in reader.parameters())
    assert file.stat().st_size < 2 * params + 6000
    loaded = reader_.load(file.parent)
    assert loaded.config == TINY and not loaded.training
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
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
