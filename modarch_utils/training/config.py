"""The settings of one training run."""

from dataclasses import dataclass

AUGMENTS = ("none", "flip", "crop_flip")
OPTIMIZERS = ("adamw", "sgd")
AUTOCASTS = ("no", "bf16", "fp16")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that `fit` needs to know besides model and data.

    The names are those of the ConvNeXt paper's appendix A. Drop-path and LayerScale belong to the
    model, not to this recipe. Raises ValueError for a setting that cannot work.

    `batch_size` is global: it is shared out among the processes of `accelerate launch`.
    `optimizer` is "adamw", or "sgd" (momentum 0.9), the recipe of ResNet's day.
    `warmup_epochs` may be a fraction. `mixup` and `cutmix` are the alphas of their Beta
    distributions, 0 is off; with both on, each batch tosses a coin. `randaugment` is the magnitude
    of RandAugment, 0 is off. `ema_decay` is the ceiling of a decay that warms up (see
    `modarch_utils.training.loop.fit`); None is off.

    `autocast` is "no" by default. On a GPU choose "bf16". On a CPU it depends on the chip and the
    network. On one core of an EPYC with AVX512-BF16, a training step of a ConvNeXt of width 32
    took 0.65 of its float32 time at 64x64 pixels, but 1.5 times as long at width 24 and 32x32,
    where depthwise convolutions and small tensors rule. Without such instructions bf16 is emulated
    and slow.
    """

    epochs: int = 10
    batch_size: int = 128
    optimizer: str = "adamw"
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup_epochs: float = 1.0
    label_smoothing: float = 0.1
    mixup: float = 0.0
    cutmix: float = 0.0
    randaugment: float = 0.0
    ema_decay: float | None = None
    grad_clip: float | None = None
    augment: str = "crop_flip"
    autocast: str = "no"
    seed: int = 0

    def __post_init__(self) -> None:
        def need(condition: bool, sentence: str) -> None:
            if not condition:
                raise ValueError(f"{sentence}.")

        need(self.epochs >= 1, f"epochs must be at least 1, not {self.epochs}")
        need(self.batch_size >= 1, f"batch_size must be at least 1, not {self.batch_size}")
        need(
            self.optimizer in OPTIMIZERS,
            f"optimizer must be one of {OPTIMIZERS}, not {self.optimizer!r}",
        )
        need(self.lr > 0, f"lr must be positive, not {self.lr}")
        need(self.weight_decay >= 0, f"weight_decay must not be negative, not {self.weight_decay}")
        need(
            0 <= self.warmup_epochs <= self.epochs,
            f"warmup_epochs must lie between 0 and epochs={self.epochs}, not {self.warmup_epochs}",
        )
        need(
            0 <= self.label_smoothing < 1,
            f"label_smoothing must lie in [0, 1), not {self.label_smoothing}",
        )
        need(self.mixup >= 0 and self.cutmix >= 0, "mixup and cutmix must not be negative")
        need(self.randaugment >= 0, f"randaugment must not be negative, not {self.randaugment}")
        need(
            not self.mixes or self.batch_size % 2 == 0,
            f"mixup and cutmix pair the images of a batch, so batch_size must be even; "
            f"choose {self.batch_size + 1} or {self.batch_size - 1} instead of {self.batch_size}",
        )
        need(
            self.ema_decay is None or 0 < self.ema_decay < 1,
            f"ema_decay must lie in (0, 1) or be None, not {self.ema_decay}",
        )
        need(
            self.grad_clip is None or self.grad_clip > 0,
            f"grad_clip must be positive or None, not {self.grad_clip}",
        )
        need(self.augment in AUGMENTS, f"augment must be one of {AUGMENTS}, not {self.augment!r}")
        need(
            self.autocast in AUTOCASTS,
            f"autocast must be one of {AUTOCASTS}, not {self.autocast!r}",
        )
        need(self.seed >= 0, f"seed must not be negative, not {self.seed}")

    @property
    def mixes(self) -> bool:
        """Whether mixup or cutmix is on."""
        return self.mixup > 0 or self.cutmix > 0
