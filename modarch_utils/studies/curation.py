"""Curated pictures in small: a web of scenes, near-copies, neighbours fetched (04_dinov2).

As LVD-142M was made (Oquab et al. 2023, arXiv 2304.07193, section 3): pictures become features of a
network that was trained without labels; near-copies are thrown out; for each picture of a small
chosen collection the nearest ones are fetched.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from modarch_utils.data import factors, renderer


@dataclass(frozen=True)
class Web:
    """How uneven the web is."""

    drawn: int = 60_000
    """Scenes of which the web keeps some, the common kinds rather than the rare ones."""
    distinct: int = 12_000
    pictures: int = 24_000
    """With near-copies; a few scenes are copied often, most hardly at all."""
    steepness: float = 1.5
    """The r-th commonest shape, and colour, has a weight of r to the minus this (Zipf)."""
    shift: int = 1
    """A copy is moved by up to this many pixels, and made brighter or darker by up to ``light``."""
    light: float = 0.05


def web(size: int, seed: int, settings: Web = Web()) -> tuple[Tensor, factors.Factors]:
    """Pictures as they come: few kinds dominate, and many are near-copies of each other.

    Args:
        size: of the pictures, in pixels.
        seed: of the stream of scenes, and of what is kept and copied.
        settings: how uneven.

    Returns:
        images (N, 3, size, size) uint8, and what each was rendered from.
    """
    rng = torch.Generator().manual_seed(seed)

    def zipf(ranks: Tensor) -> Tensor:
        return (1 + ranks).double() ** -settings.steepness

    drawn = factors.draw(settings.drawn, seed=seed, framing="close")
    weight = zipf(drawn.shape) * zipf(drawn.colour)
    kept = drawn.take(torch.multinomial(weight, settings.distinct, generator=rng))
    images = renderer.draw(kept, size)[0]
    extra = settings.pictures - settings.distinct
    fame = zipf(torch.arange(settings.distinct))
    copied = torch.multinomial(fame, extra, replacement=True, generator=rng)
    index = torch.cat((torch.arange(settings.distinct), copied))
    copies = near_copies(images[copied], rng, settings)
    order = torch.randperm(len(index), generator=rng)
    return torch.cat((images, copies))[order], kept.take(index[order])


def near_copies(images: Tensor, rng: torch.Generator, settings: Web = Web()) -> Tensor:
    """The same pictures (N, 3, H, W) uint8, a little moved and a little brighter or darker."""
    n, reach = len(images), settings.shift
    padded = F.pad(images.float(), (reach,) * 4, mode="replicate")
    windows = padded.unfold(2, images.shape[2], 1).unfold(3, images.shape[3], 1)
    y, x = torch.randint(2 * reach + 1, (2, n), generator=rng)
    light = 1 + settings.light * (2 * torch.rand(n, 1, 1, 1, generator=rng) - 1)
    moved = windows[torch.arange(n), :, y, x]
    return (moved * light).round().clamp(0, 255).to(torch.uint8)


def without_copies(features: Tensor, similarity: float, neighbours: int = 32) -> Tensor:
    """Keep one picture of every group of near-copies.

    Two pictures are near-copies if one is among the other's nearest ones and their cosine is high;
    near-copies of near-copies belong to the same group (connected components, as in the paper).

    Args:
        features: (N, D).
        similarity: cosine from which on two pictures are near-copies.
        neighbours: looked at for each picture.

    Returns:
        Indices of the pictures that stay, rising: the first of each group.
    """
    near = nearest(features, features, min(neighbours, len(features)))
    rows = torch.arange(len(features))[:, None].expand_as(near.indices)
    pairs = near.values >= similarity
    ends = rows[pairs].numpy(), near.indices[pairs].numpy()
    graph = coo_array((np.ones(len(ends[0])), ends), shape=(len(features),) * 2)
    group = connected_components(graph, directed=False)[1]
    return torch.from_numpy(np.unique(group, return_index=True)[1]).sort().values


def fetched(chosen: Tensor, features: Tensor, n: int) -> Tensor:
    """The ``n`` pictures that a collection fetches: the nearest of each, then the next, and so on.

    Args:
        chosen: (Q, D) features of the collection.
        features: (N, D) of the pictures to fetch from.
        n: how many different ones.

    Raises:
        ValueError: there are fewer.
    """
    if n > len(features):
        raise ValueError(f"{n} pictures cannot be fetched from {len(features)}.")
    ranked = nearest(chosen, features, len(features)).indices.T.flatten()
    first = np.unique(ranked.numpy(), return_index=True)[1]
    return ranked[torch.from_numpy(np.sort(first)[:n])]


def nearest(queries: Tensor, features: Tensor, k: int) -> torch.return_types.topk:
    """Cosines and indices, each (Q, k), of the nearest features to each query, nearest first."""
    queries, features = F.normalize(queries, dim=-1), F.normalize(features, dim=-1)
    parts = [(part @ features.T).topk(k) for part in queries.split(1024)]
    return torch.return_types.topk([torch.cat(part) for part in zip(*parts, strict=True)])
