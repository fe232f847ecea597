"""Diffusion of points in two dimensions, where all can be drawn (chapter 05_latent_consistency).

The points come from eight Gaussians on a circle. Their density is known, so a perfect teacher is
too (:func:`exact_noise`). A small network learns to be one, and
:mod:`modarch_utils.training.consistency` distils it.
"""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from modarch_utils import bars
from modarch_utils.training.consistency import (
    ConsistencyConfig,
    ConsistencyDistillation,
    NoiseSchedule,
    draw,
    train_step,
)
from modarch_utils.training.randomness import generator, seeded
from modarch_utils.training.schedules import warmup_cosine

COMPONENTS = 8
RADIUS = math.sqrt(2)
"""Of the circle; each coordinate then has a variance of about 1, as scaled latents have."""
ANY = COMPONENTS
"""The condition that asks for no particular Gaussian."""
SPREAD = 0.15
"""Standard deviation of each Gaussian, in each direction."""

_TEACHER, _STUDENT = range(2)  # streams of random numbers


def centres() -> Tensor:
    """(8, 2) the means of the Gaussians, anticlockwise from the right."""
    angle = torch.arange(COMPONENTS) * (2 * math.pi / COMPONENTS)
    return RADIUS * torch.stack((angle.cos(), angle.sin()), dim=1)


def eight_gaussians(n: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw n points (n, 2) and the number, 0 to 7, of the Gaussian that each came from (n,)."""
    label = torch.randint(COMPONENTS, (n,), generator=rng)
    return centres()[label] + SPREAD * torch.randn(n, 2, generator=rng), label


def exact_noise(x: Tensor, t: Tensor, schedule: NoiseSchedule) -> Tensor:
    """What a perfect teacher predicts for x (N, 2) at t (N,): the mean of the noise given x.

    Given its Gaussian, x_t is normal around α m with variance α² s² + σ², and the noise's mean is
    σ (x_t - α m) / (α² s² + σ²). The Gaussians count as much as they are likely, given x_t.
    """
    alpha, sigma = schedule.at(t, x)
    away = x[:, None] - alpha[:, None] * centres().to(x)
    variance = (alpha * SPREAD) ** 2 + sigma**2
    likely = (-away.square().sum(-1) / (2 * variance)).softmax(dim=1)
    return sigma * (likely[..., None] * away).sum(1) / variance


class PointNetwork(nn.Module):
    """An MLP for points with a time embedding: for the noise, the clean point or a velocity.

    Args:
        width: channels of the three hidden layers.
        features: of a time's sinusoidal embedding.
        octaves: x goes in with sine and cosine of 1, 2, 4, ... times x; from x alone an MLP is slow
            to learn where the small clusters are (Tancik et al. 2020, arXiv 2006.10739).
        fastest: radians by which the embedding's fastest wave turns from one time to the next.
        times: how many it is told.
    """

    def __init__(
        self,
        width: int = 128,
        features: int = 16,
        octaves: int = 4,
        fastest: float = 0.1,
        times: int = 1,
    ):
        super().__init__()
        rates = fastest * torch.logspace(0, -2, features // 2)
        self.register_buffer("rates", rates, persistent=False)
        self.register_buffer("waves", 2.0 ** torch.arange(octaves), persistent=False)
        self.condition = nn.Embedding(COMPONENTS + 1, times * features, padding_idx=ANY)
        self.layers = nn.Sequential(
            nn.Linear(2 + 4 * octaves + times * features, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.SiLU(),
            nn.Linear(width, 2),
        )

    def forward(
        self, x: Tensor, t: Tensor, condition: Tensor | None = None, omega: None = None
    ) -> Tensor:
        """Map x (N, 2) at t (N,), or (N, times), to (N, 2).

        ``condition`` (N,) are numbers of Gaussians, with :data:`ANY` where none is asked for; None
        asks for none at all. ``omega`` is not looked at: distil for one fixed guidance scale.
        """
        angle = t.view(len(x), -1, 1) * self.rates
        told = torch.cat((angle.sin(), angle.cos()), dim=-1).flatten(1)
        if condition is not None:
            told = told + self.condition(condition)
        wave = (x[:, :, None] * self.waves).flatten(1)
        return self.layers(torch.cat((x, wave.sin(), wave.cos(), told), dim=1))


def fit_teacher(
    config: ConsistencyConfig,
    steps: int = 3000,
    *,
    conditional: bool = False,
    batch_size: int = 256,
    lr: float = 8e-3,
    seed: int = 0,
) -> PointNetwork:
    """Train a network to predict the noise in noisy points, all of them new in every step.

    Args:
        config: its noise schedule is used.
        steps: of Adam, with a short warm-up and half a cosine down to zero.
        conditional: tell the network the points' Gaussian, nine times out of ten.
        batch_size: points in a step.
        lr: highest learning rate.
        seed: initialisation and points.
    """
    with seeded(seed):
        network = PointNetwork()
    rng, condition = generator(_TEACHER, seed), None
    for optimizer in updates(network, steps, lr, "teacher"):
        x, label = eight_gaussians(batch_size, rng)
        t = torch.randint(config.train_steps, (batch_size,), generator=rng)
        noise = torch.randn(x.shape, generator=rng)
        if conditional:
            condition = label.masked_fill(torch.rand(batch_size, generator=rng) < 0.1, ANY)
        predicted = network(config.schedule.add_noise(x, noise, t), t, condition)
        loss = (predicted - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.zero_grad()  # with the last step's gradients a frozen teacher would seem to learn
    return network


def distil(
    teacher: PointNetwork,
    config: ConsistencyConfig,
    steps: int = 2000,
    *,
    batch_size: int = 256,
    lr: float = 1e-3,
    seed: int = 0,
    watch: Callable[[ConsistencyDistillation], Any] | None = None,
    every: int = 200,
) -> tuple[ConsistencyDistillation, list[tuple[int, Any]]]:
    """Distil a consistency function from a teacher.

    A student that predicts the noise starts as a copy of the teacher, one that predicts the clean
    point starts from random weights. With guidance, teacher and student are told the Gaussian.

    Args:
        teacher: from :func:`fit_teacher`; it is frozen.
        config: the objective.
        steps, batch_size, lr, seed: as in :func:`fit_teacher`.
        watch: called with the three networks before the first step and after each ``every`` steps.
        every: steps between two calls.

    Returns:
        The three networks, and (step, what ``watch`` returned).

    Raises:
        ValueError: guidance with bounds that differ; the student cannot be told the scale.
    """
    if config.omega is not None and config.omega[0] != config.omega[1]:
        raise ValueError("A student of points learns one guidance scale; give equal bounds.")
    with seeded(seed):
        fresh = PointNetwork()
    student = copy.deepcopy(teacher) if config.prediction == "epsilon" else fresh
    model = ConsistencyDistillation(teacher, student.requires_grad_(True), config).train()
    rng, curve, condition = generator(_STUDENT, seed), [], None
    if watch is not None:
        curve.append((0, watch(model)))
    loop = updates(model.student, steps, lr, f"k = {config.skip}")
    for step, optimizer in enumerate(loop, start=1):
        x, label = eight_gaussians(batch_size, rng)
        if config.omega is not None:
            condition = label
        train_step(model, optimizer, x, draw(x, config, rng), condition)
        if watch is not None and step % every == 0:
            curve.append((step, watch(model)))
    return model, curve


def updates(
    network: nn.Module, steps: int, peak: float, name: str
) -> Iterator[torch.optim.Optimizer]:
    """Yield the network's Adam once for each step, with that step's learning rate.

    The rate climbs to ``peak`` in a hundred steps and falls to zero along half a cosine.
    """
    optimizer = torch.optim.Adam(network.parameters(), peak)
    for step in bars.bar(range(steps), unit="step", desc=name):
        for group in optimizer.param_groups:
            group["lr"] = warmup_cosine(step, steps, min(100, steps), peak)
        yield optimizer


def energy_distance(a: Tensor, b: Tensor) -> float:
    """2 E|a - b| - E|a - a'| - E|b - b'|: 0 if and only if two distributions are the same.

    Pairs of a point with itself count, so that the estimate is never negative; two samples of one
    distribution are then a little apart. Compare with that floor.

    Args:
        a, b: (N, D) and (M, D) samples.

    Raises:
        ValueError: no samples, or samples of different dimension.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or not len(a) or not len(b):
        raise ValueError(
            f"Samples must be (N, D) and (M, D), not {tuple(a.shape)} and {tuple(b.shape)}."
        )

    def mean(x: Tensor, y: Tensor) -> float:
        return torch.cdist(x.double(), y.double()).mean().item()

    return 2 * mean(a, b) - mean(a, a) - mean(b, b)


def strays(x: Tensor) -> float:
    """Part of the points (N, 2) further than three deviations from every Gaussian's middle.

    Of real points 1.1 % are, e^(-9/2).
    """
    return (torch.cdist(x, centres()).amin(1) > 3 * SPREAD).float().mean().item()
