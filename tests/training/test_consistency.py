"""Consistency distillation against diffusers' schedulers and against a Gaussian's closed form."""

import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, LCMScheduler
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from modarch_utils.training import consistency
from modarch_utils.training.consistency import (
    CLEAN,
    ConsistencyConfig,
    ConsistencyDistillation,
    Draw,
)

CONFIG = ConsistencyConfig()
MEAN = torch.tensor([0.7, -1.2])
SIGNAL = np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2)  # in float64
SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def times(n, *values):
    return torch.tensor(values).expand(n)


def wavy(x, t, condition=None, omega=None):
    """Some function of both arguments, in place of a network."""
    return torch.sin(3 * x + 0.01 * t.view(-1, *(1,) * (x.ndim - 1)))


class Exact(nn.Module):
    """The exact noise in points of which the clean ones are N(MEAN, spread²)."""

    def __init__(self, spread):
        super().__init__()
        self.spread = spread

    def deviation(self, t):
        signal = torch.as_tensor(SIGNAL)[t]
        return (signal * self.spread**2 + 1 - signal).sqrt()

    def forward(self, x, t, condition=None, omega=None):
        signal = torch.as_tensor(SIGNAL)[t][:, None]
        away = x - signal.sqrt() * MEAN
        return ((1 - signal).sqrt() * away / self.deviation(t)[:, None] ** 2).to(x)

    def solve(self, x, t, s):
        """The ODE's exact solution at s: the distance from the mean, in deviations, stays."""
        score = (x - SIGNAL[t] ** 0.5 * MEAN) / self.deviation(t)
        return (SIGNAL[s] ** 0.5 * MEAN + self.deviation(s) * score).to(x)


class ExactConsistency(Exact):
    """Where that ODE ends, at t = 0."""

    def forward(self, x, t, condition=None, omega=None):
        signal = torch.as_tensor(SIGNAL)[t][:, None]
        score = (x - signal.sqrt() * MEAN) / self.deviation(t)[:, None]
        return (SIGNAL[0] ** 0.5 * MEAN + self.deviation(0) * score).to(x)


class Net(nn.Module):
    def __init__(self, seed=0, p=0.0):
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(p), nn.Linear(8, 2))

    def forward(self, x, t, condition=None, omega=None):
        return self.layers(torch.cat((x, t[:, None] / 1000), dim=1))


def model(config=CONFIG):
    return ConsistencyDistillation(Net(0), Net(1), config).train()


def drawn(n=6, config=CONFIG, seed=0):
    return consistency.draw(random(n, 2), config, torch.Generator().manual_seed(seed))


def test_noise_is_added_to_each_sample_at_its_own_time():
    alphas, sigmas = CONFIG.schedule
    assert (alphas[CLEAN], sigmas[CLEAN]) == (1, 0)
    np.testing.assert_allclose(alphas[:-1].square(), SIGNAL, rtol=1e-5)
    x, noise = random(1000, 4, 2, 2), random(1000, 4, 2, 2, seed=1)
    t = torch.arange(1000).roll(1)
    expected = DDIMScheduler(**SD).add_noise(x, noise, t)
    found = CONFIG.schedule.add_noise(x, noise, t)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(CONFIG.schedule.clean(found, noise, t), x, atol=1e-4, rtol=1e-4)


@given(st.integers(0, 999))
def test_scalings_are_diffusers(t):
    expected = LCMScheduler().get_scalings_for_boundary_condition_discrete(t)
    found = consistency.scalings(t, CONFIG)
    assert [c.item() for c in found] == pytest.approx(expected, rel=1e-6)


@given(st.integers(1, 50), st.sampled_from([1, 2, 5, 10, 20]))
def test_sampling_times_are_diffusers(steps, skip):
    scheduler = LCMScheduler(original_inference_steps=1000 // skip)
    scheduler.set_timesteps(steps)
    found = consistency.sampling_times(steps, ConsistencyConfig(skip=skip))
    assert found == scheduler.timesteps.tolist()


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
@pytest.mark.parametrize("shape", [(5, 2), (3, 4, 8, 8)])
def test_sampling_equals_diffusers_number_for_number(steps, prediction, shape):
    start, rng = random(*shape), torch.Generator().manual_seed(1)
    scheduler, expected = LCMScheduler(prediction_type=prediction), start
    scheduler.set_timesteps(steps)
    for t in scheduler.timesteps:
        output = wavy(expected, t.expand(len(start)))
        expected = scheduler.step(output, t, expected, generator=rng).prev_sample
    config = ConsistencyConfig(prediction=prediction)
    found = consistency.sample(wavy, start, steps, config, torch.Generator().manual_seed(1))
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("steps", "skip"), [(1, 20), (2, 20), (5, 20), (50, 20), (1000, 1)])
def test_ddim_equals_diffusers(steps, skip):
    scheduler = DDIMScheduler(
        **SD, clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing"
    )
    scheduler.set_timesteps(steps)
    path = [random(5, 2)]
    for t in scheduler.timesteps:
        output = wavy(path[-1], t.expand(5))
        path.append(scheduler.step(output, t, path[-1]).prev_sample)
    found = consistency.ddim(wavy, path[0], steps, ConsistencyConfig(skip=skip))
    torch.testing.assert_close(found, torch.stack(path), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("t", [19, 39, 499, 999])
def test_the_teachers_step_is_one_ddim_step_of_k(t):
    # diffusers' clean end is then time 0, as in its distillation scripts.
    scheduler = DDIMScheduler(**SD, clip_sample=False, set_alpha_to_one=False)
    scheduler.set_timesteps(50)
    net, x = model(), random(5, 2)
    expected = scheduler.step(net.teacher(x, times(5, t)), t, x).prev_sample
    found, s = net.teacher_step(x, times(5, t))
    torch.testing.assert_close(found, expected)
    assert s.tolist() == 5 * [max(t - 20, 0)]


def test_where_the_teacher_stops_the_target_is_its_point():
    net = model()
    outcome = net(random(6, 2), Draw(times(6, 19), random(6, 2, seed=1), None))
    assert torch.equal(outcome.target, outcome.stepped)  # f(x, 0) = x: no network is asked


def test_on_a_single_point_every_target_is_that_point():
    net = ConsistencyDistillation(Exact(0.0), Exact(0.0))
    outcome = net(MEAN.expand(6, 2), drawn()._replace(t=times(6, 999)))
    torch.testing.assert_close(outcome.target, MEAN.expand(6, 2), atol=1e-4, rtol=0)
    assert outcome.loss < 1e-4


def test_the_exact_consistency_function_has_no_loss_but_the_teachers():
    x = MEAN + 0.3 * random(500, 2)
    losses = {}
    for skip in (1, 20):
        config = ConsistencyConfig(skip=skip, prediction="sample", loss="l2")
        net = ConsistencyDistillation(Exact(0.3), ExactConsistency(0.3), config)
        outcome = net(x, Draw(times(500, 499), random(500, 2, seed=1), None))
        at_s = net.teacher.solve(outcome.noisy, 499, 499 - skip)
        torch.testing.assert_close(outcome.stepped, at_s, atol=2e-3, rtol=0)
        ends = net.teacher.solve(outcome.noisy, 499, 0)
        torch.testing.assert_close(outcome.prediction, ends, atol=1e-4, rtol=0)
        losses[skip] = outcome.loss.item()
    assert losses[1] < losses[20] / 100 < 1e-6


@pytest.mark.parametrize("prediction", ["epsilon", "sample"])
def test_at_time_zero_f_is_the_identity(prediction):
    x, output, zero = random(5, 4, 3, 3), random(5, 4, 3, 3, seed=1), times(5, 0)
    config = ConsistencyConfig(prediction=prediction)
    assert torch.equal(consistency.denoise(output, x, zero, config), x)
    free = ConsistencyConfig(prediction=prediction, boundary=False)
    assert not torch.allclose(consistency.denoise(output, x, zero, free), x, atol=1e-3)
    if prediction == "sample":
        assert torch.equal(consistency.denoise(output, x, zero, free), output)


def test_distances_by_hand():
    a, b, c = random(3, 2), random(3, 2, seed=1), 1e-3
    deltas = (a - b).flatten().tolist()
    huber = sum(math.sqrt(d * d + c * c) - c for d in deltas) / 6
    assert consistency.distance(a, b, CONFIG).item() == pytest.approx(huber, rel=1e-5)
    squared = consistency.distance(a, b, ConsistencyConfig(loss="l2")).item()
    assert squared == pytest.approx(sum(d * d for d in deltas) / 6, rel=1e-5)
    assert consistency.distance(a, a, CONFIG).item() == 0


def test_guidance_is_diffusers_with_one_added():
    conditional, unconditional = random(3, 4, 2, 2), random(3, 4, 2, 2, seed=1)
    omega = torch.tensor([0.0, 2.0, 7.5])
    found = consistency.guided(conditional, unconditional, omega)
    for i, scale in enumerate((1.0, 3.0, 8.5)):
        expected = unconditional[i] + scale * (conditional[i] - unconditional[i])
        torch.testing.assert_close(found[i], expected, atol=1e-5, rtol=1e-5)
    assert torch.equal(found[0], conditional[0])


def test_the_teacher_is_guided_and_the_student_is_told_the_scale():
    config, asked, told = ConsistencyConfig(omega=(2.0, 14.0)), [], []

    class Teacher(nn.Module):
        def forward(self, x, t, condition):
            asked.append(condition)
            return torch.full_like(x, condition)

    class Student(nn.Module):
        def forward(self, x, t, condition, omega):
            told.append((condition, omega))
            return x

    net, x, step = ConsistencyDistillation(Teacher(), Student(), config), random(6, 2), drawn()
    step = step._replace(omega=torch.linspace(2, 14, 6))
    outcome = net(x, step, 1.0, -1.0)
    assert asked == [1.0, -1.0]
    assert all(c == 1.0 and torch.equal(w, step.omega) for c, w in told) and len(told) == 2
    epsilon = (1 + 2 * step.omega)[:, None].expand(6, 2)  # (1 + ω) · 1 - ω · (-1)
    s = (step.t - 20).clamp(min=0)
    expected = config.schedule.ddim_step(outcome.noisy, epsilon, step.t, s)
    torch.testing.assert_close(outcome.stepped, expected)


def test_draws_are_uniform_within_their_bounds():
    config = ConsistencyConfig(omega=(2.0, 14.0))
    t, noise, omega = drawn(5000, config)
    assert set(t.tolist()) == set(range(19, 1000, 20))
    assert t.float().mean() == pytest.approx(509, abs=15)
    assert noise.mean().abs() < 0.05 and noise.std() == pytest.approx(1, abs=0.05)
    assert omega.min() >= 2 and omega.max() <= 14
    assert omega.mean() == pytest.approx(8, abs=0.2)
    assert drawn().omega is None
    assert torch.equal(drawn(seed=3).t, drawn(seed=3).t)
    assert not torch.equal(drawn(seed=3).noise, drawn(seed=4).noise)


@pytest.mark.parametrize("clip", [1e-3, 1e3])
def test_one_step_moves_student_and_target_alone_by_no_more_than_the_clipped_norm(clip):
    net = model(ConsistencyConfig(ema=0.9))
    assert net.student.training and not (net.teacher.training or net.target.training)
    parts = net.teacher, net.target, net.student
    teacher, target, student = ([p.detach().clone() for p in part.parameters()] for part in parts)
    optimizer = torch.optim.SGD(net.student.parameters(), lr=1.0)
    consistency.train_step(net, optimizer, random(6, 2), drawn(), grad_clip=clip)
    for p, old in zip(net.teacher.parameters(), teacher, strict=True):
        assert torch.equal(p, old) and p.grad is None
    for p, old, new in zip(net.target.parameters(), target, net.student.parameters(), strict=True):
        assert new.grad.any() and p.grad is None
        torch.testing.assert_close(p, 0.9 * old + 0.1 * new)
    moved = zip(net.student.parameters(), student, strict=True)
    norm = torch.cat([(p - old).flatten() for p, old in moved]).norm().item()
    assert (norm == pytest.approx(1e-3, rel=0.05)) == (clip == 1e-3) and norm > 0


def test_a_loss_that_is_not_finite_stops_the_run():
    net = model()
    nn.init.constant_(net.student.layers[0].bias, math.nan)
    optimizer = torch.optim.SGD(net.student.parameters(), lr=0.1)
    with pytest.raises(FloatingPointError, match="check the teacher"):
        consistency.train_step(net, optimizer, random(6, 2), drawn())


@pytest.mark.parametrize("steps", [0, 51])
def test_more_steps_than_times(steps):
    with pytest.raises(ValueError, match="50 times to sample at"):
        consistency.sampling_times(steps, CONFIG)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"skip": 0}, "skip must divide"),
        ({"skip": 30}, "skip must divide"),
        ({"beta_start": 0.02}, "Betas"),
        ({"prediction": "v_prediction"}, "prediction must be one of"),
        ({"loss": "l1"}, "loss must be one of"),
        ({"sigma_data": 0.0}, "positive"),
        ({"ema": 1.0}, r"\[0, 1\)"),
        ({"omega": (14.0, 2.0)}, "lower and an upper"),
    ],
)
def test_bad_settings(options, message):
    with pytest.raises(ValueError, match=message):
        ConsistencyConfig(**options)
