"""Turns factors into pictures: sphere tracing, one sun, a sky, a ground.

A picture has two layers. The *background* is the ground and the sky with the object's shadow, in
closed form for every pixel. The *object* is found by sphere tracing (:mod:`march`), only where a
ray meets the object's bounding sphere. On its outline eight more rays a pixel decide how much of
the background shows.

All arithmetic is element by element and exactly rounded (see :mod:`sdf`): a picture's bytes depend
on its factors and size alone, not on what is rendered beside it or on the number of threads.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch
from torch import Tensor

from modarch_utils.data import grounds
from modarch_utils.data.factors import GROUNDS, SHAPES, Factors
from modarch_utils.data.grounds import Footprint
from modarch_utils.data.march import PENUMBRA, normal_of, sunlight, trace
from modarch_utils.data.sdf import SHAPES as BODIES
from modarch_utils.data.sdf import Vec

PIXELS_AT_ONCE = 1 << 19
SUN = Vec(1.90, 1.82, 1.71)
SKYLIGHT = 0.62  # of the sky's colour
HAZE = 26.0  # distance at which half of the ground's colour is lost to the haze

# Eight points around a pixel's centre, no two in the same row or column.
_SUBPIXELS = [((2 * i - 7) / 16, (2 * j - 7) / 16) for i, j in enumerate((3, 6, 1, 4, 7, 2, 5, 0))]


def draw(
    factors: Factors, size: int, done: Callable[[int], object] = lambda scenes: None
) -> tuple[Tensor, Tensor, Tensor]:
    """Render scenes at ``size`` by ``size`` pixels.

    Args:
        done: called with the number of scenes finished since its last call.

    Returns:
        images (N, 3, size, size) uint8; the object's mask (N, size, size) bool, true where the ray
        through the pixel's centre meets the object; depth (N, size, size) float32, the distance
        along that ray to the object or the ground, infinite in the sky.
    """
    n = len(factors)
    images = torch.empty(n, 3, size, size, dtype=torch.uint8)
    mask = torch.empty(n, size, size, dtype=torch.bool)
    depth = torch.empty(n, size, size)
    # Shapes side by side, so that each distance function runs on one slice.
    at_once = max(1, PIXELS_AT_ONCE // size**2)
    chunks = []
    for first in range(0, n, at_once):
        part = torch.arange(first, min(first + at_once, n))
        chunks.append(part[torch.argsort(factors.shape[part], stable=True)])
    with _one_thread_each() as workers, ThreadPoolExecutor(workers) as pool:
        pictures = pool.map(lambda chunk: _Picture(factors.take(chunk), size).result(), chunks)
        for chunk, picture in zip(chunks, pictures, strict=True):
            images[chunk], mask[chunk], depth[chunk] = picture
            done(len(chunk))
    return images, mask, depth


@contextmanager
def _one_thread_each():
    """Yield the number of torch's threads, and let each operation use only one meanwhile.

    The work splits into chunks of scenes, which need not wait for one another; splitting every
    small operation instead is several times slower, above all on a busy machine.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)


def _column(values: Tensor) -> Vec:
    """(N, 3) to a vector of (N, 1, 1) tensors."""
    return Vec(*values[:, :, None, None].unbind(1))


def _linear(colour: Vec) -> Vec:
    """sRGB to light; a gamma of 2 is close, and a square is exact on every machine."""
    return Vec(colour.x * colour.x, colour.y * colour.y, colour.z * colour.z)


def _times(a: Vec, b: Vec) -> Vec:
    return Vec(a.x * b.x, a.y * b.y, a.z * b.z)


def _blend(a: Vec, b: Vec, t: Tensor | float) -> Vec:
    return a + (b - a) * t


class _Picture:
    """A chunk of ``N`` scenes being rendered, sorted by shape."""

    def __init__(self, factors: Factors, size: int):
        self.factors, self.size, self.n = factors, size, len(factors)
        right, up, forward = (_column(factors.rotation[:, i]) for i in range(3))
        self.up = up
        self.eye = _column(factors.eye)
        self.light = _column(factors.light)
        centre = (torch.arange(size, dtype=torch.float32) + 0.5) / size - 0.5
        self.u, self.v = centre[None, None, :], -centre[None, :, None]
        forward = forward * factors.focal[:, None, None]
        self.axes = right, up, forward
        #: From each pixel's centre, one unit along the camera's axis: (N, size, size).
        self.ray = forward + right * self.u + up * self.v
        self.stretch = self.ray.length()
        horizon, zenith = (_linear(_column(factors.sky[:, i])) for i in range(2))
        self.horizon, self.zenith = horizon, zenith
        # The object's own space: unit size, no rotation, centred.
        angles = factors.angle.tolist()  # one by one: see the note on cos and sin in sdf
        self.cos, self.sin = (
            torch.tensor([f(a) for a in angles])[:, None, None] for f in (math.cos, math.sin)
        )
        self.scale = factors.size[:, None, None]
        self.position = _column(factors.position)

    def turn(self, v: Vec) -> Vec:
        """World to object: undo the rotation about the vertical."""
        return Vec(v.x * self.cos - v.z * self.sin, v.y, v.x * self.sin + v.z * self.cos)

    def groups(self, scene: Tensor):
        """Split rays, sorted by scene, into the slices that share a shape."""
        first = 0
        counts = torch.bincount(self.factors.shape[scene], minlength=len(SHAPES)).tolist()
        for name, count in zip(SHAPES, counts, strict=True):
            if count:
                yield BODIES[name], slice(first, first + count)
            first += count

    def result(self) -> tuple[Tensor, Tensor, Tensor]:
        mask, distance, colour, alpha = self.object()
        background, ground_depth = self.background(alpha)
        image = _blend(background, colour, alpha)
        depth = torch.where(mask, distance, ground_depth)
        return self.develop(image), mask, depth

    def develop(self, image: Vec) -> Tensor:
        """Light to bytes: a shoulder that keeps highlights, then gamma 2."""
        channels = torch.stack(image, dim=1)
        channels = channels * (1 + channels * 0.16) / (1 + channels * 0.55)
        return (torch.sqrt(channels.clamp(0, 1)) * 255 + 0.5).to(torch.uint8)

    def sky(self, rise: Tensor, horizon: Vec, zenith: Vec) -> Vec:
        """Colour of the sky in a direction that rises by ``rise`` (the sine of its elevation)."""
        rise = rise.clamp(min=0)
        return _blend(horizon, zenith, rise * (2 - rise) / (0.25 + rise) * 0.72)

    # -- the object -------------------------------------------------------------------------

    def object(self) -> tuple[Tensor, Tensor, Vec, Tensor]:
        """Mask, distance, colour and cover of the object, each (N, size, size)."""
        shape = (self.n, self.size, self.size)
        vectors = [self.turn(self.eye - self.position) * (1 / self.scale)]
        vectors += [self.turn(vector) for vector in (*self.axes, self.light)]
        # (15, N): eye, right, up, forward and light in the object's own space.
        self.local = torch.stack([part.reshape(self.n) for v in vectors for part in v])

        # Rays that meet the bounding sphere, from the angle to its centre.
        bound = torch.tensor([BODIES[name].bound for name in SHAPES])[self.factors.shape]
        to_centre = self.position - self.eye
        along = self.ray.dot(to_centre) / self.stretch
        reach = (bound[:, None, None] * self.scale) * 1.0001
        near = to_centre.dot(to_centre) - along * along < reach * reach
        pixel = near.flatten().nonzero().squeeze(1)

        mask = torch.zeros(shape, dtype=torch.bool)
        distance = torch.full(shape, float("inf"))
        colour = Vec(*torch.zeros(3, *shape))
        alpha = torch.zeros(shape)

        zero = torch.zeros(len(pixel))
        hit, local_distance, shade, normal = self.shoot(pixel, zero, zero)
        mask.view(-1)[pixel] = hit
        inside = pixel[hit]
        distance.view(-1)[inside] = local_distance
        alpha.view(-1)[inside] = 1
        for layer, values in zip(colour, shade, strict=True):
            layer.view(-1)[inside] = values

        # Pixels on an outline or a crease take eight rays instead of one.
        edge = self.edges(mask, inside, normal).flatten().nonzero().squeeze(1)
        if len(edge):
            k = len(_SUBPIXELS)
            du, dv = (
                torch.tensor(offset).repeat(len(edge)) for offset in zip(*_SUBPIXELS, strict=True)
            )
            hit, _, shade, _ = self.shoot(edge.repeat_interleave(k), du, dv)
            count = _add(hit.view(-1, k).float())
            alpha.view(-1)[edge] = count * (1 / k)
            for layer, values in zip(colour, shade, strict=True):
                full = torch.zeros(len(hit))
                full[hit] = values
                layer.view(-1)[edge] = _add(full.view(-1, k)) / count.clamp(min=1)
        return mask, distance, colour, alpha

    def edges(self, mask: Tensor, inside: Tensor, normal: Vec) -> Tensor:
        """Pixels beside an outline or a crease, (N, size, size) bool."""
        edge = torch.zeros_like(mask)
        field = torch.zeros(3, *mask.shape)
        for layer, values in zip(field, normal, strict=True):
            layer.view(-1)[inside] = values
        for axis in (1, 2):
            here, there = (
                [layer.narrow(axis, first, self.size - 1) for layer in (*field, mask)]
                for first in (0, 1)
            )
            bend = here[0] * there[0] + here[1] * there[1] + here[2] * there[2] < 0.86
            outline = (here[3] | there[3]) & bend  # outside the mask the normal is zero
            edge.narrow(axis, 0, self.size - 1).logical_or_(outline)
            edge.narrow(axis, 1, self.size - 1).logical_or_(outline)
        return edge

    def shoot(self, pixel: Tensor, du: Tensor, dv: Tensor) -> tuple[Tensor, Tensor, Vec, Vec]:
        """Trace rays through pixels, displaced by (du, dv) of a pixel.

        Returns whether each ray hits, (R,); and of those that hit: the distance in the world, the
        colour and the normal in the object's space.
        """
        scene = pixel // self.size**2
        row, column = pixel // self.size % self.size, pixel % self.size
        u = (column.float() + 0.5 + du) / self.size - 0.5
        v = 0.5 - (row.float() + 0.5 + dv) / self.size
        local = self.local[:, scene]
        eye, right, up, forward, light = (Vec(*local[i : i + 3]) for i in range(0, 15, 3))
        direction = (forward + right * u + up * v).unit()
        hit = torch.empty(len(pixel), dtype=torch.bool)
        distance = torch.empty(len(pixel))
        for body, part in self.groups(scene):
            hit[part], distance[part] = trace(body, eye.take(part), direction.take(part))
        kept = hit.nonzero().squeeze(1)
        scene, distance = scene[kept], distance[kept]
        rays = torch.stack((*eye, *direction, *light)).index_select(1, kept)
        eye, direction, light = (Vec(*rays[i : i + 3]) for i in (0, 3, 6))
        point = eye + direction * distance
        normal = Vec(*torch.empty(3, len(kept)))
        sun = torch.ones(len(kept))
        for body, part in self.groups(scene):
            some = normal_of(body, point.take(part))
            for whole, values in zip(normal, some, strict=True):
                whole[part] = values
            if not body.convex:
                at = point.take(part) + some * 0.01
                sun[part] = sunlight(body, at, light.take(part), 0.02)
        colour = self.shade(scene, point, normal, direction, light, sun)
        return hit, distance * self.factors.size[scene], colour, normal

    def shade(
        self, scene: Tensor, point: Vec, normal: Vec, direction: Vec, light: Vec, sun: Tensor
    ) -> Vec:
        """Colour of the object at points of its own space: sun, sky, bounce, gloss."""
        *looks, rest = self.looks()[:, scene]
        albedo, bounce, horizon, zenith = (Vec(*looks[i : i + 3]) for i in (0, 3, 6, 9))
        lambert = normal.dot(light).clamp(min=0) * sun
        # Near the ground less of the sky is seen, most of all by surfaces that face down.
        height = (point.y + rest).clamp(min=0)
        open_sky = 1 - 0.55 / (1 + height * height * 9) * (1 - normal.y) * 0.7
        upward = 0.5 + 0.5 * normal.y
        ambient = _blend(bounce, _blend(horizon, zenith, upward * 0.6), upward)
        diffuse = ambient * (open_sky * SKYLIGHT) + SUN * lambert
        # Gloss: the sky, more at a grazing angle (Schlick), and the sun's highlight (Blinn-Phong).
        facing = -normal.dot(direction)
        grazing = (1 - facing).clamp(0, 1)
        fresnel = 0.03 + 0.5 * grazing * grazing * grazing * grazing
        mirrored = direction.y + normal.y * facing * 2
        reflected = self.sky(mirrored, horizon, zenith) * (fresnel * upward * open_sky)
        half = (light - direction).unit()
        shine = half.dot(normal).clamp(min=0)
        for _ in range(5):  # to the power 32
            shine = shine * shine
        glint = shine * sun * 0.32
        return _times(albedo, diffuse) + reflected + Vec(glint, glint, glint)

    def looks(self) -> Tensor:
        """(13, N): albedo, bounced light, the sky's two colours; then the resting height."""
        bounce = torch.tensor([grounds.BOUNCE[name] for name in GROUNDS])[self.factors.ground]
        rest = torch.tensor([BODIES[name].rest for name in SHAPES])[self.factors.shape]
        colours = torch.cat((self.factors.albedo, bounce, self.factors.sky.flatten(1)), dim=1).T
        return torch.cat((colours * colours, rest[None]))

    # -- the ground and the sky ---------------------------------------------------------------

    def background(self, alpha: Tensor) -> tuple[Vec, Tensor]:
        """Colour of ground and sky, and depth of the ground (infinite in the sky)."""
        ray, eye = self.ray, self.eye
        falls = ray.y < -1e-4
        down = torch.where(falls, -ray.y, 1.0)
        s = torch.where(falls, eye.y / down, 0.0)
        x, z = eye.x + ray.x * s, eye.z + ray.z * s
        # The pixel's box on the ground: how far the hit moves when u and v move by one pixel.
        right, up, _ = self.axes
        per_pixel = s / self.size
        lift = up.y / down
        width_x = (right.x.abs() + (up.x + ray.x * lift).abs()) * per_pixel
        width_z = (right.z.abs() + (up.z + ray.z * lift).abs()) * per_pixel
        x, z = x.clamp(-400, 400), z.clamp(-400, 400)

        offset_x, offset_z, scale, bright = self.factors.floor[:, :, None, None].unbind(1)
        at = Footprint(
            x * scale + offset_x,
            z * scale + offset_z,
            (width_x * scale).clamp(min=1e-3),
            (width_z * scale).clamp(min=1e-3),
        )
        albedo = Vec(*torch.empty(3, *x.shape))
        for index, name in enumerate(GROUNDS):
            scenes = (self.factors.ground == index).nonzero().squeeze(1)
            if len(scenes):
                texture = grounds.GROUNDS[name](Footprint(*(part[scenes] for part in at)))
                for whole, part in zip(albedo, texture, strict=True):
                    whole[scenes] = part
        albedo = _linear(albedo * bright)

        sun, open_sky = self.shadow(x, z, alpha)
        light = self.light.y * sun
        ambient = _blend(self.horizon, self.zenith, 0.6) * (open_sky * SKYLIGHT)
        ground = _times(albedo, ambient + SUN * light)
        depth = s * self.stretch
        haze = depth * depth
        haze = haze / (haze + HAZE * HAZE)
        ground = _blend(ground, self.horizon, haze)

        sky = self.sky(ray.y / self.stretch, self.horizon, self.zenith)
        colour = Vec(*(torch.where(falls, g, k) for g, k in zip(ground, sky, strict=True)))
        return colour, torch.where(falls, depth, float("inf"))

    def shadow(self, x: Tensor, z: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """Sunlight and openness to the sky at ground points, (N, size, size) each."""
        # In the object's own space.
        relative = Vec(x - self.position.x, -self.position.y, z - self.position.z)
        relative = self.turn(relative) * (1 / self.scale)
        relative = Vec(relative.x, relative.y.expand_as(x), relative.z)
        light = self.turn(self.light)
        square = relative.dot(relative)
        # A ball's worth of sky is missing near the object.
        open_sky = 1 - 0.55 / (1 + square * square * 0.35)
        bound = torch.tensor([BODIES[name].bound for name in SHAPES])[self.factors.shape] + PENUMBRA
        along = relative.dot(light)
        meets = (square - along * along < (bound * bound)[:, None, None]) & (alpha < 1)
        meets &= along < bound[:, None, None]
        pixel = meets.flatten().nonzero().squeeze(1)
        scene = pixel // self.size**2
        origin = Vec(*(part.reshape(-1)[pixel] for part in relative))
        lights = Vec(*self.local[12:, scene])
        seen = torch.empty(len(pixel))
        for body, part in self.groups(scene):
            seen[part] = sunlight(body, origin.take(part), lights.take(part), 0.01)
        sun = torch.ones_like(x)
        sun.view(-1)[pixel] = seen
        return sun, open_sky


def _add(values: Tensor) -> Tensor:
    """Sum over the last dimension, always in the same order."""
    total = values[..., 0]
    for i in range(1, values.shape[-1]):
        total = total + values[..., i]
    return total
