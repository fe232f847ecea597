"""Exercise 5, opening a folder: how pictures are prepared, and which numbers are the features."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import product
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2 import InterpolationMode

from modarch_utils.checks.core import RIGHT, Report, Rows, Seen, Unusable, call, wrong
from modarch_utils.checks.ex5.folders import (
    CLIP,
    IMAGENET,
    Folder,
    Look,
    dino_folders,
    framed,
    normalised,
    picture,
    timm_folders,
)

Open = Callable[[Path], tuple[Callable[[Image.Image], Tensor], Callable[[Tensor], Tensor]]]

ALIKE = 0.02  # of the pixels' deviation: two libraries round differently, two filters differ more
SAME = 2e-3  # of the largest feature: half precision in the middle of a GPU's product differs less
BATCH = 5

EXPECTED = {
    "runs": "two functions, prepare and embed; a picture gives (3, S, S), a batch (N, D)",
    "size": "S is the folder's own",
    "steady": "a picture is prepared in the same way each time",
    "framing": "resized and cut as the folder says",
    "pixels": "red, green, blue, with the folder's own mean and standard deviation",
    "weights": "the folder's, in float32",
    "in use": "a picture's features do not depend on the batch it is in",
    "features": "",
    "no graph": "features carry no graph for gradients",
}
SIZE = "The size is the folder's: ask it, as for mean and deviation."


def check_open_timm(open_timm: Open, seed: int = 0) -> Report:
    """All findings on a function that opens a folder in timm's format.

    Args:
        open_timm: ``open_timm(folder)`` gives ``prepare``, from a PIL picture to (3, S, S), and
            ``embed``, from (N, 3, S, S) to (N, D); tried with a ConvNeXt and an EfficientNetV2.
        seed: decides weights, means and pictures.
    """
    return _check("open_timm", open_timm, timm_folders(seed), "pooled, without a classifier", seed)


def check_open_dino(open_dino: Open, seed: int = 0) -> Report:
    """All findings on a function that opens a DINOv2 in the format of transformers.

    Args:
        open_dino: as in :func:`check_open_timm`; tried with and without registers.
        seed: decides weights, means and pictures.
    """
    return _check("open_dino", open_dino, dino_folders(seed), "the class token, normalised", seed)


def _check(
    title: str,
    function: Open,
    folders: AbstractContextManager[list[Folder]],
    features: str,
    seed: int,
) -> Report:
    rows = Rows(EXPECTED | {"features": features})
    with folders as saved:
        opened = [_Opened(function, folder, seed) for folder in saved]

        def each(look: Callable[[_Opened], Seen]) -> Callable[[], Seen]:
            return lambda: next((seen for o in opened if not (seen := look(o)).passed), RIGHT)

        rows.add("runs", each(_Opened.runs))
        rows.add("size", each(_Opened.size), ("runs",))
        rows.add("steady", each(_Opened.steady), ("runs",))
        fits = ("runs", "size", "steady")
        rows.add("framing", each(_Opened.framing), fits)
        rows.add("pixels", each(_Opened.pixels), fits)
        rows.add("weights", each(_Opened.weights), ("runs",))
        rows.add("in use", each(_Opened.in_use), ("runs", "weights"))
        rows.add("features", each(_Opened.features), ("runs", "weights"))
        rows.add("no graph", each(_Opened.no_graph), ("runs",))
    return rows.report(title)


class _Pixels(NamedTuple):
    """A way to prepare a picture; the two texts are empty where nothing is wrong with it."""

    framing: str
    pixels: str
    make: Callable[[], Tensor]


class _Opened:
    """What the student's function makes of a folder."""

    def __init__(self, function: Open, folder: Folder, seed: int):
        self.function, self.folder = function, folder
        self.image = picture(seed)
        self.batch = torch.stack([_prepared(picture(seed + k), folder.look) for k in range(BATCH)])
        self.input: Tensor | None = None
        self._found: _Pixels | None = None

    def _open(self) -> list[Callable]:
        pair = call(self.function, self.folder.path, hint=_hint)
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            came = "None" if pair is None else f"a {type(pair).__name__}"
            raise Unusable(came, "Return two functions, `return prepare, embed`.")
        if not all(callable(part) for part in pair):
            raise Unusable("something that cannot be called", "Both are functions or modules.")
        if isinstance(pair[0], nn.Module) and sum(p.numel() for p in pair[0].parameters()):
            raise Unusable("a network first", "The order is prepare, embed.")
        return list(pair)

    def _embed(self, embed: Callable, batch: Tensor) -> Tensor:
        result = call(embed, batch.clone(), hint=_hint)
        if not isinstance(result, Tensor):
            kind = "None" if result is None else f"a {type(result).__name__}"
            likely = "embed returns one tensor (N, D)."
            if hasattr(result, "last_hidden_state"):
                likely = "That is all that the network says: take its last_hidden_state, token 0."
            raise Unusable(f"{kind} from embed", likely)
        if result.shape[:1] != batch.shape[:1]:
            raise Unusable(
                f"{tuple(result.shape)} for {len(batch)} pictures",
                "The first axis counts the pictures of the batch: each has its own features.",
            )
        return result

    def runs(self) -> Seen:
        self.prepare, self.embed = self._open()
        self.input = _input(self.prepare, self.image)
        self.raw = self._embed(self.embed, self.batch)
        self.z = self.raw.detach().cpu()
        if not self.z.isfinite().all():
            return wrong("features that are NaN or infinite", "Print what goes into the network.")
        return RIGHT

    def size(self) -> Seen:
        height, width = self.input.shape[1:]
        side = self.folder.look.size
        if (height, width) == (side, side):
            return RIGHT
        words = f"{height}×{width} pixels where the folder says {side}×{side}"
        if (height, width) == self.image.size[::-1]:
            return wrong(words, "The picture keeps its own size: " + SIZE[0].lower() + SIZE[1:])
        if height != width:
            return wrong(words, "The shorter side is resized, and no square is cut out of it.")
        if (height, width) == (224, 224):
            return wrong(words, "224 is what many networks want, and this one does not. " + SIZE)
        return wrong(words, SIZE)

    def steady(self) -> Seen:
        again = [_input(self.prepare, self.image) for _ in range(3)]
        if all(torch.equal(self.input, each) for each in again):
            return RIGHT
        return wrong(
            "another input each time",
            "These are the random crops and flips of training: create_transform has is_training.",
        )

    def _way(self) -> _Pixels | None:
        """The way of preparing that is most like the student's; None if none is near."""
        if self._found is None:
            best = ALIKE
            for way in _ways(self.image, self.folder.look):
                made = way.make()
                apart = ((made - self.input).abs().mean() / made.std()).item()
                if apart < best:
                    best, self._found = apart, way
        return self._found

    def framing(self) -> Seen:
        way = self._way()
        if way is None or not way.framing:
            return RIGHT  # of numbers that nothing explains, the row on pixels speaks
        return wrong("other pixels of the picture", way.framing)

    def pixels(self) -> Seen:
        right, came = _prepared(self.image, self.folder.look), self.input
        words = f"values from {came.min():.3g} to {came.max():.3g}"
        words += f" where {right.min():.3g} to {right.max():.3g} are right"
        way = self._way()
        if way is None:
            return wrong(words, "Print the first steps: from 0..255 to 0..1, less mean, by std.")
        return wrong(words, way.pixels) if way.pixels else RIGHT

    def weights(self) -> Seen:
        if self.z.dtype != torch.float32:
            return wrong(
                f"features in {str(self.z.dtype).removeprefix('torch.')}",
                "The file may be in half precision; the network computes in float32.",
            )
        again = self._embed(self._open()[1], self.batch).detach().cpu()
        if again.shape == self.z.shape and _near(again, self.z, 0.2):
            return RIGHT
        # Dropout alone also changes the features, but of one opened network as well.
        twice = self._embed(self.embed, self.batch).detach().cpu()
        if not _near(twice, self.z, 1e-4):
            return RIGHT
        return wrong(
            "other features each time the folder is opened",
            "The network has random weights: the folder's are not loaded (pretrained=True, "
            "from_pretrained).",
        )

    def in_use(self) -> Seen:
        words = "other features for the same picture"
        try:
            part = self._embed(self.embed, self.batch[:2]).detach().cpu()
        except Unusable:
            part = None
        whole = self._embed(self.embed, self.batch).detach().cpu()[:2]
        if part is not None and part.shape == whole.shape and _near(part, whole, SAME):
            return RIGHT
        return wrong(
            words,
            "The network is in training mode, where dropout and BatchNorm are at work: call its "
            "eval() first.",
        )

    def features(self) -> Seen:
        folder, z = self.folder, self.z
        right = folder.right(self.batch)
        if _fits(z, right):
            return RIGHT
        if z.shape == right.shape and self.in_use().passed is False:
            return RIGHT  # the right place, in the wrong mode: the row above speaks of it
        shape = f"{tuple(z.shape)} for {BATCH} pictures"
        for likely, make in folder.other.items():
            if _fits(z, make(self.batch)):
                return wrong(shape, likely)
        if z.shape == right.shape and _fits(z, nn.functional.normalize(right, dim=1)):
            return wrong(
                "vectors of length 1",
                "They are divided by their lengths: the classifier is given them as they are.",
            )
        for likely, make in folder.other.items():
            if z.shape == make(self.batch).shape != right.shape:
                return wrong(shape, likely)
        if z.shape != right.shape:
            return wrong(f"{shape}, where {tuple(right.shape)} is right", "Print the shapes.")
        return wrong(
            "other numbers from the same input",
            "The weights are not the folder's, or embed changes its input: it is prepared already.",
        )

    def no_graph(self) -> Seen:
        if not self.raw.requires_grad:
            return RIGHT
        return wrong(
            "features with requires_grad=True",
            "Every batch keeps all that its gradients would need: compute under torch.no_grad().",
        )


def _prepared(image: Image.Image, look: Look) -> Tensor:
    return normalised(framed(image, look), look.mean, look.std)


def _input(prepare: Callable, image: Image.Image) -> Tensor:
    result = call(prepare, image.copy(), hint=_hint)
    if not isinstance(result, Tensor):
        kind = "None" if result is None else f"a {type(result).__name__}"
        likely = "prepare returns one tensor (3, S, S)."
        if hasattr(result, "keys"):
            likely = 'The processor gives a dictionary: take ["pixel_values"], and of it picture 0.'
        raise Unusable(f"{kind} from prepare", likely)
    if result.ndim == 4:
        came = f"{tuple(result.shape)} from prepare"
        raise Unusable(came, "This is a batch of one: prepare gives one picture, so take [0].")
    if result.ndim != 3 or result.shape[0] != 3:
        came = f"{tuple(result.shape)} from prepare"
        raise Unusable(came, "Channels come first: (3, S, S).")
    return result.detach().cpu().float()


def _ways(image: Image.Image, look: Look) -> Iterator[_Pixels]:
    """The right way and wrong ones; at most one mistake of framing and one of pixels in each."""
    frames = {"": look}
    for how in (
        InterpolationMode.NEAREST_EXACT,
        InterpolationMode.BILINEAR,
        InterpolationMode.BICUBIC,
    ):
        if how != look.how:
            name = how.value.removesuffix("-exact")
            words = f"{name} is used, and the folder asks for {look.how.value} interpolation."
            frames[words] = look._replace(how=how)
    if look.shorter is None:
        words = "Its longer side is cut: this folder wants the whole picture, squeezed to a square."
        frames[words] = look._replace(shorter=look.size)
    else:
        words = "It is squeezed to a square: resize the shorter side, then cut out the middle."
        frames[words] = look._replace(shorter=None)
        if look.shorter != look.size:
            words = (
                f"The folder resizes to {look.shorter} pixels and cuts {look.size} out of them: "
            )
            frames[words + "its crop is left out."] = look._replace(shorter=look.size)
        else:
            words = "A crop of another network (0.875 of the side): this folder has its own."
            frames[words] = look._replace(shorter=round(look.size / 0.875))
    own = look.mean, look.std
    zero, one = (0.0,) * 3, (1.0,) * 3
    numbers: dict[str, Callable[[Tensor], Tensor]] = {
        "": lambda x: normalised(x, *own),
        "ImageNet's mean and deviation: this folder has its own.": (
            lambda x: normalised(x, *IMAGENET)
        ),
        "CLIP's mean and deviation, those of a processor that was not loaded: this folder has its "
        "own.": lambda x: normalised(x, *CLIP),
        "Mean and deviation are 0.5, and this folder has its own.": lambda x: 2 * x - 1,
        "They stay in 0..1: take off the folder's mean, and divide by its deviation.": lambda x: x,
        "They are 0..255: scale to 0..1 first, then mean and deviation.": lambda x: 255 * x,
        "Mean and deviation are for 0..1, and the pixels are 0..255: scale them first.": (
            lambda x: normalised(255 * x, *own)
        ),
        "They are divided by 255 twice.": lambda x: normalised(x / 255, *own),
        "The mean is taken off, but nothing is divided by the deviation.": (
            lambda x: normalised(x, own[0], one)
        ),
        "They are divided by the deviation, but the mean is not taken off.": (
            lambda x: normalised(x, zero, own[1])
        ),
        "Mean and deviation are exchanged.": lambda x: normalised(x, *own[::-1]),
        "The channels are blue, green, red: PIL has red first, as the network wants it.": (
            lambda x: normalised(x.flip(0), *own)
        ),
        "Each picture gets its own mean and deviation: use the folder's.": (
            lambda x: normalised(x, x.mean((1, 2)).tolist(), x.std((1, 2)).tolist())
        ),
    }
    for (framing, each), (pixels, change) in product(frames.items(), numbers.items()):
        yield _Pixels(framing, pixels, lambda e=each, c=change: c(framed(image, e)))


def _near(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return bool((a - b).abs().max() <= tolerance * max(a.abs().max(), b.abs().max()))


def _fits(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and _near(a, b, SAME)


def _hint(message: str) -> str:
    """The likely mistake behind the libraries' words."""
    if "Unknown model source" in message or "no source prefix" in message:
        return 'timm knows a folder by "local-dir:" and its path, f"local-dir:{folder}".'
    if "more than 1 value per channel" in message:
        return "BatchNorm is in training mode: call the network's eval()."
    if "positional arguments" in message and "prepare" in message:
        return "prepare takes one picture, embed one batch."
    return ""
