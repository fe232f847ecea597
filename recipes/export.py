"""Write a trained backbone as transformers ships one (chapter 04_dinov2).

``AutoModel.from_pretrained(folder)`` and ``AutoImageProcessor.from_pretrained(folder)`` load it.
"""

from pathlib import Path

from transformers import AutoConfig, AutoModel, BitImageProcessor

from modarch_utils.models.dinov2 import DinoVisionTransformer, transformers_state

FILE = "model.safetensors"


def processor(image_size: int) -> BitImageProcessor:
    """Resizes whole pictures to a square, cuts nothing away, and maps them to [-1, 1]."""
    return BitImageProcessor(
        size={"height": image_size, "width": image_size},
        do_center_crop=False,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )


def export(network: DinoVisionTransformer, folder: Path) -> Path:
    """Write configuration, weights (float16) and image processor; returns the file of weights.

    The configuration says float32, which is what ``from_pretrained`` then makes of them.
    """
    config, state = transformers_state(network)
    theirs = AutoModel.from_config(AutoConfig.for_model(**config))
    theirs.load_state_dict(state)
    halves = {name: value.half() for name, value in theirs.state_dict().items()}
    theirs.save_pretrained(folder, state_dict=halves)
    processor(config["image_size"]).save_pretrained(folder)
    (folder / FILE).chmod(0o644)  # it is written for its owner alone
    return folder / FILE
