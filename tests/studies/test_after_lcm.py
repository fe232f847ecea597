"""Ways to few steps after LCM: each draws the points in one step or few, and equals its library."""

import pytest
import torch
from diffusers import TCDScheduler

from modarch_utils.studies import after_lcm, points
from modarch_utils.training import consistency
from modarch_utils.training.consistency import ConsistencyConfig

CONFIG = ConsistencyConfig(skip=100)  # ten times only, so that few steps are enough


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


REAL, NOISE = points.eight_gaussians(1000, rng(1))[0], torch.randn(1000, 2, generator=rng(2))


def off(samples):
    return points.energy_distance(REAL, samples)


@pytest.fixture(scope="module")
def teacher():
    return points.fit_teacher(CONFIG, 600)


@pytest.fixture(scope="module")
def flow():
    return after_lcm.fit_flow(600)


def test_a_straightened_flow_needs_one_step(flow):
    straight = after_lcm.straighten(flow, 400, pairs=4000)
    once, many = (after_lcm.euler(flow, NOISE, n) for n in (1, 50))
    assert off(once) > 10 * off(many)
    assert off(after_lcm.euler(straight, NOISE, 1)) < 0.1 * off(once)
    # The same noise leads to the same place: the coupling is kept, only the way is another.
    ends = after_lcm.euler(straight, NOISE, 1)
    assert (ends - many).norm(dim=1).median() < 0.3


def test_a_mean_velocity_jumps_at_once(flow):
    network = after_lcm.mean_flow(800)
    assert off(after_lcm.jump(network, NOISE, 1)) < 0.1 * off(after_lcm.euler(flow, NOISE, 1))


def test_where_both_times_agree_the_mean_is_the_velocity():
    """With r = t for all it is flow matching: jumps are Euler's steps with the same network."""
    network = after_lcm.mean_flow(3, apart=0.0)
    x = NOISE[:5]

    def velocity(x, t):
        return network(x, torch.stack((t, torch.full_like(t, 0.25)), dim=1))

    torch.testing.assert_close(after_lcm.jump(network, x, 4), after_lcm.euler(velocity, x, 4))


@pytest.mark.parametrize("gamma", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("steps", [1, 2, 4])
def test_strategic_sampling_equals_diffusers(teacher, steps, gamma):
    scheduler = TCDScheduler(original_inference_steps=10)
    scheduler.set_timesteps(steps)
    x, noises = NOISE[:50], rng(5)
    for t in scheduler.timesteps:
        with torch.no_grad():
            epsilon = teacher(x, t.expand(len(x)))
        x = scheduler.step(epsilon, t, x, eta=gamma, generator=noises).prev_sample
    ours = after_lcm.strategic(teacher, NOISE[:50], steps, CONFIG, rng(5), gamma)
    torch.testing.assert_close(ours, x, atol=1e-4, rtol=1e-4)


def test_a_trajectory_student_beats_its_teacher_in_few_steps(teacher):
    config = ConsistencyConfig(skip=50)
    student = after_lcm.trajectory(teacher, config, 500, lr=3e-3)
    for steps in (2, 4):  # from one network a single step to 0 is not the aim
        by_teacher, by_student = (
            off(after_lcm.strategic(network, NOISE, steps, config, rng(), 0.0))
            for network in (teacher, student)
        )
        assert by_student < 0.5 * by_teacher


def test_matching_distributions_makes_one_step_do(teacher):
    student = after_lcm.match_distributions(teacher, CONFIG, 200)
    once = off(after_lcm.generate(student, NOISE, 1, CONFIG, rng()))
    assert once < 0.3 * off(consistency.ddim(teacher, NOISE, 1, CONFIG)[-1])


@pytest.mark.parametrize(
    "train",
    [
        lambda teacher, seed: after_lcm.fit_flow(2, batch_size=8, seed=seed),
        lambda teacher, seed: after_lcm.straighten(teacher, 2, pairs=16, batch_size=8, seed=seed),
        lambda teacher, seed: after_lcm.mean_flow(2, batch_size=8, seed=seed),
        lambda teacher, seed: after_lcm.trajectory(teacher, CONFIG, 2, batch_size=8, seed=seed),
        lambda teacher, seed: after_lcm.match_distributions(
            teacher, CONFIG, 2, jumps=2, batch_size=8, seed=seed
        ),
    ],
    ids=["flow", "reflow", "MeanFlow", "TCD", "DMD"],
)
def test_the_seed_decides_everything_and_the_teacher_stays(teacher, train):
    def weights(network):
        return torch.cat([p.detach().flatten() for p in network.parameters()])

    before, state = weights(teacher), torch.get_rng_state()
    assert torch.equal(weights(train(teacher, 0)), weights(train(teacher, 0)))
    assert not torch.equal(weights(train(teacher, 0)), weights(train(teacher, 1)))
    assert torch.equal(weights(teacher), before)
    assert torch.equal(torch.get_rng_state(), state)
