"""What convolution and shifted windows buy at laptop size (chapter 01_timeline).

Three networks of about equal size see more and more training images, always for the same number
of steps: a ConvNet; a ViT; and the ViT with the ConvNet's first layers in place of its patches
(Xiao et al. 2021, arXiv 2106.14881). Two of them take twice the steps on twice as many
images as well. A small Swin runs with and without its shift.

All start from ``init_fan_in``. In a pilot of one seed a ViT this narrow (48 channels) reached
26 % with the usual deviation of 0.02 and 69 % with this, in the same 256 steps.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from modarch_utils.models.layers import init_fan_in
from modarch_utils.models.swin import SwinTransformer
from modarch_utils.models.vit import VisionTransformer
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.equal_steps import equal_steps
from modarch_utils.training.history import History
from modarch_utils.training.loop import fit


@dataclass(frozen=True)
class BiasSettings:
    """The budget that all networks share."""

    image_size: int = 32
    framing: str = "wide"
    sizes: tuple[int, ...] = (512, 2048, 8192)
    """Training images; multiples of the batch, so that all sizes take exactly ``steps`` steps."""
    steps: int = 512
    batch_size: int = 64
    val_images: int = 2000
    test_images: int = 2000
    shifts: tuple[int, ...] = (0, 2, 4, 6, 8)
    """Pixels by which the first ``moved_images`` of the test images are moved."""
    moved_images: int = 500
    num_classes: int = 8


SETTINGS = BiasSettings()
LONGER = replace(SETTINGS, sizes=(16384,), steps=1024)
"""Twice the images and the steps, where a ViT might overtake."""
MOVED = replace(SETTINGS, framing="close", sizes=(8192,))
SWIN = replace(SETTINGS, framing="close", sizes=(2048,), steps=256)
STUDIES = {"hunger": SETTINGS, "longer": LONGER, "moved": MOVED, "swin": SWIN}
"""What is trained on scenes."""

RATES = {
    "convnet": (2e-3, 4e-3),
    "vit": (1e-3, 2e-3),
    "hybrid": (1e-3, 2e-3),
    "swin": (2e-3, 4e-3),
    "swin_unshifted": (2e-3, 4e-3),
}
"""Learning rates tried first for each network; the best one on validation data is used."""


def conv_layers(dims: tuple[int, ...], repeat: int = 1) -> nn.Sequential:
    """3×3 convolutions, each with BatchNorm and ReLU; the map is halved once for each of ``dims``.

    Args:
        dims: channels; the first convolution with each has stride 2.
        repeat: convolutions with each number of channels.

    Returns:
        A network from ``(N, 3, H, W)`` to ``(N, dims[-1], H / 2**len(dims), W / 2**len(dims))``.
    """
    layers, before = [], 3
    for dim in dims:
        for i in range(repeat):
            stride = 2 if i == 0 else 1
            layers += [
                nn.Conv2d(before, dim, 3, stride, padding=1, bias=False),
                nn.BatchNorm2d(dim),
                nn.ReLU(inplace=True),
            ]
            before = dim
    return nn.Sequential(*layers)


def convnet(width: int, num_classes: int) -> nn.Sequential:
    """Six convolutions in three stages, mean over all positions, a linear classifier.

    Args:
        width: channels of the first stage; each later one doubles it.
        num_classes: outputs.
    """
    net = nn.Sequential(
        conv_layers((width, 2 * width, 4 * width), repeat=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, num_classes),
    )
    # Convolution + BatchNorm runs faster with channels last.
    return net.to(memory_format=torch.channels_last)


class EarlyConvolutions(nn.Module):
    """A ViT's patches by strided 3×3 convolutions and one 1×1 (arXiv 2106.14881, section 3).

    Args:
        dims: channels of the 3×3 convolutions; a patch is ``2**len(dims)`` pixels wide.
        dim: channels of the ViT.
    """

    def __init__(self, dims: tuple[int, ...], dim: int):
        super().__init__()
        self.layers = conv_layers(dims)
        self.proj = nn.Conv2d(dims[-1], dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map images ``(N, 3, H, W)`` to ``(N, L, dim)``, row by row."""
        return self.proj(self.layers(x)).flatten(2).transpose(1, 2)


def build(name: str, seed: int, settings: BiasSettings = SETTINGS) -> nn.Module:
    """A network of the study, freshly initialised from ``seed``.

    Args:
        name: ``"convnet"``, ``"vit"``, ``"hybrid"``, ``"swin"`` or ``"swin_unshifted"``.
        seed: initialisation.
        settings: image size and classes.

    Raises:
        ValueError: no such network.
    """
    if name not in RATES:
        raise ValueError(f"No network {name!r}; the study has {', '.join(RATES)}.")
    torch.manual_seed(seed)
    if name == "convnet":
        net = convnet(28, settings.num_classes)
    elif name in ("vit", "hybrid"):
        net = VisionTransformer(
            settings.image_size,
            patch_size=8,
            dim=64,
            depth=4,
            num_heads=4,
            num_classes=settings.num_classes,
        )
        if name == "hybrid":
            net.patch_embed = EarlyConvolutions((16, 32, 64), 64)
    else:
        net = SwinTransformer(
            settings.image_size,
            patch_size=2,
            dim=16,
            depths=(2, 2, 2),
            num_heads=(2, 4, 8),
            window=4,
            num_classes=settings.num_classes,
            shift=name == "swin",
        )
    return net.apply(init_fan_in)


def train(
    name: str,
    lr: float,
    seed: int,
    data: tuple[Tensor, Tensor],
    settings: BiasSettings = SETTINGS,
    build: Callable[[str, int, BiasSettings], nn.Module] = build,
    **options,
) -> tuple[nn.Module, History]:
    """Train a network: AdamW for ``settings.steps`` steps, without augmentation.

    Args:
        name: see :func:`build`.
        lr: highest learning rate.
        seed: initialisation and order of the images.
        data: images ``(N, 3, H, W)`` uint8 and labels ``(N,)``.
        settings: the budget.
        build: makes the network from name, seed and settings.
        options: further arguments of :func:`modarch_utils.training.loop.fit`.

    Returns:
        The trained network and its history.

    Raises:
        ValueError: no such network, or steps that are no whole number of passes over the images.
    """
    net = build(name, seed, settings)
    config = equal_steps(
        len(data[0]), settings.steps, settings.batch_size, lr=lr, augment="none", seed=seed
    )
    # Scored once at the end and not after every epoch: 128 images make hundreds of epochs.
    return net, fit(net, data, None, config, **options)


def wider(factors: Any, size: int, margin: int) -> Any:
    """The same scenes through a shorter lens, which sees more on each side.

    Rendered ``size + 2 * margin`` pixels wide, their middle is what the old lens shows in ``size``
    pixels (but for rounding, which changes fewer than one byte in a thousand).

    Args:
        factors: a scene set's ``factors``, or anything like it with ``focal``.
        size: side of the old picture.
        margin: pixels to be seen beyond each of its edges.
    """
    return replace(factors, focal=factors.focal * size / (size + 2 * margin))


def moved(wide: Tensor, size: int, pixels: int) -> list[Tensor]:
    """The middle of wide images, and what a camera turned left, right, up or down would see.

    Moving an image fills a border with something: repeated pixels, zeros, the other side. A
    network may trip over that border. Cut out of a wider view, the image has none.

    Args:
        wide: ``(N, C, S, S)``.
        size: side of the cut.
        pixels: how far from the middle; at most ``(S - size) / 2``.

    Returns:
        Four tensors ``(N, C, size, size)``, or only the middle if ``pixels`` is 0.

    Raises:
        ValueError: the cut would leave the image.
    """
    margin = (wide.shape[-1] - size) // 2
    if not 0 <= pixels <= margin:
        raise ValueError(f"Cuts can move by 0 to {margin} pixels here, not by {pixels}.")
    steps = ((0, -pixels), (0, pixels), (-pixels, 0), (pixels, 0)) if pixels else ((0, 0),)
    return [
        wide[..., margin + dy : margin + dy + size, margin + dx : margin + dx + size]
        for dy, dx in steps
    ]


@dataclass(frozen=True)
class WindowSettings:
    """The task in which windows must talk to each other, and a Swin of one stage for it."""

    side: int = 8
    """Cells along a side of the map; every cell is a token."""
    window: int = 4
    dim: int = 16
    train_maps: int = 2048
    test_maps: int = 2000
    epochs: int = 36
    """After 12, some shifted networks could not yet do what needs no shift."""
    batch_size: int = 64


WINDOWS = WindowSettings()

WINDOW_RATES = (4e-3, 1e-2)
"""Learning rates tried for the window task."""


def neighbours(
    n: int, seed: int, settings: WindowSettings = WINDOWS
) -> tuple[Tensor, Tensor, Tensor]:
    """Maps that are empty but for two marked cells side by side: do their marks agree?

    Args:
        n: how many.
        seed: which.
        settings: size of the map.

    Returns:
        Maps ``(n, 2, side, side)`` float32, one channel for each of two marks; labels ``(n,)``, 1
        where the marks agree; the column ``(n,)`` of the left cell, 0 to side - 2.
    """
    rng = torch.Generator().manual_seed(seed)
    row = torch.randint(settings.side, (n,), generator=rng)
    column = torch.randint(settings.side - 1, (n,), generator=rng)
    left, right = torch.randint(2, (2, n), generator=rng)
    maps, i = torch.zeros(n, 2, settings.side, settings.side), torch.arange(n)
    maps[i, left, row, column] = 1
    maps[i, right, row, column + 1] = 1
    return maps, (left == right).long(), column


def crosses(column: Tensor, settings: WindowSettings = WINDOWS) -> Tensor:
    """Whether the border between two windows runs right of this column: ``(n,)`` bool."""
    return (column + 1) % settings.window == 0


def train_windows(
    shift: bool, lr: float, seed: int, settings: WindowSettings = WINDOWS, **options
) -> tuple[SwinTransformer, History]:
    """Train a Swin of one stage and two blocks on :func:`neighbours`.

    Without the shift no information passes between windows before the mean over all positions.
    What the classifier sees is then a sum of one term for each window, and no sum of two terms
    tells whether two marks agree.

    Args:
        shift: let the second block shift its windows.
        lr: highest learning rate.
        seed: initialisation, maps and their order.
        settings: task and network.
        options: further arguments of :func:`modarch_utils.training.loop.fit`.

    Returns:
        The trained network and its history.
    """
    torch.manual_seed(seed)
    net = SwinTransformer(
        settings.side,
        patch_size=1,
        dim=settings.dim,
        depths=(2,),
        num_heads=(2,),
        window=settings.window,
        mlp_ratio=2.0,
        num_classes=2,
        in_chans=2,
        shift=shift,
    ).apply(init_fan_in)
    config = TrainConfig(
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        lr=lr,
        weight_decay=0.0,
        label_smoothing=0.0,
        augment="none",
        seed=seed,
    )
    # Seeds far from those of validation and test maps.
    maps, labels, _ = neighbours(settings.train_maps, 1000 + seed, settings)
    return net, fit(net, (maps, labels), None, config, **options)
