"""Exercise 5, features of many pictures: all of them, in order, a batch at a time."""

from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from modarch_utils.checks.core import (
    Part,
    Row,
    Unusable,
    agree,
    as_check,
    each,
    hints,
    part_of_rows,
    returned,
)

DIM = 3
SAME = 1e-5


class Network:
    """A network that is none: its pictures carry their numbers, and it keeps account of them.

    Attributes:
        table: the right features (N, D), float32.
        numbers: of the pictures, below 256.
        prepared: numbers of the pictures that were prepared.
        batches: for each batch that was embedded the numbers of its pictures.
        strange: whether something was embedded that prepare had not made.
    """

    def __init__(self, table: np.ndarray, numbers: Iterable[int]):
        self.table, self.numbers = table.astype(np.float32), [int(number) for number in numbers]
        self.prepared: list[int] = []
        self.batches: list[list[int]] = []
        self.strange = False

    def pictures(self) -> list[Image.Image]:
        return [Image.new("RGB", (6, 6), (number, 9, 3)) for number in self.numbers]

    def prepare(self, picture: Image.Image) -> Tensor:
        self.prepared.append(picture.getpixel((0, 0))[0])
        return torch.full((3, 4, 4), self.prepared[-1] / 8 - 20)

    def embed(self, batch: Tensor) -> Tensor:
        numbers = []
        if isinstance(batch, Tensor) and batch.shape[1:] == (3, 4, 4):
            numbers = ((batch[:, 0, 0, 0] + 20) * 8).round().int().tolist()
        self.batches.append(numbers)
        if not numbers or not set(numbers) <= set(self.numbers):
            self.strange = True
            return torch.zeros(len(batch), self.table.shape[1])
        return torch.from_numpy(self.table[[self.numbers.index(number) for number in numbers]])

    def fed(self) -> str:
        """What goes into it."""
        if not self.prepared:
            return "prepare is never called"
        return f"embed is given {'something else than ' * self.strange}what prepare made"


class Trial(Network):
    """What came of one call."""

    rows: np.ndarray
    """The student's features."""

    def fed(self) -> str:
        more = len(self.prepared) > len(self.numbers) and not self.strange
        return "a picture is prepared more than once" if more else super().fed()

    def places(self) -> list[int]:
        """For each row the picture that it belongs to; in order if its numbers are no picture's."""
        apart = np.abs(self.rows[:, None] - self.table).max(2)
        known = (apart.min(1) < SAME).all()
        return (apart.argmin(1) if known else np.arange(len(apart))).tolist()


def _read(result: object, args: tuple) -> Trial:
    """What came of a trial. Raises Unusable for anything but one array or tensor."""
    if isinstance(result, tuple | list):
        likely = "These are batches: join them, torch.cat or np.concatenate."
        raise Unusable(f"a {type(result).__name__} of {len(result)}", likely)
    rows = returned(result, np.ndarray | Tensor, "Return one array or tensor (N, D).")
    trial = args[1].__self__
    trial.rows = rows.detach().cpu().numpy() if isinstance(rows, Tensor) else rows
    return trial


HINT = hints(
    {
        "equal size": (
            "Batches are stacked, and the last one is smaller: join them (cat, not stack)."
        ),
        "non-empty|at least one array": (
            "No batch is left where the only one is not full: is the last one dropped?"
        ),
    }
)


def _extract(
    feed: Callable[[Callable], Callable] = lambda prepare: prepare,
    size: Callable[[int, int], int] = lambda n, size: size,
    keep: Callable[[list[Tensor], int], list[Tensor]] = lambda parts, size: parts,
    then: Callable[[Tensor], Tensor] = lambda rows: rows,
) -> Callable:
    """The features, with some of its pieces replaced.

    Args:
        feed: from the network's own prepare to the one that is used.
        size: of batches, from the number of pictures and batch_size.
        keep: from each batch's features to those that are joined.
        then: from the features (N, D) to what is returned.
    """

    def function(pictures, prepare, embed, batch_size):
        inputs = torch.stack([*map(feed(prepare), pictures)])
        parts = [embed(part) for part in inputs.split(size(len(pictures), batch_size))]
        return then(torch.cat([torch.empty(0, DIM), *keep(parts, batch_size)]))

    return function


ROWS = {
    "runs": Row(
        "one array or tensor (N, D), N the number of pictures",
        "A row for each picture, a column for each feature.",
        {"Pictures are the rows: transpose it.": _extract(then=lambda rows: rows.T)},
        each(lambda trial: list(trial.rows.shape[1:])),
    ),
    "all pictures": Row(
        "every picture has its row, also where the last batch is not full",
        "Count the batches, and the rows of each.",
        {
            "The last batch is dropped because it is not full (drop_last?).": _extract(
                keep=lambda parts, size: [part for part in parts if len(part) == size]
            ),
            "Only the last batch is left: collect all of them.": _extract(
                keep=lambda parts, size: parts[-1:]
            ),
            "Only the first batch is left: `return` stands inside the loop.": _extract(
                keep=lambda parts, size: parts[:1]
            ),
            "A row for each batch: features are averaged over pictures.": _extract(
                keep=lambda parts, size: [part.mean(0, keepdim=True) for part in parts]
            ),
            "The last batch is filled up, and the filling is left in.": _extract(
                keep=lambda parts, size: [F.pad(x, (0, 0, 0, size - len(x))) for x in parts]
            ),
        },
        each(lambda trial: len(trial.rows)),
        after=("runs",),
    ),
    "order": Row(
        "row i belongs to picture i",
        "Labels no longer fit: the loader shuffles (shuffle=True is for training), or sorts.",
        {
            "New batches are put in front: append.": (
                _extract(then=lambda rows: rows.flip(0)),
                _extract(keep=lambda parts, size: parts[::-1]),
            )
        },
        each(Trial.places),
        after=("all pictures", "own preparation"),
    ),
    "own preparation": Row(
        "each picture goes through prepare, and what comes out goes to embed",
        "Every network has its own preprocessing, prepare.",
        {
            "Another preprocessing is used: every network has its own, prepare.": _extract(
                lambda prepare: lambda picture: torch.zeros(3, 4, 4)
            ),
            "Stack what prepare gives to (N, 3, S, S), and change nothing about it.": _extract(
                lambda prepare: lambda picture: prepare(picture) + 99
            ),
            "Pictures are prepared more than once: prepare each batch where it is used.": _extract(
                lambda prepare: lambda picture: [prepare(picture) for _ in range(2)][0]
            ),
        },
        each(Trial.fed),
        after=("runs",),
    ),
    "batches": Row(
        "full batches of batch_size, and at most one smaller",
        "Go through the pictures batch_size at a time, and embed each batch once.",
        {
            "All at once do not fit into memory: batch_size at a time.": _extract(
                size=lambda n, size: n
            ),
            "More calls than needed: a network is fast on full batches.": _extract(
                size=lambda n, size: 1
            ),
        },
        each(lambda trial: sorted(map(len, trial.batches), reverse=True)),
        after=("own preparation",),
    ),
    "features": Row(
        "as embed gives them",
        "Return what embed gave.",
        {
            "They are divided by their lengths: leave them as they are.": _extract(
                then=F.normalize
            ),
            "They are standardised here already, on whatever set is passed: that is the "
            "classifier's part, with the training set's numbers.": tuple(
                _extract(then=lambda rows, n=n: (rows - rows.mean(0)) / rows.std(0, correction=n))
                for n in (0, 1)
            ),
        },
        each(lambda trial: trial.rows),
        ("order",),
        partial(agree, tolerance=SAME),
    ),
}


@as_check
def check_extract(seed: int = 0) -> Part:
    """All findings on a function that computes the features of a list of pictures.

    Args:
        function: ``function(pictures, prepare, embed, batch_size)`` gives (N, D).
        seed: decides the features, and how many pictures there are: the last batch is not full, is
            full, and is the only one.
    """
    draw = np.random.default_rng(seed)
    size = int(draw.integers(5, 8))
    numbers = 3 * size + int(draw.integers(1, 4)), 2 * size, size - 2

    def case(n: int, own: int) -> tuple[list[Image.Image], Callable, Callable, int]:
        table = np.random.default_rng(own).normal(size=(n, DIM))
        # Numbers in no order, so that sorting is seen.
        trial = Trial(table, np.random.default_rng(own + 1).permutation(200)[:n] + 20)
        return trial.pictures(), trial.prepare, trial.embed, size

    cases = [partial(case, n, seed + k) for k, n in enumerate(numbers)]
    return part_of_rows("extract", ROWS, _extract(), cases, read=_read, hint=HINT)
