"""Image sizes crossed with regularisation, at five lengths of training (chapter 03_efficientnetv2).

``crossed``: fixed and growing images, each without regularisation, with weak, strong and adaptive
one; the fixed ones for as many epochs and for as much time. ``wide``: the latter where objects are
small. ``strength``: one size and one magnitude of RandAugment throughout, tested at
that size: the paper's table 5. Seed 0 looks for every case's learning rate on validation scenes.

Every case has five seeds. Those that the chapter compares have more: growing images with adaptive
regularisation, and of each budget the fixed images that did best on *validation* scenes.
"""

from dataclasses import asdict

import torch

from modarch_utils import records
from modarch_utils.data import scenes
from modarch_utils.studies import progressive_scenes as study
from modarch_utils.studies.progressive_scenes import (
    RATES,
    REGULARISATION,
    SETTINGS,
    in_equal_time,
    schedule,
)
from modarch_utils.training.progressive import ProgressiveSchedule, Setting
from recipes import jobs

NAME = "progressive_scenes"
SEEDS = tuple(range(5))
MORE_SEEDS = {8: 20, 15: 20, 30: 40, 60: 12, 120: 8}
"""Seeds of the cases that are compared at each number of epochs: short runs spread widely."""
LENGTHS = tuple(MORE_SEEDS)
WIDE_AT = 120
SIDES, MAGNITUDES, STRENGTH_EPOCHS = (32, 48, 64), (0, 4, 8), 60
STRENGTH_SEEDS = tuple(range(10))


def crossed(sizes: str, epochs: int, framing: str = "close") -> list[dict]:
    """A case for each regularisation."""
    return [
        {"sizes": sizes, "regularisation": name, "epochs": epochs, "framing": framing}
        for name in REGULARISATION
    ]


def rivals(epochs: int, framing: str = "close") -> list[list[dict]]:
    """The cases at a fixed size with as many epochs, and those with as much time."""
    return [crossed("fixed", n, framing) for n in (epochs, in_equal_time(epochs))]


def ours(epochs: int, framing: str = "close", sizes: str = "growing") -> dict:
    """The paper's way: growing images and adaptive regularisation."""
    return crossed(sizes, epochs, framing)[-1]


def strongest(results: list[dict], chosen: list[dict], cases: list[dict]) -> dict:
    """The case with the best mean on validation scenes, each at its chosen rate; with the rate."""

    def score(case: dict) -> float:
        vals = [r["val"] for r in results if case.items() <= r.items() and r["seed"] in SEEDS]
        return sum(vals) / len(vals)

    return max(
        (case for case in chosen if any(c.items() <= case.items() for c in cases)), key=score
    )


def one_run(
    sizes: str, regularisation: str, epochs: int, framing: str, lr: float, seed: int
) -> dict:
    """Train one case; accuracies in percent and the training's seconds."""
    return train(schedule(sizes, regularisation, epochs), framing, lr, seed)


def strength(side: int, randaugment: float, lr: float, seed: int) -> dict:
    """Train at one size with one magnitude; tested at that size."""
    setting = Setting(side, randaugment, 0, 0)
    plan = ProgressiveSchedule(setting, setting, 1, STRENGTH_EPOCHS)
    return train(plan, "close", lr, seed)


def train(plan: ProgressiveSchedule, framing: str, lr: float, seed: int) -> dict:
    """Train with a schedule; accuracies in percent and the training's seconds."""
    result = study.train(plan, framing, lr, seed, progress=False)
    return {key: round(result[key], 2) for key in ("val", "test", "train_seconds")}


def main() -> None:
    """Run what is missing and write the record."""
    settings = {
        **asdict(SETTINGS),
        "rates": RATES,
        "regularisation": {k: [asdict(s) for s in v] for k, v in REGULARISATION.items()},
        "first_sizes": study.FIRST_SIZES,
        "time_share": study.TIME_SHARE,
        "strength_epochs": STRENGTH_EPOCHS,
        "scenes": scenes.version(),
    }

    def search(cases: list[dict], seeds: tuple[int, ...], function=one_run) -> tuple[list, list]:
        return jobs.search(NAME, function, cases, lambda _: RATES, seeds, settings)

    results, chosen, compared = [], [], {}
    for epochs in LENGTHS:
        fixed = rivals(epochs)
        from_16 = ours(epochs, sizes="from 16")
        found = search([*sum(fixed, []), *crossed("growing", epochs), from_16], SEEDS)
        results, chosen = results + found[0], chosen + found[1]
        compared[epochs] = [strongest(*found, cases) for cases in (*fixed, [ours(epochs)])]
        more = jobs.grid(compared[epochs], seed=range(len(SEEDS), MORE_SEEDS[epochs]))
        results += jobs.run(NAME, one_run, more, settings)
    in_time, wide = rivals(WIDE_AT, "wide")[1], ours(WIDE_AT, "wide")
    small = search([*in_time, wide], SEEDS)
    compared["wide"] = [strongest(*small, cases) for cases in (in_time, [wide])]
    grid = jobs.grid([{}], side=SIDES, randaugment=MAGNITUDES)
    for found in (small, search(grid, STRENGTH_SEEDS, strength)):
        results, chosen = results + found[0], chosen + found[1]
    torch.set_num_threads(1)  # as in the runs
    plans = {sizes: schedule(sizes, "adaptive", LENGTHS[-1]) for sizes in ("fixed", "growing")}
    settings |= {
        "seeds": SEEDS,
        "more_seeds": MORE_SEEDS,
        "compared": compared,
        "best_lr": chosen,
        "epoch_seconds": study.epoch_seconds(plans, rounds=9),
    }
    print(records.save(NAME, settings=settings, results=results))


if __name__ == "__main__":
    jobs.start(__spec__.name)
