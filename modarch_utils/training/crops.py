"""Multi-crop augmentation (Caron et al. 2020, arXiv 2006.09882), for a whole batch at once.

Two large and several small random crops of each image, each flipped and recoloured its own way:
what a self-supervised network shall call the same. All crops of a size come from one
``grid_sample``, and brightness, contrast, saturation, hue and grey are one 3×3 matrix a crop.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

# Brightness, then two axes of colour (the YIQ of television): turning the two is a change of hue.
_YIQ = torch.tensor(
    [[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]]
)
_RGB = torch.linalg.inv(_YIQ)


@dataclass(frozen=True)
class Crops:
    """How to crop and recolour. The defaults are those of DINOv2's code but for the sizes.

    Simplified: there is no blur and no solarisation, samples are bilinear instead of bicubic, hue
    turns in YIQ instead of HSV, and a crop longer than the image is cut instead of drawn again,
    which makes global crops a little larger.

    Raises ValueError for a setting that cannot work.
    """

    global_size: int = 64
    """Side of a global crop in pixels."""
    local_size: int = 32
    local_crops: int = 4
    """Local crops of each image; 8 in the paper."""
    global_scale: tuple[float, float] = (0.32, 1.0)
    """Bounds of a global crop's area, as a share of the image."""
    local_scale: tuple[float, float] = (0.05, 0.32)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Bounds of width / height."""
    jitter: float = 0.8
    """Probability of being recoloured."""
    brightness: float = 0.4
    """Factors lie in [1 - brightness, 1 + brightness]; so for contrast and saturation."""
    contrast: float = 0.4
    saturation: float = 0.2
    hue: float = 0.1
    """Colours turn by up to this part of the circle, either way; 0.5 is any hue."""
    grey: float = 0.2
    """Probability of losing all colour."""

    def __post_init__(self) -> None:
        for low, high in (self.global_scale, self.local_scale):
            if not 0 < low <= high <= 1:
                raise ValueError(f"Scales are shares in (0, 1], low <= high; not {low}, {high}.")
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f"hue must lie in [0, 0.5], not {self.hue}.")


def multi_crop(images: Tensor, crops: Crops, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Cut two global and several local crops out of every image.

    There is no smoothing before sampling: let crops be at most about twice as coarse as the
    images.

    Args:
        images: (N, 3, H, W) uint8.
        crops: how.
        rng: source of all random numbers; the same state gives the same crops.

    Returns:
        (2, N, 3, global_size, global_size) and (local_crops, N, 3, local_size, local_size),
        float32 in [-1, 1].

    Raises:
        ValueError: the images have another form.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(
            f"Crops are cut from uint8 images (N, 3, H, W), not {images.dtype} "
            f"{tuple(images.shape)}."
        )
    pixels = images.float() / 255
    views = []
    for count, size, scale in (
        (2, crops.global_size, crops.global_scale),
        (crops.local_crops, crops.local_size, crops.local_scale),
    ):
        view = random_crops(pixels, count, size, scale, crops.ratio, rng)
        views.append(recolour(view.flatten(0, 1), crops, rng).mul_(2).sub_(1).view_as(view))
    return views[0], views[1]


def random_crops(
    pixels: Tensor,
    count: int,
    size: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    rng: torch.Generator,
) -> Tensor:
    """Random resized crops, every second one flipped left-right.

    Args:
        pixels: (N, C, H, W) floats.
        count: crops of each image.
        size: their side in pixels.
        scale: bounds of their area as a share of the image.
        ratio: bounds of width / height. A crop longer than the image is cut to its length.
        rng: source of the random numbers.

    Returns:
        (count, N, C, size, size), bilinear samples.
    """
    n, channels = pixels.shape[:2]

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, count, 1, generator=rng)

    area, stretch = draw(*scale), draw(*map(math.log, ratio)).exp().sqrt()
    height, width = ((area.sqrt() * s).clamp(max=1) for s in (1 / stretch, stretch))
    # grid_sample counts from -1 to 1, from edge to edge of the image.
    top, left = (draw(-1, 1) * (1 - side) for side in (height, width))
    flip = torch.where(draw(0, 1) < 0.5, -1.0, 1.0)
    ticks = (2 * torch.arange(size) + 1) / size - 1
    rows = (top + height * ticks).view(n, count * size, 1).expand(-1, -1, size)
    columns = (left + width * flip * ticks)[:, :, None, :].expand(-1, -1, size, -1)
    grid = torch.stack((columns.flatten(1, 2), rows), dim=-1).to(pixels.device)
    # All crops of an image as one tall picture, so that the images need no copies.
    tall = F.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
    return tall.view(n, channels, count, size, size).permute(2, 0, 1, 3, 4).contiguous()


def recolour(pixels: Tensor, crops: Crops, rng: torch.Generator) -> Tensor:
    """Change brightness, contrast, saturation and hue of each image, or take its colour away.

    Args:
        pixels: (N, 3, H, W) floats in [0, 1].
        crops: how much.
        rng: source of the random numbers.

    Returns:
        (N, 3, H, W) in [0, 1].
    """
    n = len(pixels)

    def draw(centre: float, reach: float) -> Tensor:
        return centre + reach * (2 * torch.rand(n, generator=rng) - 1)

    bright, contrast, saturation = (
        draw(1, reach) for reach in (crops.brightness, crops.contrast, crops.saturation)
    )
    angle = 2 * math.pi * draw(0, crops.hue)
    plain = torch.rand(n, generator=rng) >= crops.jitter
    bright, contrast, saturation = (
        torch.where(plain, 1.0, factor) for factor in (bright, contrast, saturation)
    )
    angle = torch.where(plain, 0.0, angle)
    saturation = torch.where(torch.rand(n, generator=rng) < crops.grey, 0.0, saturation)

    turn = torch.zeros(n, 3, 3)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = saturation * angle.cos()
    turn[:, 1, 2] = -saturation * angle.sin()
    turn[:, 2, 1] = saturation * angle.sin()
    matrix = (bright * contrast).view(n, 1, 1) * (_RGB @ turn @ _YIQ)
    flat = pixels.flatten(2)
    # Contrast keeps the mean brightness, which neither hue nor saturation changes.
    mean = (flat.mean(2) @ _YIQ[0].to(flat)).view(n, 1, 1)
    offset = (bright * (1 - contrast)).view(n, 1, 1).to(flat) * mean
    return torch.baddbmm(offset, matrix.to(flat), flat).clamp_(0, 1).view_as(pixels)
