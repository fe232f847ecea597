"""Frozen ImageNet features against training from scratch, on 40 to 640 labels; three seeds.

``frozen``: EfficientNet-Lite0 as it comes, a logistic regression on its pooled features.
``untrained``: the same with the network's random start instead of its weights. ``scratch`` and
``scratch_32``: the small ConvNet of ``inductive_bias``, at the same size and at 32 pixels. All
see the same scenes; a seed draws which of them are labelled.
"""

from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
import timm
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modarch_utils import records, zoo
from modarch_utils.data import scenes
from modarch_utils.studies.inductive_bias import build
from modarch_utils.training.equal_steps import equal_steps
from modarch_utils.training.loop import fit
from recipes import jobs, streams

SEEDS = (0, 1, 2)
CHECKPOINT = "efficientnet_lite0"
RATES = (2e-3, 4e-3)


@dataclass(frozen=True)
class FrozenSettings:
    """Data and budget."""

    image_size: int = 96
    framing: str = "close"
    per_class: tuple[int, ...] = (5, 20, 80)
    """Labelled images of each of the eight shapes."""
    pool: int = 1500
    val_images: int = 500
    test_images: int = 1000
    steps: int = 160
    batch_size: int = 40
    """Divides every number of labels, so that all take exactly ``steps`` steps."""


SETTINGS = FrozenSettings()


def load(size: int) -> list[scenes.Scenes]:
    """Scenes to label and train, to choose a learning rate and to test."""
    counts = (SETTINGS.pool, SETTINGS.val_images, SETTINGS.test_images)
    return streams.each(counts, size, SETTINGS.framing)


@lru_cache
@torch.no_grad()
def features(stream: int, pretrained: bool) -> np.ndarray:
    """Pooled features ``(N, 1280)`` of a stream."""
    if pretrained:
        model = zoo.load_timm(CHECKPOINT)
    else:
        torch.manual_seed(0)
        model = timm.create_model(zoo.find(CHECKPOINT).timm_name).eval()
    model.reset_classifier(0)
    images = load(SETTINGS.image_size)[stream].to_float()  # this network takes [-1, 1]
    return torch.cat([model(part) for part in images.split(50)]).numpy()


def one_run(method: str, per_class: int, lr: float, seed: int) -> dict:
    """Learn from the labelled scenes; accuracies in percent. ``lr`` is 0 where nothing is tuned."""
    index = streams.labelled(load(SETTINGS.image_size)[0].shape, per_class, seed)
    if method in ("frozen", "untrained"):
        return regress(method == "frozen", index)
    return scratch(32 if method == "scratch_32" else SETTINGS.image_size, index, lr, seed)


def regress(pretrained: bool, index: torch.Tensor) -> dict:
    """Logistic regression on frozen features."""
    labels = [data.shape.numpy() for data in load(SETTINGS.image_size)]
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    head.fit(features(0, pretrained)[index], labels[0][index])
    val, test = (head.score(features(i, pretrained), labels[i]) for i in (1, 2))
    return {"val": streams.percent(val), "test": streams.percent(test)}


def scratch(size: int, index: torch.Tensor, lr: float, seed: int) -> dict:
    """The small ConvNet, all of it trained."""
    pool, *others = load(size)
    config = equal_steps(len(index), SETTINGS.steps, SETTINGS.batch_size, lr=lr, seed=seed)
    net = build("convnet", seed)
    fit(net, (pool.images[index], pool.shape[index]), None, config, progress=False)
    return streams.scores(net, *streams.shapes(others))


def main() -> None:
    """Run what is missing and write the record."""
    for size in (32, SETTINGS.image_size):  # rendered once, before the processes start
        load(size)
    settings = {**asdict(SETTINGS), "rates": RATES, "scenes": scenes.version()}
    untuned = [{"method": method, "lr": 0} for method in ("frozen", "untrained")]
    fixed = jobs.grid(untuned, per_class=SETTINGS.per_class, seed=SEEDS)
    results = jobs.run("frozen_features", one_run, fixed, settings)
    cases = [{"method": method} for method in ("scratch_32", "scratch")]
    cases = jobs.grid(cases, per_class=SETTINGS.per_class)
    trained, chosen = jobs.search(
        "frozen_features", one_run, cases, lambda case: RATES, SEEDS, settings
    )
    settings |= {"seeds": SEEDS, "best_lr": untuned + chosen, "checkpoint": CHECKPOINT}
    print(records.save("frozen_features", settings=settings, results=results + trained))


if __name__ == "__main__":
    jobs.start(__spec__.name)
