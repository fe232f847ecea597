"""Fixed and growing image sizes, with regularisation that adapts, stays, shrinks or is absent."""

from dataclasses import asdict

import torch

from modarch_utils import records
from modarch_utils.data import scenes
from modarch_utils.studies import progressive_scenes
from modarch_utils.studies.progressive_scenes import RATES, SETTINGS, TIME_SHARE, schedule
from recipes import jobs

SEEDS = (0, 1, 2)
MANY_SEEDS = tuple(range(10))
"""For short runs, which cost little and spread widely."""
SHORT = (8, 15, 30)
LENGTHS = (*SHORT, 60, 120, 240)
COMPARED_AT = 120
CASES = (
    [
        {"variant": variant, "epochs": epochs, "framing": "close"}
        for epochs in LENGTHS
        for variant in ("fixed", "fixed, equal time", "adaptive")
    ]
    + [
        {"variant": variant, "epochs": COMPARED_AT, "framing": "close"}
        for variant in ("fixed, none", "constant", "reversed", "none")
    ]
    + [
        {"variant": "adaptive, from 16", "epochs": epochs, "framing": "close"}
        for epochs in (*SHORT, 60, 120)
    ]
    + [
        {"variant": variant, "epochs": COMPARED_AT, "framing": "wide"}
        for variant in ("fixed", "fixed, equal time", "adaptive")
    ]
)


def one_run(variant: str, epochs: int, framing: str, lr: float, seed: int) -> dict:
    """Train one variant; accuracies in percent and the training's seconds."""
    result = progressive_scenes.train(schedule(variant, epochs), framing, lr, seed, progress=False)
    return {key: round(result[key], 2) for key in ("val", "test", "train_seconds")}


def main() -> None:
    """Run what is missing and write the record."""
    settings = {
        **asdict(SETTINGS),
        "rates": RATES,
        "time_share": TIME_SHARE,
        "compared_at": COMPARED_AT,
        "scenes": scenes.version(),
    }
    results, chosen = [], []
    for seeds, short in ((MANY_SEEDS, True), (SEEDS, False)):
        cases = [case for case in CASES if (case["epochs"] in SHORT) == short]
        found = jobs.search(
            "progressive_scenes", one_run, cases, lambda case: RATES, seeds, settings
        )
        results += found[0]
        chosen += found[1]
    torch.set_num_threads(1)  # as in the runs
    plans = {name: schedule(name, COMPARED_AT) for name in ("fixed", "adaptive")}
    settings |= {
        "seeds": SEEDS,
        "many_seeds": MANY_SEEDS,
        "short": SHORT,
        "lengths": LENGTHS,
        "best_lr": chosen,
        "epoch_seconds": progressive_scenes.epoch_seconds(plans, rounds=9),
    }
    print(records.save("progressive_scenes", settings=settings, results=results))


if __name__ == "__main__":
    jobs.start(__spec__.name)
