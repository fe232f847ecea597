"""What varies from scene to scene, drawn from a seed.

Sample ``i`` of stream ``seed`` takes its random numbers from a counter-based generator keyed by the
pair ``(seed, i)``. It is therefore the same scene however many are drawn, from wherever one starts,
and at whatever size it is rendered.
"""

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from modarch_utils.data import sdf

SHAPES = tuple(sdf.SHAPES)
# Each colour in sRGB, between 0 and 1.
PALETTE = {
    "red": (0.84, 0.13, 0.14),
    "orange": (0.96, 0.50, 0.10),
    "yellow": (0.97, 0.83, 0.16),
    "green": (0.17, 0.60, 0.26),
    "cyan": (0.14, 0.74, 0.80),
    "blue": (0.14, 0.32, 0.84),
    "purple": (0.52, 0.22, 0.72),
    "white": (0.86, 0.85, 0.84),
}
COLOURS = tuple(PALETTE)
GROUNDS = ("checkerboard", "wood", "grass", "tiles")


@dataclass(frozen=True)
class Framing:
    """How the camera looks at the object. Pairs are the ends of a uniform distribution."""

    share: tuple[float, float]
    """Part of the frame that the object covers (before perspective and the frame's border)."""
    elevation: tuple[float, float]
    """Degrees by which the camera looks down."""
    view: tuple[float, float]
    """Field of view in degrees."""
    across: float
    """The object's centre is at most this far left or right of the middle, in frame widths."""
    above: tuple[float, float]
    """The object's centre above the middle, in frame widths."""


FRAMINGS = {
    "wide": Framing((0.055, 0.105), (9, 30), (42, 56), 0.22, (-0.16, 0.0)),
    "close": Framing((0.36, 0.48), (12, 36), (30, 42), 0.04, (-0.04, 0.02)),
}


@dataclass(frozen=True)
class Factors:
    """Everything that defines ``N`` scenes: tensors whose first dimension is ``N``.

    World space has ``y`` up and the ground at ``y = 0``. Lengths share one arbitrary unit.
    """

    shape: Tensor
    """(N,) int64, index into ``SHAPES``."""
    colour: Tensor
    """(N,) int64, index into ``COLOURS``."""
    ground: Tensor
    """(N,) int64, index into ``GROUNDS``."""
    position: Tensor
    """(N, 3) the object's centre."""
    size: Tensor
    """(N,) the object's scale: the shapes of :mod:`sdf` have radius about 1."""
    angle: Tensor
    """(N,) the object's rotation about the vertical in radians, from ``z`` towards ``x``."""
    eye: Tensor
    """(N, 3) the camera's position."""
    rotation: Tensor
    """(N, 3, 3) rows: the camera's right, up and forward as unit vectors in the world."""
    focal: Tensor
    """(N,) focal length in frame widths (0.5 / tan(field of view / 2))."""
    light: Tensor
    """(N, 3) unit vector towards the sun."""
    albedo: Tensor
    """(N, 3) the object's colour after jitter, sRGB."""
    sky: Tensor
    """(N, 2, 3) colour of the sky at the horizon and overhead, sRGB, 1 being white paper."""
    floor: Tensor
    """(N, 4) the texture's offset along x and z, its scale and its brightness."""

    def __len__(self) -> int:
        return len(self.shape)

    def take(self, index: Tensor | slice) -> "Factors":
        return Factors(**{f.name: getattr(self, f.name)[index] for f in fields(self)})


class _Uniform:
    """Uniform numbers of one sample, the same on every platform."""

    def __init__(self, seed: int, index: int):
        raw = np.random.Philox(key=np.array([seed, index], dtype=np.uint64)).random_raw(40)
        self._values = iter(((raw >> np.uint64(11)) * 2.0**-53).tolist())

    def __call__(self, low: float, high: float) -> float:
        return low + (high - low) * next(self._values)

    def below(self, n: int) -> int:
        return int(n * next(self._values))


def _one(seed: int, index: int, framing: Framing) -> dict:
    u = _Uniform(seed, index)
    shape, colour, ground = u.below(len(SHAPES)), u.below(len(COLOURS)), u.below(len(GROUNDS))
    body = sdf.SHAPES[SHAPES[shape]]
    size = u(0.8, 1.25)
    position = (u(-1, 1), size * body.rest, u(-1, 1))

    azimuth, elevation = u(0, 2 * math.pi), math.radians(u(*framing.elevation))
    ca, sa, ce, se = math.cos(azimuth), math.sin(azimuth), math.cos(elevation), math.sin(elevation)
    right, up, forward = (ca, 0.0, -sa), (-se * sa, ce, -se * ca), (-ce * sa, -se, -ce * ca)
    focal = 0.5 / math.tan(math.radians(u(*framing.view)) / 2)
    # How much of the frame the object covers decides the distance, but most of it shall be seen.
    turn = math.radians(u(-body.turn, body.turn))
    angle = azimuth - turn
    area = body.area(abs(ce * math.sin(turn)), se, abs(ce * math.cos(turn)))
    apart = max(math.sqrt(area / u(*framing.share)), 2 * body.bound / 1.1)
    distance = size * focal * apart
    across = u(-framing.across, framing.across) * distance / focal
    above = u(*framing.above) * distance / focal
    eye = [
        p - f * distance - r * across - v * above
        for p, f, r, v in zip(position, forward, right, up, strict=True)
    ]

    sun = azimuth + math.radians(u(25, 95)) * (1 if u(0, 1) < 0.5 else -1)
    high = math.radians(u(30, 58))
    light = (math.cos(high) * math.sin(sun), math.sin(high), math.cos(high) * math.cos(sun))

    bright = u(0.9, 1.06)
    albedo = [min(1.0, max(0.02, c * bright + u(-0.04, 0.04))) for c in PALETTE[COLOURS[colour]]]
    warm = u(0, 1)  # from a clear noon to a late afternoon
    sky = [
        [a + (b - a) * warm for a, b in zip(noon, evening, strict=True)]
        for noon, evening in (
            ((0.90, 0.98, 1.06), (1.12, 0.98, 0.84)),
            ((0.34, 0.62, 1.02), (0.50, 0.64, 0.98)),
        )
    ]
    floor = (u(0, 64), u(0, 64), u(0.8, 1.25), u(0.88, 1.08))
    return {
        "shape": shape,
        "colour": colour,
        "ground": ground,
        "position": position,
        "size": size,
        "angle": angle,
        "eye": eye,
        "rotation": (right, up, forward),
        "focal": focal,
        "light": light,
        "albedo": albedo,
        "sky": sky,
        "floor": floor,
    }


def draw(n: int, *, seed: int, framing: str, start: int = 0) -> Factors:
    """Draw the factors of samples ``start`` .. ``start + n - 1`` of stream ``seed``."""
    rows = [_one(seed, i, FRAMINGS[framing]) for i in range(start, start + n)]
    columns = {}
    for name in rows[0]:
        dtype = torch.int64 if name in ("shape", "colour", "ground") else torch.float32
        columns[name] = torch.tensor([row[name] for row in rows], dtype=dtype)
    return Factors(**columns)
