"""When does fine-tuning pay? ``mini-dinov2`` on wide scenes with 1 to 64 labels of each shape.

The methods of :mod:`recipes.transfer`. Seed 0 looks for the learning rate of each method at each
number of labels, on validation scenes.
"""

from dataclasses import asdict, replace
from functools import partial

from modarch_utils import records
from modarch_utils.data import scenes
from recipes import jobs, mini_dinov2, transfer

NAME = "fine_tuning"
SEEDS = tuple(range(5))
SETTINGS = replace(transfer.SETTINGS, backbone=mini_dinov2.NAME)
METHODS = ("fine_tune", "layer_decay", "lp_ft", "lora", "scratch")


def main() -> None:
    """Run what is missing and write the record."""
    function = partial(transfer.one_run, settings=SETTINGS)
    transfer.probe(transfer.streams.labelled(transfer.load(SETTINGS)[0].shape, 1, 0), SETTINGS)
    settings = {**asdict(SETTINGS), "scenes": scenes.version()}
    probes = jobs.grid([{"method": "probe"}], per_class=SETTINGS.per_class)
    probes = [{**case, "lr": 0} for case in probes]
    results = jobs.run(NAME, function, jobs.grid(probes, seed=SEEDS), settings)
    cases = jobs.grid([{"method": m} for m in METHODS], per_class=SETTINGS.per_class)
    trained, chosen = jobs.search(NAME, function, cases, lambda _: SETTINGS.rates, SEEDS, settings)
    settings |= {"seeds": SEEDS, "best_lr": probes + chosen}
    print(records.save(NAME, settings=settings, results=results + trained))


if __name__ == "__main__":
    jobs.start(__spec__.name)
