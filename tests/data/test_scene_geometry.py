"""Labels against geometry, computed here from the camera and the pose alone, in NumPy.

Nothing of the renderer is used but its output: the shapes are written down again as solids.
"""

import numpy as np
import pytest

from modarch_utils.data import scenes

SIZE = 96
ROUND = 0.06


def star_outline() -> np.ndarray:
    """The ten corners of the star before rounding, (10, 2)."""
    turn = np.arange(10) * np.pi / 5
    radius = np.where(np.arange(10) % 2 == 0, 1.05, 0.50)
    return np.stack([radius * np.sin(turn), radius * np.cos(turn)], 1)


def ball(n: int, rng: np.random.Generator) -> np.ndarray:
    v = rng.normal(size=(n, 3))
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def disc(n: int, rng: np.random.Generator) -> np.ndarray:
    r, a = np.sqrt(rng.random(n)), rng.random(n) * 2 * np.pi
    return np.stack([r * np.cos(a), r * np.sin(a)], 1)


def box(half: tuple[float, float, float], n: int, rng: np.random.Generator) -> np.ndarray:
    """Points on the surface of a box."""
    p = rng.uniform(-1, 1, (n, 3))
    side = rng.integers(3, size=n)
    p[np.arange(n), side] = np.sign(p[np.arange(n), side])
    return p * half


def solid(name: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """Points of a shape, dense on its surface, in its own space, (n, 3), y up."""
    if name == "sphere":
        return ball(n, rng)
    if name == "cube":
        return box((0.74, 0.74, 0.74), n, rng) + ROUND * ball(n, rng)
    if name == "torus":
        a, b = rng.random((2, n)) * 2 * np.pi
        r = 0.74 + 0.31 * np.cos(b)
        return np.stack([r * np.cos(a), 0.31 * np.sin(b), r * np.sin(a)], 1)
    if name == "capsule":
        y = rng.uniform(-0.52, 0.52, n)
        return np.stack([0 * y, y, 0 * y], 1) + 0.60 * ball(n, rng)
    if name == "pyramid":
        # A box's faces, drawn in towards the tip.
        p = box((1, 1, 1), n, rng)
        up = (p[:, 1] + 1) / 2
        return np.stack([p[:, 0] * 0.92 * (1 - up), up * 1.55 - 0.62, p[:, 2] * 0.92 * (1 - up)], 1)
    if name in ("cylinder", "cone"):
        # Half of the points on the mantle, half on the lids.
        flat = disc(n, rng)
        mantle = rng.random(n) < 0.5
        flat[mantle] /= np.linalg.norm(flat[mantle], axis=1, keepdims=True)
        up = np.where(
            mantle, 1 - np.sqrt(rng.random(n)), 0 if name == "cone" else rng.integers(2, size=n)
        )
        if name == "cone":
            flat, y = 0.95 * flat * (1 - up)[:, None], up * 1.85 - 0.80
            return np.stack([flat[:, 0], y, flat[:, 1]], 1)
        flat, y = 0.68 * flat, up * 1.52 - 0.76
        return np.stack([flat[:, 0], y, flat[:, 1]], 1) + ROUND * ball(n, rng)
    corners = star_outline()
    side = rng.integers(10, size=n)
    mantle = rng.random(n) < 0.5
    a, b = np.where(mantle, 1, np.sqrt(rng.random(n))), rng.random(n)
    flat = (a * (1 - b))[:, None] * corners[side] + (a * b)[:, None] * corners[(side + 1) % 10]
    z = np.where(mantle, rng.uniform(-0.28, 0.28, n), rng.choice([-0.28, 0.28], n))
    return np.column_stack([flat, z]) + ROUND * ball(n, rng)


def off_surface(name: str, p: np.ndarray) -> np.ndarray:
    """How far points in a shape's own space are from its surface, edges taken as sharp."""
    x, y, z = p.T
    r = np.hypot(x, z)
    if name == "sphere":
        return np.linalg.norm(p, axis=1) - 1
    if name == "cube":
        return np.abs(p).max(1) - 0.80
    if name == "cylinder":
        return np.maximum(r - 0.74, np.abs(y) - 0.82)
    if name == "cone":
        return np.maximum(r - 0.95 * (1.05 - y) / 1.85, -0.80 - y)
    if name == "pyramid":
        return np.maximum(np.maximum(abs(x), abs(z)) - 0.92 * (0.93 - y) / 1.55, -0.62 - y)
    if name == "torus":
        return np.hypot(r - 0.74, y) - 0.31
    if name == "capsule":
        return np.hypot(r, np.maximum(np.abs(y) - 0.52, 0)) - 0.60
    a, b = star_outline(), np.roll(star_outline(), -1, 0)
    edge, at = (b - a)[None], p[:, None, :2] - a[None]
    t = np.clip((at * edge).sum(2) / (edge**2).sum(2), 0, 1)
    outline = np.linalg.norm(at - t[..., None] * edge, axis=2).min(1) - ROUND
    face = np.abs(z) - 0.34
    return np.where(np.abs(face) < np.abs(outline), face, outline)


class View:
    """One scene's camera and pose as NumPy numbers."""

    def __init__(self, scene: scenes.Scenes):
        assert len(scene) == 1
        self.eye, self.rotation, self.focal = (part[0].double().numpy() for part in scene.camera)
        pose = scene.factors
        self.position = pose.position[0].double().numpy()
        self.scale, self.angle = pose.size.item(), pose.angle.item()
        self.mask, self.depth = scene.mask[0].numpy(), scene.depth[0].numpy()
        self.name = scenes.SHAPES[scene.shape.item()]

    @property
    def turn(self) -> np.ndarray:
        c, s = np.cos(self.angle), np.sin(self.angle)
        return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])

    def to_world(self, p: np.ndarray) -> np.ndarray:
        return self.position + self.scale * p @ self.turn.T

    def to_object(self, p: np.ndarray) -> np.ndarray:
        return (p - self.position) @ self.turn / self.scale

    def project(self, p: np.ndarray) -> np.ndarray:
        """World points to (row, column) in pixels, centres at half-integers."""
        x, y, z = ((p - self.eye) @ self.rotation.T).T
        return SIZE * np.stack([0.5 - self.focal * y / z, 0.5 + self.focal * x / z], 1)

    def rays(self) -> np.ndarray:
        """Unit vectors through the pixels' centres, (SIZE, SIZE, 3), in the world."""
        along = (np.arange(SIZE) + 0.5) / SIZE - 0.5
        v, u = np.meshgrid(-along, along, indexing="ij")
        d = np.stack([u, v, np.full_like(u, self.focal)], 2) @ self.rotation
        return d / np.linalg.norm(d, axis=2, keepdims=True)


def grown(mask: np.ndarray) -> np.ndarray:
    """The mask and its eight neighbours."""
    padded = np.pad(mask, 1)
    h, w = mask.shape
    return np.any([padded[i : i + h, j : j + w] for i in range(3) for j in range(3)], axis=0)


@pytest.fixture(scope="module")
def views() -> dict[str, list[View]]:
    """Several scenes of every shape, in both framings."""
    found = {name: [] for name in scenes.SHAPES}
    for framing in ("wide", "close"):
        drawn = scenes.render(64, SIZE, seed=11, framing=framing)
        count = dict.fromkeys(scenes.SHAPES, 0)
        for i in range(len(drawn)):
            view = View(drawn[i])
            if count[view.name] < 3:
                count[view.name] += 1
                found[view.name].append(view)
    assert all(len(some) == 6 for some in found.values())
    return found


@pytest.mark.parametrize("name", scenes.SHAPES)
def test_mask_is_the_projection_of_the_object(views, name):
    rng = np.random.default_rng(0)
    for view in views[name]:
        pixels = np.floor(view.project(view.to_world(solid(name, 150_000, rng)))).astype(int)
        pixels = pixels[((pixels >= 0) & (pixels < SIZE)).all(1)]
        drawn = np.zeros_like(view.mask)
        drawn[pixels[:, 0], pixels[:, 1]] = True
        # A tip thinner than a pixel may have no pixel's centre, and chance may leave a pixel empty.
        beyond = drawn & ~grown(view.mask)
        assert beyond.sum() <= 2, "the object reaches beyond its mask"
        core = ~grown(~view.mask)
        assert (core & ~drawn).sum() <= 3, "the mask reaches beyond the object"
        # `drawn` holds every pixel that is touched, so about half an outline more than the mask.
        rim = (grown(view.mask) & ~view.mask).sum()
        assert -0.05 * rim <= drawn.sum() - view.mask.sum() <= 0.9 * rim


@pytest.mark.parametrize("name", scenes.SHAPES)
def test_object_rests_on_the_ground(views, name):
    for view in views[name]:
        lowest = view.to_world(solid(name, 150_000, np.random.default_rng(1)))[:, 1].min()
        assert -1e-3 < lowest < 0.03


@pytest.mark.parametrize("name", scenes.SHAPES)
def test_depth_of_the_object_lies_on_its_surface(views, name):
    for view in views[name]:
        seen = view.eye + view.depth[..., None] * view.rays()
        p = view.to_object(seen[view.mask])
        off = off_surface(name, p)
        # Rounding an edge of a cube takes away at most 0.06 * (1 - 1 / sqrt(3)) from a face.
        assert off.max() < 0.006 and off.min() > -0.03
        assert np.median(np.abs(off)) < 0.002
        # The near side, not the far one: just before it the ray is outside.
        before = view.to_object(seen[view.mask] - 0.1 * view.scale * view.rays()[view.mask])
        if name != "star":  # `off_surface` of the star has no sign on its faces
            assert off_surface(name, before).min() > -0.03


def test_a_ray_that_grazes_the_tube_goes_on_to_what_lies_behind():
    drawn = scenes.render(128, SIZE, seed=11, framing="close")
    tori = [i for i in range(len(drawn)) if scenes.SHAPES[drawn.shape[i].item()] == "torus"]
    assert len(tori) >= 8
    for view in (View(drawn[i]) for i in tori):
        eye, rays = view.to_object(view.eye), view.rays().reshape(-1, 3) @ view.turn
        nearest = np.full(len(rays), np.inf)
        towards = -rays @ eye
        for t in np.linspace(-1.06, 1.06, 400):  # every ray, through the whole bounding sphere
            p = eye + (towards + t)[:, None] * rays
            nearest = np.minimum(nearest, off_surface("torus", p))
        meets = nearest.reshape(view.mask.shape)
        assert view.mask[meets < -1e-3].all(), "a hole where there is none"
        assert not view.mask[meets > 7e-3].any(), "part of the mask beside the object"


def test_depth_of_the_ground_is_the_distance_to_its_plane(views):
    for view in sum(views.values(), []):
        down = -view.rays()[..., 1]
        ground = (down > 0.01) & ~view.mask
        assert ground.any()
        expected = view.eye[1] / down[ground]
        assert np.allclose(view.depth[ground], expected, rtol=2e-4)
        assert np.isinf(view.depth[(down < 0) & ~view.mask]).all()
        assert np.isfinite(view.depth[view.mask]).all()


def test_camera_is_a_rotation_above_the_ground(views):
    for view in sum(views.values(), []):
        assert np.allclose(view.rotation @ view.rotation.T, np.eye(3), atol=1e-6)
        right, up, forward = view.rotation
        assert np.allclose(np.cross(right, up), -forward, atol=1e-6)
        assert view.eye[1] > 0 and up[1] > 0 and abs(right[1]) < 1e-7
