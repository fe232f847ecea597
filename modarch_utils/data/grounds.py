"""The four grounds: procedural textures, averaged over each pixel's footprint.

Every texture is a function of a point on the ground and of the box that the pixel covers there.
Hard edges are averaged over the box exactly, through the integral of the pattern; noise fades out
as the box outgrows it. So nothing flickers or makes moiré in the distance, at any resolution.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from modarch_utils.data.sdf import Vec


class Footprint(NamedTuple):
    """Where the pixels fall on the ground, and the box each one covers: four tensors alike."""

    x: Tensor
    z: Tensor
    width_x: Tensor
    width_z: Tensor

    def scaled(self, x: float, z: float) -> "Footprint":
        return Footprint(self.x * x, self.z * z, self.width_x * x, self.width_z * z)


_SIDE = 64
_LATTICE = torch.from_numpy(
    (np.random.Philox(key=2022).random_raw(_SIDE * _SIDE) >> np.uint64(40)).astype(np.float32)
    / np.float32(2**24)
)


def lattice(x: Tensor, z: Tensor) -> Tensor:
    """A fixed random number in [0, 1) for each integer point (given as whole floats)."""
    return _LATTICE[(x.int() & (_SIDE - 1)) * _SIDE + (z.int() & (_SIDE - 1))]


def _visible(width: Tensor) -> Tensor:
    """How much of a detail of size 1 is left after averaging over ``width``."""
    return 1 / (1 + width * width * 4)


def noise(at: Footprint) -> Tensor:
    """Smooth noise of about one bump per unit, in [-1, 1]."""
    x0, z0 = at.x.floor(), at.z.floor()
    x, z = at.x - x0, at.z - z0
    x, z = x * x * (3 - 2 * x), z * z * (3 - 2 * z)
    row = (x0.int() & (_SIDE - 1)) * _SIDE
    next_row = ((x0.int() + 1) & (_SIDE - 1)) * _SIDE
    column, next_column = z0.int() & (_SIDE - 1), (z0.int() + 1) & (_SIDE - 1)
    a, b = _LATTICE[row + column], _LATTICE[row + next_column]
    c, d = _LATTICE[next_row + column], _LATTICE[next_row + next_column]
    near, far = a + (b - a) * z, c + (d - c) * z
    value = (near + (far - near) * x) * 2 - 1
    return value * _visible(torch.maximum(at.width_x, at.width_z))


def lines(x: Tensor, width: Tensor, half: float) -> Tensor:
    """Part of the interval ``width`` around ``x`` that lies within ``half`` of an integer."""

    def integral(at: Tensor) -> Tensor:
        at = at + half
        whole = at.floor()
        return whole * (2 * half) + (at - whole).clamp(max=2 * half)

    return (integral(x + width * 0.5) - integral(x - width * 0.5)) / width


def _square_wave(x: Tensor, width: Tensor) -> Tensor:
    """Mean over ``width`` of the wave that is -1 on [0, 1), +1 on [1, 2), and repeats."""

    def integral(at: Tensor) -> Tensor:
        return (at - 2 * (at * 0.5).floor() - 1).abs()

    return (integral(x + width * 0.5) - integral(x - width * 0.5)) / width


def _mix(a: tuple, b: tuple, t: Tensor) -> Vec:
    return Vec(*(p + (q - p) * t for p, q in zip(a, b, strict=True)))


def checkerboard(at: Footprint) -> Vec:
    at = at.scaled(0.8, 0.8)
    light = 0.5 + 0.5 * _square_wave(at.x, at.width_x) * _square_wave(at.z, at.width_z)
    return _mix((0.27, 0.29, 0.34), (0.90, 0.88, 0.83), light)


def wood(at: Footprint) -> Vec:
    at = at.scaled(1.7, 1.7)
    plank = at.x.floor()
    shift = lattice(plank, plank * 0 + 7)
    along = at.z * 0.22 + shift * 5
    tone = lattice(plank, along.floor()) - 0.5
    grain = noise(Footprint(at.x * 7, at.z * 0.6 + shift * 31, at.width_x * 7, at.width_z * 0.6))
    tone = 0.5 + tone * 0.6 * _visible(at.width_x) + grain * 0.22
    seams = lines(at.x, at.width_x, 0.018)
    joints = lines(along, at.width_z * 0.22, 0.005)
    dark = 1 - 0.65 * torch.maximum(seams, joints)
    return _mix((0.53, 0.33, 0.18), (0.86, 0.62, 0.38), tone) * dark


def grass(at: Footprint) -> Vec:
    patches = noise(at.scaled(0.9, 0.9))
    blades = noise(at.scaled(13, 13)) + noise(at.scaled(5.3, 5.3)) * 0.8
    return _mix((0.16, 0.34, 0.10), (0.52, 0.68, 0.24), 0.5 + patches * 0.25 + blades * 0.32)


def tiles(at: Footprint) -> Vec:
    at = at.scaled(0.85, 0.85)
    tone = (lattice(at.x.floor(), at.z.floor()) - 0.5) * 0.9
    tone = tone * _visible(torch.maximum(at.width_x, at.width_z)) + noise(at.scaled(6, 6)) * 0.12
    grout = torch.maximum(lines(at.x, at.width_x, 0.035), lines(at.z, at.width_z, 0.035))
    stone = _mix((0.40, 0.50, 0.58), (0.62, 0.71, 0.76), 0.5 + tone)
    return Vec(*(c + (g - c) * grout for c, g in zip(stone, (0.90, 0.89, 0.86), strict=True)))


GROUNDS: dict[str, Callable[[Footprint], Vec]] = {
    "checkerboard": checkerboard,
    "wood": wood,
    "grass": grass,
    "tiles": tiles,
}
# Mean colours: the light that the ground throws back at the object.
BOUNCE = {
    "checkerboard": (0.58, 0.58, 0.58),
    "wood": (0.68, 0.46, 0.27),
    "grass": (0.33, 0.50, 0.17),
    "tiles": (0.54, 0.62, 0.68),
}
