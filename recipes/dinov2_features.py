"""What the frozen features of the course's two DINOv2 models know, against four others.

``untrained``: the same network at its random start. ``pixels``: no network. ``supervised``: the
same network trained on shapes with labels. ``teacher``: EfficientNet-Lite0 at 96 pixels, which
``mini-dinov2`` learnt from. A seed draws which scenes are labelled, the random start, and the
training with labels. Stream 0 of the scenes is learnt from, 1 chooses, 2 is scored.

Fashion-MNIST is included where it is on this machine (folder in ``MODARCH_DATA``). At the end the
model cards and the zoo's list are filled in.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import lru_cache, partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoModel

from modarch_utils import records, zoo
from modarch_utils.data import datasets, photos, scenes
from modarch_utils.models.dinov2 import DinoVisionTransformer, load_transformers
from modarch_utils.training import probes
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.loop import fit
from modarch_utils.training.probes import Frozen, knn_accuracy
from recipes import cards, export, jobs, mini_dinov2, mini_dinov2_pretrained, streams
from recipes.distillation import teach
from recipes.mini_dinov2 import TEACHER
from recipes.mini_dinov2_pretrained import SETTINGS as MINI
from recipes.mini_dinov2_pretrained import build

NAME = "dinov2_features"
SEEDS = (0, 1, 2)
SHIPPED = (mini_dinov2.NAME, mini_dinov2_pretrained.NAME)
BACKBONES = (*SHIPPED, "teacher", "pixels", "untrained", "supervised")
TITLES = {
    "teacher": "EfficientNet-Lite0",
    "pixels": "pixels",
    "untrained": "untrained",
    "supervised": "trained with labels",
}


@dataclass(frozen=True)
class FeatureSettings:
    """Data and budget."""

    pool: int = 4000
    """Scenes of which a seed labels some."""
    labelled: int = 2000
    val_images: int = 500
    test_images: int = 1000
    dense: int = 1000
    """Labelled scenes whose masks and depth are learnt from."""
    principal: int = 500
    """Test scenes whose patches are decomposed."""
    supervised_images: int = 8000
    supervised_epochs: int = 5
    supervised_lr: float = 2e-3
    unseen_labelled: int = 1000
    """Digits, or pieces of clothing, that are labelled."""
    unseen_val: int = 300
    unseen_test: int = 1000
    quick: tuple[int, int] = (500, 300)
    """Labelled scenes and test scenes of the quick check in the model cards."""


SETTINGS = FeatureSettings()

SUPERVISED = TrainConfig(
    epochs=SETTINGS.supervised_epochs,
    batch_size=64,
    lr=SETTINGS.supervised_lr,
    weight_decay=0.05,
    grad_clip=3.0,
    augment="flip",
    autocast="bf16",
)


class Backbone(NamedTuple):
    """Something that :func:`modarch_utils.training.probes.extract` accepts."""

    features: Callable[[Tensor], NamedTuple]
    image_size: int


class Classifier(nn.Module):
    """A linear layer on the class token, for the network that is trained with labels."""

    def __init__(self, backbone: DinoVisionTransformer, classes: int):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.norm.normalized_shape[0], classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map (N, 3, H, W) to logits (N, classes)."""
        return self.head(self.backbone(images).cls)


def load(size: int, settings: FeatureSettings = SETTINGS) -> list[scenes.Scenes]:
    """Scenes to learn from, to choose and to test."""
    counts = (settings.pool, settings.val_images, settings.test_images)
    return streams.each(counts, size, MINI.framing)


def shipped(name: str) -> DinoVisionTransformer:
    """A network from ``weights/``, in eval mode. Its hash is not compared: it may be a new one."""
    # Through transformers, which keeps older names of its weights in the file.
    theirs = zoo.whole(AutoModel.from_pretrained(zoo.WEIGHTS / name), zoo.WEIGHTS / name)
    network = build()
    load_transformers(network, theirs.state_dict())
    return network.eval()


def supervised(seed: int, settings: FeatureSettings = SETTINGS) -> DinoVisionTransformer:
    """The same network, trained on the shapes of scenes with their labels."""
    n = settings.supervised_images
    train = scenes.load(n, MINI.image_size, seed=0, framing=MINI.framing)
    network = Classifier(build(seed), len(scenes.SHAPES))
    config = replace(SUPERVISED, epochs=settings.supervised_epochs, seed=seed)
    fit(network, (train.images, train.shape), None, config, progress=False)
    return network.backbone.eval()


def teacher() -> Callable[[Tensor], Frozen]:
    """The frozen ImageNet network: pooled features, and its map as patches."""
    network = zoo.load_timm(TEACHER.checkpoint).to(memory_format=torch.channels_last)

    def features(images: Tensor) -> Frozen:
        images = images.contiguous(memory_format=torch.channels_last)
        found = teach(network, images, TEACHER.stage)
        patches = found.maps.flatten(2).transpose(1, 2)
        return Frozen(found.pooled, patches, tuple(found.maps.shape[-2:]))

    return features


def backbone(name: str, seed: int, settings: FeatureSettings = SETTINGS) -> Backbone:
    """One of ``BACKBONES``. Only ``untrained`` and ``supervised`` depend on the seed."""
    if name in SHIPPED:
        return Backbone(shipped(name), MINI.image_size)
    if name == "teacher":
        return Backbone(teacher(), TEACHER.image_size)
    if name == "pixels":
        return Backbone(probes.pixels, MINI.image_size)
    if name == "untrained":
        return Backbone(build(seed).eval(), MINI.image_size)
    if name == "supervised":
        return Backbone(supervised(seed, settings), MINI.image_size)
    raise ValueError(f"There is no backbone {name!r}; choose one of {', '.join(BACKBONES)}.")


Labelled = tuple[Frozen, Tensor]


def classify(task: str, train: Labelled, val: Labelled, test: Labelled) -> dict[str, float]:
    """Accuracies in percent.

    ``TASK_knn`` with class tokens, ``TASK_knn_patches`` with mean patches, and ``TASK_linear``
    with both side by side, as ``Dinov2ForImageClassification`` takes them.
    """

    def on(token: Callable[[Frozen], Tensor]) -> list[tuple[Tensor, Tensor]]:
        return [(token(frozen), labels) for frozen, labels in (train, val, test)]

    cls, patches = on(lambda f: f.cls), on(lambda f: f.mean_patch)
    both = on(lambda f: torch.cat((f.cls, f.mean_patch), dim=1))
    return {
        f"{task}_knn": streams.percent(knn_accuracy(cls[0], cls[2])),
        f"{task}_knn_patches": streams.percent(knn_accuracy(patches[0], patches[2])),
        f"{task}_linear": streams.percent(probes.linear_probe(*both).accuracy),
    }


def dense(train: Frozen, known: scenes.Scenes, test: Frozen, asked: scenes.Scenes) -> dict:
    """Segmentation and depth from patches, scored at the images' full size.

    Of depth also the errors of predicting the mean logarithm, of all pixels and of each pixel by
    itself.
    """
    size = tuple(known.mask.shape[-2:])
    found = probes.segment_linear(train, known.mask).predict(test, size) > 0
    result = {"segment_miou": round(probes.mean_iou(found, asked.mask), 4)}
    measured = known.depth.isfinite()
    logs = torch.where(measured, known.depth, 1).log()
    guesses = {
        "linear": probes.depth_linear(train, known.depth).predict(test, size),
        "head": probes.depth_head(train, known.depth).predict(test, size),
        "mean": logs[measured].mean(),
        "pixel_mean": logs.sum(0) / measured.sum(0).clamp(1),
    }
    for name, guess in guesses.items():
        error = probes.depth_error(guess, asked.depth)
        result[f"depth_{name}_rmse_log"] = round(error.rmse_log, 4)
        result[f"depth_{name}_abs_rel"] = round(error.abs_rel, 4)
    return result


def overlap(guess: Tensor, masks: Tensor) -> float:
    """Intersection over union with the object; pixels of all images count together."""
    return round(((guess & masks).sum() / (guess | masks).sum()).item(), 4)


def principal(known: scenes.Scenes, frozen: Frozen, masks: Tensor) -> dict[str, float]:
    """How well the first principal component, cut at zero, finds the object.

    ``principal_iou``: of each image's patches by themselves, as the chapter shows it;
    ``principal_pooled_iou``: of all images' patches together. ``middle_iou`` needs no features:
    the pixels that are the object in half of the scenes in ``known`` or more.
    """
    size = tuple(masks.shape[-2:])
    alone = [probes.principal_object(frozen.take(slice(i, i + 1)), size) for i in range(len(masks))]
    middle = known.mask.float().mean(0) >= 0.5
    return {
        "principal_iou": overlap(torch.cat(alone), masks),
        "principal_pooled_iou": overlap(probes.principal_object(frozen, size), masks),
        "middle_iou": overlap(middle.expand_as(masks), masks),
    }


def enlarge(images: Tensor, size: int) -> Tensor:
    """Grey images (N, 1, h, w) uint8 as (N, 3, size, size) uint8, by bilinear interpolation."""
    large = F.interpolate(images.float(), (size, size), mode="bilinear", align_corners=False)
    return large.round().to(torch.uint8).expand(-1, 3, -1, -1)


@lru_cache
def unseen(name: str, settings: FeatureSettings = SETTINGS) -> tuple[Tensor, Tensor] | None:
    """Images and labels of ``digits`` or ``fashion_mnist``; None where it is absent."""
    n = settings.unseen_labelled + settings.unseen_val + settings.unseen_test
    if name == "digits":
        images, labels = photos.digits()
        return images[:n], labels[:n]
    try:
        found = datasets.load(name, "train", n=n)
    except FileNotFoundError:
        return None
    return found.images, found.labels


@lru_cache(maxsize=1)
def extracted(name: str, seed: int, settings: FeatureSettings) -> dict[str | int, Frozen]:
    """Features of the three streams, and of what was never seen."""
    source = backbone(name, seed, settings)
    size = source.image_size
    features: dict[str | int, Frozen] = {
        stream: probes.extract(source.features, data.images)
        for stream, data in enumerate(load(size, settings))
    }
    for other in ("digits", "fashion_mnist"):
        if (data := unseen(other, settings)) is not None:
            features[other] = probes.extract(source.features, enlarge(data[0], size))
    return features


def one_run(name: str, seed: int, settings: FeatureSettings = SETTINGS) -> dict:
    """All scores of one backbone with one choice of labelled images."""
    depends = name in ("untrained", "supervised")
    features = extracted(name, seed if depends else 0, settings)
    pool, *others = load(MINI.image_size, settings)
    rng = torch.Generator().manual_seed(seed)
    index = torch.randperm(settings.pool, generator=rng)[: settings.labelled]
    known, result = pool[index], {}
    for factor in scenes.CLASSES:
        labels = [data.labels(factor) for data in (known, *others)]
        sets = (features[0].take(index), features[1], features[2])
        result |= classify(factor, *zip(sets, labels, strict=True))
    few = index[: settings.dense]
    result |= dense(features[0].take(few), pool[few], features[2], others[1])
    shown = slice(settings.principal)
    result |= principal(pool[few], features[2].take(shown), others[1].mask[shown])
    for other in ("digits", "fashion_mnist"):
        if other in features:
            labels = unseen(other, settings)[1]
            cuts = (settings.unseen_labelled, settings.unseen_labelled + settings.unseen_val)
            parts = torch.randperm(len(labels), generator=rng).tensor_split(cuts)
            result |= classify(other, *[(features[other].take(i), labels[i]) for i in parts])
    return result


def quick(network: Callable[[Tensor], NamedTuple], settings: FeatureSettings = SETTINGS) -> dict:
    """k-NN accuracy in percent for each factor, on few scenes: what a test repeats."""
    counts = dict(zip((0, 2), settings.quick, strict=True))
    data = {
        stream: scenes.load(n, MINI.image_size, seed=stream, framing=MINI.framing)
        for stream, n in counts.items()
    }
    cls = {stream: probes.extract(network, part.images).cls for stream, part in data.items()}
    return {
        factor: streams.percent(
            knn_accuracy((cls[0], data[0].labels(factor)), (cls[2], data[2].labels(factor)))
        )
        for factor in scenes.CLASSES
    }


def mean(record: dict, what: str, name: str) -> float:
    """Of a result over the seeds."""
    return float(records.select(record, what, name=name).mean())


def quality(record: dict, name: str) -> str:
    """Last section of a model card."""
    shown = [n for n in (name, *BACKBONES[2:]) if any(r["name"] == n for r in record["results"])]
    tasks = [*scenes.CLASSES, "digits"]
    tasks += ["fashion_mnist"] if "fashion_mnist_knn" in record["results"][0] else []
    rows = [
        (f"{task.replace('_', ' ')}, {title} (%)", f"{task}_{probe}", ".1f")
        for task in tasks
        for probe, title in (("knn", "k-NN"), ("linear", "linear probe"))
    ]
    rows += [
        ("object, linear segmentation (mIoU)", "segment_miou", ".3f"),
        ("object, first principal component of each picture (IoU)", "principal_iou", ".3f"),
        ("depth, linear (RMSE of its logarithm)", "depth_linear_rmse_log", ".3f"),
        ("depth, small head (RMSE of its logarithm)", "depth_head_rmse_log", ".3f"),
    ]
    lines = [
        "| | " + " | ".join(f"**{n}**" if n == name else TITLES[n] for n in shown) + " |",
        "|---" * (len(shown) + 1) + "|",
    ]
    for title, key, form in rows:
        values = " | ".join(format(mean(record, key, n), form) for n in shown)
        lines.append(f"| {title} | {values} |")
    settings = record["settings"]
    check = settings["quick_check"][name]
    return (
        (cards.TEMPLATES / f"{NAME}.md")
        .read_text("utf-8")
        .format(
            seeds=", ".join(map(str, settings["seeds"])),
            table="\n".join(lines),
            depth=mean(record, "depth_mean_rmse_log", name),
            pixel_depth=mean(record, "depth_pixel_mean_rmse_log", name),
            middle=mean(record, "middle_iou", name),
            known=settings["quick"][0],
            asked=settings["quick"][1],
            check=", ".join(f"{factor} {value:.1f} %" for factor, value in check.items()),
        )
    )


def zoo_line(record: dict, name: str) -> str:
    """What the zoo says of a shipped network."""
    values = ", ".join(f"{f} {mean(record, f'{f}_knn', name):.1f}" for f in scenes.CLASSES)
    return f"k-NN on held-out scenes: {values} %"


def main(settings: FeatureSettings = SETTINGS) -> None:
    """Run what is missing, write the record, and fill in the cards and the zoo's list."""
    for size in (MINI.image_size, TEACHER.image_size):  # rendered once, before the processes start
        load(size, settings)
    digests = {name: cards.sha256(zoo.WEIGHTS / name / export.FILE) for name in SHIPPED}
    shared = {
        **asdict(settings),
        "scenes": scenes.version(),
        "sha256": digests,
        "fashion_mnist": unseen("fashion_mnist", settings) is not None,
    }
    todo = jobs.grid([{"name": name} for name in BACKBONES], seed=SEEDS)
    results = jobs.run(NAME, partial(one_run, settings=settings), todo, shared)
    shared |= {"seeds": SEEDS, "supervised": asdict(SUPERVISED)}
    shared["quick_check"] = {name: quick(shipped(name), settings) for name in SHIPPED}
    print(records.save(NAME, settings=shared, results=results))
    record = records.load(NAME)
    for name in SHIPPED:
        cards.write_quality(zoo.WEIGHTS / name, quality(record, name))
        cards.measured(zoo.WEIGHTS / cards.INDEX, name, zoo_line(record, name))


if __name__ == "__main__":
    jobs.start(__spec__.name)
