"""Progressive learning with adaptive regularisation (EfficientNetV2, section 4; Tan & Le 2021).

Training runs in a few stages. Early ones have small images and weak regularisation, late ones
large images and strong regularisation: a small image holds less to learn, and needs less to be
kept from learning by heart. The network is the same throughout, and keeps its weights.
"""

import operator
from dataclasses import astuple, dataclass, replace

from torch import Tensor, nn

from modarch_utils.training.config import TrainConfig
from modarch_utils.training.history import History
from modarch_utils.training.loop import fit


@dataclass(frozen=True)
class Setting:
    """What changes from stage to stage.

    Raises:
        ValueError: a value that no training can have.
    """

    image_size: int
    """Side of the training images, in pixels."""
    randaugment: float
    """Magnitude of RandAugment."""
    mixup: float
    """Alpha of mixup's Beta distribution; 0 is off."""
    dropout: float
    """Probability of dropping a feature before the classifier."""

    def __post_init__(self):
        if not isinstance(self.image_size, int) or self.image_size < 1:
            raise ValueError(f"image_size must be a whole number from 1, not {self.image_size!r}.")
        if self.randaugment < 0 or self.mixup < 0:
            raise ValueError(
                f"randaugment and mixup must not be negative, not {self.randaugment} and "
                f"{self.mixup}."
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must lie in [0, 1), not {self.dropout}.")


@dataclass(frozen=True)
class ProgressiveSchedule:
    """The setting of every epoch: algorithm 1 of the paper.

    Stage i of M (from 0) has ``first + (last - first) · i / (M - 1)``, each value by itself. An
    epoch belongs to the stage in which it begins, so where M does not divide the epochs, stages
    differ by one epoch: 350 epochs in 4 stages, 87.5 each, become 88, 87, 88 and 87.

    Another length or another rounding is another schedule:
    ``dataclasses.replace(schedule, epochs=20, multiple=32)``.

    Raises:
        ValueError: fewer epochs than stages, or a single stage between two different settings.
    """

    first: Setting
    """Setting of the first stage."""
    last: Setting
    """Setting of the last stage."""
    num_stages: int
    """Stages M."""
    epochs: int
    """Epochs in all."""
    multiple: int = 1
    """Sizes between the first and the last are rounded to a multiple of this many pixels (a network
    of stride 32 wastes nothing on multiples of 32). First and last size stay as given."""

    def __post_init__(self):
        for name in ("num_stages", "epochs", "multiple"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number from 1, not {value!r}.")
        if self.epochs < self.num_stages:
            raise ValueError(
                f"{self.num_stages} stages need at least as many epochs, but there are "
                f"{self.epochs}."
            )
        if self.num_stages == 1 and self.first != self.last:
            raise ValueError(
                "One stage has one setting: make first equal to last, or num_stages at least 2."
            )

    def stage_of(self, epoch: int) -> int:
        """The stage, from 0, that an epoch belongs to.

        Args:
            epoch: 0 to ``epochs - 1``.

        Raises:
            ValueError: no such epoch.
        """
        try:
            number = operator.index(epoch)
        except TypeError:
            number = -1
        if isinstance(epoch, bool) or not 0 <= number < self.epochs:
            raise ValueError(
                f"An epoch must be a whole number from 0 to {self.epochs - 1}, not {epoch!r}."
            )
        return number * self.num_stages // self.epochs

    def at(self, epoch: int) -> Setting:
        """The setting of an epoch; arguments and errors as :meth:`stage_of`."""
        return self._setting(self.stage_of(epoch))

    def stages(self) -> list[tuple[int, int, Setting]]:
        """Each stage's first epoch, last epoch (included) and setting."""
        # Stage i begins at the first epoch not below i · epochs / num_stages.
        starts = [-(-i * self.epochs // self.num_stages) for i in range(self.num_stages + 1)]
        return [
            (start, end - 1, self._setting(i))
            for i, (start, end) in enumerate(zip(starts, starts[1:], strict=False))
        ]

    def _setting(self, stage: int) -> Setting:
        if stage == 0:
            return self.first
        if stage == self.num_stages - 1:
            return self.last
        share = stage / (self.num_stages - 1)
        size, *rest = (
            a + (b - a) * share
            for a, b in zip(astuple(self.first), astuple(self.last), strict=True)
        )
        rounded = int(size / self.multiple + 0.5) * self.multiple
        # A coarse multiple must not lead beyond the ends.
        low, high = sorted((self.first.image_size, self.last.image_size))
        return Setting(min(max(rounded, low), high), *rest)


LESSON = ProgressiveSchedule(Setting(128, 5, 0, 0), Setting(256, 15, 0.4, 0), 3, 150)
"""Three stages of 50 epochs at 128, 192 and 256 pixels, without dropout: easier to follow than the
paper's, and none of the paper's models was trained with it."""


def fit_progressively(
    model: nn.Module,
    images: dict[int, Tensor],
    labels: Tensor,
    val: tuple[Tensor, Tensor] | None,
    schedule: ProgressiveSchedule,
    config: TrainConfig,
    **options,
) -> History:
    """Train a classifier with another setting in each stage.

    Images, batches and updates are as many in every stage; only their size and the regularisation
    change. One learning-rate schedule spans all stages.

    Args:
        model: takes images of any size, and has its dropout as ``model.dropout``.
        images: the same pictures at each size of the schedule: ``{size: (N, 3, size, size)}``.
        labels: ``(N,)`` int64.
        val: labelled images scored after each epoch, or None.
        schedule: the settings.
        config: everything else; its epochs, RandAugment and mixup give way to the schedule's.
        options: further arguments of :func:`modarch_utils.training.loop.fit`.

    Raises:
        ValueError: images of a size that the schedule asks for are missing; and as ``fit``.
    """
    missing = {setting.image_size for _, _, setting in schedule.stages()} - images.keys()
    if missing:
        raise ValueError(
            f"The schedule needs images of {sorted(missing)} pixels, but there are only those of "
            f"{sorted(images)}: add them, or choose other sizes."
        )
    config = replace(config, epochs=schedule.epochs)

    def each_epoch(epoch: int) -> tuple[tuple[Tensor, Tensor], TrainConfig]:
        now = schedule.at(epoch)
        model.dropout.p = now.dropout
        recipe = replace(config, randaugment=now.randaugment, mixup=now.mixup)
        return (images[now.image_size], labels), recipe

    data = (images[schedule.first.image_size], labels)
    return fit(model, data, val, config, each_epoch=each_epoch, **options)
