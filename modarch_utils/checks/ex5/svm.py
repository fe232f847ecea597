"""Exercise 5, the classifier: a linear SVM on standardised features, told by what it gets right.

Data sets on which each mistake gets another share right than a right answer does.
"""

import warnings
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from modarch_utils.checks.core import (
    Part,
    Row,
    Unusable,
    as_check,
    given,
    hints,
    keeps_arguments,
    mutants,
    number,
    part_of_rows,
)

Set = tuple[np.ndarray, np.ndarray]
"""Features (N, D) float32 and labels (N,)."""
Score = Callable[[Set, Set], float]
"""From a training and a test set to a share."""
Trial = tuple[Set, Set, float]
"""A training and a test set, and how far the shares of right answers lie apart on them."""
LINEAR = LinearSVC(max_iter=3000, random_state=0, dual="auto")


def quietly(function: Callable) -> Callable:
    """The function without its warnings: shares tell whether an SVM has converged."""

    def quiet(*args):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args)

    return quiet


def share(result: object, args: tuple = ()) -> float:
    """A student's share. Raises Unusable for what is none."""
    value = number(result, "Return one number, the share that is right.")
    if not 0 <= value <= 1:
        likely = "It is a count or a percentage: divide by the number of test pictures."
        raise Unusable(f"{value:g}", likely)
    return value


HINT = hints(
    {
        "could not convert string|invalid literal": (
            "Labels may be words: compare them with ==, and leave them as they are."
        ),
        "inconsistent numbers of samples": ("Features of one set meet the labels of the other."),
        "features, but": "Pictures are rows and features are columns, in both sets.",
    }
)
"""The likely mistake behind scikit-learn's and NumPy's words."""


def trials(seed: int) -> Iterator[Trial]:
    """Data sets, each made for some mistakes."""
    draw = np.random.default_rng(seed)
    normal = draw.normal

    def blobs(n: int, classes: int, dim: int = 6, apart: float = 6.0) -> Set:
        y = np.arange(n) % classes
        return normal(size=(n, dim)) + apart * np.eye(dim)[y], y

    def noisy(y: np.ndarray, share: float, classes: int) -> np.ndarray:
        some = draw.permutation(len(y))[: round(share * len(y))]
        y = y.copy()
        y[some] = (y[some] + draw.integers(1, classes, len(some))) % classes
        return y

    def trial(train: Set, test: Set, tolerance: float) -> Trial:
        names = np.array(["cup", "jar", "lid", "pot"])
        train, test = ((x.astype(np.float32), names[y]) for x, y in (train, test))
        return train, test, tolerance

    # Test labels with mistakes: a set that is scored on itself, or the other way round, is better.
    x, y = blobs(120, 3)
    a, b = blobs(80, 3)
    yield trial((x, y), (a, noisy(b, 0.3, 3)), 0.06)
    # A class that the test set lacks.
    a, b = blobs(80, 3)
    yield trial(blobs(120, 4), (a, b), 0.06)
    # Nothing to be learnt, with more features than pictures.
    x, a = normal(size=(60, 300)), normal(size=(120, 300))
    y, b = draw.integers(0, 2, 60), draw.integers(0, 2, 120)
    yield trial((x, y), (a, b), 0.17)
    # The test set says the opposite.
    x, y = blobs(100, 2)
    a, b = blobs(90, 2)
    yield trial((x, y), (a, 1 - b), 0.1)
    # What tells the classes has a small unit, and noise a large one; nothing lies around 0.
    x, y = blobs(200, 2, dim=8, apart=5.0)
    a, b = blobs(120, 2, dim=8, apart=5.0)
    unit = np.array([1e-4, 1e-4, *[1e2] * 6])
    yield trial((unit * (x + 3), y), (unit * (a + 3), b), 0.12)
    # Which way a row points tells its class, and rows are of many lengths.
    y, b = np.arange(150) % 2, np.arange(100) % 2
    x, a = (
        np.outer(10 + 2 * normal(size=len(k)), [1, 5]) + np.outer(2 * k - 1, [1, -5])
        for k in (y, b)
    )
    yield trial((x, y), (a, b), 0.12)
    # How long a row is tells its class.
    y, b = np.arange(100) % 2, np.arange(80) % 2
    x, a = (np.outer(4 * k + 2, np.ones(3)) + 0.3 * normal(size=(len(k), 3)) for k in (y, b))
    yield trial((x, y), (a, b), 0.12)
    # The test set has one class almost alone.
    y, b = np.arange(120) % 2, (np.arange(100) < 94).astype(int)
    x, a = (normal(size=(len(k), 4)) + np.outer(6 * k - 3, [1, 0, 0, 0]) for k in (y, b))
    yield trial((x, y), (a, b), 0.12)
    # One feature is huge in a part of the test set; another tells the classes in training only.
    x = np.stack([4 * y - 2 + 0.5 * normal(size=120), 2 * y - 1 + 0.8 * normal(size=120)], 1)
    b = np.arange(100) % 2
    a = np.stack([4 * b - 2 + 0.5 * normal(size=100), 1 - 2 * b + 0.8 * normal(size=100)], 1)
    a[:20, 0] *= 4000
    yield trial((x, y), (a, b), 0.2)
    # No line tells the classes.
    x, a = (draw.uniform(-1, 1, (n, 2)) for n in (300, 200))
    y, b = ((z[:, 0] * z[:, 1] > 0).astype(int) for z in (x, a))
    yield trial((x, y), (a, b), 0.2)


def score(
    *steps: object, sets: Callable[[Set, Set], tuple[Set, Set]] = lambda train, test: (train, test)
) -> Score:
    """The share that a classifier gets right, with some of its pieces replaced.

    Args:
        steps: of the classifier.
        sets: from training and test set to what is fitted, and what is scored.
    """

    def function(train: Set, test: Set) -> float:
        fitted, scored = sets(train, test)
        classifier = make_pipeline(*(steps or (StandardScaler(), LINEAR)))
        return float(classifier.fit(*fitted).score(*scored))

    return quietly(function)


reference = score()
"""The share of the test set that a right answer gets."""


def _joined(*sets: Set) -> Set:
    return tuple(np.concatenate(parts) for parts in zip(*sets, strict=True))


def _scaled(*fit_on: int | None) -> Score:
    """Training and test set are each scaled by the numbers of set 0 or 1; None leaves them."""

    def sets(*given: Set) -> tuple[Set, Set]:
        scalers = [None if n is None else StandardScaler().fit(given[n][0]) for n in fit_on]
        pairs = zip(scalers, given, strict=True)
        return tuple((scaler.transform(x) if scaler else x, y) for scaler, (x, y) in pairs)

    return score(LINEAR, sets=sets)


KNOWN = {
    "share": {
        "This is the share of the training set: it tells what was learnt by heart.": score(
            sets=lambda train, test: (train, train)
        ),
        "This is the share that is wrong: one minus it is asked for.": lambda train, test: (
            1 - reference(train, test)
        ),
    },
    "training set alone": {
        "The sets are exchanged: fit on the first, count on the second.": score(
            sets=lambda train, test: (test, train)
        ),
        "The test set's labels are seen: fit on the training set alone, and only count here.": (
            score(sets=lambda train, test: (test, test)),
            score(sets=lambda train, test: (_joined(train, test), test)),
        ),
        "The test set is cut into parts of its own (cross-validation): the training set is "
        "unused.": lambda train, test: cross_val_score(
            make_pipeline(StandardScaler(), LINEAR), *test, cv=3
        ).mean(),
    },
    "scaled": {
        "Features keep their units, and one with a large unit rules: standardise each column by "
        "its own mean and deviation (StandardScaler).": score(LINEAR),
        "Rows are scaled: each picture to length 1. Scale the columns, each feature by itself.": (
            score(Normalizer(), LINEAR)
        ),
    },
    "scaler": {
        "The test set is scaled by its own mean and deviation (fit_transform): use transform, with "
        "the training set's.": _scaled(0, 1),
        "The scaler is fitted on the test set, alone or with the other: its mean and deviation are "
        "the training set's.": _scaled(1, 1),
        "One of the two sets is scaled and the other is not: transform both.": (
            _scaled(0, None),
            _scaled(None, 0),
        ),
    },
    "linear": {
        "It is not linear (SVC's kernel is 'rbf' unless told, neighbours know no line): take "
        "LinearSVC.": score(StandardScaler(), SVC()),
        "Every picture gets the same answer: fit a LinearSVC.": score(DummyClassifier()),
    },
}
"""For each row its mistakes."""


@partial(as_check, adapt=quietly)
def check_svm_accuracy(seed: int = 0) -> Part:
    """All findings on a function that fits on one set and scores on another.

    Args:
        function: ``function(train, test)``, each features (N, D) and labels (N,); the share of
            the test set that is right.
        seed: decides the data sets, on each of which some mistake gets another share.
    """
    sets = list(trials(seed))
    cases = [given(train, test) for train, test, _ in sets]

    def same(came: list[float], right: list[float]) -> bool:
        shares = zip(came, right, sets, strict=True)
        return all(abs(a - b) <= tolerance for a, b, (_, _, tolerance) in shares)

    written = "An operation in place (-=, /=) writes into the caller's array."
    rows = {
        "runs": Row("one number from 0 to 1, for labels of any kind", view=len),
        "share": Row(
            "the share of test pictures that is right",
            "Fit scaler and SVM on the training set, and count on the test set. Or labels are in "
            "another order than their features, in one of the sets.",
            tuple(m for row, known in KNOWN.items() for m in mutants(row, known)),
            same=same,
        ),
        "training set alone": Row("the SVM is fitted on the training set, and on nothing else"),
        "scaled": Row("all features count alike, whatever their unit"),
        "scaler": Row("mean and deviation are the training set's, on both sets"),
        "linear": Row("a linear SVM"),
        "inputs": Row(
            "are the same after the call as before",
            look=keeps_arguments(*cases[5:7], changed=written, shared=written),
        ),
    }
    return part_of_rows("svm_accuracy", rows, reference, cases, read=share, hint=HINT)
