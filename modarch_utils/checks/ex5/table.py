"""Exercise 5, the row of a table: one network, opened, used and scored, each thing timed apart.

Its network and the SVM move a clock of the check's own, which is passed in.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial, wraps
from itertools import chain
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image
from sklearn.svm import SVC, LinearSVC
from torch import Tensor

from modarch_utils.checks.core import (
    Part,
    Row,
    Unusable,
    agree,
    as_check,
    number,
    part_of_rows,
    returned,
)
from modarch_utils.checks.ex5.extract import Network
from modarch_utils.checks.ex5.svm import reference

KEYS = ("accuracy", "load_s", "prepare_ms", "network_ms", "svm_s")
QUESTIONS = ("shape", "ground")
TRAIN, TEST, DIM = 60, 30, 4
LOAD, COLD, PREPARE, NETWORK = 2.5, 3.0, 0.0211, 0.0107
"""Seconds: opening; the first batch; preparing a picture; the network, for a picture."""
FITS = (0.7, 1.9)
"""Seconds of fitting an SVM, by turns."""
APART = 0.11  # at most, the shares of two right answers


class Stage(Network):
    """A network that keeps account of its time, too.

    Attributes:
        labels: from questions to the labels of all pictures.
        now: seconds.
        opened: how often.
        fits: of SVMs.
    """

    def __init__(self, seed: int):
        draw = np.random.default_rng(seed)
        n = TRAIN + TEST
        shape, ground = draw.integers(0, 3, n), draw.integers(3, 5, n)
        shape[TRAIN:] %= 2  # a class that the test set lacks: it cannot be fitted there
        table = draw.normal(size=(n, DIM))
        table[:, 0] += 6 * (shape == 1)
        table[:, 1] += 6 * (shape == 2)
        # Some of the test set's labels are wrong, so that its share is another than training's; of
        # the ground nothing can be seen.
        shape[TRAIN::5] = 1 - shape[TRAIN::5]
        super().__init__(table, range(n))
        self.labels = dict(zip(QUESTIONS, (shape, ground), strict=True))
        self.now, self.opened, self.fits = 0.0, 0, 0

    def part(self, index: slice) -> tuple[list[Image.Image], dict[str, np.ndarray]]:
        return self.pictures()[index], {key: values[index] for key, values in self.labels.items()}

    def clock(self) -> float:
        return self.now

    def open_network(self, folder: str) -> tuple[Callable, Callable]:
        self.opened += 1
        self.now += LOAD
        return self.prepare, self.embed

    def prepare(self, picture: Image.Image) -> Tensor:
        self.now += PREPARE
        return super().prepare(picture)

    def embed(self, batch: Tensor) -> Tensor:
        self.now += NETWORK * len(batch) + (0 if self.batches else COLD)
        return super().embed(batch)


def _slow(function: Callable) -> Callable:
    """The function, with SVMs whose fitting moves the clock."""

    def slowly(open_network, *args):
        stage = open_network.__self__

        def slow(fit: Callable) -> Callable:
            @wraps(fit)
            def fitted(*args, **options):
                stage.now += FITS[stage.fits % len(FITS)]
                stage.fits += 1
                return fit(*args, **options)

            return fitted

        linear = patch.object(LinearSVC, "fit", slow(LinearSVC.fit))
        with linear, patch.object(SVC, "fit", slow(SVC.fit)):
            return function(open_network, *args)

    return slowly


def _read(result: object, args: tuple) -> tuple[dict, Stage]:
    """A student's row, and what has happened. Raises Unusable unless the row has all numbers."""
    stage = args[0].__self__
    row = dict(returned(result, dict, f"Return a dictionary with {', '.join(KEYS)}."))
    if missing := [key for key in KEYS if key not in row]:
        raise Unusable(f"the keys {', '.join(map(str, row))}", f"{missing[0]} is missing.")
    if not isinstance(row["accuracy"], dict) or set(row["accuracy"]) != set(QUESTIONS):
        likely = "accuracy is a dictionary too: a share for each question."
        raise Unusable(f"accuracy is {row['accuracy']!r}", likely)
    row |= {key: number(row[key], f"{key} is a plain number.") for key in KEYS[1:]}
    if stage.opened > 1:
        row["load_s"] = "opened more than once"
    # What a class that is not known here has fitted, has taken no time.
    fitted = (stage.fits // 2) * sum(FITS) + (stage.fits % 2) * FITS[0]
    row["svm_s"] += sum(FITS) - fitted
    return row, stage


def _row(
    share: Callable = lambda x, y, a, b, question: reference((x, y[question]), (a, b[question])),
    feed: Callable[[Callable], Callable] = lambda prepare: prepare,
    opened: int = 1,
    **times: float,
) -> Callable:
    """A row of the table, with some of its pieces replaced.

    Args:
        share: of a question, from features and labels of training and test set.
        feed: from the network's own prepare to the one that is used.
        opened: how often the network is opened.
        times: other times than the right ones.
    """

    def function(open_network, folder, train, test, clock):
        prepare, embed = [open_network(folder) for _ in range(opened)][0]
        x, a = (
            embed(torch.stack([*map(feed(prepare), pictures)])).numpy()
            for pictures, _ in (train, test)
        )
        right = {"load_s": LOAD, "prepare_ms": 1e3 * PREPARE, "network_ms": 1e3 * NETWORK}
        shares = {question: share(x, train[1], a, test[1], question) for question in QUESTIONS}
        return right | {"accuracy": shares, "svm_s": sum(FITS)} | times

    return _slow(function)


def _other(question: str) -> str:
    return QUESTIONS[1 - QUESTIONS.index(question)]


def _shares(came: dict, right: dict) -> bool:
    return all(abs(came[key] - right[key]) < APART for key in QUESTIONS)


def _passes(results: list[tuple[dict, Stage]]) -> str:
    """How often training pictures go through the network."""
    often = Counter(chain(*results[0][1].batches))
    return "more" if max(often[number] for number in range(TRAIN)) > 1 else "once"


BATCHES = np.array([2, 4, 5, 8, 10, 15, 16, 20, 25, TEST, 50, TRAIN])
FEATURES = COLD + (TRAIN + TEST) * (PREPARE + NETWORK)
"""Seconds of all features."""
THOUSANDTHS = "These are milliseconds: seconds are asked for."


def _time(key: str, expected: str, otherwise: str, known: dict[str, object]) -> Row:
    """A row about a time; its mistakes are other times, one or several, or functions."""

    def made(some: object) -> tuple[Callable, ...]:
        return (some,) if callable(some) else tuple(_row(**{key: t}) for t in np.ravel(some))

    return Row(
        expected,
        otherwise,
        {words: made(some) for words, some in known.items()},
        lambda results: results[0][0][key],
        ("own preparation",),
        partial(agree, tolerance=1e-3),
    )


def _per_picture(key: str, seconds: float, whose: str, alone: str, known: dict[str, object]) -> Row:
    """A row about milliseconds for a picture."""
    otherwise = (
        f"More, or less, is timed than {alone} alone, warm: time it by itself, as in part 5."
    )
    usual = {
        "Preparing and the network are timed together: each by itself.": 1e3 * (PREPARE + NETWORK),
        "These are seconds: times 1000.": seconds,
        "This is the time of a whole batch: divide by its pictures.": 1e3 * BATCHES * seconds,
    }
    return _time(key, f"milliseconds for a picture, of {whose} alone", otherwise, usual | known)


ROWS = {
    "keys": Row(f"a dictionary with {', '.join(KEYS)}", view=len),
    "own preparation": Row(
        "each network is fed with what its own prepare made",
        "Stack what prepare gives, and change nothing about it.",
        {
            "One preprocessing is used for all networks: each brings its own.": _row(
                feed=lambda prepare: lambda picture: torch.zeros(3, 4, 4)
            ),
            "Nothing comes between prepare and embed.": _row(
                feed=lambda prepare: lambda picture: prepare(picture) / 255
            ),
        },
        lambda results: results[0][1].fed(),
        ("keys",),
    ),
    "accuracy": Row(
        "for each question, the share of test pictures that is right",
        "Features and labels of the same pictures belong together.",
        {
            "This is the training set's share.": _row(
                lambda x, y, a, b, question: reference((x, y[question]), (x, y[question]))
            ),
            "The sets are exchanged: fit on the first, count on the second.": _row(
                lambda x, y, a, b, question: reference((a, b[question]), (x, y[question]))
            ),
            "It is fitted on the labels of another question.": _row(
                lambda x, y, a, b, question: reference((x, y[_other(question)]), (a, b[question]))
            ),
        },
        lambda results: results[0][0]["accuracy"],
        ("own preparation",),
        _shares,
    ),
    "one pass": Row(
        "training pictures go through the network once, whatever is asked",
        "Features do not depend on the question: compute them before the loop over questions, and "
        "take the timing's pictures from the test set.",
        view=_passes,
        after=("keys",),
    ),
    "load_s": _time(
        "load_s",
        "seconds of opening, and of nothing else",
        "Read the clock that is given right before and right after open_network.",
        {
            THOUSANDTHS: 1e3 * LOAD,
            "The clock runs on: stop it before the first picture.": LOAD + FEATURES,
            "Open it once, and keep both functions.": _row(opened=2),
        },
    ),
    "prepare_ms": _per_picture("prepare_ms", PREPARE, "prepare", "prepare", {}),
    "network_ms": _per_picture(
        "network_ms",
        NETWORK,
        "a warm network",
        "embed on a prepared batch",
        {
            "The first batch is timed, and the network is cold: warm up.": (
                1e3 * (COLD / BATCHES + NETWORK)
            )
        },
    ),
    "svm_s": _time(
        "svm_s",
        "seconds of fitting and scoring, without features",
        "Fitting and scoring of all questions belong to it, and nothing else.",
        {
            "Read the clock before and after fitting and scoring.": 0.0,
            THOUSANDTHS: 1e3 * sum(FITS),
            "This is one question's time alone: add up all of them.": FITS,
            "This is the mean of the questions: add them up.": sum(FITS) / 2,
            "Features are in it: read the clock once they are all there.": sum(FITS) + FEATURES,
        },
    ),
}


@partial(as_check, adapt=_slow)
def check_compare(seed: int = 0) -> Part:
    """All findings on a function that fills one row of the comparison.

    Args:
        function: ``function(open_network, folder, train, test, clock)``; train and test are
            pictures and a dictionary from questions to labels.
        seed: decides the features.
    """

    def case() -> tuple:
        stage = Stage(seed)
        train, test = stage.part(slice(TRAIN)), stage.part(slice(TRAIN, None))
        return stage.open_network, "a folder", train, test, stage.clock

    return part_of_rows("compare", ROWS, _row(), [case], read=_read)
