"""A search for training speed over a small EfficientNetV2, on measured step time.

Random candidates, and all eight ways to fuse the three stages of the largest 3×3 network, each
trained with every seed. Validation scenes give the accuracy in the reward; test scenes, which no
choice has seen, what is reported. Steps are timed after the training, when this machine is as
quiet as it gets.
"""

import time
from dataclasses import asdict

from modarch_utils import records
from modarch_utils.data import scenes
from modarch_utils.studies import search
from modarch_utils.studies.block_costs import keep_memory
from modarch_utils.studies.search import PATTERNS, SETTINGS, parse
from recipes import jobs, streams

CANDIDATES = 32
SAMPLE_SEED = 0
SEEDS = (0, 1, 2, 3, 4)
REPEATS = 31


def one_run(name: str, seed: int) -> dict:
    """Train a candidate; accuracies in percent."""
    counts = (SETTINGS.train_images, SETTINGS.val_images, SETTINGS.test_images)
    data = streams.shapes(streams.each(counts, SETTINGS.image_size, SETTINGS.framing))
    scores = search.train(parse(name), seed, *data, progress=False)
    return {"kind": "training", **{k: round(v, 2) for k, v in scores.items()}}


def timed(name: str) -> dict:
    """A candidate's step time, relative to the baseline's, with its parameters and MACs."""
    started = time.process_time()
    (step,) = search.step_seconds([parse(name)], repeats=REPEATS)
    return {
        "kind": "step",
        "name": name,
        "relative": round(step.relative, 4),
        "quartiles": [round(step.q1, 4), round(step.q3, 4)],
        "step_ms": round(1e3 * step.seconds, 2),
        **search.counts(parse(name)),
        "seconds": round(time.process_time() - started, 1),
    }


def main() -> None:
    """Run what is missing and write the record."""
    drawn = [c.name for c in search.sample(CANDIDATES, SAMPLE_SEED)]
    patterns = {fused: c.name for fused, c in PATTERNS.items()}
    names = list(dict.fromkeys([*patterns.values(), *drawn]))  # a pattern may be drawn too
    settings = {
        **asdict(SETTINGS),
        "channels": search.CHANNELS,
        "head": search.HEAD,
        "scenes": scenes.version(),
    }
    todo = jobs.grid([{"name": name} for name in names], seed=SEEDS)
    results = jobs.run("architecture_search", one_run, todo, settings)
    kept = keep_memory()
    for name in names:
        results.append(timed(name))
        print(results[-1], flush=True)
    settings |= {
        "seeds": SEEDS,
        "sample_seed": SAMPLE_SEED,
        "drawn": drawn,
        "patterns": patterns,
        "threads": 1,
        "device": "cpu",
        "memory_kept": kept,
        "repeats": REPEATS,
    }
    print(records.save("architecture_search", settings=settings, results=results))


if __name__ == "__main__":
    jobs.start(__spec__.name)
