"""MobileNetV4's four blocks side by side at laptop size (chapter 02_convnext).

Four networks that differ only in where their blocks have depthwise convolutions. Two choices make
the map one of the blocks:

* **The cost is matched, not the expansion.** A depthwise convolution costs multiply-adds, and with
  one expansion for all, a block that wins could owe it to being the larger one. So those that save
  on depthwise convolutions get it back as expansion; the paper too compares its blocks at about
  equal latency (table 1). Within a stage each weight of a convolution is used once at each
  position, so parameters match as well. Time does not: the record keeps the seconds of each run.
* **Only the blocks mix neighbours.** Stem and downsampling cut the map into 2×2 patches that do
  not overlap. FFN blocks alone then see each 8×8 patch by itself. The paper never uses them so: its
  networks mix the kinds, and every strided block is an ExtraDW (appendix D).
"""

import torch
from torch import Tensor, nn

from modarch_utils.models.uib import KINDS, UniversalInvertedBottleneck
from modarch_utils.studies import climb
from modarch_utils.studies.climb import SETTINGS, LadderSettings
from modarch_utils.training.history import History
from modarch_utils.training.loop import fit

DEPTHS = (1, 2, 1)
"""Blocks in each stage; every stage has twice the channels of the one before."""
KERNEL = 3
EXPAND = {"FFN": 4.5, "ConvNext": 4.5, "IB": 4.0, "ExtraDW": 4.0}
"""Channels inside a block, divided by those outside, so that all networks cost about the same."""
RATES = climb.RATES["modern"]
"""Learning rates tried first for each network; the best one on validation data is used."""


def build(
    kind: str, num_classes: int, seed: int, settings: LadderSettings = SETTINGS
) -> nn.Sequential:
    """A network of one kind of block, freshly initialised from ``seed``.

    Args:
        kind: a key of :data:`modarch_utils.models.uib.KINDS`.
        num_classes: outputs.
        seed: initialisation.
        settings: channels of the first stage, and stride of the stem.

    Returns:
        A network from images ``(N, 3, H, W)`` to logits ``(N, num_classes)``.

    Raises:
        ValueError: no such block.
    """
    if kind not in KINDS:
        raise ValueError(f"No block {kind!r}; there are {', '.join(KINDS)}.")
    torch.manual_seed(seed)
    before, between = (KERNEL * there for there in KINDS[kind])
    dim, side = settings.width, settings.stem_stride
    layers = [nn.Conv2d(3, dim, side, side, bias=False), nn.BatchNorm2d(dim)]
    for i, depth in enumerate(DEPTHS):
        if i:
            layers += [nn.Conv2d(dim, 2 * dim, 2, 2, bias=False), nn.BatchNorm2d(2 * dim)]
            dim *= 2
        for _ in range(depth):
            layers.append(
                UniversalInvertedBottleneck(dim, dim, before, between, expand=EXPAND[kind])
            )
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(dim, num_classes)]
    # Convolution + BatchNorm runs faster with channels last.
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)


def train(
    kind: str,
    lr: float,
    seed: int,
    data: tuple[Tensor, Tensor],
    settings: LadderSettings = SETTINGS,
    **options,
) -> tuple[nn.Sequential, History]:
    """Train the network of one kind of block, as the modern rungs of the ladder are.

    Args:
        kind: the block.
        lr: highest learning rate.
        seed: initialisation, order of the images, augmentation.
        data: images ``(N, 3, H, W)`` uint8 and labels ``(N,)``.
        settings: the budget.
        options: further arguments of :func:`modarch_utils.training.loop.fit`.

    Returns:
        The trained network and its history.
    """
    net = build(kind, int(data[1].max()) + 1, seed, settings)
    return net, fit(net, data, None, climb.recipe("recipe", lr, seed, settings), **options)
