"""Reading pictures: does a picture show what its prompt asked for?

A text-to-image model cannot be judged by its own loss. A network that never met it, trained on real
renderings only, names what it sees in the pictures, and that is compared with the prompts.
"""

import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from modarch_utils.data.pairs import Pairs
from modarch_utils.data.scenes import COLOURS, GROUNDS, SHAPES, Scenes, caption
from modarch_utils.models.reader import Reader
from modarch_utils.training.batches import to_input

NONE = -1
"""Shape and colour of the right object where there is only one."""

ATTRIBUTES = ("left shape", "left colour", "right shape", "right colour", "ground")
"""Columns of :class:`Following`; of one object, ``left`` is the only one."""


class Reading(NamedTuple):
    """What N pictures show, or shall show."""

    shape: Tensor
    """(N, 2) int64, of the left and the right object; an only object is the left one, and the
    other is :data:`NONE`."""
    colour: Tensor
    """(N, 2) int64"""
    ground: Tensor
    """(N,) int64"""

    @property
    def count(self) -> Tensor:
        """(N,) 1 or 2 objects."""
        return 1 + (self.shape[:, 1] != NONE).long()

    @property
    def attributes(self) -> Tensor:
        """(N, 5) int64, the columns of :data:`ATTRIBUTES`."""
        objects = torch.stack((self.shape, self.colour), dim=2).flatten(1)
        return torch.cat((objects, self.ground[:, None]), dim=1)

    def take(self, index: slice | Tensor) -> "Reading":
        """Those of the pictures in ``index``."""
        return Reading(*(values[index] for values in self))


def labels(data: Scenes | Pairs) -> Reading:
    """What rendered scenes show."""
    if isinstance(data, Pairs):
        return Reading(data.shape, data.colour, data.ground)
    nothing = torch.full_like(data.shape, NONE)
    shape, colour = (torch.stack((own, nothing), 1) for own in (data.shape, data.colour))
    return Reading(shape, colour, data.ground)


@cache
def _grounds() -> dict[str, int]:
    """How captions say each ground ("on grass"), and its index."""
    said = (caption(SHAPES[0], "red", name).partition(SHAPES[0] + " ")[2] for name in GROUNDS)
    return {words: i for i, words in enumerate(said)}


_OBJECT = rf"an? ({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})"
_CAPTION = re.compile(rf"{_OBJECT}(?: (left|right) of {_OBJECT})? (on .+)")


def asked(prompts: Sequence[str]) -> Reading:
    """What captions of :mod:`~modarch_utils.data.scenes` or ``pairs`` ask for.

    Raises ValueError for another sentence.
    """
    shape, colour, ground = [], [], []
    for prompt in prompts:
        found = _CAPTION.fullmatch(prompt)
        if not found or found[6] not in _grounds():
            raise ValueError(
                f"Only captions such as 'a red torus on grass' or 'a red torus left of a blue "
                f"cube on a wooden floor' can be compared with a picture, not {prompt!r}."
            )
        objects = [(COLOURS.index(found[1]), SHAPES.index(found[2]))]
        objects += [(COLOURS.index(found[4]), SHAPES.index(found[5])) if found[3] else (NONE, NONE)]
        if found[3] == "right":
            objects.reverse()
        colour.append([c for c, _ in objects])
        shape.append([s for _, s in objects])
        ground.append(_grounds()[found[6]])
    return Reading(*map(torch.tensor, (shape, colour, ground)))


class Following(NamedTuple):
    """Which of the things that were asked for N pictures show."""

    right: Tensor
    """(N, 5) bool, for each of :data:`ATTRIBUTES`."""
    asked: Tensor
    """(N, 5) bool: the right object's attributes are not asked for when one object is."""
    count: Tensor
    """(N,) bool: as many objects as asked for."""

    @property
    def share(self) -> Tensor:
        """(N,) of the asked attributes, the part that is right: of 3 with one object, of 5."""
        return (self.right & self.asked).sum(1) / self.asked.sum(1)

    @property
    def all_right(self) -> Tensor:
        """(N,) bool: every asked attribute, and the count."""
        return (self.right | ~self.asked).all(1) & self.count

    def take(self, index: slice | Tensor) -> "Following":
        """Those of the pictures in ``index``."""
        return Following(*(values[index] for values in self))


def follows(reading: Reading, asked: Reading) -> Following:
    """Compare what pictures show with what they shall show.

    An object that is not there has neither the right shape nor the right colour. Where two were
    asked for and one is there, that one is compared with the left one.
    """
    found, wanted = reading.attributes, asked.attributes
    return Following(found == wanted, wanted != NONE, reading.count == asked.count)


def summary(following: Following) -> dict[str, float]:
    """Means over the pictures, from 0 to 1.

    ``follows``: the share of asked attributes that are right; ``all_right``; both also of pictures
    with ``_one`` object asked for and with ``_two``, if there are such; ``count``; and of the
    attributes ``shape``, ``colour`` (of all objects that were asked for) and ``ground``.
    """
    two = following.asked[:, 2]
    groups = {"": slice(None), "_one": ~two, "_two": two}
    result = {}
    for suffix, index in groups.items():
        part = following.take(index)
        if len(part.count):
            result[f"follows{suffix}"] = part.share.mean().item()
            result[f"all_right{suffix}"] = part.all_right.float().mean().item()
    for name in ("shape", "colour", "ground"):
        columns = [i for i, attribute in enumerate(ATTRIBUTES) if name in attribute]
        right, counts = following.right[:, columns], following.asked[:, columns]
        result[name] = right[counts].float().mean().item()
    result["count"] = following.count.float().mean().item()
    return {name: round(value, 4) for name, value in result.items()}


@torch.no_grad()
def read(reader: Reader, images: Tensor, batch_size: int = 256) -> Reading:
    """Read images (N, 3, H, W), uint8 or float in [-1, 1], with a reader in eval mode."""
    parts = []
    for batch in images.split(batch_size):
        logits = reader(to_input(batch))
        only = logits.count.argmax(1) == 0
        objects = [each.argmax(2) for each in (logits.shape, logits.colour)]
        for each in objects:
            each[only, 1] = NONE
        parts.append(Reading(*objects, logits.ground.argmax(1)))
    return Reading(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def score(reader: Reader, images: Tensor, prompts: Sequence[str]) -> dict[str, float]:
    """How well pictures follow their prompts; see :func:`summary`.

    Args:
        reader: in eval mode.
        images: (N, 3, H, W) in [0, 1], as a pipeline returns them with ``output_type="pt"``.
        prompts: N captions.

    Raises:
        ValueError: as many prompts as images are needed; or see :func:`asked`.
    """
    if len(images) != len(prompts):
        raise ValueError(f"{len(images)} pictures cannot follow {len(prompts)} prompts.")
    return summary(follows(read(reader, images.float() * 2 - 1), asked(prompts)))
