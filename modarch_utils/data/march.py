"""Sphere tracing: walk along a ray, each step as long as the distance to the surface.

Such a step can never overshoot. A ray that has arrived or escaped leaves the set, so that the few
which graze the surface do not hold up the others. All points are in a shape's own space.
"""

import torch
from torch import Tensor

from modarch_utils.data.sdf import Shape, Vec

SURFACE = 3e-4  # a ray has arrived when it is this close
SLIDING = 6e-3
STRIDE = 3e-3  # no step is shorter, or a ray that grazes a tube never gets past it
FAR = 1e3  # beyond everything
SUN_SLOPE = 0.07  # radius of the sun's disc at distance 1: how soft shadows are
PENUMBRA = 0.1  # how far beyond the shape's bound its shadow may reach


def trace(shape: Shape, origin: Vec, direction: Vec, steps: int = 160) -> tuple[Tensor, Tensor]:
    """Find where rays first meet a shape.

    Along a ray that runs nearly parallel to a flat face, steps of the distance get ever shorter.
    The distance to a convex shape is a convex function along the ray, so there the secant through
    the last two points is a longer step that cannot overshoot either, and a ray that has begun to
    move away never comes back. On other shapes the shortest step is ``STRIDE``; a ray that it takes
    below the surface walks back up by the distance, which cannot take it out again.

    Args:
        origin, direction: (R,) each; directions are unit vectors.

    Returns:
        whether each ray arrives, (R,) bool, and the distance at which it stopped, (R,).
    """
    entry, end = _bounds(shape.bound, origin, direction)
    distance = entry.clamp(min=0)
    hit = torch.zeros_like(distance, dtype=torch.bool)
    reached = torch.empty_like(distance)
    rays = torch.arange(len(distance))
    gap = shape.distance(origin + direction * distance)
    length = gap
    for step in range(steps):
        distance = distance + length
        before, gap = gap, shape.distance(origin + direction * distance)
        if shape.convex:
            length = gap * length / (before - gap)
            length = torch.where(gap < before, length, FAR)
            length = torch.where(gap > SURFACE, length, 0.0)
        else:
            length = torch.where(gap > SURFACE, gap.clamp(min=STRIDE), gap)
        if step % 4 == 3 or step == steps - 1:
            # A ray that is still under way at the last step slides along a surface nearby.
            near = SURFACE if step < steps - 1 else SLIDING
            hit[rays], reached[rays] = gap <= near, distance
            going = ((gap > SURFACE) & (distance < end)).nonzero().squeeze(1)
            if len(going) == 0:
                break
            rays = rays[going]
            state = torch.stack((*origin, *direction, distance, end, gap, length))
            *vectors, distance, end, gap, length = state.index_select(1, going)
            origin, direction = Vec(*vectors[:3]), Vec(*vectors[3:])
    return hit, reached


def sunlight(shape: Shape, origin: Vec, light: Vec, start: float, steps: int = 32) -> Tensor:
    """How much of the sun is seen from points in a shape's own space, (R,) in [0, 1].

    The nearest that a ray towards the sun comes to the shape, measured against the width of the
    sun's disc at that distance, gives the soft edge of the shadow.
    """
    entry, end = _bounds(shape.bound + PENUMBRA, origin, light)
    distance = entry.clamp(min=start)
    seen = torch.ones_like(distance)
    result = torch.empty_like(distance)
    rays = torch.arange(len(distance))
    for step in range(steps):
        gap = shape.distance(origin + light * distance)
        seen = torch.minimum(seen, gap / (distance * SUN_SLOPE))
        distance = distance + gap.clamp(min=0.02)
        if step % 4 == 3 or step == steps - 1:
            result[rays] = seen
            going = ((seen > 0) & (distance < end)).nonzero().squeeze(1)
            if len(going) == 0:
                break
            rays = rays[going]
            *state, distance, end, seen = torch.stack(
                (*origin, *light, distance, end, seen)
            ).index_select(1, going)
            origin, light = Vec(*state[:3]), Vec(*state[3:])
    seen = result.clamp(0, 1)
    return seen * seen * (3 - 2 * seen)


def _bounds(radius: float, origin: Vec, direction: Vec) -> tuple[Tensor, Tensor]:
    """Where rays enter and leave a sphere around the origin (its nearest point if they miss)."""
    towards = -origin.dot(direction)
    square = radius * radius - origin.dot(origin) + towards * towards
    half = torch.sqrt(square.clamp(min=0))
    return towards - half, towards + half


def normal_of(shape: Shape, p: Vec) -> Vec:
    """Gradient of the distance by differences along the corners of a tetrahedron."""
    total = None
    for x, y, z in ((1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)):
        corner = Vec(x * 2e-3, y * 2e-3, z * 2e-3)
        value = shape.distance(p + corner)
        step = Vec(value * x, value * y, value * z)
        total = step if total is None else total + step
    return total.unit()
