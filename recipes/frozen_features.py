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
from modarch_utils.training.loop import evaluate, fit
from recipes import jobs, rates

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
COUNTS = (SETTINGS.pool, SETTINGS.val_images, SETTINGS.test_images)


@lru_cache
def load(stream: int, size: int) -> scenes.Scenes:
    """Stream 0 to label and train, 1 to choose a learning rate, 2 to test."""
    return scenes.load(COUNTS[stream], size, seed=stream, framing=SETTINGS.framing)


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
    images = load(stream, SETTINGS.image_size).to_float()  # this network takes [-1, 1]
    return torch.cat([model(part) for part in images.split(50)]).numpy()


def labelled(per_class: int, seed: int) -> torch.Tensor:
    """Indices of ``per_class`` training scenes of each shape, drawn by ``seed``."""
    rng = torch.Generator().manual_seed(seed)
    order = torch.randperm(SETTINGS.pool, generator=rng)
    shape = load(0, SETTINGS.image_size).shape[order]
    return torch.cat([order[shape == c][:per_class] for c in range(len(scenes.SHAPES))])


def one_run(method: str, per_class: int, lr: float, seed: int) -> dict:
    """Learn from the labelled scenes; accuracies in percent. ``lr`` is 0 where nothing is tuned."""
    index = labelled(per_class, seed)
    if method in ("frozen", "untrained"):
        return regress(method == "frozen", index)
    return scratch(32 if method == "scratch_32" else SETTINGS.image_size, index, lr, seed)


def regress(pretrained: bool, index: torch.Tensor) -> dict:
    """Logistic regression on frozen features."""
    labels = [load(stream, SETTINGS.image_size).shape.numpy() for stream in range(3)]
    head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    head.fit(features(0, pretrained)[index], labels[0][index])
    return {
        split: round(100 * head.score(features(stream, pretrained), labels[stream]), 2)
        for stream, split in ((1, "val"), (2, "test"))
    }


def scratch(size: int, index: torch.Tensor, lr: float, seed: int) -> dict:
    """The small ConvNet, all of it trained."""
    pool = load(0, size)
    config = equal_steps(len(index), SETTINGS.steps, SETTINGS.batch_size, lr=lr, seed=seed)
    net = build("convnet", seed)
    fit(net, (pool.images[index], pool.shape[index]), None, config, progress=False)
    result = {}
    for stream, split in ((1, "val"), (2, "test")):
        data = load(stream, size)
        result[split] = round(100 * evaluate(net, (data.images, data.shape)).accuracy, 2)
    return result


def main() -> None:
    """Run what is missing and write the record."""
    for stream in range(3):  # rendered once, before the processes start
        for size in (32, SETTINGS.image_size):
            load(stream, size)
    settings = {**asdict(SETTINGS), "rates": RATES, "scenes": scenes.version()}
    untuned = [{"method": method, "lr": 0} for method in ("frozen", "untrained")]
    fixed = [
        {"method": case["method"], "per_class": k, "lr": 0, "seed": seed}
        for case in untuned
        for k in SETTINGS.per_class
        for seed in SEEDS
    ]
    results = jobs.run("frozen_features", one_run, fixed, settings)
    cases = [
        {"method": method, "per_class": k}
        for method in ("scratch_32", "scratch")
        for k in SETTINGS.per_class
    ]
    trained, chosen = rates.search(
        "frozen_features", one_run, cases, lambda case: RATES, SEEDS, settings
    )
    settings |= {"seeds": SEEDS, "best_lr": untuned + chosen, "checkpoint": CHECKPOINT}
    print(records.save("frozen_features", settings=settings, results=results + trained))


if __name__ == "__main__":
    jobs.start(__spec__.name)
