"""What the paper's training choices do to small nets in short runs: both ends of the ladder.

Each choice is switched on alone, at the paper's value (appendix A.1), and gets the better of the
ladder's learning rates, as the rungs do.
"""

from dataclasses import replace

from modarch_utils import claims
from modarch_utils.studies.climb import SETTINGS
from recipes import convnext_ladder, jobs

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
    cases = jobs.grid([{}], key=KEYS, choice=CHOICES)
    convnext_ladder.study("small_net_recipe", one_run, cases, SEEDS, choices=CHOICES)


if __name__ == "__main__":
    jobs.start(__spec__.name)
