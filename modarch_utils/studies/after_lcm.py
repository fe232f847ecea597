"""What came after latent consistency, on the points of :mod:`points` (05_latent_consistency).

Four other ways to few steps, each trained for seconds. Rectified flow and MeanFlow count time from
0, data, to 1, noise, with x_t = (1 - t) x_0 + t ε and the velocity v = ε - x_0. Trajectory
consistency and distribution matching start from the teacher of :func:`points.fit_teacher` and use
its schedule and its times.
"""

import copy
from collections.abc import Callable

import torch
from torch import Tensor, nn

from modarch_utils.studies.points import PointNetwork, eight_gaussians, updates
from modarch_utils.training.consistency import (
    CLEAN,
    ConsistencyConfig,
    distance,
    sampling_times,
)
from modarch_utils.training.dino import ema_update
from modarch_utils.training.randomness import generator, seeded

_FLOW, _STRAIGHT, _MEAN, _TRAJECTORY, _MATCHING = range(2, 7)  # streams of random numbers
FASTEST = 10.0
"""Of a flow's time embedding, whose times reach from 0 to 1. MeanFlow differentiates it: waves ten
times as fast spoil what it learns."""


def fit_flow(steps: int = 4000, *, batch_size: int = 256, lr: float = 8e-3, seed: int = 0):
    """Flow matching (Lipman et al. 2023, arXiv 2210.02747): regress the velocity.

    Args:
        steps: of Adam; each draws new data.
        batch_size: points in a step.
        lr: highest learning rate.
        seed: initialisation and points.

    Returns:
        A network that maps x (N, 2) at t (N,) to the velocity (N, 2).
    """
    with seeded(seed):
        flow = PointNetwork(fastest=FASTEST)
    rng = generator(_FLOW, seed)

    def pairs() -> tuple[Tensor, Tensor]:
        x, _ = eight_gaussians(batch_size, rng)
        return x, torch.randn(x.shape, generator=rng)

    return _regress(flow, pairs, steps, lr, rng, "flow")


def straighten(
    flow: PointNetwork,
    steps: int = 3000,
    *,
    pairs: int = 20_000,
    batch_size: int = 256,
    lr: float = 4e-3,
    seed: int = 0,
) -> PointNetwork:
    """Reflow (Liu et al. 2023, arXiv 2209.03003, section 2.2): fit a flow to a flow's own ends.

    Noise and the sample to which the flow takes it are a pair; between them the way is straight.

    Args:
        flow: from :func:`fit_flow`; it is not changed.
        steps, batch_size, lr, seed: as there.
        pairs: noises that are taken along the flow first, in 50 steps each.
    """
    rng = generator(_STRAIGHT, seed)
    noise = torch.randn(pairs, 2, generator=rng)
    ends = euler(flow, noise, 50)

    def some() -> tuple[Tensor, Tensor]:
        index = torch.randint(pairs, (batch_size,), generator=rng)
        return ends[index], noise[index]

    return _regress(copy.deepcopy(flow), some, steps, lr, rng, "reflow")


def _regress(
    flow: PointNetwork,
    pairs: Callable[[], tuple[Tensor, Tensor]],
    steps: int,
    lr: float,
    rng: torch.Generator,
    name: str,
) -> PointNetwork:
    """Fit the velocities of straight lines between pairs of data and noise."""
    for optimizer in updates(flow, steps, lr, name):
        x, noise = pairs()
        t = torch.rand(len(x), 1, generator=rng)
        loss = (flow((1 - t) * x + t * noise, t) - (noise - x)).square().mean()
        _update(optimizer, loss, flow)
    return flow


@torch.no_grad()
def euler(flow: nn.Module, x: Tensor, steps: int) -> Tensor:
    """From noise x (N, 2) at t = 1 to samples (N, 2) at 0, in equal steps along the velocity."""
    for i in range(steps):
        x = x - flow(x, torch.full((len(x),), 1 - i / steps)) / steps
    return x


def mean_flow(
    steps: int = 4000,
    *,
    batch_size: int = 256,
    lr: float = 4e-3,
    apart: float = 0.5,
    power: float = 1.0,
    seed: int = 0,
) -> PointNetwork:
    """MeanFlow (Geng et al. 2025, arXiv 2505.13447): the velocity's mean between two times.

    Since (t - r) u = ∫ v dτ from r to t, u = v - (t - r) du/dt (eq. 6): a target that one
    derivative of the network along (v, 1) gives. There is no teacher.

    Args:
        steps, batch_size, lr, seed: as for :func:`fit_flow`.
        apart: part of the batch with r < t; the others, with r = t, learn the velocity itself.
        power: p of the adaptive weight 1 / (error + 0.001)^p.

    Returns:
        A network that maps x (N, 2) and (t, t - r) (N, 2) to the mean velocity (N, 2).
    """
    with seeded(seed):
        network = PointNetwork(fastest=FASTEST, times=2)
    rng = generator(_MEAN, seed)
    for optimizer in updates(network, steps, lr, "MeanFlow"):
        x, _ = eight_gaussians(batch_size, rng)
        noise = torch.randn(x.shape, generator=rng)
        t, r = torch.rand(batch_size, 2, generator=rng).sort(dim=1, descending=True)[0].T
        r = torch.where(torch.rand(batch_size, generator=rng) < apart, r, t)
        z, v = x + t[:, None] * (noise - x), noise - x

        def u(z: Tensor, t: Tensor, r: Tensor) -> Tensor:
            return network(z, torch.stack((t, t - r), dim=1))

        along = (v, torch.ones_like(t), torch.zeros_like(r))
        mean, slope = torch.func.jvp(u, (z, t, r), along)
        target = (v - (t - r)[:, None] * slope).detach()
        error = (mean - target).square().sum(1)
        _update(optimizer, (error / (error.detach() + 1e-3) ** power).mean(), network)
    return network


@torch.no_grad()
def jump(network: nn.Module, x: Tensor, steps: int) -> Tensor:
    """From noise x (N, 2) to samples (N, 2), in equal jumps with the mean velocity."""
    for i in range(steps):
        times = torch.tensor([1 - i / steps, 1 / steps]).expand(len(x), 2)
        x = x - network(x, times) / steps
    return x


def trajectory(
    teacher: PointNetwork,
    config: ConsistencyConfig,
    steps: int = 2000,
    *,
    batch_size: int = 256,
    lr: float = 1e-3,
    seed: int = 0,
) -> nn.Module:
    """Trajectory consistency (Zheng et al. 2024, arXiv 2402.19159): f(x, t → s), to any time s.

    The student predicts the noise, and f is one DDIM step with it (the paper's first-order form):
    f(x, s → s) = x by construction. Neighbours on the teacher's path, at t and t - k, shall agree
    about every s below.

    Args:
        teacher: from :func:`points.fit_teacher`.
        config: noise, k and the distance.
        steps, batch_size, lr, seed: as for :func:`fit_flow`.

    Returns:
        The average of the student, which predicts noise (N, 2) from x (N, 2) at t (N,).
    """
    student = copy.deepcopy(teacher).requires_grad_(True)
    target = copy.deepcopy(student).requires_grad_(False)
    rng, schedule = generator(_TRAJECTORY, seed), config.schedule
    for optimizer in updates(student, steps, lr, "TCD"):
        x, _ = eight_gaussians(batch_size, rng)
        t = config.times[torch.randint(len(config.times), (batch_size,), generator=rng)]
        noisy = schedule.add_noise(x, torch.randn(x.shape, generator=rng), t)
        before = t - config.skip  # CLEAN below the first time
        s = (torch.rand(batch_size, generator=rng) * (before + 1)).long()
        s = torch.where(before < 0, CLEAN, s)
        with torch.no_grad():
            stepped = schedule.ddim_step(noisy, teacher(noisy, t), t, before)
            known = target(stepped, before.clamp(min=0))
            wanted = schedule.ddim_step(stepped, known, before, s)
        found = schedule.ddim_step(noisy, student(noisy, t), t, s)
        _update(optimizer, distance(found, wanted, config), student)
        ema_update(target, student, config.ema)
    return target


@torch.no_grad()
def strategic(
    network: nn.Module,
    x: Tensor,
    steps: int,
    config: ConsistencyConfig,
    rng: torch.Generator,
    gamma: float = 0.3,
) -> Tensor:
    """Strategic stochastic sampling (TCD, algorithm 4), as diffusers' ``TCDScheduler`` does it.

    Each step aims below the next time, at (1 - γ) of it, and adds noise to come back up: with
    γ = 0 it is DDIM, with γ = 1 the sampler of LCM.

    Args:
        network: predicts the noise in x (N, 2) at t (N,).
        x: (N, 2) standard normal noise.
        steps, config: as for :func:`modarch_utils.training.consistency.sample`.
        rng: source of the noise between steps.
        gamma: γ.
    """
    alphas, times = config.schedule.alphas, [*sampling_times(steps, config), 0]
    for t, after in zip(times, times[1:], strict=False):
        aim = int((1 - gamma) * after)
        x = config.schedule.ddim_step(x, network(x, torch.full((len(x),), t)), t, aim)
        if after and gamma:
            kept = alphas[after] / alphas[aim]
            x = kept * x + (1 - kept**2).sqrt() * torch.randn(x.shape, generator=rng)
    return x


FIRST = 499
"""The time at which a generator is asked about pure noise. At 999 the guess of the clean point is
divided by 0.07, which magnifies every error; the authors ask SDXL at 399 for one step."""


@torch.no_grad()
def generate(
    network: nn.Module, x: Tensor, jumps: int, config: ConsistencyConfig, rng: torch.Generator
) -> Tensor:
    """From noise x (N, 2) to samples (N, 2): as LCM jumps, but for the time of the first jump.

    Args:
        network: from :func:`match_distributions`; it predicts the noise.
        x: (N, 2) standard normal noise.
        jumps: at the times of :func:`modarch_utils.training.consistency.sample`.
        config: noise schedule and times.
        rng: source of the noise between jumps.
    """
    for i, t in enumerate((FIRST, *sampling_times(jumps, config)[1:])):
        if i:
            x = config.schedule.add_noise(x, torch.randn(x.shape, generator=rng), t)
        x = config.schedule.clean(x, network(x, torch.full((len(x),), t)), t)
    return x


def match_distributions(
    teacher: PointNetwork,
    config: ConsistencyConfig,
    steps: int = 1500,
    *,
    jumps: int = 1,
    fake_steps: int = 2,
    batch_size: int = 256,
    lr: float = 1e-3,
    fake_lr: float = 1e-3,
    seed: int = 0,
) -> nn.Module:
    """Distribution matching (DMD2, Yin et al. 2024, arXiv 2405.14867, sections 3 and 4).

    A generator's samples are noised, and two networks guess the clean point: the teacher, who knows
    real data, and a *fake* one, trained all the while on what the generator makes. The difference
    of the guesses is the direction in which samples become likelier as data than as fakes. Nothing
    asks for the teacher's own samples, so its errors of many steps are not inherited. The paper
    adds a discriminator on real data, which is left out here.

    Args:
        teacher: from :func:`points.fit_teacher`.
        config: noise schedule and times.
        steps: of the generator.
        jumps: of :func:`generate`. With several, it is trained on its own samples of the jumps
            before, and every number of them up to this (section 4.5).
        fake_steps: of the fake network, for each of the generator.
        batch_size, lr, fake_lr, seed: as for :func:`fit_flow`.

    Returns:
        The generator's average.
    """
    student, fake = (copy.deepcopy(teacher).requires_grad_(True) for _ in range(2))
    average = copy.deepcopy(student).requires_grad_(False)
    rng, schedule = generator(_MATCHING, seed), config.schedule
    fakes = torch.optim.Adam(fake.parameters(), fake_lr)
    low, high = config.skip, config.train_steps - config.skip  # 2 to 98 %, as the authors have it
    at = sampling_times(jumps, config)

    def made() -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Samples; then noised, with their times and noise."""
        x = torch.randn(batch_size, 2, generator=rng)
        for i in range(1 + int(torch.randint(jumps, (), generator=rng))):
            t = at[i] if i else FIRST
            if i:
                x = schedule.add_noise(x.detach(), torch.randn(x.shape, generator=rng), t)
            x = schedule.clean(x, student(x, torch.full((len(x),), t)), t)
        t = torch.randint(low, high, (batch_size,), generator=rng)
        noise = torch.randn(x.shape, generator=rng)
        return x, schedule.add_noise(x.detach(), noise, t), t, noise

    for optimizer in updates(student, steps, lr, "DMD"):
        for _ in range(fake_steps):
            _, noisy, t, noise = made()
            _update(fakes, (fake(noisy, t) - noise).square().mean(), fake)
        x, noisy, t, _ = made()
        with torch.no_grad():
            real, false = (schedule.clean(noisy, net(noisy, t), t) for net in (teacher, fake))
            uphill = (real - false) / (x - real).abs().mean(1, keepdim=True)
        _update(optimizer, (x - (x + uphill).detach()).square().mean() / 2, student)
        ema_update(average, student, config.ema)
    return average


def _update(optimizer: torch.optim.Optimizer, loss: Tensor, network: nn.Module) -> None:
    """One step down the loss, with a norm of all gradients of at most 1."""
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
