"""Exercise 5, the row of a table: one network, opened, used and scored, each thing timed apart.

Its network and the SVM move a clock of the check's own, which student code reads as Python's.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from sklearn.svm import SVC, LinearSVC
from torch import Tensor

from modarch_utils.checks.core import RIGHT, Report, Rows, Seen, Unusable, call, wrong
from modarch_utils.checks.ex5.svm import reference
from modarch_utils.checks.timing import PROCESSOR, pythons_clocks

KEYS = ("accuracy", "load_s", "prepare_ms", "network_ms", "svm_s")
TRAIN, TEST, DIM = 60, 30, 4
LOAD, COLD, PREPARE, NETWORK = 2.5, 3.0, 0.02, 0.01
"""Seconds: opening; the first batch; preparing a picture; the network, for a picture."""
FITS = (0.7, 1.9)
"""Seconds of fitting an SVM, by turns."""
EXPECTED = {
    "keys": f"a dictionary with {', '.join(KEYS)}",
    "own preparation": "each network is fed with what its own prepare made",
    "accuracy": "for each question, the share of test pictures that is right",
    "one pass": "training pictures go through the network once, whatever is asked",
    "load_s": "seconds of opening, and of nothing else",
    "prepare_ms": "milliseconds for a picture, of prepare alone",
    "network_ms": "milliseconds for a picture, of a warm network alone",
    "svm_s": "seconds of fitting and scoring, without features",
}
WAITING = "process_time counts the processor's work, and not the waiting: take perf_counter."


def check_compare(function: Callable, seed: int = 0) -> Report:
    """All findings on a function that fills one row of the comparison.

    Args:
        function: ``function(open_network, folder, train, test)``; train and test are pictures and
            a dictionary from questions to labels.
        seed: decides the features.
    """
    stage = _Stage(function, seed)
    rows = Rows(EXPECTED)
    rows.add("keys", stage.keys)
    rows.add("own preparation", stage.own, ("keys",))
    rows.add("accuracy", stage.accuracy, ("keys", "own preparation"))
    rows.add("one pass", stage.one_pass, ("keys",))
    for key in KEYS[1:]:
        rows.add(key, getattr(stage, key), ("keys", "own preparation"))
    return rows.report("compare")


class _Stage:
    """A network that is none, and keeps account of its time."""

    def __init__(self, function: Callable, seed: int):
        self.function = function
        draw = np.random.default_rng(seed)
        n = TRAIN + TEST
        shape, ground = draw.integers(0, 3, n), draw.integers(0, 2, n)
        self.table = draw.normal(size=(n, DIM)).astype(np.float32)
        self.table[:, 0] += 6 * (shape == 1)
        self.table[:, 1] += 6 * (shape == 2)
        self.labels = {"shape": shape, "ground": ground}  # of the ground nothing can be seen
        self.now = 0.0
        self.batches: list[int] = []
        self.prepared, self.fits = 0, []
        self.opened, self.passes, self.strange = 0, np.zeros(n, int), False

    def part(self, index: slice) -> tuple[list[Image.Image], dict[str, np.ndarray]]:
        pictures = [Image.new("RGB", (8, 8), (code, 1, 2)) for code in range(TRAIN + TEST)[index]]
        return pictures, {key: values[index] for key, values in self.labels.items()}

    def open_network(self, folder: str) -> tuple[Callable, Callable]:
        self.opened += 1
        self.now += LOAD
        return self.prepare, self.embed

    def prepare(self, picture: Image.Image) -> Tensor:
        self.prepared += 1
        self.now += PREPARE
        return torch.full((3, 2, 2), picture.getpixel((0, 0))[0] * 2.0 - 300)

    def embed(self, batch: Tensor) -> Tensor:
        codes = ((batch[:, 0].flatten(1).mean(1) + 300) / 2).round().long()
        if batch.shape[1:] != (3, 2, 2) or codes.min() < 0 or codes.max() >= TRAIN + TEST:
            self.strange = True
            codes = codes.clamp(0, TRAIN + TEST - 1)
        for code in codes.tolist():
            self.passes[code] += 1
        self.now += NETWORK * len(batch) + (0 if self.batches else COLD)
        self.batches.append(len(batch))
        return torch.from_numpy(self.table)[codes]

    @contextmanager
    def _svms_take_time(self) -> Iterator[None]:
        """While this is open, fitting an SVM moves the clock."""

        def slow(fit: Callable) -> Callable:
            @wraps(fit)
            def fitted(*args, **options):
                seconds = FITS[len(self.fits) % len(FITS)]
                self.fits.append(seconds)
                self.now += seconds
                return fit(*args, **options)

            return fitted

        with (
            patch.object(LinearSVC, "fit", slow(LinearSVC.fit)),
            patch.object(SVC, "fit", slow(SVC.fit)),
        ):
            yield

    def keys(self) -> Seen:
        train, test = self.part(slice(TRAIN)), self.part(slice(TRAIN, None))
        with pythons_clocks(lambda: self.now), self._svms_take_time():
            row = call(self.function, self.open_network, "a folder", train, test)
        if not isinstance(row, dict):
            kind = "None" if row is None else f"a {type(row).__name__}"
            return wrong(kind, f"Return a dictionary with {', '.join(KEYS)}.")
        if missing := [key for key in KEYS if key not in row]:
            came = f"the keys {', '.join(map(str, row))}"
            return wrong(came, f"{missing[0]} is missing.")
        if not isinstance(row["accuracy"], dict) or set(row["accuracy"]) != set(self.labels):
            came = f"accuracy is {row['accuracy']!r}"
            return wrong(came, "accuracy is a dictionary too: a share for each question.")
        for key in KEYS[1:]:
            if isinstance(row[key], bool) or not isinstance(row[key], int | float | np.number):
                raise Unusable(f"{key} is {row[key]!r}", "It is a plain number.")
        self.row = row
        return RIGHT

    def own(self) -> Seen:
        if not self.prepared:
            return wrong(
                "prepare of the opened network is never called",
                "One preprocessing is used for all networks: each brings its own.",
            )
        if self.strange:
            return wrong(
                "embed is given something else than what prepare made",
                "Nothing comes between prepare and embed.",
            )
        return RIGHT

    def accuracy(self) -> Seen:
        train, test = slice(TRAIN), slice(TRAIN, None)
        for key, y in self.labels.items():
            came = self.row["accuracy"][key]
            right = reference((self.table[train], y[train]), (self.table[test], y[test]))
            if abs(came - right) < 0.11:
                continue
            words = f"{key}: {came:.2f} where {right:.2f} is right"
            other = next(values for name, values in self.labels.items() if name != key)
            seen = reference((self.table[train], y[train]), (self.table[train], y[train]))
            if abs(came - seen) < 0.03:
                return wrong(words, "This is the training set's share.")
            mixed = reference((self.table[train], other[train]), (self.table[test], y[test]))
            if abs(came - mixed) < 0.03:
                return wrong(words, "It is fitted on the labels of another question.")
            return wrong(words, "Features and labels of the same pictures belong together.")
        return RIGHT

    def one_pass(self) -> Seen:
        most = int(self.passes[:TRAIN].max())
        if most <= 1:
            return RIGHT
        return wrong(
            f"a training picture passes {most} times",
            "Features do not depend on the question: compute them before the loop over questions, "
            "and take the timing's pictures from the test set.",
        )

    def load_s(self) -> Seen:
        if self.opened != 1:
            return wrong(f"opened {self.opened} times", "Open it once, and keep both functions.")
        came = self.row["load_s"]
        words = f"{came:.4g} where {LOAD:.4g} is right"
        if _near(came, LOAD):
            return RIGHT
        if _near(came, PROCESSOR * LOAD):
            return wrong(words, WAITING)
        if _near(came, 1000 * LOAD):
            return wrong(words, "These are milliseconds: seconds are asked for.")
        if came > LOAD:
            return wrong(words, "The clock runs on: stop it before the first picture.")
        return wrong(words, "Read the clock before and after open_network.")

    def prepare_ms(self) -> Seen:
        return self._milliseconds("prepare")

    def network_ms(self) -> Seen:
        return self._milliseconds("network")

    def _milliseconds(self, part: str) -> Seen:
        """Compare the time for a picture with the right one, and with what it may be."""
        came, right = self.row[f"{part}_ms"], 1000 * {"prepare": PREPARE, "network": NETWORK}[part]
        words = f"{came:.4g} where {right:.4g} is right"
        if _near(came, right):
            return RIGHT
        if _near(came, PROCESSOR * right):
            return wrong(words, WAITING)
        if _near(came, 1000 * (PREPARE + NETWORK)):
            return wrong(words, "Preparing and the network are timed together: each by itself.")
        if _near(1000 * came, right):
            return wrong(words, "These are seconds: times 1000.")
        sizes = {TRAIN, TEST, *self.batches} - {1}
        if part == "network" and any(
            _near(came, 1000 * (COLD + NETWORK * n) / shared) for n in sizes for shared in (1, n)
        ):
            return wrong(words, "The first batch is timed, and the network is cold: warm up.")
        if any(_near(came, size * right) for size in sizes):
            return wrong(words, "This is the time of a whole batch: divide by its pictures.")
        if came > right:
            return wrong(
                words,
                "More is timed than asked for (opening, the first batch, all of extract): time "
                f"{'prepare' if part == 'prepare' else 'embed on a prepared batch'} alone, warm.",
            )
        return wrong(words, "Time it by itself, as in part 5.")

    def svm_s(self) -> Seen:
        came, right = self.row["svm_s"], sum(self.fits)
        words = f"{came:.4g} where {right:.4g} is right"
        if not self.fits:  # by a class that is not known here: it has taken no time
            words = f"{came:.4g} where the SVM took next to no time"
        if _near(came, right):
            return RIGHT
        if _near(came, PROCESSOR * right):
            return wrong(words, WAITING)
        if came <= 0:
            return wrong(words, "Read the clock before and after fitting and scoring.")
        if _near(came, 1000 * right):
            return wrong(words, "These are milliseconds: seconds are asked for.")
        if any(_near(came, one) for one in self.fits):
            return wrong(words, "This is one question's time alone: add up all of them.")
        if _near(came, right / len(self.labels)):
            return wrong(words, "This is the mean of the questions: add them up.")
        if came > right:
            return wrong(words, "Features are in it: read the clock once they are all there.")
        return wrong(words, "Fitting and scoring of all questions belong to it.")


def _near(came: float, right: float) -> bool:
    return abs(came - right) <= 1e-3 * abs(right) + 1e-6
