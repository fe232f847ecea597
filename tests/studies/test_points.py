"""Points on a circle: the data, the exact teacher, distances, and short trainings."""

import copy
import math

import pytest
import torch
from scipy import stats
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from modarch_utils.studies import points
from modarch_utils.training import consistency
from modarch_utils.training.consistency import ConsistencyConfig

CONFIG = ConsistencyConfig()


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def teacher():
    return points.fit_teacher(CONFIG, 500)


def test_eight_gaussians_lie_where_they_should():
    x, label = points.eight_gaussians(8000, rng())
    assert label.bincount().tolist() == pytest.approx(8 * [1000], rel=0.15)
    for i in range(8):
        own, angle = x[label == i], i * math.pi / 4
        assert own.mean(0).tolist() == pytest.approx(
            (math.sqrt(2) * math.cos(angle), math.sqrt(2) * math.sin(angle)), abs=0.02
        )
        assert own.std(0).tolist() == pytest.approx((0.15, 0.15), rel=0.1)
    assert x.std(0).tolist() == pytest.approx((1, 1), rel=0.05)
    assert torch.equal(points.eight_gaussians(9, rng(1))[0], points.eight_gaussians(9, rng(1))[0])


@pytest.mark.parametrize("t", [0, 19, 400, 999])
def test_exact_noise_is_the_densitys_slope(t):
    x = points.eight_gaussians(50, rng())[0].requires_grad_()
    alpha, sigma = (v[t] for v in CONFIG.schedule)
    spread = ((0.15 * alpha) ** 2 + sigma**2).sqrt().expand(8, 2)
    each = Independent(Normal(alpha * points.centres(), spread), 1)
    density = MixtureSameFamily(Categorical(torch.ones(8)), each)
    (slope,) = torch.autograd.grad(density.log_prob(x).sum(), x)
    found = points.exact_noise(x.detach(), torch.full((50,), t), CONFIG.schedule)
    torch.testing.assert_close(found, -sigma * slope, atol=1e-4, rtol=1e-3)


def test_energy_distance_by_hand_and_by_scipy():
    a, b = torch.randn(30, 1, generator=rng()), 1 + 2 * torch.randn(40, 1, generator=rng(1))
    expected = stats.energy_distance(a.flatten(), b.flatten()) ** 2
    assert points.energy_distance(a, b) == pytest.approx(expected, rel=1e-5)
    a, b = torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.tensor([[0.0, 4.0]])
    assert points.energy_distance(a, b) == pytest.approx(2 * (4 + 3) / 2 - (5 + 5) / 4)
    assert points.energy_distance(a, a) == 0


def test_strays_are_between_the_gaussians():
    assert points.strays(points.centres()) == 0
    assert points.strays(torch.cat((points.centres(), torch.zeros(8, 2)))) == 0.5
    real = points.eight_gaussians(20_000, rng())[0]
    assert points.strays(real) == pytest.approx(math.exp(-4.5), rel=0.2)


@pytest.mark.parametrize("b", [torch.zeros(3), torch.zeros(3, 3), torch.zeros(0, 2)])
def test_energy_distance_wants_samples_of_one_dimension(b):
    with pytest.raises(ValueError, match="Samples must be"):
        points.energy_distance(torch.zeros(3, 2), b)


def test_the_network_hears_the_condition_and_the_time():
    net, x, t = points.PointNetwork(), torch.randn(5, 2, generator=rng()), torch.full((5,), 40)
    plain = net(x, t)
    assert torch.equal(net(x, t, torch.full((5,), points.ANY)), plain)
    for other in (net(x, t, torch.full((5,), 3)), net(x, t + 1), net(x + 0.1, t)):
        assert not torch.allclose(other, plain, atol=1e-4)


def test_the_teacher_comes_near_the_exact_noise(teacher):
    x = points.eight_gaussians(2000, rng(1))[0]
    t = torch.randint(1000, (2000,), generator=rng(2))
    x = CONFIG.schedule.add_noise(x, torch.randn(x.shape, generator=rng(3)), t)
    exact = points.exact_noise(x, t, CONFIG.schedule)
    with torch.no_grad():
        error = (teacher(x, t) - exact).square().mean()
    assert error < 0.2 * exact.square().mean()  # 1 is what a network gets that predicts 0
    assert all(p.grad is None for p in teacher.parameters())  # frozen, it shall not seem to learn


def test_a_told_teacher_draws_the_gaussian_asked_for():
    told = points.fit_teacher(CONFIG, 500, conditional=True)
    label = torch.arange(8).repeat_interleave(50)
    start = torch.randn(400, 2, generator=rng())
    x = consistency.ddim(told, start, 25, CONFIG, label)[-1]
    nearest = torch.cdist(x, points.centres()).argmin(1)
    assert (nearest == label).float().mean() > 0.9
    x = consistency.ddim(told, start, 25, CONFIG)[-1]
    nearest = torch.cdist(x, points.centres()).argmin(1)
    assert nearest.bincount(minlength=8).min() > 15


def test_distillation_makes_one_step_do(teacher):
    real, start = points.eight_gaussians(1000, rng(1))[0], torch.randn(1000, 2, generator=rng(2))
    before = copy.deepcopy(teacher.state_dict())

    config = ConsistencyConfig(skip=100)  # ten times only, so that few steps are enough

    def one_step(model):
        return points.energy_distance(
            real, consistency.sample(model.target, start, 1, config, rng())
        )

    state = torch.get_rng_state()
    _, curve = points.distil(teacher, config, 200, lr=3e-3, watch=one_step, every=100)
    assert [step for step, _ in curve] == [0, 100, 200]
    ddim = points.energy_distance(real, consistency.ddim(teacher, start, 1, CONFIG)[-1])
    assert curve[0][1] == pytest.approx(ddim, rel=1e-3)  # the student begins as the teacher
    assert curve[-1][1] < 0.7 * ddim
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_seed_decides_everything(teacher):
    def weights(seed):
        config = ConsistencyConfig(prediction="sample")
        model, _ = points.distil(teacher, config, 3, seed=seed, batch_size=8)
        return torch.cat([p.flatten() for p in model.student.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_a_guided_student_is_told_the_gaussian(teacher):
    heard = []
    net = copy.deepcopy(teacher)
    net.register_forward_pre_hook(lambda module, args: heard.append(args[2]))
    points.distil(net, ConsistencyConfig(omega=(2.0, 2.0)), 1, batch_size=8)
    assert sum(c is None for c in heard) == 1  # the teacher's second answer, told nothing
    assert sum(c is not None and c.shape == (8,) for c in heard) == 3


def test_a_student_of_points_learns_one_guidance_scale(teacher):
    with pytest.raises(ValueError, match="equal bounds"):
        points.distil(teacher, ConsistencyConfig(omega=(2.0, 14.0)))
