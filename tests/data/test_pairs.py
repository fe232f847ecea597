"""Pairs: two different things, truthful about sides, each in the other's light."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from modarch_utils.data import factors, pairs, renderer, scenes, sdf
from tests.data.pictures import same

N = 96


@pytest.fixture(scope="module")
def batch() -> pairs.Pairs:
    return pairs.render(N, 64, seed=5)


@pytest.fixture(scope="module")
def objects() -> tuple[factors.Factors, factors.Factors]:
    return pairs.draw(N, seed=5)


def test_streams_are_not_those_of_scenes(objects):
    single = factors.draw(N, seed=5, framing="wide")
    for some in objects:
        assert not (some.floor == single.floor).any()
        assert (some.shape == single.shape).float().mean() < 0.4


def test_any_size_shows_the_same_scenes(batch):
    other = pairs.render(4, 37, seed=5)
    assert other.images.shape == (4, 3, 37, 37) and other.images.dtype == torch.uint8
    assert other.captions() == batch[:4].captions()


# -- labels ----------------------------------------------------------------------------------------


def test_two_different_things_and_all_of_them():
    left, right = pairs.draw(3000, seed=0)
    assert not ((left.shape == right.shape) & (left.colour == right.colour)).any()
    for name, names in scenes.CLASSES.items():
        for some in (left, right):
            counts = torch.bincount(getattr(some, name), minlength=len(names))
            expected = 3000 / len(names)
            assert (counts - expected).abs().max() < 5 * expected**0.5
    # Either may be equal alone, as often as chance has it: 7 of 63.
    for name in ("shape", "colour"):
        equal = (getattr(left, name) == getattr(right, name)).float().mean()
        assert abs(equal - 1 / 9) < 0.03


def test_labels_are_those_of_the_factors(batch, objects):
    for column, some in enumerate(objects):
        assert torch.equal(batch.shape[:, column], some.shape)
        assert torch.equal(batch.colour[:, column], some.colour)
        assert torch.equal(batch.ground, some.ground)


def test_pixels_of_a_colour_are_on_its_side(batch):
    """By the picture alone, for colours that neither a ground nor the sky comes near."""
    palette = torch.tensor([factors.PALETTE[name] for name in scenes.COLOURS])

    def hue(rgb):
        grey = rgb.mean(-1, keepdim=True)
        return torch.nn.functional.normalize(rgb - grey, dim=-1)

    pixels = (batch.images / 255).movedim(1, -1)
    vivid = pixels.amax(-1) - pixels.amin(-1) > 0.35
    near = (hue(pixels) @ hue(palette).T).argmax(-1)
    column = torch.arange(64.0) + 0.5
    checked = right = 0
    for i in range(N):
        if batch.colour[i, 0] == batch.colour[i, 1]:
            continue
        for side, colour in enumerate(batch.colour[i].tolist()):
            if scenes.COLOURS[colour] in ("red", "yellow", "cyan", "purple"):
                count = ((near[i] == colour) & vivid[i]).sum(0).float()
                mean = (count * column).sum() / count.sum()
                checked += 1
                right += int((mean > 32) == bool(side))
    assert checked > 60
    assert right >= 0.97 * checked


def test_mirrored_swaps_pictures_and_labels(batch):
    mirrored = batch.mirrored()
    assert torch.equal(mirrored.images[:, :, :, 3], batch.images[:, :, :, 60])
    assert torch.equal(mirrored.shape[:, 0], batch.shape[:, 1])
    assert torch.equal(mirrored.colour[:, 1], batch.colour[:, 0])
    assert torch.equal(mirrored.ground, batch.ground)
    assert same(mirrored.mirrored(), batch)
    # What was left of the other is right of it now: the same two phrases, in the same order.
    for before, after in zip(batch.captions("left"), mirrored.captions("right"), strict=True):
        assert before.replace(" left of ", " right of ") == after


def test_captions_tell_either_side():
    name = {n: i for n, i in zip(scenes.SHAPES, range(8), strict=True)}
    hue = {n: i for n, i in zip(scenes.COLOURS, range(8), strict=True)}
    some = pairs.Pairs(
        torch.zeros(2, 3, 32, 32, dtype=torch.uint8),
        torch.tensor([[name["torus"], name["cube"]], [name["cone"], name["star"]]]),
        torch.tensor([[hue["red"], hue["blue"]], [hue["white"], hue["orange"]]]),
        torch.tensor([scenes.GROUNDS.index("wood"), scenes.GROUNDS.index("grass")]),
    )
    assert some.captions() == some.captions("left")
    assert some.captions("left") == [
        "a red torus left of a blue cube on a wooden floor",
        "a white cone left of an orange star on grass",
    ]
    assert some.captions("right") == [
        "a blue cube right of a red torus on a wooden floor",
        "an orange star right of a white cone on grass",
    ]
    with pytest.raises(ValueError, match="left or right of another, not 'above'"):
        some.captions("above")


def test_indexing(batch):
    assert len(batch) == N and len(batch[3:7]) == 4
    picked = batch[torch.tensor([7, 2])]
    assert picked.captions() == [batch.captions()[7], batch.captions()[2]]
    assert torch.equal(picked.images[1], batch.images[2])


# -- geometry --------------------------------------------------------------------------------------


def local(some: factors.Factors, i: int, world: np.ndarray) -> sdf.Vec:
    """World points (P, 3) in the space of object ``i``: its rotation is from z towards x."""
    c, s = math.cos(some.angle[i]), math.sin(some.angle[i])
    to_world = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])  # z goes to (s, 0, c)
    points = (world - some.position[i].double().numpy()) @ to_world / some.size[i].item()
    return sdf.Vec(*torch.from_numpy(points).unbind(1))


def distance(some: factors.Factors, i: int, world: np.ndarray) -> np.ndarray:
    """Distance in the world from points (P, 3) to object ``i``."""
    shape = sdf.SHAPES[scenes.SHAPES[some.shape[i]]]
    return shape.distance(local(some, i, world)).numpy() * some.size[i].item()


def solid(some: factors.Factors, i: int) -> np.ndarray:
    """World points (P, 3) that fill object ``i``."""
    radius = 1.5 * some.size[i].item()
    axis = np.linspace(-radius, radius, 31)
    box = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)
    box = box + some.position[i].double().numpy()
    return box[distance(some, i, box) <= 0]


# In samples 1158 and 2058 the first distances drawn are too far apart for one frame.
@pytest.mark.parametrize("start,n", [(0, 150), (1158, 1), (2058, 1)])
def test_objects_are_apart_on_the_ground_and_in_the_frame(start, n):
    left, right = pairs.draw(n, seed=9, start=start)
    for name in ("ground", "eye", "rotation", "focal", "light", "sky", "floor"):
        assert torch.equal(getattr(left, name), getattr(right, name))
    for i in range(n):
        rotation, eye = left.rotation[i].double().numpy(), left.eye[i].double().numpy()
        columns = []
        for some, other in ((left, right), (right, left)):
            points = solid(some, i)
            assert abs(points[:, 1].min()) < 0.15 * some.size[i]  # one step of the grid
            assert distance(other, i, points).min() > 0
            across, above, along = rotation @ (points - eye).T
            row = 0.5 - left.focal[i].item() * above / along
            column = 0.5 + left.focal[i].item() * across / along
            for ends in (row, column):
                assert ends.min() > 0.02 and ends.max() < 0.98
            columns.append(column)
        assert columns[0].max() < columns[1].min()  # so neither hides the other


def test_either_object_may_be_farther(objects):
    left, right = (((some.position - some.eye) * some.rotation[:, 2]).sum(1) for some in objects)
    assert (left > 1.15 * right).sum() > N / 5 and (right > 1.15 * left).sum() > N / 5


def test_shares_of_the_frame(objects):
    for some in objects:
        share = renderer.draw(some, 64)[1].float().mean((1, 2))
        assert share.min() > 0.055 and share.max() < 0.18 and 0.1 < share.mean() < 0.125


# -- light -----------------------------------------------------------------------------------------


def away(some: factors.Factors) -> factors.Factors:
    """The same objects behind the camera and far away."""
    return replace(some, position=some.eye - some.rotation[:, 2] * 1e4)


def test_an_object_alone_looks_as_in_scenes(objects):
    """Byte for byte, whichever of the two is left."""
    left, right = (some.take(slice(0, 40)) for some in objects)
    assert torch.equal(pairs.picture(left, away(right), 64), renderer.draw(left, 64)[0])
    assert torch.equal(pairs.picture(away(left), right, 64), renderer.draw(right, 64)[0])


def test_each_shades_the_other(objects, monkeypatch):
    """At points of its surface, as much as a slow march towards the sun says."""
    asked, leaves = [], pairs._Half.leaves

    def recorded(self, scene, point):
        asked.append((self.factors, scene, point, leaves(self, scene, point)))
        return asked[-1][-1]

    monkeypatch.setattr(pairs._Half, "leaves", recorded)
    left, right = objects
    shaded = pairs.picture(left, right, 32)
    steps = np.geomspace(0.02, 20, 600)
    dark = lit = 0
    generator = np.random.default_rng(0)
    for shading, scene, point, seen in asked:
        other = left if torch.equal(shading.position, right.position) else right
        # Points in the shadow are few: half of those checked are darkened.
        pools = [(seen < 0.5).nonzero().squeeze(1), (seen > 0.5).nonzero().squeeze(1)]
        for k in np.concatenate([generator.choice(p, min(len(p), 60), False) for p in pools]):
            i, at = scene[k].item(), np.array([part[k].item() for part in point])
            assert abs(distance(other, i, at[None])[0]) < 0.02 * other.size[i]  # its surface
            ray = at + steps[:, None] * left.light[i].double().numpy()
            gap = (distance(shading, i, ray) / steps).min()
            if gap < -0.01:
                assert seen[k] < 0.1
                dark += 1
            elif gap > 0.08:
                assert seen[k] > 0.9
                lit += 1
    assert dark > 50 and lit > 100

    monkeypatch.setattr(pairs._Half, "leaves", lambda self, scene, point: torch.ones(len(scene)))
    without = pairs.picture(left, right, 32)
    assert (shaded <= without).all()
    assert 10 < (shaded < without).flatten(1).any(1).sum() < N


def test_both_throw_shadows_on_the_ground(objects):
    both = pairs.picture(*objects, 64).int()
    (left, of_left, _), (right, of_right, _) = (renderer.draw(some, 64) for some in objects)
    # Not beside an object either, where a pixel shows some of it.
    near = torch.nn.functional.max_pool2d((of_left | of_right).float()[:, None], 3, 1, 1)
    ground = near.expand(-1, 3, -1, -1) == 0
    assert (both <= torch.minimum(left, right))[ground].all()
    for alone in (left, right):
        # The other one's shadow is missing; an object may hide its own where the sun is behind us.
        missing = ((alone.int() - both > 25) & ground).flatten(1).any(1)
        assert missing.float().mean() > 0.85
