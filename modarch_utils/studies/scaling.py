"""A small scaling law: test error against parameters and training images (chapter 01_timeline).

One ConvNet at four widths, on four set sizes, always for the same number of steps. The form of the
law is Rosenfeld et al.'s (2019, arXiv 1909.12673) and Hoffmann et al.'s (2022, arXiv 2203.15556).
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import least_squares
from torch import Tensor, nn

from modarch_utils.models.layers import init_fan_in
from modarch_utils.studies.inductive_bias import convnet
from modarch_utils.training.equal_steps import equal_steps
from modarch_utils.training.history import History
from modarch_utils.training.loop import fit


@dataclass(frozen=True)
class ScalingSettings:
    """The grid and the budget."""

    widths: tuple[int, ...] = (4, 8, 16, 32)
    sizes: tuple[int, ...] = (128, 512, 2048, 8192)
    steps: int = 384
    batch_size: int = 64
    image_size: int = 32
    framing: str = "close"
    val_images: int = 2000
    test_images: int = 4000
    num_classes: int = 8


SETTINGS = ScalingSettings()

RATES = (4e-3, 1e-2)
"""Learning rates tried first for each cell; the best one on validation data is used."""


def build(width: int, seed: int, settings: ScalingSettings = SETTINGS) -> nn.Module:
    """The ConvNet at this width, freshly initialised from ``seed``."""
    torch.manual_seed(seed)
    return convnet(width, settings.num_classes).apply(init_fan_in)


def train(
    width: int,
    lr: float,
    seed: int,
    data: tuple[Tensor, Tensor],
    settings: ScalingSettings = SETTINGS,
    **options,
) -> tuple[nn.Module, History]:
    """Train one cell of the grid: this width, on these images.

    Args:
        width: channels of the first stage.
        lr: highest learning rate.
        seed: initialisation and order of the images.
        data: images ``(N, 3, H, W)`` uint8 and labels ``(N,)``.
        settings: the budget.
        options: further arguments of :func:`modarch_utils.training.loop.fit`.

    Returns:
        The trained network and its history.

    Raises:
        ValueError: steps that are no whole number of passes over the images.
    """
    net = build(width, seed, settings)
    # No label smoothing, as the test cross-entropy is a result here.
    config = equal_steps(
        len(data[0]),
        settings.steps,
        settings.batch_size,
        lr=lr,
        label_smoothing=0.0,
        augment="none",
        seed=seed,
    )
    return net, fit(net, data, None, config, **options)


@dataclass(frozen=True)
class Law:
    """``E + A·N^-a + B·D^-b`` for N parameters and D images."""

    floor: float
    """E: what neither more parameters nor more images take away."""
    params_scale: float
    """A."""
    params_power: float
    """a."""
    images_scale: float
    """B."""
    images_power: float
    """b."""

    def __call__(self, params: np.ndarray, images: np.ndarray) -> np.ndarray:
        """Test error (or loss) at ``params`` N and ``images`` D, of the same shape."""
        return (
            self.floor
            + self.params_scale * np.asarray(params, float) ** -self.params_power
            + self.images_scale * np.asarray(images, float) ** -self.images_power
        )


def fit_law(params: np.ndarray, images: np.ndarray, error: np.ndarray) -> Law:
    """Least squares on the logarithm of the error, so that every point counts by its ratio.

    All five numbers are kept positive. The fit starts from several powers and keeps the best.

    Args:
        params, images, error: ``(points,)``, all positive; at least six points.

    Raises:
        ValueError: fewer points, or values that are not positive.
    """
    n, d, target = (np.asarray(v, float) for v in (params, images, error))
    if len(target) < 6:
        raise ValueError(f"Five numbers cannot be fitted to {len(target)} points; give six.")
    if min(n.min(), d.min(), target.min()) <= 0:
        raise ValueError("A power law needs positive values; average over seeds if an error is 0.")
    # In units of the middle of the grid, where the scales are of the size of the error.
    middle = [float(np.exp(np.log(v).mean())) for v in (n, d)]

    def law(theta: np.ndarray) -> Law:
        e, a, p, b, q = np.exp(theta).tolist()
        return Law(e, a * middle[0] ** p, p, b * middle[1] ** q, q)

    def residual(theta: np.ndarray) -> np.ndarray:
        return np.log(law(theta)(n, d)) - np.log(target)

    typical = np.log(np.exp(np.log(target).mean()) / 3)
    starts = [(typical, typical, np.log(p), typical, np.log(q)) for p in (0.3, 1) for q in (0.3, 1)]
    # The bounds keep a term that the data do not want from running away; e^-20 is as good as none.
    low, high = [-20, -20, -4, -20, -4], [5, 5, 1.5, 5, 1.5]
    fits = [least_squares(residual, start, bounds=(low, high)) for start in starts]
    return law(min(fits, key=lambda f: f.cost).x)


def bootstrap(
    params: np.ndarray, images: np.ndarray, errors: np.ndarray, times: int = 200, seed: int = 0
) -> list[Law]:
    """Laws fitted to the grid with its seeds drawn anew, with replacement in each cell.

    Args:
        params, images: ``(cells,)``.
        errors: ``(cells, seeds)``.
        times: how many.
        seed: which draws.

    Returns:
        ``times`` laws; their spread is what the choice of seeds leaves open.
    """
    rng = np.random.default_rng(seed)
    cells, seeds = errors.shape
    draws = rng.integers(seeds, size=(times, cells, seeds))
    means = np.take_along_axis(errors[None], draws, axis=2).mean(axis=2)
    return [fit_law(params, images, mean) for mean in means]
