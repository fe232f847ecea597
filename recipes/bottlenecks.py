"""MobileNetV4's four blocks at laptop size: the same cost, the same scenes, five seeds.

Seed 0 looks for the best learning rate on validation scenes, which all seeds then use.
What is reported is the accuracy on test scenes, which no choice has seen.
"""

from dataclasses import asdict

from modarch_utils import records
from modarch_utils.data import scenes
from modarch_utils.measure import count_macs, count_params
from modarch_utils.models.uib import KINDS
from modarch_utils.studies import bottlenecks
from modarch_utils.studies.climb import SETTINGS
from recipes import jobs, streams
from recipes.convnext_ladder import SEEDS, load


def one_run(kind: str, lr: float, seed: int) -> dict:
    """Train the network of one block; accuracies in percent on validation and test scenes."""
    data, val, test = load(SETTINGS)
    net, _ = bottlenecks.train(kind, lr, seed, data, progress=False)
    return streams.scores(net, val, test)


def main() -> None:
    """Run what is missing and write the record."""
    data = load(SETTINGS)  # rendered once, before the processes start
    settings = {
        **asdict(SETTINGS),
        "depths": bottlenecks.DEPTHS,
        "kernel": bottlenecks.KERNEL,
        "expand": bottlenecks.EXPAND,
        "rates": bottlenecks.RATES,
        "scenes": scenes.version(),
    }
    results, chosen = jobs.search(
        "bottlenecks",
        one_run,
        [{"kind": kind} for kind in KINDS],
        lambda _: bottlenecks.RATES,
        SEEDS,
        settings,
    )
    nets = {kind: bottlenecks.build(kind, len(scenes.SHAPES), 0) for kind in KINDS}
    shape = (1, 3, SETTINGS.image_size, SETTINGS.image_size)
    settings |= {
        "seeds": SEEDS,
        "best_lr": chosen,
        "params": {kind: count_params(net) for kind, net in nets.items()},
        "macs": {kind: count_macs(net, shape) for kind, net in nets.items()},
        "trivial": streams.trivial(*data),
    }
    print(records.save("bottlenecks", settings=settings, results=results))


if __name__ == "__main__":
    jobs.start(__spec__.name)
