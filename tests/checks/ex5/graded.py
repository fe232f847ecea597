"""What exercise 5 asks for, and what answers give on inputs that are not the checks'."""

import random
from functools import cache, partial

import numpy as np
import torch

from modarch_utils.checks import ex5
from modarch_utils.checks.core import new_folder, seeded
from modarch_utils.checks.ex5 import folders, stretch
from tests.checks.answers import Graded, outcome


class Clock:
    """Seconds that only `wait` moves."""

    def __init__(self):
        self.now = 0.0

    def wait(self, seconds, result=None):
        self.now += seconds
        return result

    def __call__(self):
        return self.now


@cache
def saved(make, seed):
    """Folders with networks."""
    with seeded(seed):
        return make(new_folder())


def opened(make, function, seed):
    found = []
    for folder in saved(make, seed):
        pair = outcome(function, folder.path)
        if not isinstance(pair, tuple):
            return pair
        inputs = outcome(pair[0], folders.picture(seed))
        batch = torch.stack([folders.framed(folders.picture(k), folder.look) for k in range(4)])
        features = outcome(pair[1], batch)
        found += [inputs, features, str(getattr(features, "dtype", ""))]
        found.append(getattr(features, "requires_grad", None))
    return found


def extract(function, seed):
    found = []
    for n in (1, 8, 11):
        pictures, sizes = list(np.random.default_rng(seed).normal(size=(n, 2, 3))), []

        def embed(batch, sizes=sizes):
            sizes.append(batch.shape)
            return batch.mean(1)

        rows = outcome(function, pictures, torch.from_numpy, embed, 4)
        found += [rows, [tuple(shape) for shape in sizes]]
    return found


def blobs(draw, n, classes=3, mistaken=0):
    """Features (n, 6) and labels that they tell clearly, but for the mistaken ones."""
    y = np.arange(n) % classes
    x = draw.normal(size=(n, 6)) + 7 * np.eye(6)[y]
    y[:mistaken] = (y[:mistaken] + 1) % classes
    return x * [1, 1, 1, 1, 1, 99] + 3, np.array(["a", "b", "c"])[y]


def svm_accuracy(function, seed):
    draw = np.random.default_rng(seed)
    found = []
    for classes in (2, 3):
        came = outcome(function, blobs(draw, 90, classes), blobs(draw, 300, classes, 90))
        # Right answers are a few pictures apart, by C and by chance.
        found.append(round(20 * came) if isinstance(came, float) else str(came))
    return found


def milliseconds_per_picture(function, seed):
    found = []
    for repeats in (3, 5, 9):
        clock, draw, times = Clock(), random.Random(seed), []

        def work(clock=clock, draw=draw, times=times):
            times.append(draw.uniform(1, 2))
            clock.wait(times[-1])

        found.append([outcome(function, work, 4, repeats, clock), len(times)])
    return found


def compare(function, seed):
    draw, clock, passes = np.random.default_rng(seed), Clock(), []

    def prepare(picture):
        return clock.wait(0.5, torch.from_numpy(picture))

    def embed(batch):
        passes.extend(batch[:, 0, 0, 3].int().tolist())
        return clock.wait(len(batch) * 0.25 + 7 * (len(passes) == len(batch)), batch[:, 0, 0, :3])

    def part(n, first):
        y, codes = np.arange(n) % 2, np.arange(first, first + n)
        x = np.column_stack([draw.normal(size=(n, 3)) + y[:, None], codes]).astype(np.float32)
        return list(x.reshape(n, 1, 1, 4)), {"one": y, "other": draw.permutation(y)}

    def open_network(folder):
        return clock.wait(3.0, (prepare, embed))

    row = outcome(function, open_network, "folder", part(60, 0), part(40, 60), clock)
    return [row, sum(code < 60 for code in passes)]


def choose_strength(function, seed):
    draw, found = np.random.default_rng(seed), []
    for order in (1, -1):
        train, val = blobs(draw, 60, 2), blobs(draw, 80, 2)
        strengths = [1e-5, 1e-4, 1e-2, 1.0][::order]
        found += [outcome(function, train, val, strengths), strengths]
    return found


def knn_accuracy(function, seed):
    draw = np.random.default_rng(seed)
    return [outcome(function, blobs(draw, 60), blobs(draw, 50), k) for k in (1, 3, 5)]


def mean_and_error(function, seed):
    draw = np.random.default_rng(seed)
    return [outcome(function, draw.uniform(size=n).tolist()) for n in range(6)]


CHECKS = {
    "open_timm": (ex5.check_open_timm, partial(opened, folders.timm_folders)),
    "open_dino": (ex5.check_open_dino, partial(opened, folders.dino_folders)),
    "extract": (ex5.check_extract, extract),
    "svm_accuracy": (ex5.check_svm_accuracy, svm_accuracy),
    "milliseconds_per_picture": (ex5.check_time, milliseconds_per_picture),
    "compare": (ex5.check_compare, compare),
    "choose_strength": (stretch.check_choose_strength, choose_strength),
    "knn_accuracy": (stretch.check_knn, knn_accuracy),
    "mean_and_error": (stretch.check_mean_and_error, mean_and_error),
}
GRADED = {name: Graded(check, outputs, check.part) for name, (check, outputs) in CHECKS.items()}
