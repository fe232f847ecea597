"""Curated pictures against as many from the web, and against balanced ones (chapter 04_dinov2).

Three collections of equal size and a small network trained on each, for as many steps: ``balanced``
scenes; pictures drawn from an uneven ``web``; and pictures that a few balanced ones fetch from that
web, by the features of the network that was trained on ``web``. No label is used for any of them.
Features are scored on balanced scenes by k-NN. A seed draws the web, the networks and the batches.
"""

from dataclasses import asdict

from torch import Tensor

from modarch_utils import records
from modarch_utils.data import scenes
from modarch_utils.data.factors import Factors
from modarch_utils.studies import curation
from modarch_utils.training.probes import extract
from recipes import dino_arms, jobs
from recipes.dino_arms import SMALL
from recipes.mini_dinov2_pretrained import load

NAME = "curation"
SEEDS = (0, 1, 2)
ARM = "+ more words"
CHOSEN = 400
"""Balanced scenes that fetch others."""
SIMILARITY = 0.98
"""Cosine from which on two pictures are near-copies."""
STREAM = 100
"""The first seed of a web: its scenes are in no other stream."""


def one_run(seed: int) -> dict:
    """Train on the three collections; k-NN in percent for each, and how even each is."""
    n, asked = SMALL.images, load(1, SMALL)
    balanced, chosen = (
        scenes.load(m, SMALL.image_size, seed=s, framing=SMALL.framing)
        for m, s in ((n, 0), (CHOSEN, 3))
    )
    images, factors = curation.web(SMALL.image_size, STREAM + seed)

    def measure(pictures: Tensor, of: Factors) -> tuple[dict, object]:
        model = dino_arms.train(pictures, dino_arms.config(ARM, seed))
        found = dino_arms.scores(model, balanced[: SMALL.gallery], asked)
        counts = of.shape.bincount(minlength=len(scenes.SHAPES)) / len(of)
        return found | {"commonest": round(100 * counts.max().item(), 1)}, model

    results = {"balanced": measure(balanced.images, balanced.factors)[0]}
    results["web"], model = measure(images[:n], factors.take(slice(n)))
    backbone = model.teacher["backbone"]
    pool, queries = (extract(backbone, x).cls for x in (images, chosen.images))
    kept = curation.without_copies(pool, SIMILARITY)
    index = kept[curation.fetched(queries, pool[kept], min(n, len(kept)))]
    results["curated"] = measure(images[index], factors.take(index))[0]
    return {"kept": len(kept), "collections": results}


def main() -> None:
    """Run what is missing and write the record."""
    settings = {**asdict(SMALL), "epochs": dino_arms.EPOCHS, "scenes": scenes.version()}
    settings |= {
        "web": asdict(curation.Web()),
        "chosen": CHOSEN,
        "similarity": SIMILARITY,
        "arm": ARM,
    }
    runs = jobs.run(NAME, one_run, jobs.grid([{}], seed=SEEDS), settings)
    results = [
        {"name": name, "seed": run["seed"], "kept": run["kept"], **found}
        | {"seconds": round(run["seconds"] / len(run["collections"]), 1)}
        for run in runs
        for name, found in run["collections"].items()
    ]
    settings |= {"seeds": SEEDS}
    print(records.save(NAME, settings=settings, results=results))


if __name__ == "__main__":
    jobs.start(__spec__.name)
