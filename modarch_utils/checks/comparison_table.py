"""Exercise 5, the row of a table: one network, opened, used and scored, each thing timed apart."""

import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .comparison_svm import reference
from .core import RIGHT, Report, Rows, Seen, Unusable, call, wrong

KEYS = ("accuracy", "load_s", "prepare_ms", "network_ms", "svm_s")
TRAIN, TEST, DIM = 60, 30, 4
LOAD, COLD, PREPARE, NETWORK = 0.25, 0.3, 0.002, 0.001
"""Seconds: opening; the first batch; preparing a picture; the network, for a picture."""
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
        self.loading = 0.0
        self.calls: dict[str, list[tuple[float, int]]] = {"prepare": [], "network": []}
        self.opened, self.passes, self.strange = 0, np.zeros(n, int), False

    def part(self, index: slice) -> tuple[list[Image.Image], dict[str, np.ndarray]]:
        pictures = [Image.new("RGB", (8, 8), (code, 1, 2)) for code in range(TRAIN + TEST)[index]]
        return pictures, {key: values[index] for key, values in self.labels.items()}

    def open_network(self, folder: str) -> tuple[Callable, Callable]:
        start = time.perf_counter()
        self.opened += 1
        time.sleep(LOAD)
        self.loading = time.perf_counter() - start
        return self.prepare, self.embed

    def prepare(self, picture: Image.Image) -> Tensor:
        start = time.perf_counter()
        time.sleep(PREPARE)
        result = torch.full((3, 2, 2), picture.getpixel((0, 0))[0] * 2.0 - 300)
        self.calls["prepare"].append((time.perf_counter() - start, 1))
        return result

    def embed(self, batch: Tensor) -> Tensor:
        start = time.perf_counter()
        codes = ((batch[:, 0].flatten(1).mean(1) + 300) / 2).round().long()
        if batch.shape[1:] != (3, 2, 2) or codes.min() < 0 or codes.max() >= TRAIN + TEST:
            self.strange = True
            codes = codes.clamp(0, TRAIN + TEST - 1)
        for code in codes.tolist():
            self.passes[code] += 1
        cold = not self.calls["network"]
        time.sleep((COLD if cold else 0) + NETWORK * len(batch))
        self.calls["network"].append((time.perf_counter() - start, len(batch)))
        return torch.from_numpy(self.table)[codes]

    def keys(self) -> Seen:
        start = time.perf_counter()
        train, test = self.part(slice(TRAIN)), self.part(slice(TRAIN, None))
        row = call(self.function, self.open_network, "a folder", train, test)
        self.whole = time.perf_counter() - start
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
            if isinstance(row[key], bool) or not isinstance(row[key], int | float):
                raise Unusable(f"{key} is {row[key]!r}", "It is a plain number.")
        self.row = row
        return RIGHT

    def own(self) -> Seen:
        if not self.calls["prepare"]:
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
        came, right = self.row["load_s"], self.loading
        words = f"{came:.3g} where {right:.3g} is right"
        if _near(came, right):
            return RIGHT
        if _near(came / 1000, right):
            return wrong(words, "These are milliseconds: seconds are asked for.")
        if came > right:
            return wrong(words, "The clock runs on: stop it before the first picture.")
        return wrong(words, "Read the clock before and after open_network.")

    def prepare_ms(self) -> Seen:
        return self._milliseconds("prepare")

    def network_ms(self) -> Seen:
        return self._milliseconds("network")

    def _milliseconds(self, part: str) -> Seen:
        """Compare the time for a picture with what was recorded, and with what it may be."""
        came = self.row[f"{part}_ms"]
        typical = {
            name: 1000 * float(np.median([seconds / n for seconds, n in calls]))
            for name, calls in self.calls.items()
        }
        right, (first, n) = typical[part], self.calls["network"][0]
        words = f"{came:.3g} where about {right:.3g} is right"
        if abs(came / right - 1) < 0.3:
            return RIGHT
        if _near(came, sum(typical.values())):
            return wrong(words, "Preparing and the network are timed together: each by itself.")
        if abs(1000 * came / right - 1) < 0.3:
            return wrong(words, "These are seconds: times 1000.")
        if part == "network" and (_near(came, 1000 * first) or _near(came, 1000 * first / n)):
            return wrong(words, "The first batch is timed, and the network is cold: warm up.")
        if any(abs(came / right / size - 1) < 0.05 for size in {TRAIN, TEST, *self.sizes()}):
            return wrong(words, "This is the time of a whole batch: divide by its pictures.")
        if came > right:
            return wrong(
                words,
                "More is timed than asked for (opening, the first batch, all of extract): time "
                f"{'prepare' if part == 'prepare' else 'embed on a prepared batch'} alone, warm.",
            )
        return wrong(words, "Time it by itself, as in part 5.")

    def sizes(self) -> set[int]:
        """How many pictures the batches had."""
        return {n for _, n in self.calls["network"] if n > 1}

    def svm_s(self) -> Seen:
        came = self.row["svm_s"]
        busy = self.loading + sum(s for calls in self.calls.values() for s, _ in calls)
        left = self.whole - busy
        words = f"{came:.3g} where at most {left:.2g} is left"
        if came <= 0:
            return wrong(f"{came:.3g}", "Read the clock before and after fitting and scoring.")
        if came <= left + 0.01:
            return RIGHT
        if came > self.whole:
            return wrong(words, "These are milliseconds: seconds are asked for.")
        return wrong(words, "Features are in it: read the clock once they are all there.")


def _near(came: float, right: float) -> bool:
    return abs(came - right) < 0.1 * right + 0.005
