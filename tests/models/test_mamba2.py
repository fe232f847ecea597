"""Mamba-2's two forms against the scan, against each other, and against transformers' layer."""

import logging

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import Mamba2Config
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

from modarch_utils import measure
from modarch_utils.models.mamba import selective_scan
from modarch_utils.models.mamba2 import decay_mask, ssd_chunked, ssd_matrix
from tests.parity.near import assert_near

HEADS, CHANNELS, STATES = 3, 4, 5


def arguments(length: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Random u ``(N, L, H, P)``, delta ``(N, L, H)``, A ``(H,)``, B and C ``(N, L, H, S)``."""
    generator = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=dtype)

    u, delta = normal(2, length, HEADS, CHANNELS), F.softplus(normal(2, length, HEADS) - 1)
    B, C = normal(2, length, HEADS, STATES), normal(2, length, HEADS, STATES)
    return [x.requires_grad_() for x in (u, delta, -torch.exp(normal(HEADS)), B, C)]


def discrete(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> tuple[Tensor, ...]:
    """x, a, B and C, as Mamba-2 makes them from its step sizes and rates."""
    return delta[..., None] * u, torch.exp(delta * A), B, C


def mambas_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """Mamba's scan, head by head, with one step size for the head and one rate for all states."""
    heads = []
    for h in range(HEADS):
        steps = delta[:, None, :, h].expand(-1, CHANNELS, -1)
        rates, no_direct_path = A[h].expand(CHANNELS, STATES), u.new_zeros(CHANNELS)
        u_h, B_h, C_h = (z[:, :, h].mT for z in (u, B, C))
        heads.append(selective_scan(u_h, steps, rates, B_h, C_h, no_direct_path).mT)
    return torch.stack(heads, 2)


def output_and_gradients(function, tensors: list[Tensor]) -> list[Tensor]:
    y = function(*tensors)
    direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(7), dtype=y.dtype)
    return [y, *torch.autograd.grad((y * direction).sum(), tensors)]


def assert_equal(mine, expected, tensors: list[Tensor], tolerance: float = 1e-12) -> None:
    """Outputs, and gradients by all the tensors."""
    pairs = zip(
        output_and_gradients(mine, tensors), output_and_gradients(expected, tensors), strict=True
    )
    for a, b in pairs:
        assert a.isfinite().all()
        assert_near(a, b, tolerance)


@pytest.mark.parametrize("length", [1, 8, 37])
def test_matrix_equals_mambas_scan(length):
    assert_equal(lambda *z: ssd_matrix(*discrete(*z)), mambas_scan, arguments(length))


@pytest.mark.parametrize("chunk", [1, 4, 8, 64])
@pytest.mark.parametrize("length", [1, 8, 37])
def test_chunks_equal_mambas_scan_at_every_length(length, chunk):
    assert_equal(lambda *z: ssd_chunked(*discrete(*z), chunk), mambas_scan, arguments(length))


def test_long_memories_and_short_ones_in_float32():
    u, delta, A, B, C = arguments(300, torch.float32)
    with torch.no_grad():
        A *= torch.tensor([1e-5, 1.0, 1e4])  # hardly any decay, some, and a product of zeros
    tensors = [u, delta, A, B, C]
    assert_equal(lambda *z: ssd_matrix(*discrete(*z)), mambas_scan, tensors, 1e-4)
    assert_equal(lambda *z: ssd_chunked(*discrete(*z), 32), mambas_scan, tensors, 1e-4)


def test_without_decay_it_is_causal_linear_attention():
    x, _, _, B, C = arguments(21)
    keys_and_values = torch.einsum("nlhs,nlhp->nlhsp", B, x).cumsum(1)
    expected = torch.einsum("nlhs,nlhsp->nlhp", C, keys_and_values)
    ones = torch.ones_like(x[..., 0])
    assert torch.equal(decay_mask(ones[0, :, 0]), ones.new_ones(21, 21).tril())
    assert_near(ssd_matrix(x, ones, B, C), expected, 1e-12)
    assert_near(ssd_chunked(x, ones, B, C, 4), expected, 1e-12)


def test_full_decay_forgets_all_that_was_before():
    x, _, _, B, C = arguments(21)
    zeros = torch.zeros_like(x[..., 0])
    alone = (C * B).sum(-1, keepdim=True) * x
    assert_near(ssd_matrix(x, zeros, B, C), alone, 1e-12)
    assert_near(ssd_chunked(x, zeros, B, C, 4), alone, 1e-12)


def test_one_full_decay_parts_the_sequence_in_two():
    tensors = arguments(21)
    x, a, B, C = (z.detach().requires_grad_() for z in discrete(*tensors))
    with torch.no_grad():
        a[:, 10] = 0
    for form in (ssd_matrix, lambda *z: ssd_chunked(*z, 4)):
        whole = output_and_gradients(form, [x, a, B, C])
        halves = [form(*(z[:, part] for z in (x, a, B, C))) for part in (slice(10), slice(10, 21))]
        assert_near(whole[0], torch.cat(halves, 1), 1e-12)
    assert_equal(lambda *z: ssd_chunked(*z, 4), ssd_matrix, [x, a, B, C])


def test_chunks_are_linear_in_the_length_and_the_matrix_quadratic():
    def written(form, length: int) -> int:
        tensors = arguments(length)
        return measure.numbers_written(
            lambda: output_and_gradients(lambda *z: form(*discrete(*z)), tensors)
        )

    assert written(lambda *z: ssd_chunked(*z, 16), 1024) < 4.1 * written(
        lambda *z: ssd_chunked(*z, 16), 256
    )
    assert written(ssd_matrix, 1024) > 12 * written(ssd_matrix, 256)


def test_equals_the_core_of_transformers_layer(caplog):
    caplog.set_level(logging.ERROR)  # it says that it runs without its CUDA kernels
    sizes = {"hidden_size": 16, "expand": 2, "num_heads": 4, "head_dim": 8, "num_hidden_layers": 1}
    config = Mamba2Config(**sizes, state_size=6, n_groups=2, chunk_size=8)
    torch.manual_seed(0)
    layer = Mamba2Mixer(config, 0).eval()
    hidden = torch.randn(2, 21, 16)
    z, xBC, dt = layer.in_proj(hidden).split([32, 32 + 2 * 2 * 6, 4], dim=-1)
    xBC = F.silu(layer.conv1d(xBC.mT)[..., :21].mT)
    u, B, C = xBC.split([32, 12, 12], dim=-1)
    u = u.unflatten(-1, (4, 8))
    # Two heads share one B and one C, as heads share keys and values in grouped attention.
    B, C = (y.unflatten(-1, (2, 6)).repeat_interleave(2, 2) for y in (B, C))
    delta, A = F.softplus(dt + layer.dt_bias), -torch.exp(layer.A_log)
    expected = layer(hidden)
    for form in (ssd_matrix, lambda *y: ssd_chunked(*y, 8)):
        y = form(*discrete(u, delta, A, B, C)) + layer.D[:, None] * u
        assert_near(layer.out_proj(layer.norm(y.flatten(2), z)), expected, 1e-5)


def test_bad_inputs_are_refused():
    x, a, B, C = discrete(*arguments(9))
    for form in (ssd_matrix, ssd_chunked):
        with pytest.raises(ValueError, match=r"must have shapes .* but have .*\(2, 3, 9\)"):
            form(x, a.mT, B, C)
        with pytest.raises(ValueError, match="must have shapes"):
            form(x, a, B[..., :2], C)
        with pytest.raises(ValueError, match=r"x must have shape \(N, L, H, P\)"):
            form(x[0], a, B, C)
        with pytest.raises(ValueError, match="none of them 0"):
            form(x[:, :0], a[:, :0], B[:, :0], C[:, :0])
    with pytest.raises(ValueError, match="1 position or more, not 0"):
        ssd_chunked(x, a, B, C, 0)
