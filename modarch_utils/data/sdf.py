"""The eight shapes, as signed distance functions.

A signed distance function says how far a point is from a surface: positive outside, negative
inside. Each shape here is about one unit in radius, centred on the origin, with ``y`` up. Two of
them (cone and pyramid) return a lower bound instead of the distance itself, which is all that
sphere tracing needs: a step of that length can never cross the surface.

Only ``+ - * /``, square roots, comparisons and absolute values are used. IEEE 754 fixes their
result to the last bit, so a pixel does not depend on which other pixels are computed beside it;
``sin`` or ``exp`` would (vectorised and scalar versions differ).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor


class Vec(NamedTuple):
    """A 3-D vector per ray, as three tensors of one shape (or three numbers)."""

    x: Tensor
    y: Tensor
    z: Tensor

    def __add__(self, other: "Vec") -> "Vec":
        return Vec(self.x + other.x, self.y + other.y, self.z + other.z)

    def __sub__(self, other: "Vec") -> "Vec":
        return Vec(self.x - other.x, self.y - other.y, self.z - other.z)

    def __mul__(self, scale: Tensor | float) -> "Vec":
        return Vec(self.x * scale, self.y * scale, self.z * scale)

    def dot(self, other: "Vec") -> Tensor:
        return self.x * other.x + self.y * other.y + self.z * other.z

    def length(self) -> Tensor:
        return torch.sqrt(self.dot(self))

    def unit(self) -> "Vec":
        return self * (1 / self.length())

    def take(self, index: Tensor) -> "Vec":
        """The vectors of the rays in ``index``."""
        return Vec(self.x[index], self.y[index], self.z[index])


def hypot(x: Tensor, y: Tensor) -> Tensor:
    return torch.sqrt(x * x + y * y)


def extrude(outline: Tensor, along: Tensor, half: float) -> Tensor:
    """Distance to a slab of half-thickness ``half`` whose outline has 2-D distance ``outline``."""
    beyond = along.abs() - half
    outside = hypot(outline.clamp(min=0), beyond.clamp(min=0))
    return outside + torch.maximum(outline, beyond).clamp(max=0)


# Each edge is rounded by ROUND: the shape is built that much smaller, then inflated.
ROUND = 0.06

CUBE = 0.80  # half edge
CYLINDER = (0.74, 0.82)  # radius, half height
CONE = (0.95, 1.85)  # base radius, height
TORUS = (0.74, 0.31)  # radius of the ring, radius of the tube
PYRAMID = (0.92, 1.55)  # half edge of the base, height
CAPSULE = (0.60, 0.52)  # radius, half length of the straight part
STAR = (1.05, 0.50, 0.34)  # radius of the tips, radius of the notches, half thickness

# The cone's and the pyramid's base lies this far below the origin.
CONE_BASE = 0.80
PYRAMID_BASE = 0.62


def sphere(p: Vec) -> Tensor:
    return p.length() - 1


def cube(p: Vec) -> Tensor:
    half = CUBE - ROUND
    x, y, z = p.x.abs() - half, p.y.abs() - half, p.z.abs() - half
    outside = Vec(x.clamp(min=0), y.clamp(min=0), z.clamp(min=0)).length()
    inside = torch.maximum(torch.maximum(x, y), z).clamp(max=0)
    return outside + inside - ROUND


def cylinder(p: Vec) -> Tensor:
    radius, half = CYLINDER
    return extrude(hypot(p.x, p.z) - (radius - ROUND), p.y, half - ROUND) - ROUND


def cone(p: Vec) -> Tensor:
    radius, height = CONE
    slant = math.hypot(radius, height)
    side = (hypot(p.x, p.z) * height + (p.y - (height - CONE_BASE)) * radius) * (1 / slant)
    return torch.maximum(side, -CONE_BASE - p.y)


def torus(p: Vec) -> Tensor:
    ring, tube = TORUS
    return hypot(hypot(p.x, p.z) - ring, p.y) - tube


def pyramid(p: Vec) -> Tensor:
    half, height = PYRAMID
    slant = math.hypot(half, height)
    across = torch.maximum(p.x.abs(), p.z.abs())
    side = (across * height + (p.y - (height - PYRAMID_BASE)) * half) * (1 / slant)
    return torch.maximum(side, -PYRAMID_BASE - p.y)


def capsule(p: Vec) -> Tensor:
    radius, half = CAPSULE
    return Vec(p.x, (p.y.abs() - half).clamp(min=0), p.z).length() - radius


def star(p: Vec) -> Tensor:
    """A five-pointed star, upright, extruded along ``z``.

    Two reflections bring every point into one tenth of the star, where its outline is one edge.
    """
    tip, notch, half = STAR
    x, y = p.x.abs(), p.y
    for degrees in (108, 36):  # mirror lines, measured from the upward tip
        nx, ny = math.cos(math.radians(degrees)), -math.sin(math.radians(degrees))
        beyond = 2 * (x * nx + y * ny).clamp(min=0)
        x, y = x - beyond * nx, y - beyond * ny
    x = x.abs()
    edge_x, edge_y = notch * math.sin(math.pi / 5), notch * math.cos(math.pi / 5) - tip
    y = y - tip
    along = (x * edge_x + y * edge_y) * (1 / (edge_x**2 + edge_y**2))
    along = along.clamp(0, 1)
    distance = hypot(x - along * edge_x, y - along * edge_y)
    outside = x * edge_y - y * edge_x < 0
    return extrude(torch.where(outside, distance, -distance), p.z, half - ROUND) - ROUND


@dataclass(frozen=True)
class Shape:
    """What the renderer knows about one shape."""

    distance: Callable[[Vec], Tensor]
    """Signed distance (or a lower bound) at points of the object's own space."""
    rest: float
    """Height of the origin above the ground on which the shape rests."""
    bound: float
    """Radius of a sphere around the origin that holds the shape."""
    convex: bool
    """A convex shape cannot throw a shadow on itself."""
    area: Callable[[float, float, float], float]
    """Area of the shape's outline seen along a unit direction (absolute values of its parts)."""
    turn: float = 180
    """The front (``z``) is turned away from the camera by at most this many degrees."""


def _cone_area(x: float, y: float, z: float) -> float:
    radius, height = CONE
    base = math.pi * radius**2 * y
    return max(base, radius * height * math.hypot(x, z) + base / 2)


def _pyramid_area(x: float, y: float, z: float) -> float:
    # Cauchy: half the sum over all faces of face area times |cosine|.
    half, height = PYRAMID
    faces = (abs(half * height * c + s * half**2 * y) for c in (x, z) for s in (-1, 1))
    return (4 * half**2 * y + sum(faces)) / 2


def _torus_area(x: float, y: float, z: float) -> float:
    # The ring's ellipse widened by the tube, less the hole.
    ring, tube = TORUS
    outer = math.pi * (ring + tube) * (ring * y + tube)
    return outer - math.pi * (ring - tube) * max(0.0, ring * y - tube)


def _star_area(x: float, y: float, z: float) -> float:
    tip, notch, half = STAR[0] + ROUND, STAR[1] + ROUND, STAR[2]
    face = 5 * tip * notch * math.sin(math.pi / 5)
    return face * z + 2 * half * tip * 1.8 * math.hypot(x, y)


SHAPES: dict[str, Shape] = {
    "sphere": Shape(sphere, 1.0, 1.0, True, lambda x, y, z: math.pi),
    "cube": Shape(cube, CUBE, 1.36, True, lambda x, y, z: 4 * CUBE**2 * (x + y + z)),
    "cylinder": Shape(
        cylinder,
        CYLINDER[1],
        1.11,
        True,
        lambda x, y, z: (
            CYLINDER[0] * (4 * CYLINDER[1] * math.hypot(x, z) + math.pi * CYLINDER[0] * y)
        ),
    ),
    "cone": Shape(cone, CONE_BASE, 1.25, True, _cone_area),
    "torus": Shape(torus, TORUS[1], 1.06, False, _torus_area),
    "pyramid": Shape(pyramid, PYRAMID_BASE, 1.45, True, _pyramid_area),
    "capsule": Shape(
        capsule,
        sum(CAPSULE),
        1.13,
        True,
        lambda x, y, z: CAPSULE[0] * (4 * CAPSULE[1] * math.hypot(x, z) + math.pi * CAPSULE[0]),
    ),
    "star": Shape(star, STAR[0] * math.cos(math.pi / 5) + ROUND, 1.17, False, _star_area, turn=60),
}
