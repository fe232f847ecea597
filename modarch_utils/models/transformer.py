"""The encoder of the Transformer (Vaswani et al. 2017, arXiv 1706.03762).

Sequences are ``(N, L, dim)``: N sequences of L positions, each a vector of ``dim`` numbers. The
layers carry the names that timm gives them in its vision transformers, which are built of them.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import DropPath


class MultiHeadAttention(nn.Module):
    """Self-attention with several heads (section 3.2).

    Each head projects the input to queries, keys and values Q, K, V of shape ``(L, d_k)``, with
    ``d_k = dim / num_heads``, and every position takes a weighted mean of all the values::

        head = softmax(Q Kᵀ / √d_k) V        (equation 1)

    The heads' results, side by side, pass through one more linear layer.

    Args:
        dim: numbers at each position, in and out.
        num_heads: heads; must divide ``dim``.
        causal: let position i see only the positions up to i (section 3.2.3, the decoder's mask).

    Raises:
        ValueError: ``num_heads`` does not divide ``dim``.
    """

    def __init__(self, dim: int, num_heads: int, causal: bool = False):
        super().__init__()
        if num_heads < 1 or dim % num_heads:
            raise ValueError(
                f"{dim} channels cannot be shared by {num_heads} heads; take a divisor of {dim}."
            )
        self.num_heads = num_heads
        self.causal = causal
        self.qkv = nn.Linear(dim, 3 * dim)  # the three projections of all heads in one product
        self.proj = nn.Linear(dim, dim)

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map ``(N, L, dim)`` to queries, keys and values, each ``(N, heads, L, d_k)``."""
        qkv = self.qkv(x).unflatten(-1, (3, self.num_heads, -1))  # (N, L, 3, heads, d_k)
        return qkv.permute(2, 0, 3, 1, 4).unbind(0)

    def attention_weights(self, x: Tensor) -> Tensor:
        """How much each position (row) looks at each other one (column), for figures.

        Returns:
            ``(N, heads, L, L)``: softmax(Q Kᵀ / √d_k). Every row adds up to 1.
        """
        q, k, _ = self.heads(x)
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        if self.causal:
            later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).triu(1)
            scores = scores.masked_fill(later, -math.inf)
        return scores.softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, L, dim)`` to ``(N, L, dim)``."""
        # The formula above, without ever holding the L × L weights.
        out = F.scaled_dot_product_attention(*self.heads(x), is_causal=self.causal)
        return self.proj(out.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with an activation between, at each position by itself (section 3.3).

    Args:
        dim: channels in and out.
        hidden_dim: channels between the two layers.
        activation: function between them (the paper's is ReLU).
    """

    def __init__(self, dim: int, hidden_dim: int, activation: Callable[[Tensor], Tensor] = F.relu):
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden_dim)
        self.activation = activation
        self.fc2 = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., dim)`` to ``(..., dim)``."""
        return self.fc2(self.activation(self.fc1(x)))


class EncoderLayer(nn.Module):
    """Attention, then a feed-forward network, each with a shortcut and LayerNorm (section 3.1).

    The paper normalises *after* the sum, ``norm(x + f(x))``. Later networks, ViT among them,
    normalise the branch, ``x + f(norm(x))``, which trains more easily when there are many layers.

    Args:
        dim: channels.
        num_heads: heads of the attention; must divide ``dim``.
        mlp_dim: hidden channels of the feed-forward network (d_ff in the paper, 4 · dim there).
        dropout: probability of zeroing an output of a branch (section 5.4). PyTorch's own layer
            also drops attention weights and hidden channels, which the paper does not ask for.
        norm_first: normalise the branch instead of the sum.
        activation: activation of the feed-forward network.
        causal: see :class:`MultiHeadAttention`.
        drop_path: probability of dropping a whole branch (vision transformers use it).
        eps: LayerNorm's guard against a division by zero.

    Raises:
        ValueError: ``num_heads`` does not divide ``dim``.
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        mlp_dim: int,
        dropout: float = 0.0,
        norm_first: bool = False,
        activation: Callable[[Tensor], Tensor] = F.relu,
        *,
        causal: bool = False,
        drop_path: float = 0.0,
        eps: float = 1e-5,
    ):
        super().__init__()
        self.norm_first = norm_first
        self.attn = MultiHeadAttention(dim, num_heads, causal)
        self.mlp = FeedForward(dim, mlp_dim, activation)
        self.norm1 = nn.LayerNorm(dim, eps=eps)
        self.norm2 = nn.LayerNorm(dim, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, L, dim)`` to ``(N, L, dim)``."""
        for branch, norm in ((self.attn, self.norm1), (self.mlp, self.norm2)):
            if self.norm_first:
                x = x + self.drop_path(self.dropout(branch(norm(x))))
            else:
                x = norm(x + self.drop_path(self.dropout(branch(x))))
        return x


def sinusoidal_positions(length: int, dim: int) -> Tensor:
    """Positions as sines and cosines of ever longer waves, to be added to the input (section 3.5).

    Attention itself knows no order. Channels 2i and 2i + 1 of position ``pos`` hold the sine and
    the cosine of ``pos / 10000^(2i / dim)``: wavelengths from 2π up to 10000 · 2π positions.

    Args:
        length: positions L.
        dim: channels; even.

    Returns:
        ``(L, dim)``, float32.

    Raises:
        ValueError: ``dim`` is odd.
    """
    if dim % 2:
        raise ValueError(f"Sines and cosines come in pairs; take an even dim instead of {dim}.")
    # In float64, as float32 would round the angle of a late position.
    position = torch.arange(length, dtype=torch.float64)[:, None]
    angle = position / 10000 ** (torch.arange(0, dim, 2, dtype=torch.float64) / dim)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1).float()


def init_linear(module: nn.Module) -> None:
    """Truncated normal with std 0.02 and zero biases for linear layers; others stay as they are.

    The usual start of vision transformers. Use with ``model.apply(init_linear)``.
    """
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
