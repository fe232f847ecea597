"""Transfer from a timm network: features kept on disk, fine-tuning (chapter 07_pretrained_models).

Layer-wise decay of the learning rate as in BEiT (arXiv 2106.08254, appendix); gradual unfreezing
as in ULMFiT (arXiv 1801.06146, section 3.3), written as a function of the epoch.
"""

import hashlib
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from timm.models import group_parameters
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from modarch_utils import profile
from modarch_utils.data import cache
from modarch_utils.training.batches import Batches, to_input
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.randomness import seeded
from modarch_utils.training.schedules import warmup_cosine


@torch.no_grad()
def cached_features(model: nn.Module, images: Tensor, batch_size: int = 50) -> Tensor:
    """What the model says of the images, computed once and then read from disk.

    The file's name is a hash of the model's structure, its weights and the images, so that a
    changed one is never mistaken for the other.

    Args:
        model: on the CPU, in eval mode.
        images: (N, C, H, W), uint8 (scaled to [-1, 1]) or float (used as they are).
        batch_size: images at a time.

    Raises:
        ValueError: the model is in training mode, where its answer depends on the batch.
    """
    if model.training:
        raise ValueError("The model is in training mode; call its eval() first.")
    content = hashlib.sha256(repr(model).encode())
    for tensor in (*model.state_dict().values(), images):
        content.update(f"{tensor.dtype} {tuple(tensor.shape)};".encode())
        content.update(tensor.contiguous().numpy())
    path = profile.cache_dir() / "features" / f"{content.hexdigest()[:20]}.safetensors"
    stored = cache.read(path)
    if stored is None:
        parts = [model(to_input(part)) for part in images.split(batch_size)]
        stored = {"features": torch.cat(parts)}
        cache.write(path, stored)
    return stored["features"]


def depths(model: nn.Module, *, coarse: bool = False) -> dict[str, int]:
    """Each parameter's layer, by its name: 0 is the stem, the largest number is the head.

    Args:
        model: from timm, which knows where its layers begin.
        coarse: count stages instead of blocks.
    """
    return group_parameters(model, model.group_matcher(coarse=coarse), reverse=True)


def decayed_rates(model: nn.Module, lr: float, decay: float) -> dict[str, float]:
    """The head learns at ``lr``, and each layer below it at ``decay`` times the one above."""
    layers = depths(model)
    top = max(layers.values())
    return {name: lr * decay ** (top - layer) for name, layer in layers.items()}


def two_rates(model: nn.Module, lr: float, body: float) -> dict[str, float]:
    """The head learns at ``lr`` and everything below it at ``body``."""
    layers = depths(model)
    top = max(layers.values())
    return {name: lr if layer == top else body for name, layer in layers.items()}


def rate_groups(model: nn.Module, rates: dict[str, float], weight_decay: float) -> list[dict]:
    """Groups for an optimizer: every parameter, frozen ones too, at its own peak rate.

    Args:
        model: whose parameters are grouped.
        rates: peak learning rate of each parameter, by its name.
        weight_decay: of matrices and kernels; what has one dimension does not decay.

    Raises:
        ValueError: a parameter has no rate.
    """
    if missing := [name for name, _ in model.named_parameters() if name not in rates]:
        raise ValueError(f"These parameters have no learning rate: {', '.join(missing)}.")
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        key = rates[name], weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault(key, []).append(parameter)
    return [
        {"params": params, "lr": lr, "peak": lr, "weight_decay": decay}
        for (lr, decay), params in groups.items()
    ]


def trainable(model: nn.Module, epoch: int, opens: Sequence[int]) -> None:
    """Freeze and unfreeze the model as this epoch wants it, whatever was done to it before.

    A frozen layer's normalisation is in eval mode: its running statistics would move otherwise,
    gradients or not. Leftover gradients of frozen parameters go, as an optimizer would use them.

    Args:
        model: from timm.
        epoch: 0, 1, ...
        opens: epochs at which the head, the last stage, the one before it, and so on begin
            to learn; the last entry is for all that remain.

    Raises:
        ValueError: ``opens`` is empty or falls, or the epoch is negative.
    """
    if not opens or list(opens) != sorted(opens) or epoch < 0:
        raise ValueError(
            f"opens must be epochs that do not fall, and the epoch 0 or more, not {tuple(opens)} "
            f"and {epoch}."
        )
    stages = depths(model, coarse=True)
    top = max(stages.values())
    for name, parameter in model.named_parameters():
        parameter.requires_grad = epoch >= opens[min(top - stages[name], len(opens) - 1)]
        if not parameter.requires_grad:
            parameter.grad = None
    model.train()
    for module in model.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(p.requires_grad for p in own):
            module.training = False  # eval() would reach the modules inside, too


def run_epoch(
    model: nn.Module,
    optimizer: Optimizer,
    batches: Batches,
    epoch: int,
    prepare: Callable[[nn.Module, int], None] | None = None,
) -> float:
    """Train for one epoch; a function of the weights, the optimizer's state and the epoch.

    Args:
        model: gives logits (N, classes).
        optimizer: of :func:`rate_groups`; each group follows warm-up and cosine to its own peak.
        batches: the training set and its settings.
        epoch: from 0.
        prepare: called first with model and epoch, for example to freeze; by default everything
            learns.

    Returns:
        Mean loss.
    """
    config, steps = batches.config, len(batches)
    total, warmup = config.epochs * steps, round(config.warmup_epochs * steps)
    if prepare is None:
        model.train()
    else:
        prepare(model, epoch)
    summed = 0.0
    with seeded(config.seed, epoch, device=batches.device):
        for step, (images, labels) in enumerate(batches.epoch(epoch), start=epoch * steps):
            for group in optimizer.param_groups:
                group["lr"] = warmup_cosine(step, total, warmup, group["peak"])
            loss = F.cross_entropy(model(images), labels, label_smoothing=config.label_smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            summed += loss.item()
    model.eval()
    return summed / steps


def fine_tune(
    model: nn.Module,
    train: tuple[Tensor, Tensor],
    config: TrainConfig,
    rates: dict[str, float],
    prepare: Callable[[nn.Module, int], None] | None = None,
) -> list[float]:
    """Train in place with AdamW, a peak rate for each parameter; returns each epoch's mean loss.

    Args:
        model: from timm, where it shall run; left in eval mode.
        train: images (N, C, H, W) and int64 labels (N,).
        config: ``epochs``, ``batch_size``, ``weight_decay``, ``warmup_epochs``, ``augment``,
            ``label_smoothing`` and ``seed`` are used.
        rates: peak learning rates by the parameters' names.
        prepare: as in :func:`run_epoch`.
    """
    device = next(model.parameters()).device
    batches = Batches(*train, config, device=device)
    optimizer = AdamW(rate_groups(model, rates, config.weight_decay))
    return [run_epoch(model, optimizer, batches, e, prepare) for e in range(config.epochs)]
