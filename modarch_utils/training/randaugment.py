"""RandAugment on a batch (Cubuk et al. 2020, arXiv 1909.13719), by timm."""

import numpy as np
import torch
from PIL import Image
from timm.data.auto_augment import RandAugment, rand_augment_choices, rand_augment_ops
from torch import Tensor

from modarch_utils.training.randomness import seeded


def rand_augment(images: Tensor, magnitude: float, *seed: int) -> Tensor:
    """Give each image two random operations: rotate, shear, solarise, change of contrast, ...

    The magnitude is EfficientNet's: at 10 the operations reach the ends of their ranges. timm
    keeps them there beyond 10, where the authors' code goes on.

    Args:
        images: ``(N, 3, H, W)`` uint8.
        magnitude: strength of the operations, 0 or more; may be a fraction.
        seed: whole numbers that decide every draw; the global generators stay as they are.

    Raises:
        ValueError: images that are not uint8 RGB.
    """
    if images.dtype != torch.uint8 or images.shape[1] != 3:
        raise ValueError(
            f"RandAugment works on uint8 images (N, 3, H, W), not {images.dtype} "
            f"{tuple(images.shape)}: give such images, or set randaugment to 0."
        )
    # timm's "increasing" set: in the other one some operations fade as the magnitude grows.
    operations = rand_augment_choices("rand", increasing=True)
    if magnitude >= 10:  # posterising would keep no bit of a colour, which Pillow refuses
        operations = [name for name in operations if name != "PosterizeIncreasing"]
    grey = {"img_mean": (128, 128, 128)}  # fills what a rotation or a shift uncovers
    augment = RandAugment(rand_augment_ops(magnitude, hparams=grey, transforms=operations))
    pictures = images.permute(0, 2, 3, 1).cpu().numpy()
    with seeded(*seed):
        changed = [np.asarray(augment(Image.fromarray(picture))) for picture in pictures]
    return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2).to(images.device)
