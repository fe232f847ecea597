"""Exercise 3, before the network: loading it, and turning a picture into its input."""

import io
from collections.abc import Callable
from contextlib import contextmanager, redirect_stderr
from functools import partial
from operator import itemgetter

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel, BitImageProcessor

from modarch_utils.checks.core import (
    Part,
    Row,
    Unusable,
    agree,
    as_check,
    call,
    combined,
    each,
    given,
    hints,
    keeps_arguments,
    kind,
    mutants,
    near,
    new_folder,
    part_of_rows,
    returned,
    tensor,
)
from modarch_utils.checks.ex3.tokens import Case, networks


@contextmanager
def _quiet():
    """No bars and warnings of transformers: what matters of them is in the table."""
    log, bars = transformers.logging, transformers.logging.is_progress_bar_enabled()
    level = log.get_verbosity()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with redirect_stderr(io.StringIO()):
            yield
    finally:
        log.set_verbosity(level)
        if bars:
            log.enable_progress_bar()


def _load(model: Callable, processor: Callable = AutoImageProcessor.from_pretrained) -> Callable:
    """From a folder to a processor and a model, each made of it in this way."""
    return lambda folder, *_: (processor(folder), model(folder))


def _auto(then: Callable[[nn.Module], nn.Module]) -> Callable:
    """The right network, with something done to it."""
    return _load(lambda folder: then(AutoModel.from_pretrained(folder)))


ARCHITECTURES = {
    "The folder is ignored: load from the folder that is given.": _load(
        lambda _: transformers.Dinov2Model(
            transformers.Dinov2Config(hidden_size=12, num_attention_heads=2)
        ).eval()
    ),
    "The class is fixed in the code, and registers are left out or made up, without an error: "
    "AutoModel takes the class that config.json names.": (
        _load(transformers.Dinov2Model.from_pretrained),
        _load(transformers.Dinov2WithRegistersModel.from_pretrained),
    ),
    "A head sits on the network (a new one, with random weights): AutoModel loads the network "
    "alone.": _load(transformers.AutoModelForImageClassification.from_pretrained),
}
WEIGHTS = {
    "Half precision is for GPUs: load it in float32, the default.": _auto(nn.Module.half),
    "The weights are not loaded: a configuration alone makes a network with random weights. "
    "from_pretrained reads both.": _load(
        lambda folder: AutoModel.from_config(AutoConfig.from_pretrained(folder)).eval()
    ),
}


@_quiet()
@partial(as_check, adapt=lambda load: lambda folder, *_: load(folder))
def check_load(seed: int = 0) -> Part:
    """All findings on a function that loads an image processor and a network.

    Args:
        function: ``function(folder)``; it is tried with two folders, one of a network with
            registers.
        seed: decides the weights in them.
    """
    # The functions below take what is in the folder, too: (folder, ours, pixels).
    place, cases = new_folder(), []
    for registers in (3, 0):
        folder = place / f"network{registers}"
        ours, theirs = networks(Case(registers=registers, dropout=0.5))
        theirs.save_pretrained(folder)
        mean, std = (torch.rand(3).mul(0.4).add(0.2).tolist() for _ in range(2))
        BitImageProcessor(image_mean=mean, image_std=std).save_pretrained(folder)
        cases.append(partial(tuple, (folder, ours, torch.randn(1, 3, 30, 30))))
    rows = {
        "runs": Row("(processor, model) from a folder", view=len),
        "architecture": Row(
            "the one that the folder's config.json names, with its own registers",
            "AutoModel takes the class that config.json names.",
            ARCHITECTURES,
            each(itemgetter("architecture")),
        ),
        "weights": Row(
            "the folder's, in float32",
            "Load the folder's, in float32, the default.",
            WEIGHTS,
            each(itemgetter("weights")),
            ("architecture",),
        ),
        "ready": Row(
            "dropout is off",
            "model.eval() before you return it.",
            {
                "It is in training mode, and dropout is at work: model.eval() before you return "
                "it.": _auto(nn.Module.train)
            },
            each(itemgetter("ready")),
        ),
        "processor": Row(
            "the folder's mean and standard deviation",
            "It is not the folder's: AutoImageProcessor.from_pretrained reads it.",
            {
                "BitImageProcessor() made by hand has CLIP's mean and deviation: "
                "AutoImageProcessor.from_pretrained reads the folder's.": _load(
                    AutoModel.from_pretrained, lambda _: BitImageProcessor()
                )
            },
            each(itemgetter("processor")),
            same=partial(agree, tolerance=1e-4),
        ),
    }
    hub = "A name of the hub is fixed in the code: load from the folder that is given."
    hint = hints({"huggingface.co|offline|onnect": hub})
    return part_of_rows("load", rows, _auto(nn.Module.eval), cases, read=_facts, hint=hint)


SAME = "the same numbers at every call"


@torch.no_grad()
def _facts(result: object, args: tuple) -> dict[str, object]:
    """What is to be seen of a processor and a model, row by row."""
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise Unusable(kind(result), "Return two things, `return processor, model`.")
    (processor, model), (_, ours, pixels) = result, args
    if isinstance(processor, nn.Module):
        raise Unusable("a network first", "The order is processor, model.")
    returned(model, nn.Module, "The second one, the model, is a network.")
    if not hasattr(processor, "image_mean"):
        raise Unusable(
            f"{kind(processor)} first", "The processor is what AutoImageProcessor loads."
        )

    def run() -> object:
        return call(model, pixels.to(next(model.parameters()).dtype))

    facts = {"processor": [*processor.image_mean, *processor.image_std]}
    if not hasattr(run(), "last_hidden_state"):
        none = f"no last_hidden_state, from {kind(model)},"
        return facts | {"architecture": none, "weights": none, "ready": {SAME: True}}
    one, other = (run().last_hidden_state for _ in range(2))
    tokens = nn.Module.eval(model) and run().last_hidden_state
    cls, registers, patches, _ = ours(pixels)
    right = torch.cat((cls[:, None], registers, patches), 1)
    same_patch = model.config.patch_size == Case.patch
    return facts | {
        "architecture": {"tokens": tokens.shape[1] if same_patch else "of another patch size"},
        "weights": {
            "dtype": str(tokens.dtype),
            "the folder's numbers": tokens.shape == right.shape and near(tokens, right, 1e-4),
        },
        "ready": {SAME: near(one, other)},
    }


# The input: where pixels lie, which channel is which, and what is done to the numbers.

Numbers = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From numbers (3, H, W) of 0 to 255, mean and deviation (3, 1, 1) to those of the input."""


def _input(
    layout: Callable = lambda x: x.permute(2, 0, 1),
    channels: Callable = torch.clone,
    numbers: Numbers = lambda x, m, s: (x / 255 - m) / s,
) -> Callable[[np.ndarray, object], Tensor]:
    """The input, with another layout, other channels or other numbers."""

    def function(picture: np.ndarray, processor: object) -> Tensor:
        x = channels(layout(torch.from_numpy(picture).double()))
        m, s = (_column(v) for v in (processor.image_mean, processor.image_std))
        return numbers(x, m, s).float()[None]

    return function


def _column(values: tuple[float, float, float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64).view(3, 1, 1)


def _fixed(mean: tuple, std: tuple) -> Numbers:
    return lambda x, m, s: (x / 255 - _column(mean)) / _column(std)


def _own(x: Tensor, *_: Tensor) -> Tensor:
    return (x - x.mean((1, 2), keepdim=True)) / x.std((1, 2), keepdim=True)


DIVIDE = "Divide by 255 first: mean and deviation are meant for numbers from 0 to 1."
FOLLOW = "Subtract the processor's mean, then divide by its deviation."
FIXED = "{} mean and deviation are fixed in the code: take the processor's."
NUMBERS = {
    f"Mean and deviation are missing. {FOLLOW}": lambda x, m, s: x / 255,
    f"Nothing is normalised. {DIVIDE}": lambda x, m, s: x,
    DIVIDE: lambda x, m, s: (x - m) / s,
    "Divided by 255 twice: the processor does it, too.": lambda x, m, s: (x / 255**2 - m) / s,
    f"The deviation is missing. {FOLLOW}": lambda x, m, s: x / 255 - m,
    f"The mean is missing. {FOLLOW}": lambda x, m, s: x / 255 / s,
    "Divide by the deviation.": lambda x, m, s: (x / 255 - m) * s,
    "The deviation is squared: divide by it once.": lambda x, m, s: (x / 255 - m) / s**2,
    f"The order is: {FOLLOW.lower()}": lambda x, m, s: x / 255 / s - m,
    "The two are swapped.": lambda x, m, s: (x / 255 - s) / m,
    "Each channel has its own mean and deviation.": (
        lambda x, m, s: (x / 255 - m.mean()) / s.mean()
    ),
    "Take the processor's mean and deviation, not the picture's.": _own,
    f"Darkest to brightest is not 0 to 1: divide by 255. {FOLLOW}": (
        lambda x, m, s: (x - x.min()) / (x.max() - x.min())
    ),
    FIXED.format("ImageNet's"): _fixed((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    FIXED.format("CLIP's"): _fixed(
        (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    ),
    FIXED.format("The small networks'"): _fixed((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
SCRAMBLED = "`reshape` does not swap axes and mixes the pixels: permute(2, 0, 1) does."
REVERSED = "The channels are reversed (BGR, as in OpenCV): leave them."
INPUTS = combined(
    _input,
    layout=mutants("layout", {SCRAMBLED: lambda x: x.reshape(3, *x.shape[:2])}),
    channels=mutants("channels", {REVERSED: lambda x: x.flip(0)}),
    numbers=mutants("numbers", NUMBERS),
)


INPUT_HINT = hints(
    {
        "must match the size|could not be broadcast": (
            "Mean and deviation lie along another axis than the channels: view(3, 1, 1) or so."
        ),
        "cast ufunc|Cannot cast|can't be cast": (
            "The picture holds whole numbers: make it a float tensor first."
        ),
    }
)


@as_check
def check_to_input(seed: int = 0) -> Part:
    """All findings on a function that turns a picture into the network's input.

    Args:
        function: ``function(picture, processor)``; the picture is ``(H, W, 3)`` uint8, RGB.
        seed: decides the picture, which is not square, and mean and deviation of a processor that
            would resize it to 24 pixels and crop it.
    """
    random = np.random.default_rng(seed)
    height, width = (int(n) for n in random.choice(np.arange(31, 60), 2, replace=False))
    picture = random.integers(10, 240, (height, width, 3), dtype=np.uint8)
    mean, std = random.uniform(0.2, 0.6, (2, 3))
    processor = BitImageProcessor(
        image_mean=mean.tolist(),
        image_std=std.tolist(),
        size={"height": 24, "width": 24},
        crop_size={"height": 20, "width": 20},
    )
    keeps = keeps_arguments(
        lambda: (picture.copy(), processor),
        changed="Something writes into it (-=, /=): copy first.",
        names="the picture itself",
    )
    rows = {
        "runs": Row("(1, 3, H, W) from (H, W, 3), at the picture's own size", view=len),
        "layout": Row("each pixel keeps its place"),
        "channels": Row("stay red, green, blue"),
        "numbers": Row(
            "from 0 to 1, less the processor's mean, by its standard deviation",
            "Print the first pixel, and compute it by hand.",
            INPUTS,
            same=partial(agree, tolerance=1e-4),
        ),
        "float32": Row(
            "the dtype of the network's weights",
            "NumPy computes in float64: .float() at the end.",
            view=lambda results: str(results[0].dtype),
        ),
        "picture": Row("is the same after the call as before", look=keeps),
    }
    cases = [given(picture, processor)]
    return part_of_rows("to_input", rows, _input(), cases, read=_one_input, hint=INPUT_HINT)


def _one_input(result: object, args: tuple) -> Tensor:
    height, width, _ = args[0].shape
    cut = (
        "The processor has resized or cropped the picture to its own size: do_resize=False, "
        "do_center_crop=False."
    )
    last = "Channels are still last: permute to (3, H, W)."
    known = {
        (1, 3, 24, 24): cut,
        (1, 3, 20, 20): cut,
        (3, height, width): "The axis N is missing: a picture is a batch of one, [None].",
        (1, height, width, 3): last,
        (height, width, 3): last,
        (1, 3, width, height): "Height and width are swapped: .T turns all axes round, "
        "permute(2, 0, 1) does not.",
    }
    other = "Return (1, 3, H, W), with the picture's own H and W."
    return tensor(result, (1, 3, height, width), lambda came: known.get(came, other))
