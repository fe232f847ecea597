"""What the paper's training choices do to small nets in short runs: both ends of the ladder.

Each choice is switched on alone, at the paper's value (appendix A.1), and gets the better of the
ladder's learning rates, as the rungs do.
"""

from dataclasses import asdict, replace

from modarch_utils import claims, records
from modarch_utils.data import scenes
from modarch_utils.studies.climb import RATES, SETTINGS, step
from recipes import convnext_ladder, jobs, rates

KEYS = ("recipe", "separate_downsampling")
PAPER = claims.paper("convnext.recipe")
CHOICES = {
    "none": {},
    "LayerScale": {"layer_scale": PAPER["layer_scale"]},
    "initialisation": {"init": "convnext"},
    "mixup and cutmix": {"mixup": PAPER["mixup"], "cutmix": PAPER["cutmix"]},
    "drop path": {"drop_path": PAPER["drop_path"]["tiny"]},
}
SEEDS = (0, 1, 2)


def one_run(key: str, choice: str, lr: float, seed: int) -> dict:
    """Train a rung with one choice; accuracies in percent on validation and test scenes."""
    return convnext_ladder.one_run(key, lr, seed, replace(SETTINGS, **CHOICES[choice]))


def main() -> None:
    """Run what is missing and write the record."""
    settings = {**asdict(SETTINGS), "rates": RATES, "choices": CHOICES, "scenes": scenes.version()}
    cases = [{"key": key, "choice": choice} for key in KEYS for choice in CHOICES]
    results, chosen = rates.search(
        "small_net_recipe",
        one_run,
        cases,
        lambda case: RATES[step(case["key"]).recipe],
        SEEDS,
        settings,
    )
    settings |= {"seeds": SEEDS, "best_lr": chosen}
    print(records.save("small_net_recipe", settings=settings, results=results))


if __name__ == "__main__":
    jobs.start(__spec__.name)
