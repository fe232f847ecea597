"""Random numbers that are a function of (seed, epoch, step) and leave the caller's alone."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive(*parts: int) -> int:
    """One 64-bit seed from several non-negative integers; near inputs give unrelated seeds."""
    # Their number goes in too: to NumPy (1,) and (1, 0) are the same.
    sequence = np.random.SeedSequence((len(parts), *parts))
    return int(sequence.generate_state(1, np.uint64)[0])


def generator(*parts: int) -> torch.Generator:
    """A CPU generator seeded from `parts`."""
    return torch.Generator().manual_seed(derive(*parts))


@contextmanager
def seeded_numpy(*parts: int) -> Iterator[None]:
    """Seeds NumPy's global generator, which timm's Mixup draws from, and then restores it."""
    state = np.random.get_state()
    np.random.seed(derive(*parts) % 2**32)
    try:
        yield
    finally:
        np.random.set_state(state)


@contextmanager
def seeded(*parts: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seeds the global generators of Python, NumPy and torch; afterwards they are as before.

    Drop-path draws from torch's global generator, on the model's `device`.
    """
    device = torch.device(device)
    accelerator = None if device.type == "cpu" else getattr(torch, device.type)
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    accelerator_state = accelerator and accelerator.get_rng_state()
    seed = derive(*parts)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if accelerator:
            accelerator.set_rng_state(accelerator_state)
