"""Two tasks that tell mixers of positions apart (chapter 01_timeline): data, networks, training.

* Selective copying (Mamba, arXiv 2312.00752, section 4.1.1): remember a few symbols among noise.
  How far apart they lie differs from sequence to sequence, so no fixed filter picks them out.
* Associative recall (Hyena, arXiv 2302.10866, section 4.1): pairs of a key and a value go by; when
  a key comes again, say its value. The pairs are new in every sequence, so they must be looked up.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modarch_utils import bars
from modarch_utils.models.hyena import Hyena, ShortConv
from modarch_utils.models.mamba import Mamba
from modarch_utils.models.sequence import SequenceModel
from modarch_utils.models.transformer import MultiHeadAttention
from modarch_utils.training.randomness import derive, generator, seeded
from modarch_utils.training.schedules import warmup_cosine

NOT_ASKED = -100
"""Target of the positions that no answer is wanted for; cross-entropy leaves them out."""

Data = tuple[Tensor, Tensor]
"""Inputs and targets, int64 ``(N, L)`` each."""


def selective_copying(n: int, length: int, n_tokens: int, vocab: int, seed: int) -> Data:
    """Symbols strewn over noise, to be repeated in order.

    Symbol 0 is noise, ``vocab - 1`` is the mark that asks for the next answer, and those between
    are to be remembered: ``0 3 0 0 1 0 2 0 | # # #`` has the answers ``3 1 2``.

    Args:
        n: sequences N.
        length: positions before the marks.
        n_tokens: symbols to remember, and marks.
        vocab: symbols, noise and mark included.
        seed: the same seed gives the same sequences.

    Returns:
        Inputs and targets, ``(N, length + n_tokens)``; targets at the marks only.

    Raises:
        ValueError: the symbols do not fit into ``length``, or ``vocab`` leaves none to remember.
    """
    if not 1 <= n_tokens <= length:
        raise ValueError(f"{n_tokens} symbols do not fit into {length} positions; take 1 or more.")
    if vocab < 3:
        raise ValueError(f"vocab must be 3 or more, for noise, mark and a symbol, but is {vocab}.")
    rng = generator(seed)
    places = torch.rand(n, length, generator=rng).argsort(1)[:, :n_tokens].sort(1).values
    tokens = torch.randint(1, vocab - 1, (n, n_tokens), generator=rng)
    noise = torch.zeros(n, length, dtype=torch.int64)
    marks = torch.full_like(tokens, vocab - 1)
    inputs = torch.cat([noise.scatter(1, places, tokens), marks], dim=1)
    return inputs, torch.cat([torch.full_like(noise, NOT_ASKED), tokens], dim=1)


def associative_recall(n: int, length: int, vocab: int, seed: int) -> Data:
    """Pairs of a key and its value; asked wherever a key comes again.

    The lower half of the symbols are keys, the upper half values, and each sequence has its own
    values for the keys: ``a 3 b 1 a 3 c 3 b 1`` asks for 3 at the second a and for 1 at the
    second b. Every position sees only what came before it, or the task gives itself away.

    Args:
        n: sequences N.
        length: positions L, two for each pair.
        vocab: symbols, half of them keys.
        seed: the same seed gives the same sequences.

    Returns:
        Inputs and targets, ``(N, L)``; targets at keys that have been shown before.

    Raises:
        ValueError: ``length`` or ``vocab`` is odd or too small.
    """
    if length < 4 or length % 2 or vocab < 2 or vocab % 2:
        raise ValueError(
            f"Keys and values come in pairs: length (4 or more) and vocab (2 or more) must be "
            f"even, but are {length} and {vocab}."
        )
    rng, half = generator(seed), vocab // 2
    keys = torch.randint(half, (n, length // 2), generator=rng)
    values = torch.randint(half, vocab, (n, half), generator=rng).gather(1, keys)
    inputs = torch.stack([keys, values], dim=-1).flatten(1)
    targets = torch.full_like(inputs, NOT_ASKED)
    targets[:, ::2] = torch.where(pairs_ago(inputs) > 0, values, NOT_ASKED)
    return inputs, targets


def pairs_ago(inputs: Tensor) -> Tensor:
    """How many pairs ago each key was last shown; 0 if never.

    Args:
        inputs: of :func:`associative_recall`, ``(N, L)``.

    Returns:
        ``(N, L / 2)``, one number for each pair.
    """
    keys = inputs[:, ::2]
    pair = torch.arange(keys.shape[1])
    ago = (pair[:, None] - pair).tril(-1)  # of two pairs, the later one first; 0 for the others
    same = keys[:, :, None] == keys[:, None, :]
    nearest = torch.where(same & (ago > 0), ago, len(pair)).amin(-1)
    return torch.where(nearest == len(pair), 0, nearest)


class Convolution(nn.Module):
    """A short causal convolution over each channel, SiLU, and a linear layer over the channels.

    Args:
        dim: channels D.
        kernel_size: positions seen by one layer.
    """

    def __init__(self, dim: int, kernel_size: int):
        super().__init__()
        self.conv = ShortConv(dim, kernel_size)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(N, L, D)`` to ``(N, L, D)``."""
        return self.proj(F.silu(self.conv(x)))


@dataclass(frozen=True)
class Task(ABC):
    """Data, network and budget of a task; only the mixer differs from network to network.

    Attributes:
        length: positions of a sequence (selective copying: before the marks).
        vocab: symbols.
        dim: channels of the network.
        steps: batches to train on, all different.
        depth: blocks of the network.
        batch_size: sequences in a batch.
        warmup: steps in which the learning rate rises.
        eval_every: steps from one point of the curve to the next.
        eval_sequences: held-out sequences to score.
    """

    length: int
    vocab: int
    dim: int
    steps: int
    depth: int = 2
    batch_size: int = 32
    warmup: int = 50
    eval_every: int = 50
    eval_sequences: int = 500

    @abstractmethod
    def data(self, n: int, seed: int) -> Data:
        """Return ``n`` sequences."""

    @abstractmethod
    def mixers(self) -> dict[str, Callable[[int], nn.Module]]:
        """Return the mixers to compare, each a function of ``dim``."""

    @property
    @abstractmethod
    def positions(self) -> int | None:
        """Learned positions that are added to the embeddings of every network."""


@dataclass(frozen=True)
class Copying(Task):
    """Selective copying: Mamba's block with and without selection."""

    length: int = 64
    n_tokens: int = 4
    vocab: int = 8
    dim: int = 32
    steps: int = 600

    def data(self, n: int, seed: int) -> Data:
        return selective_copying(n, self.length, self.n_tokens, self.vocab, seed)

    def mixers(self) -> dict[str, Callable[[int], nn.Module]]:
        return {"selective": Mamba, "time-invariant": lambda dim: Mamba(dim, selective=False)}

    @property
    def positions(self) -> None:
        """None: both see the order of the symbols by themselves."""
        return None


@dataclass(frozen=True)
class Recall(Task):
    """Associative recall: attention, Hyena, and a convolution that reaches a few pairs back."""

    length: int = 64
    vocab: int = 20
    dim: int = 64
    steps: int = 1000
    heads: int = 4
    kernel_size: int = 4

    def data(self, n: int, seed: int) -> Data:
        return associative_recall(n, self.length, self.vocab, seed)

    def mixers(self) -> dict[str, Callable[[int], nn.Module]]:
        return {
            "attention": lambda dim: MultiHeadAttention(dim, self.heads, causal=True),
            "Hyena": lambda dim: Hyena(dim, self.length),
            "convolution": lambda dim: Convolution(dim, self.kernel_size),
        }

    @property
    def positions(self) -> int:
        """One for every place, for all mixers alike."""
        return self.length

    @property
    def reach(self) -> int:
        """How many pairs ago a key may have been shown for the convolution still to see it."""
        return self.depth * (self.kernel_size - 1) // 2


COPYING, RECALL = Copying(), Recall()

_TRAIN, _VAL, _TEST = range(3)  # streams of random numbers that have no sequence in common


def build(task: Task, mixer: str, seed: int) -> SequenceModel:
    """The network with this mixer, freshly initialised from ``seed``.

    Raises:
        ValueError: the task has no such mixer.
    """
    mixers = task.mixers()
    if mixer not in mixers:
        raise ValueError(f"No mixer {mixer!r} in this task; it has {', '.join(mixers)}.")
    with seeded(seed):
        return SequenceModel(
            task.vocab, task.dim, task.depth, mixers[mixer], max_length=task.positions
        )


def held_out(task: Task, part: Literal["validation", "test"]) -> Data:
    """``task.eval_sequences`` sequences that no network is trained on, the same for every run.

    Validation sequences are there to choose a learning rate with; no choice sees those of the test.
    """
    return task.data(task.eval_sequences, derive({"validation": _VAL, "test": _TEST}[part]))


@torch.no_grad()
def correct(model: nn.Module, data: Data) -> Tensor:
    """Which answers are right: bool ``(N, L)``, False where nothing is asked."""
    return torch.cat([model(x).argmax(-1) for x in data[0].split(100)]) == data[1]


def accuracy(model: nn.Module, data: Data) -> float:
    """Share of right answers, in [0, 1]."""
    return correct(model, data).sum().item() / (data[1] != NOT_ASKED).sum().item()


def accuracy_by_age(model: nn.Module, data: Data) -> list[float]:
    """Share of right answers for keys last shown 1, 2, 3, ... pairs ago.

    Args:
        model: trained on :func:`associative_recall`.
        data: inputs and targets of that task.

    Returns:
        One number for each age up to the last that at least 100 keys have.
    """
    ago, right = pairs_ago(data[0]).flatten(), correct(model, data)[:, ::2].flatten()
    asked = ago.bincount()
    hits = ago.bincount(weights=right.double(), minlength=len(asked))
    enough = (asked[1:] < 100).int().cumsum(0) == 0
    return (hits[1:] / asked[1:])[enough].tolist()


def train(
    task: Task,
    mixer: str,
    lr: float,
    seed: int,
    *,
    progress: bool | None = None,
) -> tuple[SequenceModel, list[tuple[int, float]]]:
    """Train one network: AdamW without decay, linear warm-up, half a cosine down to zero.

    Every step has new sequences, so nothing can be learned by heart, and weight decay has no
    purpose. That is why :func:`modarch_utils.training.loop.fit`, which goes over a fixed set of
    images again and again, is not used here.

    Args:
        task: data, network and budget.
        mixer: one of ``task.mixers()``.
        lr: highest learning rate.
        seed: initialisation and training sequences.
        progress: show a bar; by default as the profile says.

    Returns:
        The network, and (step, accuracy on validation sequences) every ``task.eval_every`` steps.

    Raises:
        ValueError: the task has no such mixer.
    """
    model, val, curve = build(task, mixer, seed), held_out(task, "validation"), []
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=0)
    for step in bars.bar(range(task.steps), progress=progress, unit="step", desc=mixer):
        for group in optimizer.param_groups:
            group["lr"] = warmup_cosine(step, task.steps, task.warmup, lr)
        inputs, targets = task.data(task.batch_size, derive(_TRAIN, seed, step))
        asked = targets != NOT_ASKED
        loss = F.cross_entropy(model(inputs)[asked], targets[asked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if (step + 1) % task.eval_every == 0 or step + 1 == task.steps:
            curve.append((step + 1, accuracy(model, val)))
    return model, curve
