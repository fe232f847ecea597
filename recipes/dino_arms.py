"""What makes self-distillation learn shapes: a smaller network, one change at a time (04_dinov2).

Each arm trains on the same scenes for as many steps, and is scored by k-NN as it goes: the features
of the backbone, and what the head makes of them before it chooses a word. ``shares`` are the parts
of the features' variance that classes explain, alone and together.
"""

from dataclasses import asdict, replace

import torch
from torch import Tensor

from modarch_utils import records
from modarch_utils.data import scenes
from modarch_utils.training.dino import DINOv2
from modarch_utils.training.probes import extract, knn_accuracy
from recipes import jobs
from recipes.mini_dinov2_pretrained import CONFIG, SETTINGS, build, load
from recipes.self_distillation import SelfDistillationConfig, self_distil

NAME = "dino_arms"
SEEDS = (0, 1, 2)
SMALL = replace(SETTINGS, image_size=32, patch_size=4, dim=64, depth=4, images=8000)
"""A quarter of ``mini-dinov2``'s arithmetic for an image, in as many patches."""
EPOCHS, EVERY = 24, 4
CROPS = replace(CONFIG.crops, global_size=24, local_size=12)
GREY = {"grey": 0.6, "brightness": 0.4, "contrast": 0.4, "saturation": 0.8}
ARMS = {
    "before": ({}, {}),
    "grey": (GREY, {}),
    "grey, 64 words": (GREY, {"prototypes": 64}),
    "grey, 2048 words": (GREY, {"prototypes": 2048}),
    "grey, no KoLeo": (GREY, {"koleo_weight": 0.0}),
    "grey, KoLeo 0.5": (GREY, {"koleo_weight": 0.5}),
    "grey, larger parts": (GREY | {"local_scale": (0.4, 0.9)}, {}),
}
"""Changes to the crops and to the objective of the network before these trials."""


def config(arm: str, seed: int) -> SelfDistillationConfig:
    """The settings of an arm."""
    crops, objective = ARMS[arm]
    return replace(
        CONFIG,
        epochs=EPOCHS,
        crops=replace(CROPS, **crops),
        objective=replace(CONFIG.objective, **objective),
        autocast=False,
        seed=seed,
    )


def share(features: Tensor, groups: Tensor) -> float:
    """Part of the features' variance that lies between groups, in percent."""
    deviation = features - features.mean(0)
    group, sizes = groups.unique(return_inverse=True, return_counts=True)[1:]
    sums = torch.zeros(len(sizes), features.shape[1]).index_add_(0, group, deviation)
    between = (sums.square().sum(1) / sizes).sum() / deviation.square().sum()
    return round(100 * between.item(), 1)


def scores(model: DINOv2, known: scenes.Scenes, asked: scenes.Scenes) -> dict[str, float]:
    """k-NN in percent for each factor, on class tokens and on the head's; and the shares."""
    backbone, head = model.teacher["backbone"], model.teacher["dino"].mlp
    features = [extract(backbone, data.images).cls for data in (known, asked)]
    with torch.no_grad():
        kinds = {"cls": features, "head": [head(x) for x in features]}
    found = {}
    for factor in scenes.CLASSES:
        labels = known.labels(factor), asked.labels(factor)
        for kind, (x, q) in kinds.items():
            right = knn_accuracy((x, labels[0]), (q, labels[1]))
            found[f"{factor}_{kind}"] = round(100 * right, 1)
        found[f"{factor}_share"] = share(features[0], labels[0])
    both = known.colour * len(scenes.GROUNDS) + known.ground
    return found | {"colour_ground_share": share(features[0], both)}


def one_run(arm: str, seed: int) -> dict:
    """Train an arm; what was scored every few epochs, and the last scores."""
    train_scenes, held_out = load(0, SMALL), load(1, SMALL)
    known, course = train_scenes[: SMALL.gallery], []

    def score(model: DINOv2, epoch: int, record: dict) -> None:
        if epoch % EVERY == 0:
            course.append({"epoch": epoch} | scores(model, known, held_out))

    train(train_scenes.images, config(arm, seed), after_epoch=score)
    return {"course": course, **course[-1]}


def train(images: Tensor, wanted: SelfDistillationConfig, **options) -> DINOv2:
    """Self-distil the small network, fresh from the seed of its settings, on images."""
    model = DINOv2(build(wanted.seed, SMALL), SMALL.dim, wanted.objective)
    self_distil(model, images, wanted, patch_size=SMALL.patch_size, progress=False, **options)
    return model


def main() -> None:
    """Run what is missing and write the record."""
    for stream in (0, 1):  # rendered once, before the processes start
        load(stream, SMALL)
    settings = {**asdict(SMALL), "epochs": EPOCHS, "scenes": scenes.version()}
    settings |= {"crops": asdict(CROPS), "objective": asdict(CONFIG.objective)}
    todo = [{"arm": arm, "seed": seed} for seed in SEEDS for arm in ARMS]
    results = jobs.run(NAME, one_run, todo, settings)
    settings |= {"seeds": SEEDS, "arms": ARMS}
    print(records.save(NAME, settings=settings, results=results))


if __name__ == "__main__":
    jobs.start(__spec__.name)
