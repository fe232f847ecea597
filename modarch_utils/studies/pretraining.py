"""Masked pre-training with and without GRN, and what it is worth (chapter 02_convnext).

ConvNeXt V2 at laptop size: three stages, so that a masked patch of 8 pixels is to a 32-pixel scene
roughly what the paper's 32 pixels are to 224 (a grid of 4×4 instead of 7×7).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from modarch_utils import measure
from modarch_utils.models.convnext import ConvNeXt
from modarch_utils.models.fcmae import FCMAE
from modarch_utils.models.layers import init_fan_in
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.history import History
from modarch_utils.training.loop import fit


@dataclass(frozen=True)
class FcmaeSettings:
    """The budget that all variants share."""

    image_size: int = 32
    framing: str = "close"
    unlabelled: int = 6000
    labelled: int = 500
    val_images: int = 2000
    test_images: int = 2000
    depths: tuple[int, ...] = (1, 1, 3)
    dims: tuple[int, ...] = (24, 48, 96)
    patch_size: int = 2
    decoder_dim: int = 96
    pretrain_epochs: int = 30
    pretrain_lr: float = 2e-3
    finetune_epochs: tuple[int, ...] = (12, 48)
    batch_size: int = 64


SETTINGS = FcmaeSettings()

RATES = (2e-3, 4e-3)
"""Learning rates tried first for each fine-tuning; the best one on validation data is used."""


def build(use_grn: bool, seed: int, settings: FcmaeSettings = SETTINGS) -> ConvNeXt:
    """A small ConvNeXt (or V2, with GRN), freshly initialised from ``seed``.

    Both go without LayerScale, so that GRN is the only difference.
    """
    torch.manual_seed(seed)
    model = ConvNeXt(
        settings.depths,
        settings.dims,
        num_classes=8,
        patch_size=settings.patch_size,
        layer_scale=None,
        use_grn=use_grn,
    )
    return model.apply(init_fan_in)


def pretrain(
    model: ConvNeXt, images: Tensor, seed: int, settings: FcmaeSettings = SETTINGS, **options
) -> tuple[FCMAE, History]:
    """Train ``model`` as the encoder of a masked autoencoder, without any label.

    Args:
        model: changed in place.
        images: ``(N, 3, H, W)`` uint8.
        seed: order, augmentation and masks.
        settings: the budget.
        options: further arguments of :func:`modarch_utils.training.loop.fit`.
    """
    torch.manual_seed(seed + 1000)
    autoencoder = FCMAE(model, settings.decoder_dim)
    config = TrainConfig(
        epochs=settings.pretrain_epochs,
        batch_size=settings.batch_size,
        lr=settings.pretrain_lr,
        label_smoothing=0.0,
        seed=seed,
    )
    no_labels = torch.zeros(len(images), dtype=torch.long)

    def loss(network: nn.Module, batch: Tensor, targets: Tensor) -> Tensor:
        return network(batch)

    return autoencoder, fit(autoencoder, (images, no_labels), None, config, loss_fn=loss, **options)


def finetune(
    model: ConvNeXt,
    train: tuple[Tensor, Tensor],
    epochs: int,
    lr: float,
    seed: int,
    settings: FcmaeSettings = SETTINGS,
    **options,
) -> History:
    """Train all of ``model`` on labels; the same call for pre-trained and fresh networks."""
    config = TrainConfig(epochs=epochs, batch_size=settings.batch_size, lr=lr, seed=seed)
    return fit(model, train, None, config, **options)


@torch.no_grad()
def diversity(model: ConvNeXt, images: Tensor) -> list[float]:
    """Cosine distance between the channels that each block's second 1×1 layer receives.

    Args:
        model: the network.
        images: ``(N, 3, H, W)`` floats.

    Returns:
        One value for each block, first to last; see ``measure.channel_cosine_distance``.
    """
    values: list[float] = []

    def record(module: nn.Module, inputs: tuple[Tensor]) -> None:
        values.append(measure.channel_cosine_distance(inputs[0]))

    blocks = [block for stage in model.stages for block in stage]
    hooks = [block.pwconv2.register_forward_pre_hook(record) for block in blocks]
    model.eval().features(images)
    for hook in hooks:
        hook.remove()
    return values
