"""Mamba's block on pictures with its scan, without it, and without any mixing of tokens.

Seed 0 looks for each network's learning rate on validation scenes, which all seeds then use. What
is reported is the accuracy on test scenes, which no choice has seen.
"""

from dataclasses import asdict

from modarch_utils import records
from modarch_utils.data import scenes
from modarch_utils.studies import scan_for_pictures as study
from modarch_utils.studies.scan_for_pictures import NET, RATES, SETTINGS
from recipes import jobs, streams

NAME = "scan_for_pictures"
SEEDS = tuple(range(10))


def load() -> list[streams.Labelled]:
    """Scenes to train on, to choose a rate with and to test on: the same for all seeds."""
    counts = (*SETTINGS.sizes, SETTINGS.val_images, SETTINGS.test_images)
    return streams.shapes(streams.each(counts, SETTINGS.image_size, SETTINGS.framing))


def one_run(name: str, lr: float, seed: int) -> dict:
    """Train a network; accuracies in percent on validation and test scenes."""
    train, val, test = load()
    net, _ = study.train(name, lr, seed, train, progress=False)
    return streams.scores(net, val, test)


def main() -> None:
    """Run what is missing and write the record."""
    data = load()  # rendered once, before the processes start
    settings = {
        **asdict(SETTINGS),
        "net": asdict(NET),
        "rates": RATES,
        "scenes": scenes.version(),
    }
    results, chosen = jobs.search(
        NAME,
        one_run,
        [{"name": n} for n in RATES],
        lambda case: RATES[case["name"]],
        SEEDS,
        settings,
    )
    settings |= {
        "seeds": SEEDS,
        "best_lr": chosen,
        "cost": {name: study.cost(name) for name in RATES},
        "trivial": streams.trivial(*data),
    }
    print(records.save(NAME, settings=settings, results=results))


if __name__ == "__main__":
    jobs.start(__spec__.name)
