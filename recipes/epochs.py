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


def keep(folder: Path, epoch: int, values: dict[str, float]) -> dict[str, dict[str, float]]:
    """Print an epoch's measurements, and add them to the run's; returns all of them."""
    print(line(epoch, values), flush=True)
    file = folder / SCORES
    scores = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    scores[str(epoch)] = values
    file.write_text(json.dumps(scores, indent=1), "utf-8")
    return scores
