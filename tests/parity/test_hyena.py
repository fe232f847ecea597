"""Our Hyena against the definition, with all convolutions written out: O(L²), no FFT."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modarch_utils.models.hyena import Hyena, ShortConv, fft_conv
from tests.parity.near import assert_near


def direct_conv(u: Tensor, filter: Tensor, bias: Tensor) -> Tensor:
    """Causal convolution of ``(N, D, L)`` as a sliding window: torch slides the reversed filter."""
    length = u.shape[-1]
    y = F.conv1d(F.pad(u, (length - 1, 0)), filter.flip(-1)[:, None], groups=u.shape[1])
    return y + bias[:, None] * u


def matrix_hyena(model: Hyena, u: Tensor) -> Tensor:
    """The operator as the paper's product of matrices (section 3.2), each of them L×L.

    ``y = diag(x^N) S_h^N ... diag(x^1) S_h^1 v`` with the Toeplitz matrices ``S[t, s] = h_(t-s)``.
    """
    length, dim = u.shape[1:]
    short, conv = model.short_conv, F.pad(model.in_proj(u).mT, (2, 0))
    projected = F.conv1d(conv, short.weight, short.bias, groups=3 * dim)
    v, *gates = projected.unflatten(1, (-1, dim)).unbind(1)
    lag = torch.arange(length)[:, None] - torch.arange(length)  # t - s
    filters = model.filter(length).unflatten(0, (-1, dim))
    for x, h, bias in zip(gates, filters, model.bias, strict=True):
        toeplitz = h[:, lag.clamp(min=0)] * (lag >= 0) + bias[:, None, None] * torch.eye(length)
        v = x * torch.einsum("dts,nds->ndt", toeplitz, v)
    return model.out_proj(v.mT)


def leaves(*shapes: tuple[int, ...]) -> list[list[Tensor]]:
    """Two copies of random tensors, to be differentiated by."""
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(shape, generator=generator) for shape in shapes]
    return [[v.clone().requires_grad_() for v in values] for _ in range(2)]


@pytest.mark.parametrize(
    ("batch", "dim", "length"),
    [(2, 3, 1), (2, 3, 2), (3, 5, 37), (1, 4, 64), (1, 768, 512)],
    ids=str,
)
def test_fft_conv_equals_the_direct_sum(batch, dim, length):
    a, b = leaves((batch, dim, length), (dim, length), (dim,))
    mine, expected = fft_conv(*a), direct_conv(*b)
    assert_near(mine, expected, 1e-5)
    direction = torch.randn_like(expected)
    (mine * direction).sum().backward()
    (expected * direction).sum().backward()
    for x, y in zip(a, b, strict=True):
        assert_near(x.grad, y.grad, 1e-4)


def test_fft_conv_is_the_sum_in_its_docstring():
    (u, h, bias), _ = leaves((2, 3, 6), (3, 6), (3,))
    y = torch.zeros(2, 3, 6)
    for t in range(6):
        y[:, :, t] = sum(h[:, t - s] * u[:, :, s] for s in range(t + 1)) + bias * u[:, :, t]
    assert_near(fft_conv(u, h, bias), y, 1e-5)
    assert_near(fft_conv(u, h), y - bias[:, None] * u, 1e-5)


def test_short_conv_equals_torch():
    ours = ShortConv(6, 4)
    theirs = nn.Conv1d(6, 6, 4, padding=3, groups=6)
    theirs.load_state_dict(ours.state_dict())
    a, b = (x[0] for x in leaves((2, 9, 6)))
    mine, expected = ours(a), theirs(b.mT)[..., :9].mT
    assert_near(mine, expected, 1e-5)
    mine.square().sum().backward()
    expected.square().sum().backward()
    assert_near(a.grad, b.grad, 1e-4)
    assert_near(ours.weight.grad, theirs.weight.grad, 1e-4)
    assert_near(ours.bias.grad, theirs.bias.grad, 1e-4)


@pytest.mark.parametrize(
    ("dim", "shape"), [(8, (3, 50, 8)), (768, (1, 64, 768))], ids=["tiny", "full"]
)
def test_hyena_equals_its_matrices(dim, shape):
    torch.manual_seed(0)
    model = Hyena(dim, max_length=shape[1] + 7)
    for name, p in model.named_parameters():  # long filters as strong as the direct path
        if name == "filter.ffn.6.weight":
            p.data *= 3
    a, b = (x[0] for x in leaves(shape))
    mine, expected = model(a), matrix_hyena(model, b)
    assert expected.std() > 0.05
    assert_near(mine, expected, 1e-5)
    direction = torch.randn_like(expected)
    grads = [
        torch.autograd.grad((y * direction).sum(), [x, *model.parameters()])
        for y, x in ((mine, a), (expected, b))
    ]
    for x, y in zip(*grads, strict=True):
        assert_near(x, y, 1e-4)
