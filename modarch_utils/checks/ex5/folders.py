"""Exercise 5: saved networks with random weights, and all that a student may make of one.

A folder in timm's format or in that of transformers, its right answers, and wrong ones by name.
"""

import copy
import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import NamedTuple

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as tv
from transformers import AutoConfig, AutoModel, BitImageProcessor

PICTURE = (91, 70)  # no square, so that squeezing is not cutting; cut by an even number of pixels
CLASSES = 7
BICUBIC, BILINEAR = tv.InterpolationMode.BICUBIC, tv.InterpolationMode.BILINEAR
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


class Look(NamedTuple):
    """How a folder wants its pictures."""

    size: int
    """Side of the square, in pixels."""
    shorter: int | None
    """Length of the shorter side before the square is cut out; None: squeezed to the square."""
    how: tv.InterpolationMode
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Folder(NamedTuple):
    """A saved network, and what its features are and are not."""

    path: Path
    look: Look
    right: Callable[[Tensor], Tensor]
    """From inputs (N, 3, S, S) to features (N, D), in eval mode."""
    training: Callable[[Tensor], Tensor]
    """The same in training mode."""
    other: dict[str, Callable[[Tensor], Tensor]]
    """What is not asked for, by the likely mistake."""


def picture(seed: int) -> Image.Image:
    """A picture (RGB) with fine and coarse structure, and other values in each channel."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (5, 6, 3), np.uint8)).resize(PICTURE)
    fine = random.integers(-40, 41, (PICTURE[1], PICTURE[0], 3))
    values = np.array(coarse) * np.array([0.55, 0.75, 0.65]) + np.array([70, 30, 0]) + fine
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def normalised(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Pixels (3, H, W) in [0, 1], less the mean, by the deviation."""
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
    return (pixels - mean) / std


def framed(image: Image.Image, look: Look) -> Tensor:
    """The picture's pixels (3, S, S) in [0, 1], resized and cut as `look` says."""
    pixels = tv.pil_to_tensor(image)
    side = [look.size] * 2
    if look.shorter is None:
        pixels = tv.resize(pixels, side, interpolation=look.how, antialias=True)
    else:
        pixels = tv.resize(pixels, [look.shorter], interpolation=look.how, antialias=True)
        pixels = tv.center_crop(pixels, side)
    return pixels / 255


def timm_folders(place: Path) -> list[Folder]:
    """A ConvNeXt and an EfficientNetV2 in `place`, in timm's format, with random weights."""
    small = {"depths": [1, 1, 1, 1], "dims": [8, 8, 12, 16]}
    thin = {"channel_multiplier": 0.1, "depth_multiplier": 0.1}
    return [
        _timm(place / "one", "convnext_atto", small, Look(64, 64, BICUBIC, *_drawn())),
        _timm(place / "two", "tf_efficientnetv2_b0", thin, Look(48, 60, BILINEAR, *_drawn())),
    ]


def dino_folders(place: Path) -> list[Folder]:
    """A DINOv2 with registers and one without, in the format of transformers."""
    # A warning or a bar of transformers would hide the table.
    with redirect_stderr(io.StringIO()):
        return [
            _dino(place / "one", 3, Look(40, None, BICUBIC, *_drawn())),
            _dino(place / "two", 0, Look(48, 56, BILINEAR, *_drawn())),
        ]


def _drawn() -> tuple[tuple[float, ...], tuple[float, ...]]:
    """A random mean and deviation, far from those that libraries have by default."""
    mean, std = 0.15 + 0.2 * torch.rand(3), 0.35 + 0.2 * torch.rand(3)
    return tuple(mean.tolist()), tuple(std.tolist())


@torch.no_grad()
def _shake(network: nn.Module) -> None:
    """Weights that make every part of the network count."""
    for name, value in network.state_dict().items():
        if "gamma" in name or "lambda" in name:
            value.uniform_(0.5, 1)
        elif "running_mean" in name:
            value.normal_(0, 0.3)
        elif "running_var" in name:
            value.uniform_(0.5, 1.5)
        elif value.is_floating_point():
            value.add_(0.15 * torch.randn_like(value))


def _timm(path: Path, architecture: str, small: dict, look: Look) -> Folder:
    network = timm.create_model(architecture, num_classes=CLASSES, **small).eval()
    _shake(network)
    path.mkdir()
    save_file(network.state_dict(), path / "model.safetensors", metadata={"format": "pt"})
    settings = {
        "tag": "random",
        "input_size": [3, look.size, look.size],
        "interpolation": look.how.value,
        "crop_pct": look.size / look.shorter,
        "mean": look.mean,
        "std": look.std,
        "num_classes": CLASSES,
        "first_conv": network.pretrained_cfg["first_conv"],
        "classifier": network.pretrained_cfg["classifier"],
    }
    config = {"architecture": architecture, "model_args": small, "pretrained_cfg": settings}
    (path / "config.json").write_text(json.dumps(config), "utf-8")

    def features(x: Tensor, network: nn.Module = network) -> Tensor:
        return network.forward_head(network.forward_features(x), pre_logits=True)

    call = "call the network itself, made with num_classes=0."
    other = {
        "These are scores of the classes that it was trained for: ask timm for num_classes=0.": (
            network
        ),
        "These are probabilities of the classes: ask timm for num_classes=0.": (
            lambda x: network(x).softmax(1)
        ),
        f"This is the map before pooling: {call}": network.forward_features,
        f"The map is averaged by hand, and the normalisation in the head is left out: {call}": (
            lambda x: network.forward_features(x).mean((2, 3))
        ),
        f"The largest value of each map is taken, and not the mean: {call}": (
            lambda x: network.forward_features(x).amax((2, 3))
        ),
    }
    return Folder(
        path, look, features, lambda x: features(x, copy.deepcopy(network).train()), other
    )


def _dino(path: Path, registers: int, look: Look) -> Folder:
    sizes = {"hidden_size": 12, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"image_size": 40, "patch_size": 8, "hidden_dropout_prob": 0.4}
    kind, more = "dinov2", {}
    if registers:
        kind, more = "dinov2_with_registers", {"num_register_tokens": registers}
    network = AutoModel.from_config(AutoConfig.for_model(kind, **sizes, **more)).eval()
    _shake(network)
    network.save_pretrained(path)
    cut = {"height": look.size, "width": look.size}
    BitImageProcessor(
        size=cut if look.shorter is None else {"shortest_edge": look.shorter},
        do_center_crop=look.shorter is not None,
        crop_size=cut,
        resample=Image.Resampling[look.how.name],
        image_mean=look.mean,
        image_std=look.std,
    ).save_pretrained(path)

    def tokens(x: Tensor, network: nn.Module = network) -> Tensor:
        return network(x).last_hidden_state

    def of(take: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        return lambda x: take(tokens(x))

    first = 1 + registers
    take = "take the class token alone, number 0."
    other = {
        "This is the mean over the patches: here the class token is asked for, number 0.": of(
            lambda t: t[:, first:].mean(1)
        ),
        f"This is the mean over all tokens: {take}": of(lambda t: t.mean(1)),
        "This is the mean over all tokens but the class token: take that one alone, number 0.": of(
            lambda t: t[:, 1:].mean(1)
        ),
        "This is token 1, a register or a patch: the class token is number 0.": of(
            lambda t: t[:, 1]
        ),
        "This is the last patch: the class token is number 0.": of(lambda t: t[:, -1]),
        f"These are all tokens: {take}": tokens,
        f"These are class token and patches in one long vector: {take}": of(
            lambda t: torch.cat([t[:, 0], t[:, first:].mean(1)], 1)
        ),
        f"All numbers of a picture in one row: {take}": of(lambda t: t.flatten(1)),
        "The class token is taken before the last normalisation: use last_hidden_state.": (
            lambda x: network(x, output_hidden_states=True).hidden_states[-1][:, 0]
        ),
    }
    return Folder(
        path,
        look,
        of(lambda t: t[:, 0]),
        lambda x: tokens(x, copy.deepcopy(network).train())[:, 0],
        other,
    )
