"""Distil a real ImageNet network into a small Vision Transformer, without a label (04_dinov2).

``python -m recipes.mini_dinov2`` trains on one thread, goes on where it was stopped,
and ends by writing the backbone to ``weights/mini-dinov2`` and the course of the training to
``records/mini_dinov2.json``; called again, it writes both again without training. With another
``--epochs`` than the recipe's it is a trial, which ends in ``runs/`` instead and leaves no record.
The teacher sees larger renderings of the scenes.
"""

from dataclasses import asdict, dataclass, replace

import torch
from torch import Tensor

from modarch_utils import profile, zoo
from modarch_utils.data import cache, scenes
from modarch_utils.devices import plain_attention
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.history import History
from modarch_utils.training.loop import fit
from modarch_utils.training.probes import knn_accuracy
from recipes.distillation import (
    Distiller,
    Teaching,
    distillation_loss,
    pack,
    standardise,
    teach,
)
from recipes.epochs import line, measured
from recipes.mini_dinov2_pretrained import (
    RUNS,
    SETTINGS,
    MiniSettings,
    asked_epochs,
    build,
    load,
    place,
    save_curve,
    scores,
)

NAME = "mini-dinov2"


@dataclass(frozen=True)
class TeacherSettings:
    """The frozen network, and what is taken from it."""

    checkpoint: str = "efficientnet_lite0"
    image_size: int = 96
    stage: int = 3
    """Its map with a sixteenth of the image's sides: 6×6, with 112 channels."""


TEACHER = TeacherSettings()

CONFIG = TrainConfig(
    epochs=12,
    batch_size=64,
    lr=2e-3,
    weight_decay=0.05,
    label_smoothing=0.0,
    grad_clip=3.0,
    augment="none",  # the mirrored scenes are images of their own, with features of their own
    autocast="bf16",
)


def teacher_features(n: int, seed: int, mirrored: bool = False) -> Teaching:
    """The teacher's raw features of scenes 0 .. n - 1 of a stream, in half precision.

    They are kept on disk; the large renderings are not. ``mirrored``: of the mirror images.
    """
    settings, framing = TEACHER, SETTINGS.framing
    name = (
        f"{settings.checkpoint}-stage{settings.stage}-{framing}-{settings.image_size}px-"
        f"seed{seed}-n{n}{'-mirrored' * mirrored}-{scenes.version()}.safetensors"
    )
    path = profile.cache_dir() / "features" / name
    stored = cache.read(path)
    if stored is None:
        network = zoo.load_timm(settings.checkpoint).to(memory_format=torch.channels_last)
        parts, chunk = [], 250
        for start in range(0, n, chunk):
            images = scenes.render(
                min(chunk, n - start),
                settings.image_size,
                seed=seed,
                framing=framing,
                start=start,
            ).to_float()  # this network takes [-1, 1]
            images = images.flip(3) if mirrored else images
            images = images.contiguous(memory_format=torch.channels_last)
            parts.append(tuple(part.half() for part in teach(network, images, settings.stage)))
        pooled, maps = (torch.cat(columns).contiguous() for columns in zip(*parts, strict=True))
        stored = {"pooled": pooled, "maps": maps}
        cache.write(path, stored)
    return Teaching(stored["pooled"], stored["maps"])


def training_set(train: scenes.Scenes) -> tuple[Tensor, Tensor, Teaching]:
    """Scenes and their mirror images, the packed targets, and the shapes of one target."""
    both = [teacher_features(len(train), 0, mirrored) for mirrored in (False, True)]
    whole = Teaching(*(standardise(torch.cat(columns)) for columns in zip(*both, strict=True)))
    images = torch.cat((train.images, train.images.flip(3)))
    return images, pack(whole), Teaching(whole.pooled[:1], whole.maps[:1])


def main(
    settings: MiniSettings = SETTINGS, config: TrainConfig = CONFIG, trial: bool = False
) -> None:
    """Train what is missing of the run; print each epoch, with scores every other one.

    At the end the weights are exported and, but for a trial, the record is written.
    """
    torch.set_num_threads(1)
    train, held_out = load(0, settings), load(1, settings)
    images, targets, one = training_set(train)
    n = settings.gallery
    known, asked = teacher_features(len(train), 0), teacher_features(len(held_out), 1)
    for factor in scenes.CLASSES:
        accuracy = knn_accuracy(
            (known.pooled[:n], train.labels(factor)[:n]), (asked.pooled, held_out.labels(factor))
        )
        print(f"teacher: {factor} {100 * accuracy:.1f}", flush=True)

    model = Distiller(build(0, settings), settings.dim, one.pooled.shape[1], one.maps.shape[1])
    side, run = settings.image_size // settings.patch_size, RUNS / "mini_dinov2"
    start = scores(model.backbone.eval(), train, held_out, n)
    print(line(0, start), flush=True)

    def loss(network: torch.nn.Module, batch: Tensor, wanted: Tensor) -> Tensor:
        return distillation_loss(network(batch), wanted, (side, side))

    def until(epoch: int) -> History:
        options = {"loss_fn": loss, "out": run, "stop_after": epoch, "progress": False}
        with plain_attention("cpu"):
            return fit(model, (images, targets), None, config, **options)

    def measure(epoch: int, history: History) -> dict[str, float]:
        scored = epoch % 2 == 0 or epoch == config.epochs
        return scores(model.backbone, train, held_out, n) if scored else {}

    history, rows = measured(until, config.epochs, run, measure)
    kept = asdict(settings) | {"teacher": asdict(TEACHER), "training": asdict(config)}
    epochs = [row | {"lr": lr} for row, lr in zip(rows, history.lr, strict=True)]
    save_curve(model.backbone, place(NAME, trial), kept, [start, *epochs])


if __name__ == "__main__":
    epochs = asked_epochs(__doc__, CONFIG.epochs)
    main(config=replace(CONFIG, epochs=epochs), trial=epochs != CONFIG.epochs)
