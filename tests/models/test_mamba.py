"""The selective scan against the plain loop, its cost, and what the block promises."""

import logging
import time

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import MambaConfig
from transformers.models.mamba.modeling_mamba import MambaMixer

from modarch_utils import measure
from modarch_utils.models import mamba
from modarch_utils.models.mamba import Mamba, naive_selective_scan, selective_scan
from modarch_utils.models.sequence import SequenceModel
from tests.parity.near import assert_near


def arguments(
    batch: int, inner: int, states: int, length: int, dtype: torch.dtype = torch.float32
) -> list[Tensor]:
    """Random u, delta, A, B, C, D, to be differentiated by."""
    generator = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    u, delta = normal(batch, inner, length), F.softplus(normal(batch, inner, length) - 1)
    A, D = -torch.exp(normal(inner, states)), normal(inner)
    B, C = normal(batch, states, length), normal(batch, states, length)
    return [x.requires_grad_() for x in (u, delta, A, B, C, D)]


def output_and_gradients(scan, tensors: list[Tensor]) -> list[Tensor]:
    y = scan(*tensors)
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(7), dtype=y.dtype)
    return [y, *torch.autograd.grad((y * direction).sum(), tensors)]


@pytest.mark.parametrize("cache", [1, 300, 2**18], ids=["pieces of 4", "of 6", "of 64"])
@pytest.mark.parametrize("length", [1, 2, 4, 5, 64, 65, 131])
def test_scan_equals_the_plain_loop(length, cache, monkeypatch):
    monkeypatch.setattr(mamba._Scan, "CACHE", cache)
    tensors = arguments(2, 5, 5, length)
    mine = output_and_gradients(selective_scan, tensors)
    expected = output_and_gradients(naive_selective_scan, tensors)
    assert_near(mine[0], expected[0], 1e-5)
    for a, b in zip(mine[1:], expected[1:], strict=True):
        assert_near(a, b, 1e-4)


def test_gradients_are_those_of_finite_differences():
    assert torch.autograd.gradcheck(selective_scan, arguments(2, 3, 2, 7, torch.float64))


def test_scan_does_not_depend_on_the_layout_in_memory():
    tensors = arguments(2, 6, 4, 20)
    moved = [x.detach().mT.contiguous().mT.requires_grad_() if x.ndim == 3 else x for x in tensors]
    for a, b in zip(
        output_and_gradients(selective_scan, moved),
        output_and_gradients(selective_scan, tensors),
        strict=True,
    ):
        assert_near(a, b, 1e-6)


@pytest.mark.parametrize("delta", [0.0, 1e-6, 50.0, 1e4])
def test_very_small_and_very_large_steps_are_exact(delta):
    u, _, A, B, C, D = arguments(1, 4, 3, 40)
    delta = torch.full_like(u, delta).requires_grad_()
    tensors = [u, delta, A, B, C, D]
    mine = output_and_gradients(selective_scan, tensors)
    expected = output_and_gradients(naive_selective_scan, tensors)
    for a, b in zip(mine, expected, strict=True):
        assert a.isfinite().all()
        assert_near(a, b, 1e-5)


def test_shapes_that_do_not_fit_are_refused():
    u, delta, A, B, C, D = arguments(2, 5, 3, 9)
    with pytest.raises(ValueError, match=r"must have shapes .* but have .*\(2, 9, 3\)"):
        selective_scan(u, delta, A, B.mT, C, D)
    with pytest.raises(ValueError, match="must have shapes"):
        selective_scan(u, delta[:1], A, B, C, D)


def written(scan, length: int) -> int:
    tensors = arguments(1, 8, 4, length)
    return measure.numbers_written(lambda: output_and_gradients(scan, tensors))


def test_work_is_linear_in_the_length_and_the_plain_loop_quadratic():
    assert written(selective_scan, 1024) < 4.1 * written(selective_scan, 256)
    assert written(naive_selective_scan, 1024) > 14 * written(naive_selective_scan, 256)


def seconds(model: torch.nn.Module, x: Tensor) -> float:
    """CPU time of forward and backward, which stops while other programs run."""
    start = time.process_time()
    model(x).square().mean().backward()
    return time.process_time() - start


def test_20_times_as_fast_as_the_library_at_512_positions(one_thread, caplog):
    caplog.set_level(logging.ERROR)
    x = torch.randn(1, 512, 256)
    ours, theirs = Mamba(256), MambaMixer(MambaConfig(hidden_size=256, num_hidden_layers=1), 0)
    seconds(ours, x)
    mine = sorted(seconds(ours, x) for _ in range(5))[2]
    assert 20 * mine < seconds(theirs, x)


def test_start_is_the_authors():
    torch.manual_seed(0)
    model = Mamba(64)
    steps = F.softplus(model.dt_proj.bias)
    assert 1e-3 <= steps.min() < 2e-3 and 5e-2 < steps.max() <= 0.1 + 1e-6
    assert steps.log().mean().item() == pytest.approx(-4.6, abs=0.4)  # log-uniform
    assert model.dt_proj.weight.abs().max() <= 4**-0.5
    torch.testing.assert_close(model.A_log.exp(), torch.arange(1.0, 17).expand(128, 16))
    assert torch.equal(model.D, torch.ones(128))
    assert model.in_proj.bias is None and model.conv1d.bias is not None


def test_time_invariant_system_is_the_same_recurrence_with_constants():
    torch.manual_seed(0)
    model, u = Mamba(8, state=4, selective=False), torch.randn(2, 30, 16)
    A, delta = -model.A_log.exp(), F.softplus(model.dt)
    h, ys = torch.zeros(2, 16, 4), []
    for u_t in u.unbind(1):
        h = torch.exp(delta[:, None] * A) * h + (delta * u_t)[..., None] * model.B
        ys.append((model.C * h).sum(-1) + model.D * u_t)
    assert_near(model.convolve(u), torch.stack(ys, 1), 1e-5)


@pytest.mark.parametrize("selective", [True, False])
def test_every_weight_learns_in_a_stack(selective):
    torch.manual_seed(0)
    model = SequenceModel(7, 16, 2, lambda dim: Mamba(dim, selective=selective))
    logits = model(torch.randint(7, (2, 20)))
    assert logits.shape == (2, 20, 7)
    logits.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in model.parameters())


def test_stack_with_mlp_and_positions():
    model = SequenceModel(5, 8, 1, Mamba, mlp_ratio=2, max_length=6)
    logits = model(torch.randint(5, (3, 4)))
    assert logits.shape == (3, 4, 5)
    logits.sum().backward()
    assert model.positions.grad[:4].abs().sum() > 0 and not model.positions.grad[4:].any()
    with pytest.raises(ValueError, match="has 7 positions, and the model 6"):
        model(torch.zeros(1, 7, dtype=torch.long))
