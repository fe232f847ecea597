"""A small network for sequences of symbols, into which any mixer of positions can be put."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class SequenceBlock(nn.Module):
    """``x + mixer(norm(x))``, then, when there is an MLP, ``x + mlp(norm(x))``.

    Args:
        dim: channels D.
        mixer: maps ``(N, L, D)`` to ``(N, L, D)`` and moves information between positions.
        mlp_ratio: hidden width of the MLP over D; 0 leaves the MLP out, as Mamba does.
    """

    def __init__(self, dim: int, mixer: nn.Module, mlp_ratio: float = 0):
        super().__init__()
        self.norm = nn.RMSNorm(dim, eps=1e-5)
        self.mixer = mixer
        self.mlp = None
        if mlp_ratio:
            hidden = int(mlp_ratio * dim)
            self.mlp = nn.Sequential(
                nn.RMSNorm(dim, eps=1e-5),
                nn.Linear(dim, hidden),
                nn.GELU(),
                nn.Linear(hidden, dim),
            )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, L, D)`` to ``(N, L, D)``."""
        x = x + self.mixer(self.norm(x))
        return x if self.mlp is None else x + self.mlp(x)


class SequenceModel(nn.Module):
    """Embedding, blocks around one kind of mixer, final norm, and a score for each symbol.

    Everything but the mixer is the same, so two trained models compare their mixers::

        SequenceModel(16, 64, 2, Mamba)
        SequenceModel(16, 64, 2, lambda dim: Hyena(dim, max_length=128))

    Args:
        vocab: symbols, in and out.
        dim: channels D.
        depth: blocks.
        mixer: makes a block's mixer for a given D.
        mlp_ratio: see :class:`SequenceBlock`.
        max_length: longest sequence, when learned positions are to be added to the embeddings;
            None adds none. Attention without a causal mask needs them to see the order.
    """

    def __init__(
        self,
        vocab: int,
        dim: int,
        depth: int,
        mixer: Callable[[int], nn.Module],
        mlp_ratio: float = 0,
        max_length: int | None = None,
    ):
        super().__init__()
        self.embedding = nn.Embedding(vocab, dim)
        self.positions = None
        if max_length is not None:
            self.positions = nn.Parameter(0.02 * torch.randn(max_length, dim))
        self.blocks = nn.Sequential(
            *[SequenceBlock(dim, mixer(dim), mlp_ratio) for _ in range(depth)]
        )
        self.norm = nn.RMSNorm(dim, eps=1e-5)
        self.head = nn.Linear(dim, vocab, bias=False)

    def forward(self, symbols: Tensor) -> Tensor:
        """Map symbols ``(N, L)``, integers below ``vocab``, to logits ``(N, L, vocab)``.

        Raises:
            ValueError: L is above ``max_length``, when the model has learned positions.
        """
        x = self.embedding(symbols)
        if self.positions is not None:
            length = symbols.shape[1]
            if length > len(self.positions):
                raise ValueError(
                    f"The sequence has {length} positions, and the model {len(self.positions)}; "
                    f"build it with max_length={length} or more."
                )
            x = x + self.positions[:length]
        return self.head(self.norm(self.blocks(x)))
