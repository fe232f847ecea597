"""What makes self-distillation learn shapes: a ladder of one change at a time (04_dinov2).

A smaller network than ``mini-dinov2`` trains on the same scenes for as many steps on each rung, and
is scored by k-NN as it goes: the features of the backbone, and what the head makes of them before
it chooses a word. ``shares`` are the parts of the features' variance that classes explain. The last
rung has the recipe of ``mini-dinov2-pretrained``; the arms after it change one setting of that.
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
EPOCHS, EVERY = 6, 2
CROPS = replace(CONFIG.crops, global_size=24, local_size=12)
LADDER = {
    "hues": (
        {
            "grey": 0.2,
            "brightness": 0.2,
            "contrast": 0.2,
            "saturation": 0.4,
            "global_scale": (0.5, 1.0),
            "local_scale": (0.2, 0.6),
        },
        {"batch_norm": False, "momentum": (0.98, 1.0), "prototypes": 256},
    ),
    "+ grey": ({"grey": 0.6, "brightness": 0.4, "contrast": 0.4, "saturation": 0.8}, {}),
    "+ BatchNorm": ({}, {"batch_norm": True}),
    "+ faster teacher": ({}, {"momentum": CONFIG.objective.momentum}),
    "+ larger parts": (
        {"global_scale": CROPS.global_scale, "local_scale": CROPS.local_scale},
        {},
    ),
    "+ more words": ({}, {"prototypes": CONFIG.objective.prototypes}),
}
"""Changes to the crops and to the objective; each rung keeps those of the rungs before it."""
BESIDE = {
    "no KoLeo": ({}, {"koleo_weight": 0.0}),
    "KoLeo 0.5": ({}, {"koleo_weight": 0.5}),
    "no iBOT": ({}, {"ibot_weight": 0.0}),
}
"""Changes to the last rung."""


def changes(arm: str) -> tuple[dict, dict]:
    """All that an arm changes in the crops and in the objective of the recipe."""
    if arm in BESIDE:
        return BESIDE[arm]
    rungs = list(LADDER)
    before = [LADDER[rung] for rung in rungs[: rungs.index(arm) + 1]]
    return tuple({k: v for rung in before for k, v in rung[i].items()} for i in (0, 1))


def config(arm: str, seed: int) -> SelfDistillationConfig:
    """The settings of an arm."""
    crops, objective = changes(arm)
    return replace(
        CONFIG,
        epochs=EPOCHS,
        crops=replace(CROPS, **crops),
        objective=replace(CONFIG.objective, **objective),
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
    todo = [{"arm": arm, "seed": seed} for seed in SEEDS for arm in (*LADDER, *BESIDE)]
    results = jobs.run(NAME, one_run, todo, settings)
    settings |= {
        "seeds": SEEDS,
        "ladder": list(LADDER),
        "arms": {arm: changes(arm) for arm in (*LADDER, *BESIDE)},
    }
    print(records.save(NAME, settings=settings, results=results))


if __name__ == "__main__":
    jobs.start(__spec__.name)
