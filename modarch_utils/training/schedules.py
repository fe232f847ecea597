"""How the learning rate moves, and which parameters decay."""

import math

from torch import nn


def warmup_cosine(step: int, total: int, warmup: int, peak: float) -> float:
    """Learning rate of `step` (0 .. total-1): a line up to `peak`, then half a cosine down.

    The first step is already worth `peak / warmup`, so no step is spent on a rate of zero; the
    last one is just above zero. A function of the step alone, so resuming needs no state.
    """
    if step < warmup:
        return peak * (step + 1) / warmup
    progress = (step - warmup) / max(total - warmup, 1)
    return peak * 0.5 * (1 + math.cos(math.pi * progress))


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """Optimizer groups: matrices and kernels decay; biases, norms, LayerScale and GRN do not.

    The rule is ConvNeXt V2's (V1's, plus GRN, whose gamma and beta have shape (1, 1, 1, C)): what
    has at most one dimension, or is called bias, gamma or beta, does not decay.
    Raises ValueError when nothing is trainable.
    """
    decay, no_decay = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            exempt = name.rsplit(".")[-1] in ("bias", "gamma", "beta") or parameter.ndim <= 1
            (no_decay if exempt else decay).append(parameter)
    if not decay and not no_decay:
        raise ValueError("The model has no parameter to train: all have requires_grad=False.")
    return [
        {"params": decay, "weight_decay": weight_decay},
        {"params": no_decay, "weight_decay": 0.0},
    ]
