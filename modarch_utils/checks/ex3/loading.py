"""Exercise 3, before the network: loading it, and turning a picture into its input."""

import io
from collections.abc import Callable
from contextlib import contextmanager, redirect_stderr
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import AutoConfig, AutoImageProcessor, AutoModel, BitImageProcessor

from modarch_utils.checks.core import (
    Look,
    Part,
    Property,
    Report,
    Unusable,
    agree,
    call,
    given,
    keeps_arguments,
    kind,
    near,
    one_row,
    returned,
    tensor,
)
from modarch_utils.checks.ex3.combine import combined
from modarch_utils.checks.ex3.tokens import Case, each, networks


def check_load(load: Callable[[Path], tuple[object, nn.Module]], seed: int = 0) -> Report:
    """All findings on a function that loads an image processor and a network.

    Args:
        load: ``load(folder)``; it is tried with two folders, one of a network with registers.
        seed: decides the weights in them.
    """
    with torch.random.fork_rng(devices=[]), TemporaryDirectory() as place, _quiet():
        return loading(Path(place), seed).check(lambda folder, *_: load(folder))


def check_to_input(function: Callable[[np.ndarray, object], Tensor], seed: int = 0) -> Report:
    """All findings on a function that turns a picture into the network's input.

    Args:
        function: ``function(picture, processor)``; the picture is ``(H, W, 3)`` uint8, RGB.
        seed: decides pictures, means and deviations.
    """
    return to_input(seed).check(function)


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
READY = "It is in training mode, and dropout is at work: model.eval() before you return it."
BY_HAND = (
    "BitImageProcessor() made by hand has CLIP's mean and deviation: "
    "AutoImageProcessor.from_pretrained reads the folder's."
)


def loading(place: Path, seed: int = 0) -> Part:
    """Two folders below `place`; functions take what is in it, too: ``(folder, ours, pixels)``."""
    cases = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for registers in (3, 0):
            folder = place / f"network{registers}-{seed}"
            ours, theirs = networks(Case(registers=registers, dropout=0.5))
            theirs.save_pretrained(folder)
            mean, std = (torch.rand(3).mul(0.4).add(0.2).tolist() for _ in range(2))
            BitImageProcessor(image_mean=mean, image_std=std).save_pretrained(folder)
            cases.append(partial(tuple, (folder, ours, torch.randn(1, 3, 30, 30))))
    expected = {
        "runs": "(processor, model) from a folder",
        "architecture": "the one that the folder's config.json names, with its own registers",
        "weights": "the folder's, in float32",
        "ready": "dropout is off",
        "processor": "the folder's mean and standard deviation",
    }
    named = "AutoModel takes the class that config.json names."
    default = "Load the folder's, in float32, the default."
    train = {READY: _auto(nn.Module.train)}
    clips = {BY_HAND: _load(AutoModel.from_pretrained, lambda _: BitImageProcessor())}
    other = "It is not the folder's: AutoImageProcessor.from_pretrained reads it."
    roughly = partial(agree, tolerance=1e-4)
    looks = (
        one_row("runs", cases, "", view=len),
        one_row("architecture", cases, named, ARCHITECTURES, each("architecture")),
        one_row("weights", cases, default, WEIGHTS, each("weights"), after=("architecture",)),
        one_row("ready", cases, "model.eval() before you return it.", train, each("ready")),
        one_row("processor", cases, other, clips, each("processor"), same=roughly),
    )
    return Part("load", expected, _auto(nn.Module.eval), looks, _facts, _load_hint)


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


def _load_hint(message: str, args: tuple) -> str:
    if "huggingface.co" in message or "offline" in message or "onnect" in message:
        return "A name of the hub is fixed in the code: load from the folder that is given."
    return ""


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
    layout=("layout", {SCRAMBLED: lambda x: x.reshape(3, *x.shape[:2])}),
    channels=("channels", {REVERSED: lambda x: x.flip(0)}),
    numbers=("numbers", NUMBERS),
)


@cache
def to_input(seed: int = 0) -> Part:
    """A picture that is not square, and a processor that would resize it to 24 and crop it."""
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
    expected = {
        "runs": "(1, 3, H, W) from (H, W, 3), at the picture's own size",
        "layout": "each pixel keeps its place",
        "channels": "stay red, green, blue",
        "numbers": "from 0 to 1, less the processor's mean, by its standard deviation",
        "float32": "the dtype of the network's weights",
        "picture": "is the same after the call as before",
    }
    cases = [given(picture, processor)]
    rows = "numbers", "layout", "channels"
    other = "Print the first pixel, and compute it by hand."
    copy = "Something writes into it (-=, /=): copy first."
    keeps = keeps_arguments(
        lambda: (picture.copy(), processor), changed=copy, names="the picture itself"
    )
    looks = (
        one_row("runs", cases, "", view=len),
        Look(rows, cases, other, INPUTS, same=partial(agree, tolerance=1e-4)),
        one_row(
            "float32",
            cases,
            "NumPy computes in float64: .float() at the end.",
            view=lambda results: str(results[0].dtype),
        ),
        Property("picture", keeps),
    )
    return Part("to_input", expected, _input(), looks, _one_input, _input_hint)


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


def _input_hint(message: str, args: tuple) -> str:
    if "must match the size" in message or "could not be broadcast" in message:
        return "Mean and deviation lie along another axis than the channels: view(3, 1, 1) or so."
    if "cast ufunc" in message or "Cannot cast" in message or "can't be cast" in message:
        return "The picture holds whole numbers: make it a float tensor first."
    return ""
