"""The ladder from ResNet to ConvNeXt at laptop size: every rung, five seeds.

Seed 0 looks for the best learning rate on validation scenes, which all seeds then use.
What is reported is the accuracy on test scenes, which no choice has seen.
"""

from collections.abc import Callable
from dataclasses import asdict

from modarch_utils import records
from modarch_utils.data import scenes
from modarch_utils.models.ladder import LADDER
from modarch_utils.studies.climb import RATES, SETTINGS, LadderSettings, step, train_rung
from recipes import jobs, streams

SEEDS = (0, 1, 2, 3, 4)


def load(settings: LadderSettings) -> list[streams.Labelled]:
    """Scenes to train, to choose a learning rate and to test: the same for all seeds."""
    counts = (settings.train_images, settings.test_images, settings.test_images)
    return streams.shapes(streams.each(counts, settings.image_size, settings.framing))


def one_run(key: str, lr: float, seed: int, settings: LadderSettings = SETTINGS) -> dict:
    """Train a rung; accuracies in percent on validation and test scenes."""
    train, val, test = load(settings)
    model, _ = train_rung(key, lr, seed, train, None, settings, progress=False)
    return streams.scores(model, val, test)


def study(
    name: str,
    function: Callable[..., dict],
    cases: list[dict],
    seeds: tuple[int, ...],
    **more: dict,
) -> None:
    """Run what is missing, each rung with its best rate, and write the record."""
    settings = {**asdict(SETTINGS), "rates": RATES, **more, "scenes": scenes.version()}
    results, chosen = jobs.search(
        name, function, cases, lambda case: RATES[step(case["key"]).recipe], seeds, settings
    )
    settings |= {"seeds": seeds, "best_lr": chosen, "trivial": streams.trivial(*load(SETTINGS))}
    print(records.save(name, settings=settings, results=results))


def main() -> None:
    study("convnext_ladder", one_run, [{"key": s.key} for s in LADDER], SEEDS)


if __name__ == "__main__":
    jobs.start(__spec__.name)
