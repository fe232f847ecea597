"""Accuracy and loss on a labelled set, every image counted once."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modarch_utils.training.batches import to_input


class Evaluation(NamedTuple):
    """`accuracy` in [0, 1]; `loss`, the mean cross-entropy in nats, without label smoothing."""

    accuracy: float
    loss: float


@torch.no_grad()
def totals(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    batch_size: int,
    device: torch.device | str,
) -> Tensor:
    """Sums over the set: correct, loss, count; float64 (3,) on the CPU. Keeps `model`'s mode."""
    training = model.training
    model.eval()
    correct = loss = 0.0
    for start in range(0, len(images), batch_size):
        part = slice(start, start + batch_size)
        logits = model(to_input(images[part].to(device))).float()
        target = labels[part].to(device)
        correct += (logits.argmax(1) == target).sum().item()
        loss += F.cross_entropy(logits, target, reduction="sum").item()
    model.train(training)
    return torch.tensor([correct, loss, len(images)], dtype=torch.float64)


def evaluate(
    model: nn.Module,
    val: tuple[Tensor, Tensor],
    *,
    batch_size: int = 256,
) -> Evaluation:
    """Top-1 accuracy and mean loss of `model` on `val`, an incomplete last batch included.

    `val`: images uint8 or float (N, C, H, W) and int64 labels (N,). It runs on the device of the
    model's parameters. Raises ValueError for an empty set.
    """
    images, labels = val
    if len(images) == 0:
        raise ValueError("There is nothing to evaluate: the set is empty.")
    device = next(model.parameters()).device
    correct, loss, n = totals(model, images, labels, batch_size=batch_size, device=device).tolist()
    return Evaluation(correct / n, loss / n)
