"""Exercise 5, features of many pictures: all of them, in order, a batch at a time."""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modarch_utils.checks.core import RIGHT, Report, Rows, Seen, Unusable, call, wrong

DIM = 3
EXPECTED = {
    "runs": "one array or tensor (N, D), N the number of pictures",
    "all pictures": "every picture has its row, also where the last batch is not full",
    "order": "row i belongs to picture i",
    "own preparation": "each picture goes through prepare, and what comes out goes to embed",
    "batches": "full batches of batch_size, and at most one smaller",
    "features": "as embed gives them",
}


def check_extract(function: Callable, seed: int = 0) -> Report:
    """All findings on a function that computes the features of a list of pictures.

    Args:
        function: ``function(pictures, prepare, embed, batch_size)`` gives (N, D).
        seed: decides the numbers of pictures and the features.
    """
    draw = np.random.default_rng(seed)
    size = int(draw.integers(5, 8))
    trials = [
        _Trial(function, 3 * size + int(draw.integers(1, 4)), size, seed),
        _Trial(function, 2 * size, size, seed + 1),
        _Trial(function, size - 2, size, seed + 2),
    ]
    rows = Rows(EXPECTED)

    def each(look: Callable[[_Trial], Seen]) -> Callable[[], Seen]:
        return lambda: next((seen for trial in trials if not (seen := look(trial)).passed), RIGHT)

    rows.add("runs", each(_Trial.runs))
    rows.add("own preparation", each(_Trial.own), ("runs",))
    rows.add("all pictures", each(_Trial.everyone), ("runs",))
    rows.add("order", each(_Trial.order), ("runs", "all pictures", "own preparation"))
    rows.add("batches", each(_Trial.batches), ("runs",))
    rows.add("features", each(_Trial.features), ("runs", "all pictures", "own preparation"))
    return rows.report("extract")


class _Trial:
    """Pictures that carry their number, and functions that keep account of it.

    Feature 0 of a picture is its number; the others are random.
    """

    def __init__(self, function: Callable, n: int, size: int, seed: int):
        self.function, self.n, self.size = function, n, size
        self.table = np.random.default_rng(seed).normal(size=(n, DIM)).astype(np.float32)
        # Numbers in no order, so that sorting is seen.
        self.codes = np.random.default_rng(seed + 1).permutation(200)[:n] + 20
        self.seen: list[int] = []
        self.sizes: list[int] = []
        self.strange = False

    def pictures(self) -> list[Image.Image]:
        return [Image.new("RGB", (6, 6), (int(code), 9, 3)) for code in self.codes]

    def prepare(self, picture: Image.Image) -> Tensor:
        code = picture.getpixel((0, 0))[0]
        self.seen.append(code)
        return torch.full((3, 4, 4), code / 8 - 20)

    def embed(self, batch: Tensor) -> Tensor:
        if not isinstance(batch, Tensor) or batch.shape[1:] != (3, 4, 4):
            self.strange = True
            return torch.zeros(len(batch), DIM)
        self.sizes.append(len(batch))
        codes = ((batch[:, 0, 0, 0] + 20) * 8).round().long()
        known = {int(code): row for code, row in zip(self.codes, self.table, strict=True)}
        if any(int(code) not in known for code in codes):
            self.strange = True
            return torch.zeros(len(batch), DIM)
        return torch.tensor(np.stack([known[int(code)] for code in codes]))

    def runs(self) -> Seen:
        result = call(self.function, self.pictures(), self.prepare, self.embed, self.size)
        if result is None:
            return wrong("None", "The function ends without `return`.")
        if isinstance(result, tuple | list):
            return wrong(
                f"a {type(result).__name__} of {len(result)}",
                "These are batches: join them, torch.cat or np.concatenate.",
            )
        if isinstance(result, Tensor):
            result = result.detach().cpu().numpy()
        if not isinstance(result, np.ndarray):
            raise Unusable(f"a {type(result).__name__}", "Return one array or tensor (N, D).")
        if result.shape == (DIM, self.n) and self.n != DIM:
            return wrong(f"{result.shape}", "Pictures are the rows: transpose it.")
        if result.ndim == 3:
            return wrong(f"{result.shape}", "Batches are stacked: join them (cat, not stack).")
        if result.ndim != 2 or result.shape[1] != DIM:
            return wrong(
                f"{result.shape} for {self.n} pictures with {DIM} features each",
                "A row for each picture, a column for each feature.",
            )
        self.result = result
        return RIGHT

    def own(self) -> Seen:
        if not self.seen and len(self.result):
            return wrong(
                "prepare is never called",
                "Another preprocessing is used: every network has its own, prepare.",
            )
        if self.strange:
            return wrong(
                "embed is given something else than what prepare made",
                "Stack what prepare gives to (N, 3, S, S), and change nothing about it.",
            )
        if len(self.seen) > self.n:
            return wrong(
                f"prepare is called {len(self.seen)} times for {self.n} pictures",
                "Pictures are prepared more than once: prepare each batch where it is used.",
            )
        return RIGHT

    def everyone(self) -> Seen:
        n, size, came = self.n, self.size, len(self.result)
        if came == n:
            return RIGHT
        words = f"{came} rows for {n} pictures in batches of {size}"
        if came == n // size * size:
            return wrong(words, "The last batch is dropped because it is not full (drop_last?).")
        if came == (n - 1) % size + 1:
            return wrong(words, "Only the last batch is left: collect all of them.")
        if came == min(n, size):
            return wrong(words, "Only the first batch is left: `return` stands inside the loop.")
        if came == -(-n // size):
            return wrong(words, "A row for each batch: features are averaged over pictures.")
        if came == -(-n // size) * size:
            return wrong(words, "The last batch is filled up, and the filling is left in.")
        return wrong(words, "Count the batches, and the rows of each.")

    def order(self) -> Seen:
        if self._rows(self.table):
            return RIGHT
        if sorted(map(tuple, self.result.tolist())) != sorted(map(tuple, self.table.tolist())):
            return RIGHT  # other numbers: the row on features speaks of them
        if self._rows(self.table[::-1]):
            return wrong("the pictures' rows backwards", "New batches are put in front: append.")
        return wrong(
            "the right rows in another order",
            "Labels no longer fit: the loader shuffles (shuffle=True is for training), or sorts.",
        )

    def batches(self) -> Seen:
        if self.strange or not self.sizes:
            return RIGHT  # another row speaks of it
        words = f"batches of {', '.join(map(str, self.sizes))} where batch_size is {self.size}"
        if max(self.sizes) > self.size:
            return wrong(words, "All at once do not fit into memory: batch_size at a time.")
        if len(self.sizes) > -(-self.n // self.size):
            return wrong(words, "More calls than needed: a network is fast on full batches.")
        return RIGHT

    def features(self) -> Seen:
        mine, right = self.result, self.table
        if self._rows(right) or self.order().passed is False:
            return RIGHT
        lengths = np.linalg.norm(right, axis=1, keepdims=True)
        if self._rows(right / lengths):
            return wrong(
                "rows of length 1", "They are divided by their lengths: leave them as they are."
            )
        if abs(mine.mean(0)).max() < 1e-4:
            return wrong(
                "columns with mean 0",
                "They are standardised here already, on whatever set is passed: that is the "
                "classifier's part, with the training set's numbers.",
            )
        return wrong("other numbers", "Return what embed gave.")

    def _rows(self, table: np.ndarray) -> bool:
        return self.result.shape == table.shape and np.allclose(self.result, table, atol=1e-5)
