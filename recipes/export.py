"""Write a trained backbone as transformers ships one, with a model card (chapter 04_dinov2).

A folder in ``weights/`` needs no code of this course: ``AutoModel.from_pretrained(folder)`` and
``AutoImageProcessor.from_pretrained(folder)`` load it.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from transformers import AutoConfig, AutoModel, BitImageProcessor

from modarch_utils.measure import count_params
from modarch_utils.models.dinov2 import DinoVisionTransformer, transformers_state

FILE = "model.safetensors"
FRONT = "---\nlicense: cc-by-4.0\n---\n\n"
"""How a card begins: what a model hub reads of it."""
LICENCE = (
    "| Licence | [CC BY 4.0](https://creativecommons.org/licenses/by/4.0/), by the authors of "
    "Modern Deep Learning Architectures |"
)
"""A row of a card's table."""
QUALITY = "## Measured quality\n"
NOT_YET = "Not measured yet: `python -m recipes.dinov2_features` fills this in.\n"


@dataclass(frozen=True)
class Card:
    """What a model card says of a training."""

    name: str
    """Of the folder, and with underscores of the recipe."""
    what: str
    """How it was trained, one sentence."""
    data: str
    seed: int
    epochs: int
    minutes: float
    """By the clock, on one thread."""
    inherits: str = ""
    """What others' licences have to do with the weights."""


def processor(image_size: int) -> BitImageProcessor:
    """Resizes whole pictures to a square, cuts nothing away, and maps them to [-1, 1]."""
    return BitImageProcessor(
        size={"height": image_size, "width": image_size},
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


def export(network: DinoVisionTransformer, card: Card, folder: Path) -> str:
    """Write configuration, weights, image processor and card; return the weights' sha256."""
    config, state = transformers_state(network)
    theirs = AutoModel.from_config(AutoConfig.for_model(**config))
    theirs.load_state_dict(state)
    theirs.save_pretrained(folder)
    processor(config["image_size"]).save_pretrained(folder)
    (folder / FILE).chmod(0o644)  # it is written for its owner alone
    found = sha256(folder)
    (folder / "README.md").write_text(
        _text(card, config, count_params(network), found) + QUALITY + "\n" + NOT_YET,
        "utf-8",
    )
    return found


def sha256(folder: Path) -> str:
    """Hash of a folder's weights."""
    return hashlib.sha256((folder / FILE).read_bytes()).hexdigest()


def write_quality(folder: Path, text: str) -> None:
    """Replace the last section of a card."""
    file = folder / "README.md"
    head, found, _ = file.read_text("utf-8").partition(QUALITY)
    if not found:
        raise ValueError(f"{file} has no section {QUALITY.strip()!r}; export the weights again.")
    file.write_text(f"{head}{QUALITY}\n{text.strip()}\n", "utf-8")


def _text(card: Card, config: dict, params: int, digest: str) -> str:
    side = config["image_size"]
    inherits = f"## What it inherits\n\n{card.inherits}\n\n" if card.inherits else ""
    return f"""{FRONT}# {card.name}

A `Dinov2WithRegistersModel` of {params:,} parameters: {config["num_hidden_layers"]} blocks, \
{config["hidden_size"]} channels, {config["num_attention_heads"]} heads, patches of \
{config["patch_size"]} pixels, {config["num_register_tokens"]} registers. {card.what}

```python
from transformers import AutoImageProcessor, AutoModel

from modarch_utils import zoo

folder = zoo.folder("{card.name}")
processor, model = AutoImageProcessor.from_pretrained(folder), AutoModel.from_pretrained(folder)
```

| | |
|---|---|
| Data | {card.data} |
| Recipe | `python -m recipes.{card.name.replace("-", "_")}` |
| Seed | {card.seed} |
| Length | {card.epochs} epochs, {card.minutes:.0f} minutes by the clock on one thread |
| Input | {side}×{side} pixels in [-1, 1]; the processor squeezes other pictures into that square |
| Weights | `{FILE}`, float32, sha256 `{digest}` |
{LICENCE}

## What it is not

It is no small copy of Meta's DINOv2: it has seen rendered scenes with one object each and no \
photograph, at {side} pixels. It is made to learn from, on a laptop, and knows little of the world \
outside those scenes; the figures on handwritten digits below show how little.

{inherits}"""
