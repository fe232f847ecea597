"""Mamba-2's layer, written as a scan and as attention (Dao and Gu 2024, arXiv 2405.21060).

Mamba lets every number of the state decay at a rate of its own. Mamba-2 gives a whole head one
decay for each position, and then the scan is a product of matrices: attention without softmax,
under a mask that fades with the distance (structured state space duality, SSD).

Shape letters are those of ``mamba.py``: ``N`` sequences of length ``L`` and ``S`` numbers of state
for each channel; here the channels are in ``H`` heads of ``P``. The paper's ``L`` is the mask.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def decay_mask(a: Tensor) -> Tensor:
    """The 1-semiseparable matrix ``mask[t, s] = a_(s+1) ··· a_t``, 0 for s > t (section 3.2).

    It says how much of position s is left at position t: all of it for s = t, and nothing of what
    is still to come. Products and not ``exp`` of sums of logarithms, so that a may be 0.

    Args:
        a: decays, ``(..., L)``.

    Returns:
        ``(..., L, L)``.
    """
    left = torch.ones(a.shape[-1], a.shape[-1], dtype=torch.bool, device=a.device).tril(-1)
    return a[..., None].where(left, 1).cumprod(-2).tril()


def ssd_matrix(x: Tensor, a: Tensor, B: Tensor, C: Tensor) -> Tensor:
    """The scan as one matrix for each head: ``Y = (mask ∘ C Bᵀ) X`` (section 5).

    C stands where attention has its queries, B where it has its keys, x where it has its values.
    The same numbers come from the recurrence, with a state of ``(S, P)`` for each head::

        h_t = a_t · h_(t-1) + B_t x_tᵀ
        y_t = h_tᵀ C_t

    Quadratic in L, like attention.

    Args:
        x: inputs, ``(N, L, H, P)``; Mamba-2 gives ``delta · u``.
        a: decays, 0 to 1, ``(N, L, H)``; Mamba-2 gives ``exp(delta · A)``.
        B: what of an input enters each state, ``(N, L, H, S)``.
        C: how the states make the output, ``(N, L, H, S)``.

    Returns:
        y of shape ``(N, L, H, P)``.

    Raises:
        ValueError: the shapes do not fit together.
    """
    _check(x, a, B, C)
    x, B, C = (z.transpose(1, 2) for z in (x, B, C))  # (N, H, L, ...)
    return (decay_mask(a.mT) * (C @ B.mT) @ x).transpose(1, 2)


def ssd_chunked(x: Tensor, a: Tensor, B: Tensor, C: Tensor, chunk: int = 64) -> Tensor:
    """The same as :func:`ssd_matrix`, linear in L (section 6).

    The matrix is cut into squares of ``chunk`` positions. Those on the diagonal are computed as
    they are. Those below it have rank S at the most, so a chunk tells all later ones what they
    need by its last state, and only these states, one a chunk, are computed in turn.

    Args:
        x, a, B, C: as for :func:`ssd_matrix`. L need not be a multiple of ``chunk``.
        chunk: positions in a square. Large ones make long products and few states.

    Raises:
        ValueError: the shapes do not fit together, or ``chunk`` is less than 1.
    """
    _check(x, a, B, C)
    if chunk < 1:
        raise ValueError(f"A chunk needs 1 position or more, not {chunk}.")
    length = x.shape[1]
    rest = -length % chunk
    # What is added behind the end changes nothing before it.
    x, B, C = (F.pad(z, (0, 0, 0, 0, 0, rest)) for z in (x, B, C))
    a = F.pad(a, (0, 0, 0, rest), value=1.0)
    # (N, chunks, H, chunk, ...)
    x, B, C = (z.unflatten(1, (-1, chunk)).transpose(2, 3) for z in (x, B, C))
    a = a.unflatten(1, (-1, chunk)).mT

    mask = decay_mask(a)
    within = mask * (C @ B.mT) @ x
    # What each chunk by itself leaves in the state: the mask's last row says how much is left.
    left = (mask[..., -1, :, None] * B).mT @ x  # (N, chunks, H, S, P)
    since_start = a.cumprod(-1)[..., None]  # (N, chunks, H, chunk, 1)
    state, before = torch.zeros_like(left[:, 0]), []
    for new, decay in zip(left.unbind(1), since_start[..., -1:, :].unbind(1), strict=True):
        before.append(state)
        state = decay * state + new
    across = since_start * (C @ torch.stack(before, 1))
    return (within + across).transpose(2, 3).flatten(1, 2)[:, :length]


def _check(x: Tensor, a: Tensor, B: Tensor, C: Tensor) -> None:
    if x.ndim != 4 or 0 in x.shape:
        raise ValueError(f"x must have shape (N, L, H, P), none of them 0, but has {(*x.shape,)}.")
    wanted = [(*x.shape[:3],), *[(*x.shape[:3], B.shape[-1])] * 2]
    found = [tuple(z.shape) for z in (a, B, C)]
    if found != wanted:
        raise ValueError(
            f"For x of shape {tuple(x.shape)} and {B.shape[-1]} states, (a, B, C) must have shapes "
            f"{wanted}, but have {found}."
        )
