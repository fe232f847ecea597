"""Train one rung of the ladder at laptop size (chapter 02_convnext).

What a small net needs in a short run is not what the paper's nets need in 300 epochs: the record
``small_net_recipe`` shows what each of the paper's choices does here. The rungs go without them.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from modarch_utils.models.ladder import LADDER, LadderNet, Step, small
from modarch_utils.models.layers import init_convnext, init_fan_in
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.history import History
from modarch_utils.training.loop import fit


@dataclass(frozen=True)
class LadderSettings:
    """The budget that all rungs share."""

    image_size: int = 32
    framing: str = "close"
    train_images: int = 500
    test_images: int = 2000
    width: int = 24
    stem_stride: int = 2
    epochs: int = 24
    batch_size: int = 64
    init: str = "fan_in"
    """``"fan_in"`` (PyTorch's), or ``"convnext"`` for the paper's truncated normal, std 0.02."""
    layer_scale: float | None = None
    """First value of LayerScale, 1e-6 in the paper; None leaves it out."""
    mixup: float = 0.0
    cutmix: float = 0.0
    drop_path: float = 0.0


SETTINGS = LadderSettings()

RATES = {"2015": (0.05, 0.1), "modern": (2e-3, 4e-3)}
"""Learning rates tried first for each rung; the best one on validation data is used."""


def step(key: str) -> Step:
    """Return the rung with this key.

    Raises:
        ValueError: no such rung.
    """
    for candidate in LADDER:
        if candidate.key == key:
            return candidate
    raise ValueError(f"No rung {key!r}; the ladder has {', '.join(s.key for s in LADDER)}.")


def recipe(key: str, lr: float, seed: int, settings: LadderSettings = SETTINGS) -> TrainConfig:
    """The training settings of a rung: SGD as in 2015, or AdamW with label smoothing."""
    shared = dict(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        lr=lr,
        seed=seed,
        warmup_epochs=1.0,
        mixup=settings.mixup,
        cutmix=settings.cutmix,
    )
    if step(key).recipe == "2015":
        return TrainConfig(optimizer="sgd", weight_decay=1e-4, label_smoothing=0.0, **shared)
    return TrainConfig(optimizer="adamw", weight_decay=0.05, label_smoothing=0.1, **shared)


def build(key: str, num_classes: int, seed: int, settings: LadderSettings = SETTINGS) -> LadderNet:
    """The rung's network at laptop width, freshly initialised from ``seed``."""
    torch.manual_seed(seed)
    model = LadderNet(
        small(step(key).design, settings.width),
        num_classes,
        stem_stride=settings.stem_stride,
        drop_path_rate=settings.drop_path,
        layer_scale=settings.layer_scale,
    )
    model.apply({"fan_in": init_fan_in, "convnext": init_convnext}[settings.init])
    # Convolution + BatchNorm runs 1.2 to 1.8 times as fast with channels last.
    return model.to(memory_format=torch.channels_last)


def train_rung(
    key: str,
    lr: float,
    seed: int,
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor] | None,
    settings: LadderSettings = SETTINGS,
    **options,
) -> tuple[LadderNet, History]:
    """Train one rung.

    Args:
        key: the rung.
        lr: highest learning rate.
        seed: initialisation, order of the images, augmentation.
        train, val: images ``(N, 3, H, W)`` uint8 and labels ``(N,)``; None for no score after
            every epoch.
        settings: the budget.
        options: further arguments of :func:`modarch_utils.training.loop.fit`.

    Returns:
        The trained network and its history.
    """
    model = build(key, int(train[1].max()) + 1, seed, settings)
    return model, fit(model, train, val, recipe(key, lr, seed, settings), **options)
