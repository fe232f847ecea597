"""Counts against hand formulas, times against sleeps, the Fréchet distance against closed forms."""

import time
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from modarch_utils import measure


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Conv2d(6, 8, 3, padding=1), (2, 6, 10, 12), 2 * 10 * 12 * 8 * 6 * 9),
        (nn.Conv2d(6, 8, 2, stride=2), (1, 6, 10, 12), 5 * 6 * 8 * 6 * 4),
        (nn.Conv2d(8, 8, 7, padding=3, groups=8), (1, 8, 9, 9), 81 * 8 * 49),
        (nn.Conv2d(8, 12, 3, padding=1, groups=4), (1, 8, 9, 9), 81 * 12 * 2 * 9),
        (nn.Linear(5, 7), (2, 3, 4, 5), 2 * 3 * 4 * 5 * 7),
        (nn.Linear(5, 7, bias=False), (3, 5), 3 * 5 * 7),
        (nn.BatchNorm2d(4), (2, 4, 5, 5), 0),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_macs_of_a_layer(layer, shape, macs, device):
    assert measure.count_macs(layer.to(device), shape) == macs


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv = nn.Linear(8, 24)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        return F.scaled_dot_product_attention(q, k, v)


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_macs_of_attention(device):
    n, length, dim = 3, 10, 8
    expected = n * length * dim * 3 * dim + 2 * n * length * length * dim
    assert measure.count_macs(Attention().to(device), (n, length, dim)) == expected


def test_macs_of_torchs_own_encoder_layer_whose_fast_path_is_opaque():
    layer = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16, batch_first=True)
    expected = 5 * (8 * 24 + 8 * 8 + 2 * 8 * 16) + 2 * 5 * 5 * 8
    assert measure.count_macs(layer, (1, 5, 8)) == expected


def test_norms_are_counted_on_request_and_the_mode_is_kept():
    model = nn.Sequential(nn.Linear(6, 4), nn.LayerNorm(4), nn.Dropout()).train()
    assert measure.count_macs(model, (3, 6)) == 3 * 6 * 4
    assert measure.count_macs(model, (3, 6), norms=True) == 3 * 6 * 4 + 5 * 3 * 4
    assert model.training


def test_published_counts():
    import timm

    with torch.device("meta"):
        resnet, convnext = timm.create_model("resnet50"), timm.create_model("convnext_tiny")
    assert measure.count_params(resnet) == 25_557_032
    assert measure.count_params(convnext) == 28_589_128
    shape = (1, 3, 224, 224)
    assert round(measure.count_macs(resnet, shape) / 1e9, 2) == 4.09
    assert round(measure.count_macs(convnext, shape, norms=True) / 1e9, 2) == 4.47


def test_only_trainable_parameters():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    assert measure.count_params(model) == 26
    assert measure.count_params(model, trainable=True) == 10


def test_latency_is_the_time_of_one_call():
    taken = measure.latency(lambda: time.sleep(0.01), warmup=1, repeats=5)
    assert 0.01 <= taken.q1 <= taken.median <= taken.q3 < 0.1
    assert "ms" in str(taken)


def test_throughput_counts_items():
    assert 100 < measure.throughput(lambda: time.sleep(0.01), 8, repeats=5) <= 800


def test_compare_is_above_one_when_ours_is_faster():
    calls = []

    def ours():
        calls.append("a")
        time.sleep(0.01)

    def reference():
        calls.append("b")
        time.sleep(0.02)

    ratio = measure.compare(ours, reference, warmup=1, repeats=4)
    assert "".join(calls) == "ba" + "abba" * 2
    assert 1.4 < ratio.ratio < 2.6
    assert ratio.ours_s < ratio.reference_s


class Clock:
    """Time that passes only where a step says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


def test_compare_can_use_another_clock():
    clock = Clock()
    steps = (partial(clock.wait, seconds) for seconds in (2, 1))
    ratio = measure.compare(*steps, repeats=2, clock=clock)
    assert (ratio.ours_s, ratio.reference_s, ratio.ratio) == (2, 1, 0.5)


def test_best_threads_prefers_fewer_and_restores_the_setting():
    before, clock = torch.get_num_threads(), Clock()
    speed = {1: 1.0, 2: 0.95, 3: 0.5}

    def best(*candidates):
        def step():
            clock.wait(speed[torch.get_num_threads()])

        return measure.best_threads(step, candidates, clock=clock)

    assert best(2, 1).threads == 1
    choice = best(1, 2, 3)
    assert choice.threads == 3
    assert str(choice).startswith("Using 3 torch thread(s)")
    assert torch.get_num_threads() == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA's allocator rounds up")
def test_peak_memory_of_tensors_that_come_and_go():
    def chain():
        a = torch.zeros(1000)
        b = a + 1
        del a
        c = b + 1  # b and c are alive
        c.view(10, 100).add_(1)  # neither a view nor an in-place operation takes memory
        return c

    assert measure.peak_memory(chain) == 8000


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA's allocator rounds up")
def test_peak_memory_sees_what_the_backward_pass_keeps():
    layers = nn.Sequential(*(nn.Sequential(nn.Linear(64, 64), nn.Sigmoid()) for _ in range(6)))
    x = torch.randn(512, 64)
    one = 512 * 64 * 4
    with torch.no_grad():
        inference = measure.peak_memory(lambda: layers(x))
    training = measure.peak_memory(lambda: layers(x))
    assert 2 * one <= inference <= 3 * one
    assert 6 * one <= training <= 8 * one


def gaussian(mean, covariance, n=200_000):
    root = torch.linalg.cholesky(torch.tensor(covariance))
    z = torch.randn(n, len(mean), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    z = (z - z.mean(0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(z.T))).T  # exact moments
    return z @ root.double().T + torch.tensor(mean).double()


def test_numbers_written_counts_results_and_no_views():
    a, b = torch.ones(3, 4), torch.ones(4, 5)
    assert measure.numbers_written(lambda: a.T[:2]) == 0
    assert measure.numbers_written(lambda: a @ b) == 15
    assert measure.numbers_written(lambda: (a @ b).relu_()) == 30
    a.requires_grad_()
    forward = measure.numbers_written(lambda: (a @ b).sum())
    both = measure.numbers_written(lambda: (a @ b).sum().backward())
    assert forward == 16 and both >= forward + a.numel()  # at least the gradient on top


def test_frechet_distance_with_covariances_that_do_not_commute():
    scipy_linalg = pytest.importorskip("scipy.linalg")
    first, second = [[2.0, 0.9], [0.9, 1.0]], [[1.0, -0.5], [-0.5, 3.0]]
    s, t = torch.tensor(first).numpy(), torch.tensor(second).numpy()
    expected = (s + t - 2 * scipy_linalg.sqrtm(s.astype("f8") @ t.astype("f8")).real).trace()
    distance = measure.frechet_distance(gaussian([0.0, 0.0], first), gaussian([0.0, 0.0], second))
    assert distance == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_is_a_distance_and_ignores_rotation():
    g = torch.Generator().manual_seed(1)
    a, b = torch.randn(50, 80, generator=g), 2 * torch.randn(60, 80, generator=g) + 1
    rotation = torch.linalg.qr(torch.randn(80, 80, generator=g))[0]
    distance = measure.frechet_distance(a, b)
    assert measure.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)
    assert measure.frechet_distance(b, a) == pytest.approx(distance, rel=1e-9)
    assert measure.frechet_distance(a @ rotation, b @ rotation) == pytest.approx(distance, rel=1e-4)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"\(N, D\)"):
        measure.frechet_distance(torch.zeros(3, 4), torch.zeros(3, 5))
    with pytest.raises(ValueError, match="repeats"):
        measure.latency(lambda: None, repeats=0)


def test_channel_cosine_distance_of_known_channels():
    line = torch.arange(1.0, 13).reshape(1, 3, 4, 1)
    assert measure.channel_cosine_distance(line.expand(-1, -1, -1, 5)) == pytest.approx(0)
    scaled = line * torch.tensor([1.0, 2, 30])  # length does not count
    assert measure.channel_cosine_distance(scaled) == pytest.approx(0)
    # Two opposite channels: each is at 0 from itself and at 1 from the other.
    assert measure.channel_cosine_distance(torch.cat([line, -line], -1)) == pytest.approx(0.5)
    # Four orthogonal ones: 0 on the diagonal, 0.5 elsewhere.
    orthogonal = torch.eye(4).reshape(1, 2, 2, 4)
    assert measure.channel_cosine_distance(orthogonal) == pytest.approx(0.5 * 12 / 16)
    # A mean over images.
    both = torch.cat([orthogonal, torch.ones(1, 2, 2, 4)])
    assert measure.channel_cosine_distance(both) == pytest.approx(0.5 * 0.5 * 12 / 16)


def test_turns_alternate_and_warm_up_is_not_counted():
    calls, clock = [], Clock()
    times = iter([9.0, 9.0, 1.0, 2.0, 4.0, 3.0])

    def step(name):
        calls.append(name)
        clock.wait(next(times))

    steps = {name: partial(step, name) for name in "ab"}
    taken = measure.take_turns(steps, warmup=1, rounds=2, clock=clock)
    assert "".join(calls) == "ba" + "ab" + "ba"
    # Round 0: a 1, b 2. Round 1 begins with b: b 4, a 3.
    assert (taken["a"].median, taken["b"].median) == (2.0, 3.0)
    assert (taken["a"].q1, taken["a"].q3) == (1.5, 2.5)
    with pytest.raises(ValueError, match="at least 1, not 0"):
        measure.take_turns(steps, rounds=0)


@pytest.mark.parametrize(
    ("threads", "accelerator", "counted"), [(1, False, False), (2, False, True), (1, True, True)]
)
def test_on_one_thread_a_step_that_sleeps_takes_no_time(
    monkeypatch, one_thread, threads, accelerator, counted
):
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: accelerator)
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda: None)
    torch.set_num_threads(threads)
    taken = measure.take_turns({"asleep": partial(time.sleep, 0.05)}, rounds=2)
    assert (taken["asleep"].median > 0.04) is counted
