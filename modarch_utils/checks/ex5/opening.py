"""Exercise 5, opening a folder: how pictures are prepared, and which numbers are the features."""

from collections.abc import Callable
from functools import cached_property, partial
from itertools import count
from operator import attrgetter
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from modarch_utils.checks.core import (
    RIGHT,
    Part,
    Row,
    Seen,
    Unusable,
    agree,
    as_check,
    call,
    combined,
    each,
    given,
    hints,
    kind,
    mutants,
    new_folder,
    part_of_rows,
    returned,
    wrong,
)
from modarch_utils.checks.ex5 import folders
from modarch_utils.checks.ex5.folders import CLIP, IMAGENET, Folder, Look, framed, normalised

Open = Callable[[Path], tuple[Callable[[Image.Image], Tensor], Callable[[Tensor], Tensor]]]

ALIKE = 0.02  # of the pixels' deviation: two libraries round differently, two filters differ more
SAME = 2e-3  # of the largest feature: half precision in the middle of a GPU's product differs less
BATCH = 5
near = partial(agree, tolerance=SAME)


@as_check
def check_open_timm(seed: int = 0) -> Part:
    """All findings on a function that opens a folder in timm's format.

    Args:
        function: ``open_timm(folder)`` gives ``prepare``, from a PIL picture to (3, S, S), and
            ``embed``, from (N, 3, S, S) to (N, D); tried with a ConvNeXt and an EfficientNetV2.
        seed: decides weights, means and pictures.
    """
    return _part("open_timm", folders.timm_folders, "pooled, without a classifier", seed)


@as_check
def check_open_dino(seed: int = 0) -> Part:
    """All findings on a function that opens a DINOv2 in the format of transformers.

    Args:
        function: as in :func:`check_open_timm`; tried with and without registers.
        seed: decides weights, means and pictures.
    """
    return _part("open_dino", folders.dino_folders, "the class token, normalised", seed)


HINT = hints(
    {
        "Unknown model source|no source prefix": (
            'timm knows a folder by "local-dir:" and its path, f"local-dir:{folder}".'
        ),
        "more than 1 value per": "BatchNorm is in training mode: call the network's eval().",
        "'Image' object|prepare.*positional arguments": (
            "The order is prepare, embed: prepare takes one picture, embed one batch."
        ),
    }
)


def _prepared(image: Image.Image, look: Look) -> Tensor:
    return normalised(framed(image, look), look.mean, look.std)


class Opened:
    """What a student's function has made of a folder; used only as far as a row asks for it.

    Raises:
        Unusable: it is no pair of functions; later, if they cannot be used.
    """

    def __init__(self, pair: object, folder: Folder, seed: int):
        likely = "Return two functions, `return prepare, embed`."
        pair = returned(pair, tuple | list, likely)
        if len(pair) != 2:
            raise Unusable(f"{len(pair)} things", likely)
        if not all(callable(part) for part in pair):
            raise Unusable("something that cannot be called", "Both are functions or modules.")
        if isinstance(pair[0], nn.Module) and sum(p.numel() for p in pair[0].parameters()):
            raise Unusable("a network first", "The order is prepare, embed.")
        (self._prepare, self._embed), self.folder = pair, folder
        self.image = folders.picture(seed)
        self.batch = torch.stack(
            [_prepared(folders.picture(seed + k), folder.look) for k in range(BATCH)]
        )

    def prepare(self) -> Tensor:
        """The input (3, H, W) made of the picture."""
        result = call(self._prepare, self.image.copy(), hint=HINT)
        if hasattr(result, "keys"):
            likely = 'The processor gives a dictionary: take ["pixel_values"], and of it picture 0.'
            raise Unusable(f"{kind(result)} from prepare", likely)
        result = returned(result, Tensor, "prepare returns one tensor (3, S, S).")
        if result.ndim != 3 or result.shape[0] != 3:
            likely = "Channels come first: (3, S, S)."
            if result.ndim == 4:
                likely = "This is a batch of one: prepare gives one picture, so take [0]."
            raise Unusable(f"{tuple(result.shape)} from prepare", likely)
        return result.detach().cpu().float()

    def embed(self, first: int = BATCH) -> Tensor:
        """The features of the first pictures of a batch."""
        result = call(self._embed, self.batch[:first].clone(), hint=HINT)
        if hasattr(result, "last_hidden_state"):
            likely = "That is all that the network says: take its last_hidden_state, token 0."
            raise Unusable(f"{kind(result)} from embed", likely)
        result = returned(result, Tensor, "embed returns one tensor (N, D).")
        if result.shape[:1] != (first,):
            likely = "The first axis counts the pictures of the batch: each has its own features."
            raise Unusable(f"{tuple(result.shape)} for {first} pictures", likely)
        if not result.isfinite().all():
            likely = "Print what goes into the network."
            raise Unusable("features that are NaN or infinite", likely)
        return result

    @cached_property
    def input(self) -> Tensor:
        return self.prepare()

    @cached_property
    def raw(self) -> Tensor:
        return self.embed()

    @property
    def features(self) -> Tensor:
        return self.raw.detach().cpu()

    def side(self) -> int | str:
        """The input's side; words if it is no square."""
        height, width = self.input.shape[1:]
        if (width, height) == self.image.size:
            return "the picture's own size"
        return height if height == width else "no square"

    def steady(self) -> str:
        same = all(torch.equal(self.input, self.prepare()) for _ in range(3))
        return "the same input each time" if same else "another input each time"

    def in_use(self) -> str:
        same = near(self.embed(2).detach(), self.embed().detach()[:2])
        return f"{'the same' if same else 'other'} features for a picture in another batch"


def _weights(opened: Callable[[Open], list[Opened]], function: Open) -> Seen:
    """Whether each opening gives the same features, in float32."""
    for one, two in zip(opened(function), opened(function), strict=True):
        if one.features.dtype != torch.float32:
            return wrong(
                f"features in {str(one.features.dtype).removeprefix('torch.')}",
                "The file may be in half precision; the network computes in float32.",
            )
        # Dropout alone also changes the features, but of one opened network as well.
        if not agree(two.features, one.features, 0.2) and agree(one.embed(), one.raw, 1e-4):
            return wrong(
                "other features each time the folder is opened",
                "The network has random weights: the folder's are not loaded (pretrained=True, "
                "from_pretrained).",
            )
    return RIGHT


# The mistakes of preparing: of framing, and of pixels.

FRAMES: dict[str, Callable[[Look], Look]] = {
    f"{how.value.removesuffix('-exact')} is used: each folder asks for an interpolation of its "
    "own.": lambda look, how=how: look._replace(how=how)
    for how in (
        InterpolationMode.NEAREST_EXACT,
        InterpolationMode.BILINEAR,
        InterpolationMode.BICUBIC,
    )
} | {
    "It is squeezed to a square: resize the shorter side, then cut out the middle.": (
        lambda look: look._replace(shorter=None)
    ),
    "The folder resizes to more pixels than it cuts out of them: its crop is left out.": (
        lambda look: look._replace(shorter=look.shorter and look.size)
    ),
    "Its longer side is cut: a folder may want the whole picture, squeezed to a square.": (
        lambda look: look._replace(shorter=look.shorter or look.size)
    ),
    "Its longer side is cut, and no more: a folder may want the whole picture, squeezed to a "
    "square, or a smaller crop.": lambda look: look._replace(shorter=look.size),
    "A crop of another network (0.875 of the side): this folder has its own.": (
        lambda look: look._replace(shorter=round(look.size / 0.875))
    ),
}
Pixels = dict[str, Callable[[Tensor, Look], Tensor]]
OTHERS: Pixels = {
    "ImageNet's mean and deviation: this folder has its own.": (
        lambda x, _: normalised(x, *IMAGENET)
    ),
    "CLIP's mean and deviation, those of a processor that was not loaded: this folder has its "
    "own.": lambda x, _: normalised(x, *CLIP),
    "Mean and deviation are 0.5, and this folder has its own.": lambda x, _: 2 * x - 1,
    "They stay in 0..1: take off the folder's mean, and divide by its deviation.": lambda x, _: x,
    "They are 0..255: scale to 0..1 first, then mean and deviation.": lambda x, _: 255 * x,
}
"""As another network has them: then the framing may be another one's, too."""
PIXELS: Pixels = {
    "Mean and deviation are for 0..1, and the pixels are 0..255: scale them first.": (
        lambda x, look: normalised(255 * x, look.mean, look.std)
    ),
    "They are divided by 255 twice.": lambda x, look: normalised(x / 255, look.mean, look.std),
    "The mean is taken off, but nothing is divided by the deviation.": (
        lambda x, look: normalised(x, look.mean, (1, 1, 1))
    ),
    "They are divided by the deviation, but the mean is not taken off.": (
        lambda x, look: normalised(x, (0, 0, 0), look.std)
    ),
    "Mean and deviation are exchanged.": lambda x, look: normalised(x, look.std, look.mean),
    "The channels are blue, green, red: PIL has red first, as the network wants it.": (
        lambda x, look: normalised(x.flip(0), look.mean, look.std)
    ),
    "Each picture gets its own mean and deviation: use the folder's.": (
        lambda x, _: normalised(x, x.mean((1, 2)).tolist(), x.std((1, 2)).tolist())
    ),
}


def _alike(came: list[Tensor], right: list[Tensor]) -> bool:
    """Whether inputs are the same but for rounding."""
    pairs = zip(came, right, strict=True)
    return all(a.shape == b.shape and (a - b).abs().mean() < ALIKE * b.std() for a, b in pairs)


SIZE = "The size is the folder's: ask it, as for mean and deviation."
SIZES: dict[str, Callable[[Image.Image, Look], Tensor]] = {
    f"The picture keeps its own size: {SIZE[0].lower()}{SIZE[1:]}": (
        lambda image, _: tv.pil_to_tensor(image) / 255
    ),
    "The shorter side is resized, and no square is cut out of it.": lambda image, look: (
        tv.resize(tv.pil_to_tensor(image), [look.size]) / 255
    ),
    f"224 is what many networks want, and this one does not. {SIZE}": lambda image, look: framed(
        image, look._replace(size=224, shorter=224)
    ),
}


def _part(title: str, make: Callable[[Path], list[Folder]], features: str, seed: int) -> Part:
    saved = {folder.path: folder for folder in make(new_folder())}
    looks = [folder.look for folder in saved.values()]
    other, numbers, frames = next(iter(saved.values())).other, count(), {}
    for words, change in FRAMES.items():  # some of them leave these folders as they are, or agree
        frames.setdefault(tuple(map(change, looks)), (words, change))
    frames.pop(tuple(looks), None)

    def opened(
        prepare: Callable[[Image.Image, Look], Tensor] = _prepared,
        embed: Callable[[Folder, Tensor], Tensor] = lambda folder, x: folder.right(x),
    ) -> Open:
        """The two functions, one of them another one."""

        def function(path: Path) -> tuple[Callable, Callable]:
            folder = saved[path]
            embedded = torch.no_grad()(partial(embed, folder))
            return (lambda image: prepare(image, folder.look)), embedded

        return function

    def prepared(change: Callable = lambda look: look, make: Callable | None = None) -> Open:
        """Pictures framed in another way, or with other pixels."""
        make = make or (lambda x, look: normalised(x, look.mean, look.std))
        return opened(lambda image, look: make(framed(image, change(look)), look))

    rows = {
        "runs": Row(
            "two functions, prepare and embed; a picture gives (3, S, S), a batch (N, D)",
            view=each(lambda one: one.input is not None and one.raw is not None),
        ),
        "size": Row(
            "S is the folder's own",
            SIZE,
            {words: opened(prepare) for words, prepare in SIZES.items()},
            each(Opened.side),
            ("runs",),
        ),
        "steady": Row(
            "a picture is prepared in the same way each time",
            known={
                "These are the random crops and flips of training: create_transform has "
                "is_training.": opened(lambda *args: _prepared(*args) + next(numbers))
            },
            view=each(Opened.steady),
            after=("runs",),
        ),
        "framing": Row("resized and cut as the folder says"),
        "pixels": Row(
            "red, green, blue, with the folder's own mean and standard deviation",
            "Print the first steps: from 0..255 to 0..1, less mean, by std.",
            combined(
                prepared,
                change=mutants("framing", dict(frames.values())),
                make=mutants("pixels", OTHERS),
            )
            + combined(prepared, make=mutants("pixels", PIXELS)),
            each(attrgetter("input")),
            ("runs", "size", "steady"),
            _alike,
        ),
        "weights": Row(
            "the folder's, in float32",
            look=lambda function: _weights(lambda f: part.results(f, cases), function),
            after=("runs",),
        ),
        "in use": Row(
            "a picture's features do not depend on the batch it is in",
            known={
                "The network is in training mode, where dropout and BatchNorm are at work: call "
                "its eval() first.": opened(embed=lambda folder, x: folder.training(x))
            },
            view=each(Opened.in_use),
            after=("runs", "weights"),
        ),
        "features": Row(
            features,
            "The weights are not the folder's, or embed changes its input: it is prepared already.",
            {
                words: opened(embed=lambda folder, x, words=words: folder.other[words](x))
                for words in other
            }
            | {
                "They are divided by their lengths: the classifier is given them as they are.": (
                    opened(embed=lambda folder, x: F.normalize(folder.right(x), dim=1))
                )
            },
            each(attrgetter("features")),
            ("runs", "weights", "in use"),
            near,
        ),
        "no graph": Row(
            "features carry no graph for gradients",
            known={
                "Every batch keeps all that its gradients would need: compute under "
                "torch.no_grad().": opened(embed=lambda folder, x: folder.right(x).requires_grad_())
            },
            view=each(lambda one: f"features with requires_grad={one.raw.requires_grad}"),
            after=("runs",),
        ),
    }

    def read(result: object, args: tuple) -> Opened:
        return Opened(result, saved[args[0]], seed)

    cases = [given(path) for path in saved]
    part = part_of_rows(title, rows, opened(), cases, read=read, hint=HINT)
    return part
