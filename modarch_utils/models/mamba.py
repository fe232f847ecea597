"""Mamba (Gu and Dao 2023, arXiv 2312.00752): a state-space model that chooses what to remember.

Names follow the authors' repository and transformers' ``MambaMixer``, so that weights load as they
are. Shape letters are the paper's but for its doubled N and D: ``N`` sequences of length ``L``,
model width ``D``, inner width ``ED`` (E·D), and ``S`` numbers of state for each inner channel.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .hyena import ShortConv, fft_conv


def naive_selective_scan(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor
) -> Tensor:
    """The same as :func:`selective_scan`, as one would first write it, and slow to train with.

    Its backward is quadratic in L. For each of the L reads ``a[:, :, t]`` autograd makes a gradient
    as large as all of ``a``, zero but for one step, and adds up these L large tensors.
    """
    a = torch.exp(delta[..., None] * A[:, None])  # (N, ED, L, S)
    x = (delta * u)[..., None] * B.mT[:, None]
    h = torch.zeros_like(a[:, :, 0])
    ys = []
    for t in range(u.shape[-1]):
        h = a[:, :, t] * h + x[:, :, t]
        ys.append((h * C[:, None, :, t]).sum(-1))
    return torch.stack(ys, dim=-1) + D[:, None] * u


def selective_scan(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor) -> Tensor:
    """Run the selective state space over whole sequences (section 3.2, algorithm 2).

    For each channel, with all products taken element by element over its S states::

        h_t = exp(delta_t · A) · h_(t-1) + (delta_t · u_t) · B_t
        y_t = sum over the states of C_t · h_t  + D · u_t

    delta_t is the step size: a small one keeps the state and ignores the input, a large one lets
    the input replace the state. B is multiplied by delta (Euler's rule), as in the authors' code;
    the paper's eq. 4 writes the exact zero-order hold.

    Exact, and linear in L, forward and backward; see :class:`_Scan` for how. The gradient cannot
    itself be differentiated.

    Args:
        u: inputs, ``(N, ED, L)``.
        delta: step sizes, not negative, ``(N, ED, L)``.
        A: decay rates, not positive, ``(ED, S)``.
        B: what of an input enters each state, ``(N, S, L)``.
        C: how the states make the output, ``(N, S, L)``.
        D: direct path from u to y, ``(ED,)``.

    Returns:
        y of shape ``(N, ED, L)``.

    Raises:
        ValueError: the shapes do not fit together.
    """
    batch, inner, length = u.shape
    states = A.shape[-1]
    wanted = [(batch, inner, length), (inner, states), *[(batch, states, length)] * 2, (inner,)]
    found = [tuple(x.shape) for x in (delta, A, B, C, D)]
    if found != wanted:
        raise ValueError(
            f"For u of shape {tuple(u.shape)} and {states} states, (delta, A, B, C, D) must have "
            f"shapes {wanted}, but have {found}."
        )
    # Time first: then the numbers of one step lie side by side in memory.
    u_t, delta_t, B_t, C_t = (x.permute(2, 0, 1).contiguous() for x in (u, delta, B, C))
    y = _Scan.apply(u_t, delta_t, A, B_t, C_t).permute(1, 2, 0)
    return torch.addcmul(y, D[:, None], u)


def _recur(factors: Sequence[Tensor], steps: Sequence[Tensor]) -> None:
    """Turn inputs into states, in place and in turn: ``steps[i + 1] += factors[i] · steps[i]``."""
    for factor, before, now in zip(factors, steps, steps[1:], strict=False):
        now.addcmul_(factor, before)


class _Scan(torch.autograd.Function):
    """The recurrence of :func:`selective_scan` without D, with its gradient, time first.

    Two ideas make it fast:

    * The backward of a linear recurrence is the same recurrence run backwards in time. With
      ``a_t = exp(delta_t · A)``, the gradient by h_t is ``g_t = C_t · dy_t + a_(t+1) · g_(t+1)``.
    * States are S times as large as inputs, and moving them to and from memory would take most of
      the time. So they are made for a few steps at a time, as many as the processor's cache holds,
      used and forgotten. Only the state at the start of each piece is kept; backward makes the
      others again from it (section 3.3.2: fusion and recomputation).
    """

    CACHE = 2**18  # numbers in one piece of states: 1 MB

    @staticmethod
    def forward(ctx, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        """Map u, delta ``(L, N, ED)``, A ``(ED, S)``, B, C ``(L, N, S)`` to y ``(L, N, ED)``."""
        per_step = u[0].numel() * A.shape[1]
        ctx.steps = max(4, min(64, _Scan.CACHE // max(1, per_step)))
        pieces = [x.split(ctx.steps) for x in (delta, delta * u, B, C)]
        starts = u.new_zeros(len(pieces[0]) + 1, *u.shape[1:], A.shape[1])
        y = torch.empty_like(u)
        for start, after, out, delta_k, x, B_k, C_k in zip(
            starts, starts[1:], y.split(ctx.steps), *pieces, strict=False
        ):
            _, h = _Scan.states(start, delta_k, x, A, B_k)
            torch.matmul(h[1:], C_k[..., None], out=out[..., None])
            after.copy_(h[-1])
        ctx.save_for_backward(u, delta, A, B, C, starts)
        return y

    @staticmethod
    def states(start: Tensor, delta: Tensor, x: Tensor, A: Tensor, B: Tensor):
        """Factors a and states h of T steps; both ``(T + 1, N, ED, S)``, and h[0] is the start."""
        a = start.new_empty(len(delta) + 1, *start.shape)
        h = torch.empty_like(a)
        torch.mul(delta[..., None], A, out=a[1:]).exp_()
        torch.mul(x[..., None], B[:, :, None], out=h[1:])
        h[0] = start
        _recur(a.unbind()[1:], h.unbind())
        return a, h

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor) -> tuple[Tensor, ...]:
        """Gradients by u, delta, A, B and C."""
        u, delta, A, B, C, starts = ctx.saved_tensors
        dA = torch.zeros_like(A)
        dx, ddelta, dB, dC = map(torch.empty_like, (u, delta, B, C))
        pieces = (delta, delta * u, B, C, dy.contiguous(), dx, ddelta, dB, dC)
        pieces = zip(starts, *(p.split(ctx.steps) for p in pieces), strict=False)
        later = torch.zeros_like(starts[0])  # what the steps after this piece ask of its last state
        for start, delta_k, x, B_k, C_k, dy_k, dx_k, ddelta_k, dB_k, dC_k in reversed([*pieces]):
            a, h = _Scan.states(start, delta_k, x, A, B_k)
            torch.matmul(dy_k[:, :, None], h[1:], out=dC_k[:, :, None])
            g = dy_k[..., None] * C_k[:, :, None]
            g[-1] += later
            _recur(a.unbind()[:0:-1], g.unbind()[::-1])
            later = a[1] * g[0]
            torch.matmul(g, B_k[..., None], out=dx_k[..., None])
            torch.matmul(x[:, :, None], g, out=dB_k[:, :, None])
            # h_t = exp(delta_t A) h_(t-1) + ..., so the gradient by delta_t · A is g_t a_t h_(t-1).
            dexponent = g.mul_(a[1:]).mul_(h[:-1])
            torch.sum(dexponent * A, -1, out=ddelta_k)
            dA += (dexponent * delta_k[..., None]).sum((0, 1))
        return dx * delta, ddelta.addcmul_(dx, u), dA, dB, dC


class Mamba(nn.Module):
    """The Mamba block's mixer (fig. 3 and algorithm 2): convolve shortly, scan selectively, gate.

    delta, B and C are computed from each position's input, so the block can decide at each
    position what to let in and what to read out. The time-invariant system of S4 cannot
    (``selective=False``, algorithm 1): its delta, B and C are learned constants, the same at all
    positions, which makes it a convolution with one fixed filter as long as the sequence.

    No weight decay should fall on ``A_log`` and ``D`` (the authors' code).

    Args:
        dim: model width D.
        state: numbers of state S for each inner channel.
        conv: positions that the short convolution sees.
        expand: inner width over model width, E.
        selective: choose by input; False makes the same block around a time-invariant system.
        bias: biases in ``in_proj`` and ``out_proj``.
    """

    def __init__(
        self,
        dim: int,
        state: int = 16,
        conv: int = 4,
        expand: int = 2,
        selective: bool = True,
        bias: bool = False,
    ):
        super().__init__()
        inner, rank = expand * dim, math.ceil(dim / 16)
        self.selective = selective
        self.in_proj = nn.Linear(dim, 2 * inner, bias=bias)
        self.conv1d = ShortConv(inner, conv)
        # Step sizes start between 0.001 and 0.1: memories of about 10 to 1,000 positions.
        delta = torch.exp(torch.empty(inner).uniform_(math.log(1e-3), math.log(1e-1)))
        inverse_softplus = delta + torch.log(-torch.expm1(-delta))
        if selective:
            self.x_proj = nn.Linear(inner, rank + 2 * state, bias=False)  # to (delta, B, C)
            self.dt_proj = nn.Linear(rank, inner)  # starts within ±1/√rank, as the authors' does
            self.dt_proj.bias.data.copy_(inverse_softplus)
        else:
            self.dt = nn.Parameter(inverse_softplus)
            self.B = nn.Parameter(torch.ones(inner, state))
            self.C = nn.Parameter(torch.randn(inner, state))
        self.A_log = nn.Parameter(torch.arange(1.0, state + 1).log().repeat(inner, 1))
        self.D = nn.Parameter(torch.ones(inner))
        self.out_proj = nn.Linear(inner, dim, bias=bias)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map ``(N, L, D)`` to ``(N, L, D)``."""
        u, z = self.in_proj(hidden).chunk(2, dim=-1)  # (N, L, ED) each
        u = F.silu(self.conv1d(u))
        y = self.scan(u) if self.selective else self.convolve(u)
        return self.out_proj(y * F.silu(z))

    def scan(self, u: Tensor) -> Tensor:
        """The selective state space, on ``(N, L, ED)``."""
        rank, state = self.dt_proj.in_features, self.A_log.shape[1]
        dt, B, C = self.x_proj(u).split([rank, state, state], dim=-1)
        delta = F.softplus(self.dt_proj(dt))
        A = -torch.exp(self.A_log)
        return selective_scan(u.mT, delta.mT, A, B.mT, C.mT, self.D).mT

    def convolve(self, u: Tensor) -> Tensor:
        """The time-invariant state space as a convolution (section 2, eq. 3), on ``(N, L, ED)``.

        Unrolling the recurrence with constant delta, B and C gives
        ``y_t = sum over s ≤ t of K_(t-s) u_s`` with ``K_l = sum of C · exp(l delta A) · delta B``.
        """
        delta = F.softplus(self.dt)[:, None]
        rate = -delta * torch.exp(self.A_log)  # (ED, S)
        powers = torch.exp(rate[..., None] * torch.arange(u.shape[1], device=u.device))
        kernel = torch.einsum("es,esl->el", self.C * delta * self.B, powers)
        return fft_conv(u.mT, kernel, self.D).mT
