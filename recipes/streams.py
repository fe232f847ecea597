"""Scenes to learn from, to choose with and to report on: streams that share no scene."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from modarch_utils.data import scenes
from modarch_utils.training import probes
from modarch_utils.training.loop import evaluate

Labelled = tuple[Tensor, Tensor]
"""Images ``(N, 3, H, W)`` uint8 and what is to be told of each, ``(N,)``."""


@lru_cache
def load(n: int, image_size: int, stream: int, framing: str = "close") -> scenes.Scenes:
    """Scenes of a stream: 0 to learn from, 1 to choose, 2 to test; a process keeps them."""
    return scenes.load(n, image_size, seed=stream, framing=framing)


def each(counts: Sequence[int], image_size: int, framing: str = "close") -> list[scenes.Scenes]:
    """``counts[i]`` scenes of stream i."""
    return [load(n, image_size, stream, framing) for stream, n in enumerate(counts)]


def shapes(sets: Sequence[scenes.Scenes]) -> list[Labelled]:
    """Images and their shapes."""
    return [(data.images, data.shape) for data in sets]


def labelled(shape: Tensor, per_class: int, seed: int) -> Tensor:
    """Indices of ``per_class`` scenes of each shape, drawn by ``seed``; fewer are among more.

    Args:
        shape: ``(N,)`` of the scenes to choose from.
        per_class: how many of each.
        seed: of the draw.
    """
    order = torch.randperm(len(shape), generator=torch.Generator().manual_seed(seed))
    drawn = shape[order]
    return torch.cat([order[drawn == c][:per_class] for c in range(len(scenes.SHAPES))])


def percent(share: float) -> float:
    """Rounded as records keep it."""
    return round(100 * share, 2)


def accuracy(net: nn.Module, data: Labelled) -> float:
    """In percent."""
    return percent(evaluate(net, data).accuracy)


def trivial(train: Labelled, val: Labelled, test: Labelled) -> dict[str, float]:
    """Test accuracies in percent that need no network: the commonest label, the raw pixels.

    A measurement that does no better has measured nothing.
    """
    guess = train[1].bincount().argmax()
    flat = [(images.flatten(1).float(), labels) for images, labels in (train, val, test)]
    return {
        "commonest": percent((test[1] == guess).float().mean().item()),
        "pixels": percent(probes.linear_probe(*flat).accuracy),
    }


def scores(net: nn.Module, val: Labelled, test: Labelled) -> dict[str, float]:
    """Accuracies in percent on what chooses and on what is reported."""
    return {"val": accuracy(net, val), "test": accuracy(net, test)}
