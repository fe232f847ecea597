"""Train epoch by epoch, print what each brought, and keep it across a stop."""

import json
from collections.abc import Callable
from pathlib import Path

from modarch_utils.training.history import History


def line(epoch: int, values: dict[str, float]) -> str:
    """One line of a log."""
    return f"epoch {epoch}: " + ", ".join(f"{name} {value:.4g}" for name, value in values.items())


def measured(
    train: Callable[[int], History],
    epochs: int,
    run: Path,
    measure: Callable[[int, History], dict[str, float]],
) -> tuple[History, list[dict[str, float]]]:
    """Train one epoch after the other; measure, print and keep what each brought.

    A run that goes on begins with the last epoch that was finished: its measurements may be what
    the stop cost.

    Args:
        train: trains up to so many epochs in all, by ``stop_after``.
        epochs: of the whole schedule.
        run: folder of the run, where ``scores.json`` has what was measured by number of epoch.
        measure: what an epoch is worth, given its number and the history until then.

    Returns:
        The history, and for a record a row for each epoch: its number, ``loss``, ``seconds`` by
        the clock, and what was measured.
    """
    done = 0
    while done < epochs:
        history = train(done + 1)
        done = history.epochs
        values = {"loss": history.train_loss[-1], "seconds": history.seconds[-1]}
        kept = keep(run, done, values | measure(done, history))
    return history, [{"epoch": int(epoch)} | values for epoch, values in kept.items()]


def keep(folder: Path, epoch: int, values: dict[str, float]) -> dict[str, dict[str, float]]:
    """Print an epoch's measurements, and add them to the run's; returns all of them."""
    print(line(epoch, values), flush=True)
    file = folder / "scores.json"
    scores = json.loads(file.read_text("utf-8")) if file.is_file() else {}
    scores[str(epoch)] = values
    file.write_text(json.dumps(scores, indent=1), "utf-8")
    return scores
