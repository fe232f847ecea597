"""What happened in a run: a small object that draws itself."""

from dataclasses import dataclass, field, fields

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from modarch_utils.plots import PALETTE


@dataclass
class History:
    """Per-epoch lists, one number an epoch, and the loss of every step.

    `train_loss` (mean of its steps; under mixup and label smoothing it cannot reach 0), `lr` (of
    the epoch's last step), `seconds` (training alone, without evaluation); `val_loss`,
    `val_accuracy` of the raw weights and `ema_accuracy` of the averaged ones, empty where there
    is no validation set or no EMA. Accuracies lie in [0, 1]. `ema_weights` is the averaged
    state dict at the end of `fit`, for `model.load_state_dict`; it is not part of `to_dict`.
    """

    train_loss: list[float] = field(default_factory=list)
    val_loss: list[float] = field(default_factory=list)
    val_accuracy: list[float] = field(default_factory=list)
    ema_accuracy: list[float] = field(default_factory=list)
    lr: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    step_loss: list[float] = field(default_factory=list)
    ema_weights: dict[str, Tensor] | None = field(default=None, repr=False, compare=False)

    @property
    def epochs(self) -> int:
        """Number of finished epochs."""
        return len(self.train_loss)

    @property
    def final_accuracy(self) -> float:
        """Validation accuracy of the raw weights after the last epoch."""
        return self._accuracies()[-1]

    @property
    def best(self) -> float:
        """Best validation accuracy of any epoch, raw or averaged.

        Chosen on the validation set, so it flatters; report `final_accuracy` as a result.
        """
        return max(self._accuracies() + self.ema_accuracy)

    def _accuracies(self) -> list[float]:
        if not self.val_accuracy:
            raise ValueError("This run has no accuracy: fit was given no validation set.")
        return self.val_accuracy

    def to_dict(self) -> dict[str, list[float]]:
        """The numbers as JSON types."""
        return {
            f.name: list(getattr(self, f.name)) for f in fields(self) if f.name != "ema_weights"
        }

    @classmethod
    def from_dict(cls, numbers: dict[str, list[float]]) -> "History":
        """The inverse of `to_dict`."""
        return cls(**numbers)

    def plot(self, ax: Axes | None = None, *, label: str | None = None) -> Figure:
        """Draws the run and returns the figure.

        Without `ax`: two panels, the loss (every step and every epoch) and, where there is a
        validation set, the accuracy. With `ax`: one curve on it, validation accuracy (or
        training loss) over epochs, called `label`, to lay several runs over each other.
        """
        epochs = range(1, self.epochs + 1)
        if ax is not None:
            curve = self.val_accuracy or self.train_loss
            ax.plot(epochs, curve, marker=".", label=label)
            ax.set(xlabel="epoch", ylabel="accuracy" if self.val_accuracy else "training loss")
            if label is not None:
                ax.legend()
            return ax.figure

        panels = 2 if self.val_accuracy else 1
        figure, axes = plt.subplots(
            1, panels, figsize=(4.2 * panels, 3), squeeze=False, layout="constrained"
        )
        loss = axes[0, 0]
        per_epoch = len(self.step_loss) / max(self.epochs, 1)
        steps = [(i + 1) / per_epoch for i in range(len(self.step_loss))]
        loss.plot(steps, self.step_loss, color=PALETTE["blue"], alpha=0.3, lw=0.8)
        loss.plot(epochs, self.train_loss, color=PALETTE["blue"], marker=".", label="training")
        if self.val_loss:
            loss.plot(
                epochs, self.val_loss, color=PALETTE["orange"], marker=".", label="validation"
            )
        loss.set(xlabel="epoch", ylabel="loss")
        loss.legend()
        if self.val_accuracy:
            accuracy = axes[0, 1]
            accuracy.plot(
                epochs, self.val_accuracy, color=PALETTE["orange"], marker=".", label="weights"
            )
            if self.ema_accuracy:
                accuracy.plot(
                    epochs, self.ema_accuracy, color=PALETTE["green"], marker=".", label="EMA"
                )
            accuracy.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, 1))
            accuracy.legend(loc="lower right")
        return figure
