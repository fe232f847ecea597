"""What a pipeline does while student code calls it, seen from inside its networks (exercise 4)."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from diffusers import DiffusionPipeline
from torch import Tensor

from modarch_utils.checks.core import Unusable, kind, near, tensor
from modarch_utils.checks.ex4 import tiny

SIDE = tiny.SIZE.image_size


class Call(NamedTuple):
    """One call of a U-Net."""

    sample: Tensor
    """(N or 2 N, 4, h, w)"""
    text: Tensor
    """(N or 2 N, tokens, dim)"""
    guidance: float
    """The scale that the pipeline was called with."""


@dataclass
class Run:
    """One call of a pipeline: U-Net calls, and the pictures that came of them."""

    calls: list[Call] = field(default_factory=list)
    pictures: Tensor | None = None
    """(N, 3, H, W) in [0, 1]; None: nothing was decoded."""

    @property
    def start(self) -> Tensor:
        """The noise it began with, (N, 4, h, w)."""
        first = self.calls[0]
        return first.sample[: len(first.sample) // (2 if first.guidance > 1 else 1)]

    @property
    def text(self) -> Tensor:
        """What it was asked for, (N, tokens, dim)."""
        return self.calls[0].text[-len(self.start) :]


class Watch:
    """Writes down every call of a pipeline, from its making on.

    Args:
        pipe: is not changed, but for hooks on its networks.
        moves: is told the number of samples whenever a network has worked on some.
    """

    def __init__(self, pipe: DiffusionPipeline, moves=lambda what, samples: None):
        self.pipe, self.moves = pipe, moves
        self.runs: list[Run] = []
        self.open: Run | None = None
        pipe.unet.register_forward_pre_hook(self._unet, with_kwargs=True)
        pipe.vae.decoder.register_forward_hook(self._decoder)

    def _unet(self, _, args: tuple, options: dict) -> None:
        if self.open is None:
            self.open = Run()
            self.runs.append(self.open)
        sample, text = args[0].clone(), options["encoder_hidden_states"]
        self.open.calls.append(Call(sample, text, self.pipe.guidance_scale))
        self.moves("unet", len(sample))

    def _decoder(self, _, args: tuple, out: Tensor) -> None:
        if self.open is not None:
            self.open.pictures = (out / 2 + 0.5).clamp(0, 1)
        self.open = None
        self.moves("vae", len(out))

    def joined(self) -> Run:
        """All runs as one; picture by picture they are one run of several prompts."""
        joined = Run(pictures=torch.cat([run.pictures for run in self.runs]))
        for calls in zip(*(run.calls for run in self.runs), strict=True):
            sample, text = (torch.cat([getattr(c, n) for c in calls]) for n in ("sample", "text"))
            joined.calls.append(calls[0]._replace(sample=sample, text=text))
        return joined


def watched(seed: int, scheduler, moves=lambda what, samples: None) -> DiffusionPipeline:
    """A small pipeline with a sampler; its field ``watch`` is a :class:`Watch`."""
    pipe = tiny.pipeline(seed, scheduler)
    pipe.watch = Watch(pipe, moves)
    return pipe


AS_DRAWN = "the pictures times 1 plus 0"
OTHERS = "other pictures"


def relation(came: Tensor, drawn: Tensor) -> str:
    """How numbers are made of the pictures that were drawn, in words: by a factor and a shift."""
    if came.shape != drawn.shape:
        return OTHERS
    x, y = drawn.double().flatten(), came.double().flatten()
    factor = ((x - x.mean()) @ (y - y.mean()) / (x - x.mean()).square().sum()).item()
    shift = (y.mean() - factor * x.mean()).item()
    if not near(factor * x + shift, y, tiny.TOLERANCE):
        return OTHERS
    return f"the pictures times {round(factor, 2) + 0:g} plus {round(shift, 2) + 0:g}"


class Judge:
    """A stand-in for the reading network: it knows pictures again, and notes what it was shown.

    Args:
        seed: decides the marks.
        runs: gives all runs so far by a name; the pictures of a name have one mark.
    """

    def __init__(self, seed: int, runs: Callable[[], dict[object, list[Run]]]):
        self.seed, self.runs = seed, runs
        self.shown: list[tuple[Tensor, list[str]]] = []

    def score(self, images: Tensor, prompts: list[str]) -> float:
        images = pictures(images, (len(images), 3, SIDE, SIDE))
        self.shown.append((images, list(prompts)))
        name = next((name for name, runs in self.runs().items() if drew(runs, images)), None)
        return round(random.Random(f"{self.seed} {name}").random(), 6)


def drew(runs: list[Run], images: Tensor) -> bool:
    """Whether a set of pictures is one that these runs have drawn, one after the other."""
    drawn = [run.pictures for run in runs if run.pictures is not None]
    some = torch.cat(drawn).split(len(images)) if drawn else ()
    return any(relation(images, each) == AS_DRAWN for each in some)


def pictures(result: object, shape: tuple[int, ...]) -> Tensor:
    """The student's pictures. Raises Unusable for what is no tensor of this shape."""
    if hasattr(result, "images"):
        raise Unusable("diffusers' output object", "Its pictures are in the field `images`.")
    if result is not None and not isinstance(result, Tensor):
        raise Unusable(kind(result), 'Return one tensor (N, 3, H, W): output_type="pt" gives one.')
    images = tensor(result, shape, lambda came: _shaped(came, shape))
    if not images.is_floating_point():
        raise Unusable(f"{images.dtype}", "Return numbers from 0 to 1, not whole ones.")
    return images.float()


def _shaped(came: tuple[int, ...], shape: tuple[int, ...]) -> str:
    """The likely mistake behind another shape."""
    n, _, side, _ = shape
    if came == (n, side, side, 3):
        return "Channels come second: (N, 3, H, W)."
    if came[1:2] == (4,):
        return 'These are latents, not pictures: output_type="pt" decodes them.'
    if came[1:] == shape[1:]:
        return f"One picture for each prompt: there were {n} prompts."
    if came == shape[1:]:
        return "The axis N is gone: [0] takes the first picture only."
    return "Print the shape: (N, 3, H, W) is right."
