"""Hyena (Poli et al. 2023, arXiv 2302.10866): long convolutions and gates in place of attention.

The convolution's filter is as long as the sequence, but its values come from a small network that
is asked for one value at each position, so the number of parameters does not grow with the length.
"""

import math

import torch
from torch import Tensor, nn


def fft_conv(u: Tensor, filter: Tensor, bias: Tensor | None = None) -> Tensor:
    """Causal convolution by FFT: ``y_t = sum over s ≤ t of h_(t-s) · u_s, + bias · u_t``.

    It takes O(L log L) operations. The FFT convolves on a circle, and on a circle of L positions
    the end of the sequence would run into its beginning; L zeros behind each sequence keep the two
    apart (section 2.1).

    Args:
        u: sequences ``(N, D, L)``.
        filter: the first L values of each channel's filter h, ``(D, L)``.
        bias: weight of the direct path from u to y, ``(D,)``; None leaves it out.

    Returns:
        y of shape ``(N, D, L)``.

    Raises:
        ValueError: the filter's length is not L.
    """
    length = u.shape[-1]
    if filter.shape[-1] != length:
        raise ValueError(
            f"The filter has {filter.shape[-1]} values and the sequence {length} positions; "
            f"give one value for each position."
        )
    padded = 2 * length
    spectrum = torch.fft.rfft(u, n=padded) * torch.fft.rfft(filter, n=padded)
    y = torch.fft.irfft(spectrum, n=padded)[..., :length]
    return y if bias is None else torch.addcmul(y, bias[:, None], u)


class ShortConv(nn.Conv1d):
    """Causal depthwise convolution over a few positions, on ``(N, L, D)``.

    Used by Hyena (3 positions) and Mamba (4). It holds an ``nn.Conv1d``'s weights and computes the
    same as a sum of shifted sequences, which needs no change of layout and is faster on a CPU.

    Args:
        dim: channels D.
        kernel_size: positions that it sees: the present one and those before it.
    """

    def __init__(self, dim: int, kernel_size: int):
        super().__init__(dim, dim, kernel_size, groups=dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, L, D)`` to ``(N, L, D)``."""
        length, taps = x.shape[1], self.weight.shape[-1]
        x = nn.functional.pad(x, (0, 0, taps - 1, 0))  # zeros before the first position
        y = self.bias
        for k in range(taps):  # as in every nn.Conv1d, the last weight meets the present position
            y = torch.addcmul(y, x[:, k : k + length], self.weight[:, 0, k])
        return y


class Sine(nn.Module):
    """``sin(freq · x)`` with one learned frequency for each unit.

    With sines a small network can draw filters that change fast along the sequence; with ReLU or
    GELU it draws smooth ones only (section 3.3).

    Args:
        dim: units.
    """

    def __init__(self, dim: int):
        super().__init__()
        self.freq = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., dim)`` to ``(..., dim)``."""
        return torch.sin(self.freq * x)


class HyenaFilter(nn.Module):
    """The implicit filters ``h_t = Window(t) · FFN(PositionalEncoding(t))`` (section 3.3).

    The position is given as t in [0, 1] and K waves over the whole length, ``cos(2πkt)`` and
    ``-sin(2πkt)``. The window ``exp(-αt)`` favours the near past; α falls from the first filter
    to the last, so that some forget soon and some see far back.

    Args:
        dim: filters.
        max_length: positions for which the filters are defined.
        filter_dim: width of the FFN.
        bands: waves K.
        depth: layers of the FFN that end in a sine.
        fast: share of ``max_length`` after which the fastest window has fallen to 1 %.
        slow: the same for the slowest one.
    """

    def __init__(
        self,
        dim: int,
        max_length: int,
        filter_dim: int = 64,
        bands: int = 8,
        depth: int = 3,
        fast: float = 0.3,
        slow: float = 1.5,
    ):
        super().__init__()
        t = torch.linspace(0, 1, max_length)[:, None]
        angle = 2 * math.pi * t * torch.arange(bands)
        encoding = torch.cat([t, angle.cos(), -angle.sin()], dim=1)  # (max_length, 2K + 1)
        alpha = torch.linspace(-math.log(0.01) / fast, -math.log(0.01) / slow, dim)
        self.register_buffer("encoding", encoding, persistent=False)
        self.register_buffer("window", torch.exp(-alpha * t), persistent=False)
        layers: list[nn.Module] = []
        for width in [encoding.shape[1]] + [filter_dim] * (depth - 1):
            layers += [nn.Linear(width, filter_dim), Sine(filter_dim)]
        self.ffn = nn.Sequential(*layers, nn.Linear(filter_dim, dim, bias=False))

    def forward(self, length: int) -> Tensor:
        """The first ``length`` values of the filters, ``(dim, length)``.

        A shorter sequence gets the beginning of the same filters, not squeezed ones.
        """
        return (self.window[:length] * self.ffn(self.encoding[:length])).T


class Hyena(nn.Module):
    """The Hyena operator (definition 3.1): a recurrence of long convolutions and gates.

    From the input come order + 1 sequences v, x¹, ..., x^order. Starting at z¹ = v,
    ``z^(n+1) = x^n ⊙ (h^n ∗ z^n)``, and the last z is the output. The gates x^n depend on the
    input, as queries and keys do in attention; the filters h^n do not.

    The released code counts differently: what it calls order 2 gates before the convolution and
    after it, ``x⁰ ⊙ (h ∗ (x¹ ⊙ v))``, and so has a single long filter. Here, as in the paper,
    order 2 has two. Its filters differ too: waves over t = i / L and not i / (L - 1), frequencies
    that start at 1e-4 and not at 0, a learned encoding, one sine frequency for all layers, and
    windows from slow to fast, or interleaved. Here they run from fast to slow and are shared out
    in order, so that the first long convolution has the shorter memories.

    Args:
        dim: channels D.
        max_length: longest sequence.
        order: long filters, and gates.
        filter_dim: width of the network that makes the filters.
        short_conv: positions seen by the convolution that prepares v and the gates.
        filter_args: more arguments of :class:`HyenaFilter`.

    Raises:
        ValueError: ``order`` is below 1.
    """

    def __init__(
        self,
        dim: int,
        max_length: int,
        order: int = 2,
        filter_dim: int = 64,
        short_conv: int = 3,
        **filter_args,
    ):
        super().__init__()
        if order < 1:
            raise ValueError(f"Hyena needs at least one long filter, but order is {order}.")
        self.order, self.max_length = order, max_length
        self.in_proj = nn.Linear(dim, (order + 1) * dim)
        self.short_conv = ShortConv((order + 1) * dim, short_conv)
        self.filter = HyenaFilter(order * dim, max_length, filter_dim, **filter_args)
        self.bias = nn.Parameter(torch.randn(order, dim))
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, u: Tensor) -> Tensor:
        """Map ``(N, L, D)`` to ``(N, L, D)``.

        Raises:
            ValueError: L is above ``max_length``, for which the filters have no values.
        """
        length = u.shape[1]
        if length > self.max_length:
            raise ValueError(
                f"The sequence has {length} positions, and this Hyena's filters {self.max_length}; "
                f"build it with max_length={length} or more."
            )
        v, *gates = self.short_conv(self.in_proj(u)).mT.chunk(self.order + 1, dim=1)
        filters = self.filter(length).chunk(self.order)
        z = v  # (N, D, L)
        for x, h, bias in zip(gates, filters, self.bias, strict=True):
            z = x * fft_conv(z, h, bias)
        return self.out_proj(z.mT)
