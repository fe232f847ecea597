"""Training batches: shuffled, augmented, mixed, and the same for one process or several."""

from collections.abc import Iterator

import torch
from timm.data import Mixup
from torch import Tensor

from modarch_utils.training.config import TrainConfig
from modarch_utils.training.randaugment import rand_augment
from modarch_utils.training.randomness import generator, seeded_numpy


def to_input(images: Tensor) -> Tensor:
    """What a model is fed: uint8 (N, C, H, W) becomes float32 in [-1, 1]; floats stay as given."""
    if images.dtype == torch.uint8:
        return images.float().div_(127.5).sub_(1)
    return images.float()


def augment(images: Tensor, how: str, rng: torch.Generator) -> Tensor:
    """Random flip, or random crop and flip, of a batch (N, C, H, W), each image its own way.

    `how`: "none", "flip" (left-right, every second image on average) or "crop_flip": the image is
    first moved by up to an eighth of its size in each direction, border pixels repeated (4 pixels
    at 32x32, as is usual on CIFAR). One gather for the whole batch; the numbers come from `rng`.
    """
    if how == "none":
        return images
    n, c, h, w = images.shape
    flip = torch.rand(n, generator=rng) < 0.5
    columns = torch.arange(w).expand(n, w)
    columns = torch.where(flip[:, None], columns.flip(1), columns)
    rows = torch.arange(h).expand(n, h)
    if how == "crop_flip":
        dy, dx = (
            torch.randint(-(size // 8), size // 8 + 1, (n, 1), generator=rng) for size in (h, w)
        )
        rows = (rows + dy).clamp_(0, h - 1)
        columns = (columns + dx).clamp_(0, w - 1)
    pixels = (rows[:, :, None] * w + columns[:, None, :]).view(n, 1, h * w)
    pixels = pixels.to(images.device).expand(n, c, h * w)
    return images.flatten(2).gather(2, pixels).view(n, c, h, w)


class Batches:
    """The training set as a function: epoch -> its batches `(x, y)` on `device`.

    Every process makes the *whole* global batch (on data that is in memory this is cheap) and
    keeps its own slice. So a batch depends on (seed, epoch, step) only, not on how many processes
    there are or on what ran before: resuming and multi-process runs are exact by construction,
    mixup's pairs across the whole batch included. The last, incomplete batch is dropped.

    `images`: uint8 or float (N, C, H, W). `targets`: any tensor with N rows. `x` is float32;
    `y` is `targets[index]`, or, with mixup or cutmix, soft labels (batch, num_classes).
    """

    def __init__(
        self,
        images: Tensor,
        targets: Tensor,
        config: TrainConfig,
        *,
        num_classes: int | None = None,
        device: torch.device | str = "cpu",
        rank: int = 0,
        world: int = 1,
    ) -> None:
        n, size = len(images), config.batch_size
        if size > n:
            raise ValueError(
                f"The batch ({size}) is larger than the training set ({n} images): "
                f"choose batch_size <= {n}."
            )
        if size % world:
            raise ValueError(
                f"batch_size={size} cannot be shared equally among {world} processes: "
                f"choose a multiple of {world}."
            )
        self.images, self.targets, self.config, self.device = images, targets, config, device
        share = size // world
        self.mine = slice(rank * share, (rank + 1) * share)
        self.mixup = None
        if config.mixes:
            if num_classes is None:
                raise ValueError("mixup and cutmix mix class labels: num_classes is needed.")
            self.mixup = Mixup(
                mixup_alpha=config.mixup,
                cutmix_alpha=config.cutmix,
                label_smoothing=config.label_smoothing,
                num_classes=num_classes,
            )

    def __len__(self) -> int:
        return len(self.images) // self.config.batch_size

    def epoch(self, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of one epoch (0, 1, ...), this process's share of each."""
        seed, size = self.config.seed, self.config.batch_size
        order = torch.randperm(len(self.images), generator=generator(seed, epoch))
        for step in range(len(self)):
            index = order[step * size : (step + 1) * size].to(self.images.device)
            x = self.images[index].to(self.device, non_blocking=True)
            y = self.targets[index.to(self.targets.device)].to(self.device, non_blocking=True)
            rng = generator(seed, epoch, step)
            x = augment(x, self.config.augment, rng)
            if self.config.randaugment:
                x = rand_augment(x, self.config.randaugment, seed, epoch, step)
            x = to_input(x)
            if self.mixup:
                with seeded_numpy(seed, epoch, step):
                    x, y = self.mixup(x, y)
            yield x[self.mine], y[self.mine]
