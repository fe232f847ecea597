"""LCM and four ways that came after it, on the eight Gaussians (chapter 05_latent_consistency).

Seed 0 looks for each way's learning rate on a validation sample, which all seeds then use; what is
reported is scored on another sample. A seed draws the teacher too. ``ddim`` is the teacher itself.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from modarch_utils import records
from modarch_utils.studies import after_lcm, points
from modarch_utils.training import consistency
from modarch_utils.training.consistency import ConsistencyConfig
from modarch_utils.training.randomness import generator
from recipes import jobs

NAME = "few_step_points"
SEEDS = tuple(range(5))
CONFIG = ConsistencyConfig()
STEPS = (1, 2, 4)
SAMPLES = 4000
TEACHER_STEPS = 4000
RATES = {
    "LCM": (5e-4, 1e-3, 2e-3),
    "TCD": (1e-3, 2e-3, 4e-3),
    "DMD": (5e-4, 1e-3, 2e-3),
    "reflow": (2e-3, 4e-3, 8e-3),
    "MeanFlow": (2e-3, 4e-3, 8e-3),
}
_TEST, _VAL, _NOISE, _BETWEEN = range(10, 14)  # streams of random numbers

Sampler = Callable[[Tensor, int], Tensor]
"""From noise (N, 2) and a number of steps to samples (N, 2)."""


def train(name: str, lr: float, seed: int) -> Sampler:
    """Train one way, its teacher first if it has one."""
    between = partial(generator, _BETWEEN, seed)
    if name == "MeanFlow":
        network = after_lcm.mean_flow(lr=lr, seed=seed)
        return partial(after_lcm.jump, network)
    if name == "reflow":
        flow = after_lcm.fit_flow(seed=seed)
        return partial(after_lcm.euler, after_lcm.straighten(flow, lr=lr, seed=seed))
    teacher = points.fit_teacher(CONFIG, TEACHER_STEPS, seed=seed)
    if name == "ddim":
        return lambda x, n: consistency.ddim(teacher, x, n, CONFIG)[-1]
    if name == "TCD":
        network = after_lcm.trajectory(teacher, CONFIG, lr=lr, seed=seed)
        return lambda x, n: after_lcm.strategic(network, x, n, CONFIG, between())
    if name == "DMD":  # the authors' one-step and four-step students are two trainings, too

        def generate(x: Tensor, n: int) -> Tensor:
            network = after_lcm.match_distributions(teacher, CONFIG, jumps=n, lr=lr, seed=seed)
            return after_lcm.generate(network, x, n, CONFIG, between())

        return generate
    network = points.distil(teacher, CONFIG, lr=lr, seed=seed)[0].target
    return lambda x, n: consistency.sample(network, x, n, CONFIG, between())


def one_run(name: str, lr: float, seed: int) -> dict:
    """Energy distances and strays in 1, 2 and 4 steps (``ddim`` in 50, too)."""
    torch.set_num_threads(1)
    sample = train(name, lr, seed)
    noise = torch.randn(SAMPLES, 2, generator=generator(_NOISE, seed))
    test, val = (points.eight_gaussians(SAMPLES, generator(s, seed))[0] for s in (_TEST, _VAL))
    found, drawn = {}, {n: sample(noise, n) for n in (*STEPS, 50)[: 4 if name == "ddim" else 3]}
    for n, x in drawn.items():
        found[f"distance_{n}"] = round(points.energy_distance(test, x), 5)
        found[f"strays_{n}"] = round(100 * points.strays(x), 2)
    near = torch.tensor([points.energy_distance(val, drawn[n]) for n in STEPS])
    return found | {
        "val": round(-near.log().mean().item(), 4),
        "floor": round(points.energy_distance(test, val), 5),
        "strays_real": round(100 * points.strays(test), 2),
    }


def main() -> None:
    """Run what is missing and write the record."""
    settings = {"samples": SAMPLES, "teacher_steps": TEACHER_STEPS, "rates": RATES}
    cases = [{"name": name} for name in RATES]
    results, chosen = jobs.search(
        NAME, one_run, cases, lambda case: RATES[case["name"]], SEEDS, settings
    )
    alone = {"name": "ddim", "lr": 0.0}
    results += jobs.run(NAME, one_run, jobs.grid([alone], seed=SEEDS), settings)
    settings |= {"seeds": SEEDS, "best_lr": [*chosen, alone]}
    print(records.save(NAME, settings=settings, results=results))


if __name__ == "__main__":
    jobs.start(__spec__.name)
