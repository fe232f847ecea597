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

from modarch_utils import profile, records, zoo
from modarch_utils.data import pairs, scenes
from modarch_utils.measure import count_params
from modarch_utils.models import reader as reader_
from modarch_utils.models.reader import Reader
from modarch_utils.training import reading
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.history import History
from modarch_utils.training.reading import Reading
from recipes import export, reader_training
from recipes.epochs import each_epoch, keep

NAME = "mini-reader"
RUN = Path("runs/mini_reader")


@dataclass(frozen=True)
class ReaderSettings:
    """The pictures: half with one object, half with two."""

    image_size: int = 64
    streams: tuple[int, int] = (20, 21)
    """To train on, and held out. The generator's are 0 and 1."""
    scenes: int = 8_000
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


def load(stream: int, n: int) -> list[scenes.Scenes | pairs.Pairs]:
    """``n`` scenes with one object, and ``n`` with two."""
    size = SETTINGS.image_size
    one = scenes.load(n, size, seed=stream, framing="close")
    return [one, pairs.load(n, size, seed=stream)]


def training_set() -> tuple[Tensor, Reading]:
    """Images (N, 3, S, S) uint8 and what they show, mirror images included."""
    one, two = load(SETTINGS.streams[0], SETTINGS.scenes)
    turned = two.mirrored()
    images = torch.cat((one.images, one.images.flip(3), two.images, turned.images))
    shown = [reading.labels(each) for each in (one, one, two, turned)]
    return images, Reading(*(torch.cat(columns) for columns in zip(*shown, strict=True)))


def quality(reader: Reader, held_out: list[scenes.Scenes | pairs.Pairs]) -> list[dict]:
    """Shares read right in pictures with one and two objects, sharp and blurred: a row for each."""
    rows = []
    for objects, data in enumerate(held_out, 1):
        sharp = data.images.float() / 127.5 - 1
        blurred = reader_training.blur(sharp, SETTINGS.blur)
        for blur, images in ((0.0, sharp), (SETTINGS.blur, blurred)):
            found = reading.follows(reading.read(reader, images), reading.labels(data))
            values = reading.summary(found)
            names = ("count", "shape", "colour", "ground", "all_right")
            rows.append({"objects": objects, "blur": blur} | {n: values[n] for n in names})
    return rows


def card(reader: Reader, file: Path, rows: list[dict], minutes: float) -> str:
    """The model card, with the measured quality."""
    table = "\n".join(
        f"| {row['objects']} | {row['blur']:g} | "
        + " | ".join(f"{100 * value:.1f}" for value in list(row.values())[2:])
        + " |"
        for row in rows
    )
    side = SETTINGS.image_size
    train, held_out = SETTINGS.streams
    return f"""{export.FRONT}# {NAME}

A convolutional network of {count_params(reader):,} parameters that reads from a picture of \
{side}×{side} pixels how many objects it shows (one or two), the shape and the colour of the left \
and of the right one, and the ground. It judges whether generated pictures follow their prompts.

```python
from modarch_utils import zoo
from modarch_utils.models import reader
from modarch_utils.training import reading

judge = reader.load(zoo.folder("{NAME}"))
reading.score(judge, images, prompts)  # images (N, 3, {side}, {side}) in [0, 1]
```

| | |
|---|---|
| Data | {SETTINGS.scenes:,} scenes with one object (framing `close`) and {SETTINGS.scenes:,} with \
two, stream {train}, and their mirror images; blurred, tinted and noisy at random |
| Recipe | `python -m recipes.mini_reader` |
| Seed | {CONFIG.seed} |
| Length | {CONFIG.epochs} epochs, {minutes:.0f} minutes by the clock on one thread |
| Input | {side}×{side} pixels in [-1, 1] |
| Weights | `{file.name}`, float16, sha256 `{export.sha256(file.parent)}` |
{export.LICENCE}

## What it is not

It has seen renderings of this course's scenes only. It always answers: of a photograph, or of a \
picture with no object, it names a shape too.

{export.QUALITY}
Percent read right in {SETTINGS.held_out:,} held-out renderings of each kind (stream {held_out}), \
as they are and after a Gaussian blur of so many pixels.

| objects | blur | count | shape | colour | ground | all right |
|---|---|---|---|---|---|---|
{table}
"""


def main() -> None:
    """Train what is missing of the run; print each epoch; write reader, card and record."""
    torch.set_num_threads(1)
    settings = asdict(SETTINGS) | {"training": asdict(CONFIG), "scenes": pairs.version()}
    images, wanted = training_set()
    held_out = load(SETTINGS.streams[1], SETTINGS.held_out)
    torch.manual_seed(CONFIG.seed)
    reader = Reader().to(memory_format=torch.channels_last)

    def until(epoch: int) -> History:
        return reader_training.train_reader(
            reader, images, wanted, CONFIG, out=RUN, stop_after=epoch, progress=False
        )

    for epoch, history in each_epoch(until, CONFIG.epochs):
        values = {"loss": history.train_loss[-1], "seconds": history.seconds[-1]}
        for row in quality(reader, held_out):
            values[f"all_right_{row['objects']}_blur_{row['blur']:g}"] = row["all_right"]
        kept = keep(RUN, epoch, values)
    file = reader_.save(reader, profile.output_dir(zoo.WEIGHTS) / NAME)
    rows = quality(reader_.load(file.parent), held_out)
    text = card(reader, file, rows, sum(history.seconds) / 60)
    (file.parent / "README.md").write_text(text, "utf-8")
    for row in rows:
        print(row)
    print(file, f"{file.stat().st_size / 1e6:.2f} MB", export.sha256(file.parent))
    settings |= {"sha256": export.sha256(file.parent), "quality": rows}
    results = [{"epoch": int(epoch)} | values for epoch, values in kept.items()]
    print(records.save("mini_reader", settings=settings, results=results))


if __name__ == "__main__":
    main()
