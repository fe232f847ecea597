"""Exercise 3, before the network: loading it, and turning a picture into its input."""

import io
from collections.abc import Callable
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import BitImageProcessor

from modarch_utils.checks.core import AFTER, RIGHT, Report, Rows, Seen, Unusable, call, near, wrong
from modarch_utils.checks.ex3.guess import tensor
from modarch_utils.checks.ex3.tokens import Case, networks

LOADS = {
    "runs": "(processor, model) from a folder",
    "architecture": "the one that the folder's config.json names, with its own registers",
    "weights": "the folder's, in float32",
    "ready": "dropout is off",
    "processor": "the folder's mean and standard deviation",
}
INPUTS = {
    "runs": "(1, 3, H, W) from (H, W, 3), at the picture's own size",
    "layout": "each pixel keeps its place",
    "channels": "stay red, green, blue",
    "numbers": "from 0 to 1, less the processor's mean, by its standard deviation",
    "float32": "the dtype of the network's weights",
    "picture": "is the same after the call as before",
}
FIXED = {
    "ImageNet's": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "CLIP's": (
        (0.48145466, 0.4578275, 0.40821073),
        (0.26862954, 0.26130258, 0.27577711),
    ),
    "the small networks'": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}


def check_load(load: Callable[[Path], tuple[object, nn.Module]], seed: int = 0) -> Report:
    """All findings on a function that loads an image processor and a network.

    Args:
        load: ``load(folder)``; it is tried with two folders, one of a network with registers.
        seed: decides the weights in them.
    """
    rows = Rows(LOADS)
    with torch.random.fork_rng(devices=[]), TemporaryDirectory() as place, _quiet():
        torch.manual_seed(seed)
        folders = [_Folder(Path(place) / f"network{r}", r) for r in (3, 0)]

        def runs() -> Seen:
            for folder in folders:
                folder.open(load)
            return RIGHT

        if rows.add("runs", runs).passed:
            rows.add("architecture", lambda: _architecture(folders))
            rows.add("weights", lambda: _weights(folders), after=("architecture",))
            rows.add("ready", lambda: _ready(folders))
            rows.add("processor", lambda: _processor(folders))
    return rows.report("load")


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


class _Folder:
    """A saved network and its processor, and what the student's function makes of them."""

    def __init__(self, path: Path, registers: int):
        self.path, self.case = path, Case(registers=registers, dropout=0.5)
        self.ours, theirs = networks(self.case)
        theirs.save_pretrained(path)
        self.mean, self.std = (torch.rand(3).mul(0.4).add(0.2).tolist() for _ in range(2))
        BitImageProcessor(image_mean=self.mean, image_std=self.std).save_pretrained(path)
        self.pixels = torch.randn(1, 3, *(n * self.case.patch for n in self.case.grid))
        self.processor = self.model = None

    def open(self, load: Callable) -> None:
        result = call(load, self.path, hint=_load_hint)
        if not isinstance(result, tuple | list) or len(result) != 2:
            kind = "None" if result is None else f"a {type(result).__name__}"
            raise Unusable(kind, "Return two things, `return processor, model`.")
        self.processor, self.model = result
        if isinstance(self.processor, nn.Module):
            raise Unusable("a network first", "The order is processor, model.")
        if not isinstance(self.model, nn.Module):
            raise Unusable(f"a {type(self.model).__name__} second", "The model is a network.")
        if not hasattr(self.processor, "image_mean"):
            came = f"a {type(self.processor).__name__} first"
            raise Unusable(came, "The processor is what AutoImageProcessor loads.")

    @torch.no_grad()
    def run(self) -> Tensor:
        """The last layer's tokens of the student's network."""
        out = call(self.model, self.pixels.to(next(self.model.parameters()).dtype))
        if not hasattr(out, "last_hidden_state"):
            raise Unusable(
                f"a {type(self.model).__name__}, without last_hidden_state",
                "A head sits on the network (a new one, with random weights): AutoModel loads the "
                "network alone.",
            )
        return out.last_hidden_state


def _load_hint(message: str) -> str:
    if "huggingface.co" in message or "offline" in message or "onnect" in message:
        return "A name of the hub is fixed in the code: load from the folder that is given."
    return ""


def _architecture(folders: list[_Folder]) -> Seen:
    for folder in folders:
        should = 1 + folder.case.registers + folder.case.patches
        tokens = folder.run().shape[1]
        if folder.model.config.patch_size != folder.case.patch:
            return wrong(
                "a network with another patch size",
                "The folder is ignored: load from the folder that is given.",
            )
        if tokens != should:
            return wrong(
                f"{tokens} tokens where {should} are right, by {type(folder.model).__name__}",
                "The class is fixed in the code, and registers are left out or made up, without an "
                "error: AutoModel takes the class that config.json names.",
            )
    return RIGHT


def _weights(folders: list[_Folder]) -> Seen:
    for folder in folders:
        tokens = folder.run()
        if tokens.dtype != torch.float32:
            return wrong(
                f"{tokens.dtype}", "Half precision is for GPUs: load it in float32, the default."
            )
        training = folder.model.training
        nn.Module.eval(folder.model)
        tokens = folder.run()
        nn.Module.train(folder.model, training)
        with torch.no_grad():
            cls, registers, patches, _ = folder.ours(folder.pixels)
        if not near(tokens, torch.cat((cls[:, None], registers, patches), 1), 1e-4):
            return wrong(
                "other numbers than the folder's network gives",
                "The weights are not loaded: a configuration alone makes a network with random "
                "weights. from_pretrained reads both.",
            )
    return RIGHT


def _ready(folders: list[_Folder]) -> Seen:
    if all(near(folder.run(), folder.run()) for folder in folders):
        return RIGHT
    return wrong(
        "other numbers at every call",
        "It is in training mode, and dropout is at work: model.eval() before you return it.",
    )


def _processor(folders: list[_Folder]) -> Seen:
    for folder in folders:
        mean, std = folder.processor.image_mean, folder.processor.image_std
        pairs = zip((*mean, *std), (*folder.mean, *folder.std), strict=True)
        if all(abs(a - b) < 1e-4 for a, b in pairs):
            continue
        likely = "It is not the folder's: AutoImageProcessor.from_pretrained reads it."
        if np.allclose(mean, FIXED["CLIP's"][0], atol=1e-4):
            likely = (
                "BitImageProcessor() made by hand has CLIP's mean and deviation: "
                "AutoImageProcessor.from_pretrained reads the folder's."
            )
        return wrong(f"mean {', '.join(f'{m:.3g}' for m in mean)}", likely)
    return RIGHT


def check_to_input(function: Callable[[np.ndarray, object], Tensor], seed: int = 0) -> Report:
    """All findings on a function that turns a picture into the network's input.

    Args:
        function: ``function(picture, processor)``; the picture is ``(H, W, 3)`` uint8, RGB.
        seed: decides pictures, means and deviations.
    """
    random = np.random.default_rng(seed)
    height, width = (int(n) for n in random.choice(np.arange(31, 60), 2, replace=False))
    picture = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    mean, std = random.uniform(0.2, 0.6, (2, 3))
    processor = BitImageProcessor(
        image_mean=mean.tolist(),
        image_std=std.tolist(),
        size={"height": 24, "width": 24},
        crop_size={"height": 20, "width": 20},
    )
    rows, result, kept = Rows(INPUTS), None, picture.copy()

    def runs() -> Seen:
        nonlocal result
        raw = call(function, picture, processor, hint=_input_hint)
        shape = (1, 3, height, width)
        result = tensor(raw, shape, lambda came: _input_shape(came, shape))
        return RIGHT

    seen = rows.add("runs", runs)
    if result is not None or seen.came.startswith("shape"):
        rows.add("picture", lambda: _kept(picture, kept))
    if seen.passed:
        layout, channels, numbers = _read(result, kept, mean, std)
        rows.add("layout", lambda: layout)
        rows.add("channels", lambda: channels)
        rows.add("numbers", lambda: numbers)
        rows.add("float32", lambda: _is_float32(result))
    return rows.report("to_input")


def _kept(picture: np.ndarray, before: np.ndarray) -> Seen:
    if np.array_equal(picture, before):
        return RIGHT
    return wrong("the picture itself has changed", "Something writes into it (-=, /=): copy first.")


def _is_float32(result: Tensor) -> Seen:
    if result.dtype == torch.float32:
        return RIGHT
    return wrong(f"{result.dtype}", "NumPy computes in float64: .float() at the end.")


def _input_hint(message: str) -> str:
    if "must match the size" in message or "could not be broadcast" in message:
        return "Mean and deviation lie along another axis than the channels: view(3, 1, 1) or so."
    if "cast ufunc" in message or "Cannot cast" in message or "can't be cast" in message:
        return "The picture holds whole numbers: make it a float tensor first."
    return ""


def _input_shape(came: tuple[int, ...], shape: tuple[int, ...]) -> str:
    _, _, height, width = shape
    if came in ((1, 3, 24, 24), (1, 3, 20, 20)):
        return (
            "The processor has resized or cropped the picture to its own size: "
            "do_resize=False, do_center_crop=False."
        )
    if came == (3, height, width):
        return "The axis N is missing: a picture is a batch of one, [None]."
    if came in ((1, height, width, 3), (height, width, 3)):
        return "Channels are still last: permute to (3, H, W)."
    if came == (1, 3, width, height):
        return "Height and width are swapped: .T turns all axes round, permute(2, 0, 1) does not."
    return "Return (1, 3, H, W), with the picture's own H and W."


def _numbers(x: Tensor, m: Tensor, s: Tensor) -> list[tuple[Tensor, Seen]]:
    """Ways to normalise numbers (3, H, W) from 0 to 255, the right one first."""
    unit = x / 255
    own = unit - unit.mean((1, 2), keepdim=True)
    low, high = unit.amin(), unit.amax()
    divide = "Divide by 255 first: mean and deviation are meant for numbers from 0 to 1."
    follow = "Subtract the processor's mean, then divide by its deviation."
    ways = [
        (unit, "numbers from 0 to 1", "Mean and deviation are missing. " + follow),
        (x, "numbers from 0 to 255", "Nothing is normalised. " + divide),
        ((x - m) / s, "numbers of hundreds", divide),
        (
            (unit / 255 - m) / s,
            "numbers that hardly differ",
            "Divided by 255 twice: the processor does it, too.",
        ),
        (unit - m, "the deviation does not count", "The deviation is missing. " + follow),
        (unit / s, "the mean does not count", "The mean is missing. " + follow),
        ((unit - m) * s, "multiplied by the deviation", "Divide by the deviation."),
        (
            (unit - m) / s**2,
            "divided by the variance",
            "The deviation is squared: divide by it once.",
        ),
        (unit / s - m, "the mean comes off last", "The order is: " + follow.lower()),
        ((unit - s) / m, "mean and deviation in each other's place", "The two are swapped."),
        (
            (unit - m.mean()) / s.mean(),
            "one mean for all channels",
            "Each channel has its own mean and deviation.",
        ),
        (
            own / unit.std((1, 2), keepdim=True),
            "the picture's own mean is 0",
            "Take the processor's mean and deviation, not the picture's.",
        ),
        (
            (unit - low) / (high - low),
            "the picture's own range",
            "Darkest to brightest is not 0 to 1: divide by 255. " + follow,
        ),
    ]
    for whose, values in FIXED.items():
        mean, std = torch.tensor(values, dtype=torch.float64)[..., None, None]
        fixed = "They are fixed in the code: take the processor's."
        ways.append(((unit - mean) / std, f"{whose} mean and deviation", fixed))
    return [((unit - m) / s, RIGHT), *((way, wrong(*words)) for way, *words in ways)]


def _read(result: Tensor, picture: np.ndarray, mean, std) -> tuple[Seen, Seen, Seen]:
    """Layout, channels and numbers: which way of each gives the student's result."""
    x = torch.from_numpy(picture).double()
    m, s = (torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (mean, std))
    scrambled = "`reshape` does not swap axes and mixes the pixels: permute(2, 0, 1) does."
    layouts = [
        (x.permute(2, 0, 1), RIGHT, RIGHT),
        (x.reshape(3, *x.shape[:2]), wrong("scrambled pixels", scrambled), AFTER),
        (
            x.permute(2, 0, 1).flip(0),
            RIGHT,
            wrong("blue first", "The channels are reversed (BGR, as in OpenCV): leave them."),
        ),
    ]
    came = result[0].double()
    for pixels, layout, channels in layouts:
        for way, numbers in _numbers(pixels, m, s):
            if near(came, way, 1e-4):
                return layout, channels, numbers
    other = wrong("other numbers", "Print the first pixel, and compute it by hand.")
    return AFTER, AFTER, other
