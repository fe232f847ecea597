"""A small scaling law: four widths, four set sizes, five seeds, for each cell a rate of its own."""

from dataclasses import asdict

from modarch_utils import records
from modarch_utils.data import scenes
from modarch_utils.measure import count_macs, count_params
from modarch_utils.studies import scaling
from modarch_utils.studies.scaling import SETTINGS
from modarch_utils.training.loop import evaluate
from recipes import jobs, streams

SEEDS = (0, 1, 2, 3, 4)


def load() -> list[streams.Labelled]:
    """Scenes to train, to choose a learning rate and to test."""
    counts = (max(SETTINGS.sizes), SETTINGS.val_images, SETTINGS.test_images)
    return streams.shapes(streams.each(counts, SETTINGS.image_size, SETTINGS.framing))


def one_run(width: int, n: int, lr: float, seed: int) -> dict:
    """Train one cell: validation accuracy and test error in percent, test cross-entropy in nats."""
    (images, labels), val, test = load()
    net, _ = scaling.train(width, lr, seed, (images[:n], labels[:n]), progress=False)
    scored = evaluate(net, test)
    return {
        "val": streams.accuracy(net, val),
        "error": round(100 * (1 - scored.accuracy), 3),
        "loss": round(scored.loss, 5),
    }


def main() -> None:
    """Run what is missing and write the record."""
    load()  # rendered once, before the processes start
    settings = {**asdict(SETTINGS), "rates": scaling.RATES, "scenes": scenes.version()}
    cases = jobs.grid([{}], width=SETTINGS.widths, n=SETTINGS.sizes)
    results, chosen = jobs.search(
        "scaling_law", one_run, cases, lambda case: scaling.RATES, SEEDS, settings
    )
    shape = (1, 3, SETTINGS.image_size, SETTINGS.image_size)
    nets = [scaling.build(width, 0) for width in SETTINGS.widths]
    settings |= {
        "seeds": SEEDS,
        "best_lr": chosen,
        "params": [count_params(net) for net in nets],
        "macs": [count_macs(net, shape) for net in nets],
    }
    print(records.save("scaling_law", settings=settings, results=results))


if __name__ == "__main__":
    jobs.start(__spec__.name)
