"""What a pipeline does while student code calls it, seen from inside its networks (exercise 4)."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from diffusers import DiffusionPipeline
from torch import Tensor


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
        return first.sample[: len(first.sample) // self.copies]

    @property
    def copies(self) -> int:
        """Samples of the U-Net for each picture: 2 with guidance."""
        return 2 if self.calls[0].guidance > 1 else 1

    @property
    def text(self) -> Tensor:
        """What it was asked for, (N, tokens, dim)."""
        return self.calls[0].text[-len(self.start) :]

    @property
    def samples(self) -> int:
        """Pictures that went through the U-Net, over all calls."""
        return sum(len(call.sample) for call in self.calls)


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


def encoded(pipe: DiffusionPipeline, prompts: list[str]) -> Tensor:
    """Prompts as the U-Net reads them, (N, tokens, dim)."""
    with torch.no_grad():
        return pipe.encode_prompt(prompts, "cpu", 1, False)[0]
