"""``pairs``: rendered scenes with two objects side by side, for sentences that say which is where.

The camera, light, sky, grounds, shapes and colours are those of :mod:`scenes`. In the picture the
two objects share no column, so neither hides the other; each throws its shadow on the ground and
on the other.

>>> from modarch_utils.data import pairs
>>> train = pairs.load(4000, size=64, seed=0)
>>> train.captions("left")[0], train.captions("right")[0]
"""

import hashlib
import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor

from modarch_utils import bars, profile
from modarch_utils.data import cache, renderer, scenes, sdf

# The private names are used, not moved or renamed, because the bytes of factors.py and renderer.py
# are the version of every picture rendered so far.
from modarch_utils.data import factors as factors_
from modarch_utils.data.factors import COLOURS, GROUNDS, SHAPES, Factors, Framing
from modarch_utils.data.march import PENUMBRA, sunlight
from modarch_utils.data.renderer import _blend, _one_thread_each, _Picture
from modarch_utils.data.sdf import SHAPES as BODIES
from modarch_utils.data.sdf import Vec

Side = Literal["left", "right"]
SIDES = get_args(Side)

# Of the framing only how the camera looks down and its field of view count here.
FRAMING = Framing((0.1, 0.1), (14, 34), (40, 54), 0.0, (0.0, 0.0))
SHARE = (0.085, 0.15)  # of the frame that an object covers, unless it would be too wide
BORDER = 0.025  # of the frame's width, free on every side
GAP = 0.02  # at least this part of the frame's width lies between the objects
# Streams of scenes are keyed by the seed alone, so seed + k * STREAM is none of them.
STREAM = 2**32


@dataclass(frozen=True)
class Pairs:
    """``N`` rendered scenes of two objects, on the CPU. Labels: left object, then right one."""

    images: Tensor
    """(N, 3, H, W) uint8, sRGB."""
    shape: Tensor
    """(N, 2) int64, index into ``SHAPES``."""
    colour: Tensor
    """(N, 2) int64, index into ``COLOURS``."""
    ground: Tensor
    """(N,) int64, index into ``GROUNDS``."""

    def mirrored(self) -> "Pairs":
        """The same scenes seen in a mirror: left and right change places, in the labels too."""
        return Pairs(self.images.flip(3), self.shape.flip(1), self.colour.flip(1), self.ground)

    def captions(self, tell: Side = "left") -> list[str]:
        """One sentence a scene: "a red torus left of a blue cube on a wooden floor".

        Args:
            tell: the object named first; ``"right"`` gives "a blue cube right of a red torus on a
                wooden floor" for that scene.
        """
        sentences = []
        for shapes, colours, ground in zip(
            self.shape.tolist(), self.colour.tolist(), self.ground.tolist(), strict=True
        ):
            objects = [(COLOURS[c], SHAPES[s]) for c, s in zip(colours, shapes, strict=True)]
            first, second = objects if tell == "left" else reversed(objects)
            sentences.append(caption(first, tell, second, GROUNDS[ground]))
        return sentences

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: slice | Tensor) -> "Pairs":
        return Pairs(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


def caption(first: tuple[str, str], side: Side, second: tuple[str, str], ground: str) -> str:
    """The sentence that puts ``first`` on one ``side`` of ``second``, each (colour, shape).

    Raises:
        ValueError: ``side`` is neither ``"left"`` nor ``"right"``.
    """
    if side not in SIDES:
        raise ValueError(f"An object is left or right of another, not {side!r}.")
    one, other = (scenes.caption(shape, colour, ground) for colour, shape in (first, second))
    return f"{one.partition(' on ')[0]} {side} of {other}"


def render(
    n: int, size: int = 64, *, seed: int = 0, start: int = 0, progress: bool | None = False
) -> Pairs:
    """Render samples ``start`` .. ``start + n - 1`` of the stream ``seed``.

    A sample's bytes depend on ``(seed, its number, size)`` only; its labels do not depend on
    ``size``.

    Args:
        n: how many.
        size: height and width in pixels, 32 to 256.
        progress: show a progress bar; None: as the profile says.

    Raises:
        ValueError: an argument is out of range.
    """
    _check(n, size, seed, start)
    left, right = draw(n, seed=seed, start=start)
    with bars.bar(total=n, desc="Rendering pairs", unit="scene", progress=progress) as bar:
        images = picture(left, right, size, done=bar.update)
    shape, colour = (
        torch.stack((getattr(left, name), getattr(right, name)), dim=1)
        for name in ("shape", "colour")
    )
    return Pairs(images, shape, colour, left.ground)


def load(n: int, size: int = 64, *, seed: int = 0, progress: bool | None = None) -> Pairs:
    """The same as :func:`render` from sample 0, kept on disk under ``profile.cache_dir()``.

    A damaged file, or one of another version of the renderer, is rendered anew.

    Args:
        progress: show a progress bar while rendering; by default as the profile says.

    Raises:
        ValueError: an argument is out of range.
    """
    _check(n, size, seed, 0)
    name = f"pairs-{size}px-seed{seed}-n{n}-{version()}.safetensors"
    path = profile.cache_dir() / "scenes" / name
    stored = cache.read(path)
    if stored is not None:
        return Pairs(**stored)
    pairs = render(n, size, seed=seed, progress=progress)
    cache.write(path, {f.name: getattr(pairs, f.name) for f in fields(Pairs)})
    return pairs


def version() -> str:
    """Changes whenever the code that decides the pixels does, so a cache is never stale."""
    return scenes.version() + hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:10]


def _check(n: int, size: int, seed: int, start: int) -> None:
    scenes._check(n, size, seed, "wide", start)
    if seed >= STREAM:
        raise ValueError(f"Seeds of pairs are below 2**32; {seed} is not.")


# -- what varies from scene to scene ---------------------------------------------------------------

# How far each shape reaches from its centre along a direction (x, y, z) of its own space: the
# support function, of corners that are not rounded.
_REACH: dict[str, Callable[[float, float, float], float]] = {
    "sphere": lambda x, y, z: math.hypot(x, y, z),
    "cube": lambda x, y, z: sdf.CUBE * (abs(x) + abs(y) + abs(z)),
    "cylinder": lambda x, y, z: sdf.CYLINDER[0] * math.hypot(x, z) + sdf.CYLINDER[1] * abs(y),
    "cone": lambda x, y, z: (
        max(sdf.CONE[0] * math.hypot(x, z), sdf.CONE[1] * y) - sdf.CONE_BASE * y
    ),
    "torus": lambda x, y, z: sdf.TORUS[0] * math.hypot(x, z) + sdf.TORUS[1] * math.hypot(x, y, z),
    "pyramid": lambda x, y, z: (
        max(sdf.PYRAMID[0] * (abs(x) + abs(z)), sdf.PYRAMID[1] * y) - sdf.PYRAMID_BASE * y
    ),
    "capsule": lambda x, y, z: sdf.CAPSULE[0] * math.hypot(x, y, z) + sdf.CAPSULE[1] * abs(y),
    "star": lambda x, y, z: (
        sdf.STAR[0] * max(x * math.sin(a) + y * math.cos(a) for a in _TIPS)
        + sdf.STAR[2] * abs(z)
        + sdf.ROUND * math.hypot(x, y)
    ),
}
_TIPS = [2 * math.pi * i / 5 for i in range(5)]


class _Object:
    """One object as the camera sees it. Columns and rows are in frame widths from the middle.

    ``scale`` is its size in the picture: world size times focal length over distance.
    """

    def __init__(self, row: dict, camera: dict, turn: float, share: float):
        self.row, self.name = row, SHAPES[row["shape"]]
        self.body = BODIES[self.name]
        self.right, self.up, self.forward = camera["rotation"]
        self.focal = camera["focal"]
        # Less than the whole turn, as the camera does not look straight at an object at the side.
        turn = math.radians(turn * self.body.turn * 0.7)
        self.angle = math.atan2(-self.right[2], self.right[0]) - turn
        self.cos, self.sin = math.cos(self.angle), math.sin(self.angle)
        sine, cosine = -self.forward[1], self.up[1]
        across = abs(cosine * math.sin(turn)), sine, abs(cosine * math.cos(turn))
        self.scale = math.sqrt(share / self.body.area(*across))

    def reach(self, axis: tuple, edge: float, sign: int) -> float:
        """How far the object reaches towards the column (or row) ``edge``, for scale 1.

        All points seen in that column lie in a plane through the camera, and this is along the
        plane's normal: exact in perspective. The object ends before the edge if and only if its
        centre's column is at least scale times this away. ``axis`` is the camera's right or up,
        ``sign`` says on which side the edge is.
        """
        x, y, z = (
            sign * (a - f * edge / self.focal) for a, f in zip(axis, self.forward, strict=True)
        )
        return _REACH[self.name](x * self.cos - z * self.sin, y, x * self.sin + z * self.cos)

    def fit(self, low: float, high: float) -> tuple[float, float]:
        """Shrink until it fits between two columns; the range left for its centre's column."""
        right, left = self.reach(self.right, high, 1), self.reach(self.right, low, -1)
        self.scale = min(self.scale, (high - low) / (left + right))
        return low + self.scale * left, high - self.scale * right

    def height(self, level: float, distance: float) -> float:
        """How high the camera is if the centre is in row ``level`` (upwards) at ``distance``."""
        ground = level * self.up[1] - self.scale * self.body.rest
        return distance * (-self.forward[1] - ground / self.focal)

    def heights(self, distance: float) -> tuple[float, float]:
        """The lowest and highest camera that sees all of the object."""
        edge = 0.5 - BORDER
        top = edge - self.scale * self.reach(self.up, edge, 1)
        bottom = -edge + self.scale * self.reach(self.up, -edge, -1)
        return self.height(top, distance), self.height(bottom, distance)

    def place(self, eye: list[float], column: float, distance: float) -> dict:
        """The factors of the object, at rest on the ground."""
        size = self.scale * distance / self.focal
        across = column * distance / self.focal
        rest = size * self.body.rest
        # How far above the camera's axis its centre is, so that it rests on the ground.
        above = (rest - eye[1] - self.forward[1] * distance) / self.up[1]
        x, _, z = (
            e + f * distance + r * across + v * above
            for e, f, r, v in zip(eye, self.forward, self.right, self.up, strict=True)
        )
        return {**self.row, "position": (x, rest, z), "size": size, "angle": self.angle}


def _one(seed: int, index: int) -> tuple[dict, dict]:
    """The factors of the left and the right object of one scene."""
    u = factors_._Uniform(seed + STREAM, index)
    rows = (factors_._one(seed + k * STREAM, index, FRAMING) for k in itertools.count(2))
    first = next(rows)
    second = next(r for r in rows if any(r[name] != first[name] for name in ("shape", "colour")))
    camera = {
        name: first[name] for name in ("ground", "rotation", "focal", "light", "sky", "floor")
    }
    left, right = (_Object(row, camera, turn=u(-1, 1), share=u(*SHARE)) for row in (first, second))

    middle, gap, edge = u(-0.05, 0.05), u(GAP, 0.08), 0.5 - BORDER
    columns = [
        u(*one.fit(*ends))
        for one, ends in ((left, (-edge, middle - gap / 2)), (right, (middle + gap / 2, edge)))
    ]

    # Sizes in the world are about 1, as in scenes; one object stands before or behind the other.
    distance = u(0.8, 1.2) * camera["focal"] * 2 / (left.scale + right.scale)
    farther, fits = u(-0.16, 0.16), False
    while not fits:
        placed = ((left, distance * (1 + farther)), (right, distance / (1 + farther)))
        lows, highs = zip(*(one.heights(away) for one, away in placed), strict=True)
        fits = max(lows) <= min(highs)
        farther /= 2  # so far apart, they are not both in the frame
    level = u(-0.12, 0.02)
    height = sum(one.height(level, away) for one, away in placed) / 2
    height = min(max(height, *lows), *highs)
    forward = camera["rotation"][2]
    eye = [u(-1, 1) - forward[0] * distance, height, u(-1, 1) - forward[2] * distance]
    return tuple(
        {**one.place(eye, column, away), **camera, "eye": eye}
        for (one, away), column in zip(placed, columns, strict=True)
    )


def draw(n: int, *, seed: int, start: int = 0) -> tuple[Factors, Factors]:
    """Factors of the left and the right objects of samples ``start`` .. ``start + n - 1``."""
    sides = zip(*(_one(seed, i) for i in range(start, start + n)), strict=True)
    return tuple(Factors(**_columns(rows)) for rows in sides)


def _columns(rows: tuple[dict, ...]) -> dict[str, Tensor]:
    whole = ("shape", "colour", "ground")
    return {
        name: torch.tensor(
            [row[name] for row in rows], dtype=torch.int64 if name in whole else torch.float32
        )
        for name in rows[0]
    }


# -- the picture -----------------------------------------------------------------------------------

# Beyond PENUMBRA: the edge of a shadow is softer on an object than on the ground nearby.
SOFTER = 0.3
# No ray to the sun that passes an object's centre farther away than this loses any light.
_FARTHEST = max(body.bound for body in BODIES.values()) + SOFTER + PENUMBRA


class _Half(_Picture):
    """One object of each scene, and the ground in the light that both leave."""

    other: "_Half"

    def groups(self, scene: Tensor):
        # Not sorted by shape, as the two objects' orders would differ.
        shape = self.factors.shape[scene]
        for index, name in enumerate(SHAPES):
            rays = (shape == index).nonzero().squeeze(1)
            if len(rays):
                yield BODIES[name], rays

    def pose(self, scene: Tensor) -> tuple[Tensor, Tensor, Tensor, Vec]:
        """Cosine and sine of the object's angle, its size and its centre, for each ray's scene."""
        parts = (self.cos, self.sin, self.scale, *self.position)
        cos, sin, scale, *centre = (part.view(-1)[scene] for part in parts)
        return cos, sin, scale, Vec(*centre)

    def shade(
        self, scene: Tensor, point: Vec, normal: Vec, direction: Vec, light: Vec, sun: Tensor
    ) -> Vec:
        cos, sin, scale, centre = self.pose(scene)
        x, z = point.x * cos + point.z * sin, point.z * cos - point.x * sin
        sun = sun * self.other.leaves(scene, Vec(x, point.y, z) * scale + centre)
        return super().shade(scene, point, normal, direction, light, sun)

    def leaves(self, scene: Tensor, point: Vec) -> Tensor:
        """How much of the sun this object leaves to points in the world, (R,)."""
        cos, sin, scale, centre = self.pose(scene)
        light = Vec(*(part.view(-1)[scene] for part in self.turn(self.light)))
        off = point - centre
        origin = Vec(off.x * cos - off.z * sin, off.y, off.x * sin + off.z * cos) * (1 / scale)
        along = origin.dot(light)
        near = origin.dot(origin) - along * along < _FARTHEST * _FARTHEST
        rays = (near & (along < _FARTHEST)).nonzero().squeeze(1)
        origin, light = origin.take(rays), light.take(rays)
        seen = torch.empty(len(rays))
        for body, part in self.groups(scene[rays]):
            body = replace(body, bound=body.bound + SOFTER)
            seen[part] = sunlight(body, origin.take(part), light.take(part), 0.01)
        sun = torch.ones(len(scene))
        sun[rays] = seen
        return sun

    def shadow(self, x: Tensor, z: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        sun, open_sky = super().shadow(x, z, alpha)
        other_sun, other_sky = _Picture.shadow(self.other, x, z, alpha)
        return sun * other_sun, open_sky * other_sky


def picture(
    left: Factors, right: Factors, size: int, done: Callable[[int], object] = lambda scenes: None
) -> Tensor:
    """Render two objects a scene, whose surroundings are the same: (N, 3, size, size) uint8."""

    def chunk(part: slice) -> Tensor:
        one, other = (_Half(factors.take(part), size) for factors in (left, right))
        one.other, other.other = other, one
        (_, _, colour, alpha), (_, _, other_colour, other_alpha) = one.object(), other.object()
        # They share no column, so the order does not matter.
        image, _ = one.background(alpha + other_alpha)
        image = _blend(_blend(image, colour, alpha), other_colour, other_alpha)
        return one.develop(image)

    at_once = max(1, renderer.PIXELS_AT_ONCE // size**2)
    parts = [slice(first, first + at_once) for first in range(0, len(left), at_once)]
    images = []
    with _one_thread_each() as workers, ThreadPoolExecutor(workers) as pool:
        for some in pool.map(chunk, parts):
            images.append(some)
            done(len(some))
    return torch.cat(images)
