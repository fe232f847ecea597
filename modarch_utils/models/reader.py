"""A small network that reads from a picture which objects it shows, where, and on what ground.

Fused-MBConv blocks (Tan & Le 2021, arXiv 2104.00298, fig. 2) in the paper's early-stage manner. The
last map is flattened, not averaged over its positions, as an average forgets left and right.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from .efficientnetv2 import FusedMBConv

WEIGHTS_FILE, CONFIG_FILE = "model.safetensors", "config.json"


@dataclass(frozen=True)
class ReaderConfig:
    """Sizes. Raises ValueError for a picture that cannot be halved so often."""

    shapes: int = 8
    colours: int = 8
    grounds: int = 4
    image_size: int = 64
    stem: int = 24
    """Channels after the first convolution, which halves the picture."""
    stages: tuple[tuple[int, int], ...] = ((40, 2), (64, 3))
    """(channels, blocks) of each stage; its first block halves the map."""
    expand: int = 2
    """Channels inside a block divided by those that enter it."""
    head: int = 16
    """Channels of the map that is flattened."""

    def __post_init__(self) -> None:
        if self.image_size % self.down:
            raise ValueError(f"image_size must be a multiple of {self.down}, not {self.image_size}")

    @property
    def down(self) -> int:
        """Pixels along the side of a position of the last map."""
        return 2 ** (1 + len(self.stages))


class Logits(NamedTuple):
    """What a :class:`Reader` returns. Objects are the left and the right one."""

    count: Tensor
    """(N, 2): one object or two."""
    shape: Tensor
    """(N, 2, shapes)"""
    colour: Tensor
    """(N, 2, colours)"""
    ground: Tensor
    """(N, grounds)"""


class Reader(nn.Module):
    """Reads pictures. An only object counts as the left one."""

    def __init__(self, config: ReaderConfig | None = None):
        super().__init__()
        self.config = config = config or ReaderConfig()
        self.stem = nn.Sequential(
            nn.Conv2d(3, config.stem, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(config.stem),
            nn.SiLU(),
        )
        dim, blocks = config.stem, []
        for channels, layers in config.stages:
            for i in range(layers):
                stride = 2 if i == 0 else 1
                blocks.append(FusedMBConv(dim, channels, 3, stride, config.expand))
                dim = channels
        self.blocks = nn.Sequential(*blocks)
        self.squeeze = nn.Sequential(nn.Conv2d(dim, config.head, 1), nn.SiLU())
        self.widths = (2, 2 * config.shapes, 2 * config.colours, config.grounds)
        positions = (config.image_size // config.down) ** 2
        self.head = nn.Linear(config.head * positions, sum(self.widths))

    def forward(self, images: Tensor) -> Logits:
        """Read images (N, 3, S, S) in [-1, 1]. Raises ValueError for another size."""
        side = self.config.image_size
        if images.shape[1:] != (3, side, side):
            raise ValueError(
                f"The reader takes pictures (N, 3, {side}, {side}), not {tuple(images.shape)}."
            )
        features = self.squeeze(self.blocks(self.stem(images)))
        count, shape, colour, ground = self.head(features.flatten(1)).split(self.widths, dim=1)
        return Logits(count, shape.unflatten(1, (2, -1)), colour.unflatten(1, (2, -1)), ground)


def save(reader: Reader, folder: Path) -> Path:
    """Write configuration and weights, these in half precision; returns the file of weights."""
    folder.mkdir(parents=True, exist_ok=True)
    config = json.dumps(asdict(reader.config), indent=2) + "\n"
    (folder / CONFIG_FILE).write_text(config, "utf-8")
    halves = {
        name: value.half() if value.is_floating_point() else value
        for name, value in reader.state_dict().items()
    }
    file = folder / WEIGHTS_FILE
    save_file({name: value.contiguous() for name, value in halves.items()}, file)
    file.chmod(0o644)  # it is written for its owner alone
    return file


def load(folder: Path) -> Reader:
    """The reader that :func:`save` wrote, in float32 and eval mode.

    Raises FileNotFoundError when the folder lacks one of the two files.
    """
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"There is no reader in {folder}: {name} is missing; "
                f"`python -m recipes.mini_reader` trains one."
            )
    found = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
    stages = tuple(tuple(stage) for stage in found.pop("stages"))
    reader = Reader(ReaderConfig(stages=stages, **found))
    reader.load_state_dict(load_file(folder / WEIGHTS_FILE))  # copies halves into float32
    return reader.eval()
