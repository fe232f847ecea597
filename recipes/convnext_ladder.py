"""The ladder from ResNet to ConvNeXt at laptop size: every rung, five seeds.

Seed 0 runs with two learning rates; the better one on validation scenes is used for all seeds.
What is reported is the accuracy on test scenes, which no choice has seen.
"""

from dataclasses import asdict

from torch import Tensor

from modarch_utils import records
from modarch_utils.data import scenes
from modarch_utils.models.ladder import LADDER
from modarch_utils.studies.climb import RATES, SETTINGS, LadderSettings, step, train_rung
from modarch_utils.training.loop import evaluate
from recipes import jobs, rates, streams

SEEDS = (0, 1, 2, 3, 4)


def load(settings: LadderSettings = SETTINGS) -> list[tuple[Tensor, Tensor]]:
    """Images and shapes for training, validation and test: three streams of scenes."""
    counts = (settings.train_images, settings.test_images, settings.test_images)
    return streams.shapes(counts, settings.image_size, settings.framing)


def one_run(key: str, lr: float, seed: int) -> dict:
    """Train a rung; accuracies in percent on validation and test scenes."""
    train, val, test = load()
    model, history = train_rung(key, lr, seed, train, val, progress=False)
    return {
        "val": round(100 * history.final_accuracy, 2),
        "test": round(100 * evaluate(model, test).accuracy, 2),
    }


def main() -> None:
    """Run what is missing and write the record."""
    settings = {**asdict(SETTINGS), "rates": RATES, "scenes": scenes.version()}
    results, chosen = rates.search(
        "convnext_ladder",
        one_run,
        [{"key": s.key} for s in LADDER],
        lambda case: RATES[step(case["key"]).recipe],
        SEEDS,
        settings,
    )
    settings |= {"seeds": SEEDS, "best_lr": chosen}
    print(records.save("convnext_ladder", settings=settings, results=results))


if __name__ == "__main__":
    jobs.start(__spec__.name)
