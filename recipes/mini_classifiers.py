"""What the recipes of mini-convnext and mini-efficientnetv2 share: train, save for timm, measure.

A folder in timm's own format needs no code of this course:
``timm.create_model("local-dir:" + folder, pretrained=True)`` builds the network and loads it.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn
from torchvision.transforms.v2.functional import InterpolationMode, resize

from modarch_utils import profile, zoo
from modarch_utils.data import scenes
from modarch_utils.measure import count_params
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.history import History
from modarch_utils.training.loop import evaluate, fit
from recipes import cards
from recipes.epochs import measured

CONFIG = TrainConfig(
    epochs=12,
    batch_size=128,
    lr=4e-3,
    weight_decay=0.05,
    warmup_epochs=1.0,
    label_smoothing=0.1,
    ema_decay=0.998,
    grad_clip=3.0,
    augment="crop_flip",
)
"""One recipe for both, so that their features differ by architecture and pictures alone."""

FILE = "model.safetensors"
RENDERED = 64
"""Side in pixels of the scenes before each network's own resizing."""


@dataclass(frozen=True)
class Mini:
    """A small classifier of shapes: timm's architecture, its pictures, its training."""

    name: str
    """Of the folder, and with underscores of recipe and record."""
    architecture: str
    """A name that timm knows."""
    model_args: dict
    """What makes it small, for ``timm.create_model``."""
    train_args: dict
    """Of the training and the random start alone, as drop-path; not saved."""
    image_size: int
    interpolation: str
    """``"bicubic"`` or ``"bilinear"``."""
    mean: tuple[float, float, float]
    """Of red, green and blue in [0, 1]."""
    std: tuple[float, float, float]
    config: TrainConfig = CONFIG
    train_scenes: int = 16_000
    """Of stream 0."""
    held_out: int = 1_000
    """Of stream 1."""


class Normalised(nn.Module):
    """The network, fed with the loop's pictures: from [-1, 1] to its own mean and deviation."""

    def __init__(self, network: nn.Module, mini: Mini):
        super().__init__()
        self.network = network
        for name in ("mean", "std"):
            values = torch.tensor(getattr(mini, name)).view(3, 1, 1)
            self.register_buffer(name, values, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, classes) of images (N, 3, H, W) in [-1, 1]."""
        return self.network(((x + 1) / 2 - self.mean) / self.std)


def build(mini: Mini) -> nn.Module:
    """The network with random weights, for training."""
    classes = len(scenes.SHAPES)
    return timm.create_model(
        mini.architecture, num_classes=classes, **mini.model_args, **mini.train_args
    )


def pictures(mini: Mini, stream: int, n: int) -> tuple[Tensor, Tensor]:
    """Images (n, 3, S, S) uint8 at the network's own size, and their shapes (n,)."""
    data = scenes.load(n, RENDERED, seed=stream, framing="close")
    how = InterpolationMode(mini.interpolation)
    size = [mini.image_size] * 2
    return resize(data.images, size, interpolation=how, antialias=True), data.shape


def save(network: nn.Module, mini: Mini, folder: Path) -> Path:
    """Write weights in float16 and timm's ``config.json``; returns the file of the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    file = folder / FILE
    save_file({k: v.contiguous() for k, v in state.items()}, file, metadata={"format": "pt"})
    file.chmod(0o644)
    config = {
        "architecture": mini.architecture,
        "num_classes": network.num_classes,
        "num_features": network.num_features,
        "label_names": list(scenes.SHAPES),
        "model_args": mini.model_args,
        "pretrained_cfg": {
            "tag": "scenes",
            "input_size": [3, mini.image_size, mini.image_size],
            "fixed_input_size": False,
            "interpolation": mini.interpolation,
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": mini.mean,
            "std": mini.std,
            "num_classes": network.num_classes,
            "first_conv": network.pretrained_cfg["first_conv"],
            "classifier": network.pretrained_cfg["classifier"],
        },
    }
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
    return file


@torch.no_grad()
def accuracy(folder: Path, data: scenes.Scenes, batch_size: int = 100) -> float:
    """Share of scenes whose shape the saved network names, through timm alone."""
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    prepare = create_transform(**resolve_model_data_config(network), is_training=False)
    photos = data.images.permute(0, 2, 3, 1).numpy()
    inputs = torch.stack([prepare(Image.fromarray(photo)) for photo in photos])
    named = torch.cat([network(batch).argmax(1) for batch in inputs.split(batch_size)])
    return (named == data.shape).float().mean().item()


def card(file: Path, settings: dict, rows: list[dict]) -> str:
    """The model card of saved weights, given the settings and rows of their record."""
    means, deviations = (" ".join(f"{v:g}" for v in settings[key]) for key in ("mean", "std"))
    shares = settings["quality"].items()
    return cards.fill(
        "classifier",
        file,
        settings,
        rows,
        recipe=settings["name"].replace("-", "_"),
        classes=len(scenes.SHAPES),
        means=means,
        deviations=deviations,
        table="\n".join(f"| {framing} | {100 * share:.1f} |" for framing, share in shares),
    )


def make(mini: Mini) -> None:
    """Train what is missing of the run; print each epoch; write weights, card and record."""
    torch.set_num_threads(1)
    train, held_out = (
        pictures(mini, stream, n) for stream, n in enumerate((mini.train_scenes, mini.held_out))
    )
    torch.manual_seed(mini.config.seed)
    model = Normalised(build(mini), mini).to(memory_format=torch.channels_last)
    averaged = Normalised(build(mini), mini)
    run = Path("runs") / mini.name.replace("-", "_")

    def until(epoch: int) -> History:
        return fit(model, train, None, mini.config, out=run, stop_after=epoch, progress=False)

    def measure(epoch: int, history: History) -> dict[str, float]:
        averaged.load_state_dict(history.ema_weights)
        return {"shape": evaluate(averaged, held_out).accuracy}

    _, rows = measured(until, mini.config.epochs, run, measure)
    file = save(averaged.network, mini, profile.output_dir(zoo.WEIGHTS) / mini.name)
    quality = {}
    for framing in ("close", "wide"):
        data = scenes.load(mini.held_out, RENDERED, seed=1, framing=framing)
        quality[framing] = accuracy(file.parent, data)
    settings = asdict(mini) | {"sha256": cards.sha256(file), "quality": quality}
    settings |= {"rendered": RENDERED, "params": count_params(averaged)}
    settings |= {"scenes": scenes.version()}
    share = f"{100 * quality['close']:.1f} % of {mini.held_out:,} held-out scenes' shapes"
    cards.publish(card, file, settings, rows, {"config.json": ""}, share)
