"""Progressive learning, measured: a small EfficientNetV2 on scenes (chapter 03_efficientnetv2).

Scenes are *rendered* at each size, so a small image is what a camera with fewer pixels would have
taken. Networks see few images many times, as in the paper's 350 epochs: in short runs images that
are too small to learn from cost more than they save, which the record shows too.
"""

import math
import time
from dataclasses import dataclass, replace
from statistics import median

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from modarch_utils.data import scenes
from modarch_utils.models.efficientnetv2 import STAGES, EfficientNetV2, Stage
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.loop import evaluate
from modarch_utils.training.progressive import ProgressiveSchedule, Setting, fit_progressively

SMALL = (
    Stage("fused", 3, 1, 16, layers=1, expand=1),
    Stage("fused", 3, 2, 24, layers=2, expand=4),
    Stage("fused", 3, 2, 40, layers=2, expand=4),
    Stage("mbconv", 3, 2, 64, layers=2, expand=4, se=0.25),
)
"""The paper's pattern, fused early and MBConv late, in seven blocks."""

NETWORKS = {
    "small": {"stages": SMALL, "stem": 16, "head": 256},
    "s": {"stages": STAGES["s"], "stem": 24, "head": 1280},
}
"""Arguments of the network that trains here, and of the paper's S for a GPU."""


@dataclass(frozen=True)
class ProgressiveSettings:
    """The budget that all runs share."""

    train_images: int = 300
    val_images: int = 1000
    test_images: int = 2000
    batch_size: int = 50
    num_stages: int = 4
    multiple: int = 8


SETTINGS = ProgressiveSettings()


@dataclass(frozen=True)
class Live:
    """What the chapter trains and loads itself."""

    network: str
    """Trained with progressive learning, a key of :data:`NETWORKS`."""
    pictures: str
    """Its data set, pictures at any size, a name that ``data.datasets.load`` knows."""
    picture_count: int | None
    """How many of them are used; None for all."""
    sizes: tuple[int, int]
    """First and last image size."""
    pretrained: str
    """EfficientNet that knows ImageNet's classes, a name that ``zoo`` knows."""


LAPTOP = Live("small", "scenes", 600, (32, 64), "efficientnet_lite0")
GPU = Live("s", "imagenette", None, (128, 300), "tf_efficientnetv2_s")

RATES = (8e-3, 16e-3)
"""Learning rates tried first for each case; the best one on validation data is used."""

LARGE = 64
"""Side of the images of every last stage, and of those that all networks are tested on."""
FIRST_SIZES = {"fixed": LARGE, "growing": 32, "from 16": 16}
"""Side of a schedule's first images."""

REGULARISATION = {
    "none": (Setting(LARGE, 0, 0, 0),) * 2,
    "weak": (Setting(LARGE, 3, 0.05, 0.1),) * 2,
    "strong": (Setting(LARGE, 6, 0.1, 0.2),) * 2,
    "adaptive": (Setting(LARGE, 0, 0, 0), Setting(LARGE, 6, 0.1, 0.2)),
}
"""RandAugment, mixup and dropout of the first and of the last stage. ``"adaptive"`` rises from none
to strong, as in the paper; on average over its stages it is ``"weak"``."""

TIME_SHARE = 0.7
"""Share of a growing run's epochs that a run at a fixed size has in equal time: the growing run's
time divided by the fixed one's, rounded up in favour of the fixed one (the record has the measured
ratio)."""


def in_equal_time(epochs: int) -> int:
    """Epochs at a fixed size that take no less time than ``epochs`` with growing images."""
    return math.ceil(TIME_SHARE * epochs)


def schedule(
    sizes: str, regularisation: str, epochs: int, settings: ProgressiveSettings = SETTINGS
) -> ProgressiveSchedule:
    """A schedule: what the images do, and what the regularisation does.

    Args:
        sizes: a key of :data:`FIRST_SIZES`.
        regularisation: a key of :data:`REGULARISATION`; ``"adaptive"`` adapts with images of a
            fixed size too.
        epochs: epochs in all.
        settings: stages, and what sizes between the ends are rounded to.

    Raises:
        ValueError: no such sizes or regularisation.
    """
    for name, known in ((sizes, FIRST_SIZES), (regularisation, REGULARISATION)):
        if name not in known:
            raise ValueError(f"No {name!r}; choose one of {', '.join(known)}.")
    first, last = REGULARISATION[regularisation]
    first = replace(first, image_size=FIRST_SIZES[sizes])
    stages = 1 if first == last else settings.num_stages
    return ProgressiveSchedule(first, last, stages, epochs, settings.multiple)


def build(num_classes: int, seed: int, network: str = "small") -> EfficientNetV2:
    """One of :data:`NETWORKS`, freshly initialised from ``seed``."""
    torch.manual_seed(seed)
    return EfficientNetV2(**NETWORKS[network], num_classes=num_classes)


def load(
    plan: ProgressiveSchedule, framing: str, n: int, stream: int = 0
) -> tuple[dict[int, Tensor], Tensor]:
    """``n`` scenes at every size of a schedule, and their shapes' labels.

    Sizes too small to render are averaged from the smallest rendering.

    Returns:
        ``{size: (n, 3, size, size)}`` uint8, and ``(n,)`` int64.
    """
    sizes = sorted({setting.image_size for _, _, setting in plan.stages()})
    images = {}
    for size in sizes:
        rendered = scenes.load(n, max(size, scenes.SIZES[0]), seed=stream, framing=framing)
        images[size] = rendered.images
        if size < scenes.SIZES[0]:
            averages = avg_pool2d(rendered.images.float(), scenes.SIZES[0] // size)
            images[size] = averages.round().to(torch.uint8)
    return images, rendered.shape


def train(
    plan: ProgressiveSchedule,
    framing: str,
    lr: float,
    seed: int,
    settings: ProgressiveSettings = SETTINGS,
    **options,
) -> dict:
    """Train the network with a schedule, on scenes of the shapes, and score it on large ones.

    Args:
        plan: what changes from stage to stage.
        framing: of the scenes, ``"close"`` or ``"wide"``.
        lr: highest learning rate.
        seed: initialisation, order of the images, augmentation.
        settings: the budget.
        options: further arguments of :func:`modarch_utils.training.loop.fit`.

    Returns:
        ``val`` and ``test`` (accuracy in percent at the last stage's size), ``train_seconds``
        (processor time of the training alone) and ``history``.
    """
    images, labels = load(plan, framing, settings.train_images)
    held_out = [
        scenes.load(n, plan.last.image_size, seed=stream, framing=framing)
        for stream, n in ((1, settings.val_images), (2, settings.test_images))
    ]
    model = build(int(labels.max()) + 1, seed)
    config = TrainConfig(batch_size=settings.batch_size, lr=lr, seed=seed)
    started = time.process_time()
    history = fit_progressively(model, images, labels, None, plan, config, **options)
    seconds = time.process_time() - started
    val, test = (100 * evaluate(model, (s.images, s.shape)).accuracy for s in held_out)
    return {"val": val, "test": test, "train_seconds": seconds, "history": history}


def epoch_seconds(plans: dict[str, ProgressiveSchedule], rounds: int = 5) -> dict[str, float]:
    """Processor seconds of one epoch of training, on average over each schedule.

    Every stage trains a fresh network for one epoch, all stages in turn, ``rounds`` times; a
    stage's cost is its median. So schedules can be compared on a machine that is busy otherwise.

    Args:
        plans: schedules by name.
        rounds: repeats.
    """
    images, labels, settings = {}, None, SETTINGS
    stages = {setting: [] for plan in plans.values() for _, _, setting in plan.stages()}
    for plan in plans.values():
        more, labels = load(plan, "close", settings.train_images)
        images |= more
    config = TrainConfig(batch_size=settings.batch_size, warmup_epochs=0)
    for turn in range(rounds + 1):
        for setting, seconds in stages.items():
            model = build(int(labels.max()) + 1, seed=0)
            once = ProgressiveSchedule(setting, setting, num_stages=1, epochs=1)
            started = time.process_time()
            fit_progressively(model, images, labels, None, once, config, progress=False)
            if turn > 0:  # the first round warms up
                seconds.append(time.process_time() - started)
    return {
        name: sum(
            (end - start + 1) * median(stages[setting]) for start, end, setting in plan.stages()
        )
        / plan.epochs
        for name, plan in plans.items()
    }
