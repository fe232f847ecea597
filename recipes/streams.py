"""Scenes to learn from, to choose with and to report on: streams that share no scene."""

from collections.abc import Sequence

from torch import Tensor

from modarch_utils.data import scenes


def shapes(counts: Sequence[int], image_size: int, framing: str) -> list[tuple[Tensor, Tensor]]:
    """Images ``(N, 3, H, W)`` uint8 and their shapes ``(N,)``: ``counts[i]`` of stream i."""
    sets = (
        scenes.load(n, image_size, seed=stream, framing=framing) for stream, n in enumerate(counts)
    )
    return [(each.images, each.shape) for each in sets]
