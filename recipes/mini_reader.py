"""Train the network that judges generated pictures (chapter 05_latent_consistency).

``python -m recipes.mini_reader`` trains on one thread, goes on where it was stopped,
and ends by writing the reader to ``weights/mini-reader`` and the course of the training to
``records/mini_reader.json``; called again, it writes both again without training.

It learns from real renderings only, of streams that no generator of the course is trained on.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from modarch_utils import profile, zoo
from modarch_utils.data import pairs, scenes
from modarch_utils.measure import count_params
from modarch_utils.models import reader as reader_
from modarch_utils.models.reader import Reader
from modarch_utils.training import reading
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.history import History
from modarch_utils.training.reading import Reading
from recipes import cards, reader_training
from recipes.epochs import measured

NAME = "mini-reader"
RUN = Path("runs/mini_reader")


@dataclass(frozen=True)
class ReaderSettings:
    """The pictures: half with one object, half with two."""

    image_size: int = 64
    streams: tuple[int, int] = (20, 21)
    """To train on, and held out. The generator's are 0 and 1."""
    per_kind: int = 8_000
    """Of each kind to train on, and as many mirror images."""
    held_out: int = 1_000
    """Of each kind."""
    blur: float = 1.0
    """Deviation in pixels of the blur under which held-out pictures are read once more."""


SETTINGS = ReaderSettings()

CONFIG = TrainConfig(
    epochs=8,
    batch_size=128,
    lr=4e-3,
    weight_decay=0.02,
    warmup_epochs=0.5,
    label_smoothing=0.0,
    ema_decay=0.999,
    grad_clip=3.0,
    augment="none",  # the mirrored scenes are images of their own, with labels of their own
    autocast="bf16",
)


def load(stream: int, n: int, size: int) -> list[scenes.Scenes | pairs.Pairs]:
    """``n`` scenes with one object, and ``n`` with two, of ``size`` pixels."""
    one = scenes.load(n, size, seed=stream, framing="close")
    return [one, pairs.load(n, size, seed=stream)]


def training_set(settings: ReaderSettings) -> tuple[Tensor, Reading]:
    """Images (N, 3, S, S) uint8 and what they show, mirror images included."""
    one, two = load(settings.streams[0], settings.per_kind, settings.image_size)
    turned = two.mirrored()
    images = torch.cat((one.images, one.images.flip(3), two.images, turned.images))
    shown = [reading.labels(each) for each in (one, one, two, turned)]
    return images, Reading(*(torch.cat(columns) for columns in zip(*shown, strict=True)))


def quality(
    reader: Reader, held_out: list[scenes.Scenes | pairs.Pairs], pixels: float
) -> list[dict]:
    """Shares read right in pictures with one and two objects: a row for each.

    They are shown as they are, and blurred by a deviation of so many pixels.
    """
    rows = []
    for objects, data in enumerate(held_out, 1):
        sharp = data.images.float() / 127.5 - 1
        for blur, images in ((0.0, sharp), (pixels, reader_training.blur(sharp, pixels))):
            found = reading.follows(reading.read(reader, images), reading.labels(data))
            values = reading.summary(found)
            names = ("count", "shape", "colour", "ground", "all_right")
            rows.append({"objects": objects, "blur": blur} | {n: values[n] for n in names})
    return rows


def card(file: Path, settings: dict, rows: list[dict]) -> str:
    """The model card of saved weights, given the settings and rows of their record."""
    shares = [list(row.values()) for row in settings["quality"]]
    table = "\n".join(
        f"| {objects} | {blur:g} | " + " | ".join(f"{100 * each:.1f}" for each in rest) + " |"
        for objects, blur, *rest in shares
    )
    params = count_params(reader_.load(file.parent))
    return cards.fill(NAME, file, settings, rows, params=params, table=table)


def main(settings: ReaderSettings = SETTINGS, config: TrainConfig = CONFIG) -> None:
    """Train what is missing of the run; print each epoch; write reader, card and record."""
    torch.set_num_threads(1)
    images, wanted = training_set(settings)
    held_out = load(settings.streams[1], settings.held_out, settings.image_size)
    torch.manual_seed(config.seed)
    reader = Reader().to(memory_format=torch.channels_last)

    def until(epoch: int) -> History:
        return reader_training.train_reader(
            reader, images, wanted, config, out=RUN, stop_after=epoch, progress=False
        )

    def measure(epoch: int, history: History) -> dict[str, float]:
        found = quality(reader, held_out, settings.blur)
        return {f"all_right_{r['objects']}_blur_{r['blur']:g}": r["all_right"] for r in found}

    _, rows = measured(until, config.epochs, RUN, measure)
    file = reader_.save(reader, profile.output_dir(zoo.WEIGHTS) / NAME)
    found = quality(reader_.load(file.parent), held_out, settings.blur)
    kept = asdict(settings) | {"training": asdict(config), "scenes": pairs.version()}
    kept |= {"sha256": cards.sha256(file), "quality": found}
    one, two = (100 * row["all_right"] for row in found if not row["blur"])
    share = f"everything read right: {one:.1f} % of held-out scenes with one object, {two:.1f} % "
    cards.publish(card, file, kept, rows, quality=share + "with two")


if __name__ == "__main__":
    main()
