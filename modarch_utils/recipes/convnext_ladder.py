"""The ladder from ResNet to ConvNeXt at laptop size: every rung, three seeds.

Seed 0 runs with two learning rates; the better one on validation scenes is used for all seeds.
What is reported is the accuracy on test scenes, which no choice has seen.
"""

from dataclasses import asdict

from modarch_utils import records
from modarch_utils.data import scenes
from modarch_utils.models.ladder import LADDER
from modarch_utils.recipes import jobs
from modarch_utils.training.ladder import RATES, SETTINGS, train_rung
from modarch_utils.training.loop import evaluate

SEEDS = (0, 1, 2)


def one_run(key: str, lr: float, seed: int) -> dict:
    """Train a rung; accuracies in percent on validation and test scenes."""
    sets = [
        scenes.load(n, SETTINGS.image_size, seed=stream, framing=SETTINGS.framing)
        for stream, n in enumerate(
            (SETTINGS.train_images, SETTINGS.test_images, SETTINGS.test_images)
        )
    ]
    train, val, test = ((s.images, s.shape) for s in sets)
    model, history = train_rung(key, lr, seed, train, val, progress=False)
    return {
        "val": round(100 * history.final_accuracy, 2),
        "test": round(100 * evaluate(model, test).accuracy, 2),
    }


def main() -> None:
    """Run what is missing and write the record."""
    first = [{"key": s.key, "lr": lr, "seed": SEEDS[0]} for s in LADDER for lr in RATES[s.recipe]]
    settings = {**asdict(SETTINGS), "rates": RATES, "scenes": scenes.version()}
    tried = jobs.run("convnext_ladder", one_run, first, settings)
    best = {
        s.key: max((r for r in tried if r["key"] == s.key), key=lambda r: r["val"])["lr"]
        for s in LADDER
    }
    rest = [{"key": s.key, "lr": best[s.key], "seed": seed} for s in LADDER for seed in SEEDS[1:]]
    results = tried + jobs.run("convnext_ladder", one_run, rest, settings)
    settings |= {"seeds": SEEDS, "best_lr": best}
    print(records.save("convnext_ladder", settings=settings, results=results))


if __name__ == "__main__":
    main()
