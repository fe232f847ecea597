"""Selective copying and associative recall: every mixer, three seeds.

Each mixer gets the better of two learning rates, see :func:`recipes.jobs.search`. Reported
is the accuracy on test sequences.
"""

from dataclasses import asdict, replace

from modarch_utils import records
from modarch_utils.studies import sequences
from modarch_utils.studies.sequences import Copying, Recall, Task
from recipes import jobs

TASKS: dict[str, Task] = {"recall": sequences.RECALL, "copying": sequences.COPYING}
LONGER = (1, 2, 4)
"""Selective copying is also tested at these multiples of the trained length."""
RATES = (3e-3, 1e-2)
SEEDS = (0, 1, 2, 3, 4)


def one_run(task: str, mixer: str, lr: float, seed: int) -> dict:
    """Train a network; accuracies in percent."""
    setting = TASKS[task]
    model, curve = sequences.train(setting, mixer, lr, seed, progress=False)
    test = sequences.held_out(setting, "test")
    result = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "curve": [(step, round(100 * a, 2)) for step, a in curve],
        "val": round(100 * curve[-1][1], 2),
        "test": round(100 * sequences.accuracy(model, test), 2),
    }
    if isinstance(setting, Copying):
        longer = [replace(setting, length=n * setting.length) for n in LONGER]
        result["longer"] = [
            round(100 * sequences.accuracy(model, sequences.held_out(other, "test")), 2)
            for other in longer
        ]
    if isinstance(setting, Recall):
        result["by_age"] = [round(100 * a, 2) for a in sequences.accuracy_by_age(model, test)]
    return result


def main() -> None:
    """Run what is missing and write the record."""
    settings = {"rates": RATES, "seeds": SEEDS, "longer": LONGER, "best_lr": []}
    results = []
    for name, task in TASKS.items():
        settings[name] = asdict(task)
        cases = [{"task": name, "mixer": mixer} for mixer in task.mixers()]
        runs, chosen = jobs.search(
            "sequence_tasks", one_run, cases, lambda case: RATES, SEEDS, asdict(task)
        )
        results += runs
        settings["best_lr"] += chosen
    print(records.save("sequence_tasks", settings=settings, results=results))


if __name__ == "__main__":
    jobs.start(__spec__.name)
