"""Self-distil a small Vision Transformer on scenes, without a label (chapter 04_dinov2).

``python -m recipes.mini_dinov2_pretrained`` trains on one thread, goes on where it
was stopped, and ends by writing the teacher's backbone to ``weights/mini-dinov2-pretrained`` and
the course of the training to ``records/mini_dinov2_pretrained.json``; called again, it writes both
again without training. With another ``--epochs`` than the recipe's it is a trial, which ends in
``runs/`` instead and leaves no record.
"""

import argparse
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from modarch_utils import profile, zoo
from modarch_utils.data import scenes
from modarch_utils.models.dinov2 import DinoVisionTransformer
from modarch_utils.models.layers import init_fan_in
from modarch_utils.training.crops import Crops
from modarch_utils.training.dino import DinoConfig, DINOv2
from modarch_utils.training.probes import extract, knn_accuracy
from recipes import cards, export
from recipes.epochs import line
from recipes.self_distillation import SelfDistillationConfig, self_distil

NAME = "mini-dinov2-pretrained"
RUNS = Path("runs")
NOT_YET = "Not measured yet: `python -m recipes.dinov2_features` fills this in."


@dataclass(frozen=True)
class MiniSettings:
    """The network, and the scenes that it is trained and scored on."""

    image_size: int = 64
    patch_size: int = 8
    dim: int = 128
    depth: int = 5
    num_heads: int = 2
    registers: int = 4
    framing: str = "close"
    images: int = 16000
    gallery: int = 2000
    """The first training scenes: the labelled neighbours of a k-NN classifier."""
    queries: int = 1000
    """Held-out scenes, from another stream."""


SETTINGS = MiniSettings()

CONFIG = SelfDistillationConfig(
    epochs=24,
    batch_size=64,
    lr=1.5e-3,
    warmup_epochs=0.4,
    crops=Crops(
        global_size=48,
        local_size=24,
        # An object fills less than half of a scene: small crops would show the ground alone.
        global_scale=(0.6, 1.0),
        local_scale=(0.3, 0.7),
        # Colours answer every question while crops have them: a hue that turns leaves the colour
        # of a thing relative to its ground.
        grey=0.6,
        brightness=0.4,
        contrast=0.4,
        jitter=1.0,
        saturation=0.8,
        hue=0.5,
    ),
    # A colder and faster teacher than the paper's, whose run has 625,000 steps and not 6,000. Near
    # the uniform answer only those differences between images grow that the student predicts from
    # another crop better than (teacher's / student's temperature).
    objective=DinoConfig(
        prototypes=1024, batch_norm=True, teacher_temperature=(0.015, 0.015), momentum=(0.9, 1.0)
    ),
    autocast=True,
)


def build(seed: int = 0, settings: MiniSettings = SETTINGS) -> DinoVisionTransformer:
    """The small network with four registers, freshly initialised from ``seed``."""
    torch.manual_seed(seed)
    net = DinoVisionTransformer(
        settings.image_size,
        settings.patch_size,
        settings.dim,
        settings.depth,
        settings.num_heads,
        settings.registers,
        layer_scale=1.0,
    )
    return net.apply(init_fan_in)


def load(seed: int, settings: MiniSettings = SETTINGS) -> scenes.Scenes:
    """Stream 0 to train on, stream 1 to be scored on."""
    n = (settings.images, settings.queries)[seed]
    return scenes.load(n, settings.image_size, seed=seed, framing=settings.framing)


def scores(
    backbone: torch.nn.Module, train: scenes.Scenes, held_out: scenes.Scenes, n: int
) -> dict[str, float]:
    """k-NN accuracy in percent for each factor, with the class token and with mean patches.

    ``n`` training scenes are the gallery, all held-out scenes the queries.
    """
    known, asked = extract(backbone, train.images[:n]), extract(backbone, held_out.images)
    return {
        f"{factor}_{token}": round(
            100
            * knn_accuracy(
                (getattr(known, token), train.labels(factor)[:n]),
                (getattr(asked, token), held_out.labels(factor)),
            ),
            1,
        )
        for factor in scenes.CLASSES
        for token in ("cls", "mean_patch")
    }


def save_curve(
    backbone: DinoVisionTransformer,
    folder: Path,
    settings: dict,
    epochs: list[dict],
) -> None:
    """Write weights, card and, unless it is a trial in ``runs/``, the record of a training.

    The record has a row for each epoch, and one for epoch 0, the network at its random start.
    ``trained`` tells rows with losses and ``seconds`` from that one, ``scored`` those with k-NN
    accuracies.

    Args:
        backbone: the trained network.
        folder: for the weights, whose hash goes into the settings.
        settings: of the training.
        epochs: of each epoch, the start first, losses, ``seconds`` by the clock and, for the
            start and some others, what :func:`scores` found.
    """
    rows = [
        {
            "epoch": epoch,
            "trained": epoch > 0,
            "scored": epochs[0].keys() <= values.keys(),
            "seconds": 0,
            **values,
        }
        for epoch, values in enumerate(epochs)
    ]
    file = export.export(backbone, folder)
    settings |= {"scenes": scenes.version(), "sha256": cards.sha256(file)}
    if folder.is_relative_to(RUNS):
        cards.ship(card(file, settings, rows), file)
        print(file)
    else:
        cards.publish(card, file, settings, rows)


def card(file: Path, settings: dict, rows: list[dict], quality: str = NOT_YET) -> str:
    """The model card of saved weights, given the settings and rows of their record."""
    return cards.fill(file.parent.name, file, settings, rows, quality=quality)


def place(name: str, trial: bool) -> Path:
    """Where a network goes: a trial's stays in ``runs/``."""
    return (RUNS / name.replace("-", "_") if trial else profile.output_dir(zoo.WEIGHTS)) / name


def asked_epochs(what: str, usual: int) -> int:
    """Length of the schedule as the command line asks for it; ``what`` describes the recipe."""
    parser = argparse.ArgumentParser(description=what.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=usual, help="length of the schedule")
    return parser.parse_args().epochs


def main(
    settings: MiniSettings = SETTINGS,
    config: SelfDistillationConfig = CONFIG,
    trial: bool = False,
) -> None:
    """Train what is missing of the run; print each epoch, with scores every other one.

    At the end the weights are exported and, but for a trial, the record is written.
    """
    torch.set_num_threads(1)
    train, held_out = load(0, settings), load(1, settings)
    model = DINOv2(build(0, settings), settings.dim, config.objective)

    def score(model: DINOv2, epoch: int, record: dict) -> None:
        if epoch % 2 == 0 or epoch == config.epochs:
            record |= scores(model.teacher["backbone"], train, held_out, settings.gallery)
        print(line(epoch, record), flush=True)

    start: dict[str, float] = {}
    score(model.eval(), 0, start)
    history = self_distil(
        model,
        train.images,
        config,
        patch_size=settings.patch_size,
        out=RUNS / "mini_dinov2_pretrained",
        after_epoch=score,
        progress=False,
    )
    kept = asdict(settings) | {"training": asdict(config)}
    save_curve(model.teacher["backbone"], place(NAME, trial), kept, [start, *history])


if __name__ == "__main__":
    epochs = asked_epochs(__doc__, CONFIG.epochs)
    main(config=replace(CONFIG, epochs=epochs), trial=epochs != CONFIG.epochs)
