"""Train epoch by epoch, print what each brought, and keep it across a stop."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

from modarch_utils.training.history import History

SCORES = "scores.json"
"""File of a run: what was measured after each epoch, its number the key."""


def line(epoch: int, values: dict[str, float]) -> str:
    """One line of a log."""
    return f"epoch {epoch}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def each_epoch(train: Callable[[int], History], epochs: int) -> Iterator[tuple[int, History]]:
    """Train one epoch after the other, and give each.

    A run that goes on begins with the last epoch that was finished: its measurements may be what
    the stop cost.

    Args:
        train: trains up to so many epochs in all, by ``stop_after``.
        epochs: of the whole schedule.
    """
    done = 0
    while done < epochs:
        history = train(done + 1)
        done = history.epochs
        yield done, history


def measured(
    train: Callable[[int], History],
    epochs: int,
    run: Path,
    measure: Callable[[int, History], dict[str, float]],
) -> tuple[History, list[dict[str, float]]]:
    """Train as :func:`each_epoch`, measure, print and keep what each epoch brought.

    Args:
        train: trains up to so many epochs in all, by ``stop_after``.
        epochs: of the whole schedule.
        run: folder of the run, where :data:`SCORES` is kept.
        measure: what an epoch is worth, given its number and the history until then.

    Returns:
        The history, and for a record a row for each epoch: its number, ``loss``, ``seconds`` by
        the clock, and what was measured.
    """
    for epoch, history in each_epoch(train, epochs):
        values = {"loss": history.train_loss[-1], "seconds": history.seconds[-1]}
        kept = keep(run, epoch, values | measure(epoch, history))
    return history, [{"epoch": int(epoch)} | values for epoch, values in kept.items()]


def keep(folder: Path, epoch: int, values: dict[str, float]) -> dict[str, dict[str, float]]:
    """Print an epoch's measurements, and add them to the run's; returns all of them."""
    print(line(epoch, values), flush=True)
    file = folder / SCORES
    scores = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    scores[str(epoch)] = values
    file.write_text(json.dumps(scores, indent=1), "utf-8")
    return scores
