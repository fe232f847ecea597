"""Pictures redrawn with a pencil: a style that a text-to-image model can be taught."""

import torch
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur, rgb_to_grayscale

BLUR = 1.5  # pixels: how wide a line may be
STROKES = (0.0, 0.5, 1.0, 0.5)  # darkness across one period of hatching
FIRST, SECOND = (0.62, 1.5), (0.35, 2.0)  # brightness below which strokes begin, and their force


def pencil(images: Tensor) -> Tensor:
    """Lines where brightness changes, and strokes in one direction or two where it is low.

    Args:
        images: (N, 3, H, W) uint8.

    Returns:
        (N, 3, H, W) uint8, grey on white paper.
    """
    grey = rgb_to_grayscale(images.float() / 255)
    # "Colour dodge": a pixel divided by its surroundings is white but for edges.
    around = gaussian_blur(grey, kernel_size=4 * round(BLUR) + 1, sigma=BLUR)
    paper = (grey / around.clamp(min=0.02)).clamp(max=1).square()
    row, column = (torch.arange(side) for side in images.shape[2:])
    stroke = torch.tensor(STROKES)
    for (below, force), diagonal in (
        (FIRST, row[:, None] + column),
        (SECOND, column - row[:, None]),
    ):
        paper = paper * (1 - (below - grey).clamp(min=0) * force * stroke[diagonal % len(STROKES)])
    return (paper * 255).round().to(torch.uint8).expand_as(images).contiguous()
