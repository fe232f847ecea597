"""Exercise 5, the classifier: a linear SVM on standardised features, told by what it gets right.

Data sets on which each mistake gets another share right than a right answer does. A student's
shares are compared with those of every mistake.
"""

import warnings
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from sklearn.dummy import DummyClassifier
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from modarch_utils.checks.core import RIGHT, Report, Rows, Seen, Unusable, call, wrong

Set = tuple[np.ndarray, np.ndarray]
"""Features (N, D) float32 and labels (N,)."""

EXPECTED = {
    "runs": "one number from 0 to 1, for labels of any kind",
    "share": "the share of test pictures that is right",
    "training set alone": "the SVM is fitted on the training set, and on nothing else",
    "scaled": "all features count alike, whatever their unit",
    "scaler": "mean and deviation are the training set's, on both sets",
    "linear": "a linear SVM",
    "inputs": "are the same after the call as before",
}


CLEAR = 1
"""Place of the trial whose classes lie far apart."""


class Trial(NamedTuple):
    """A data set, and how far the shares of right answers lie apart on it."""

    train: Set
    test: Set
    tolerance: float


class Mistake(NamedTuple):
    """A way to get a share, and the row and words that it belongs to."""

    row: str
    likely: str
    share: Callable[[Set, Set], float]


def check_svm_accuracy(function: Callable[[Set, Set], float], seed: int = 0) -> Report:
    """All findings on a function that fits on one set and scores on another.

    Args:
        function: ``function(train, test)``, each features (N, D) and labels (N,); the share of
            the test set that is right.
        seed: decides the data sets.
    """
    rows = Rows(EXPECTED)
    known = _known(seed)
    sets = known.trials
    came: list[float] = []
    kept: list[bool] = []

    def runs() -> Seen:
        for trial in sets:
            given = [tuple(part.copy() for part in each) for each in (trial.train, trial.test)]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # on convergence; the shares tell
                came.append(_number(call(function, *given, hint=hint_of_sklearn)))
            kept.append(
                all(
                    np.array_equal(a, b)
                    for one, two in zip(given, (trial.train, trial.test), strict=True)
                    for a, b in zip(one, two, strict=True)
                )
            )
        return RIGHT

    if not rows.add("runs", runs).passed:
        return rows.report("svm_accuracy")
    blamed = _blamed(known, came)
    for row in ("share", "training set alone", "scaled", "scaler", "linear"):
        rows.add(row, lambda row=row: blamed.get(row, RIGHT))
    rows.add(
        "inputs",
        lambda: (
            RIGHT
            if all(kept)
            else wrong(
                "the features have changed after a call",
                "An operation in place (-=, /=) writes into the caller's array.",
            )
        ),
    )
    return rows.report("svm_accuracy")


def _number(result: object) -> float:
    if isinstance(result, bool) or not isinstance(result, int | float | np.number):
        kind = "None" if result is None else f"a {type(result).__name__}"
        raise Unusable(kind, "Return one number, the share that is right.")
    value = float(result)
    if not 0 <= value <= 1:
        likely = "It is a count or a percentage: divide by the number of test pictures."
        raise Unusable(f"{value:g}", likely)
    return value


class Known(NamedTuple):
    """Data sets, and the shares on each of them: of a right answer, and of every mistake."""

    trials: list[Trial]
    right: list[float]
    mistakes: list[list[float]]


@cache  # they do not depend on the student, and a student asks more than once
def _known(seed: int) -> Known:
    sets = list(trials(seed))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Known(
            sets,
            [reference(*trial[:2]) for trial in sets],
            [[mistake.share(*trial[:2]) for trial in sets] for mistake in MISTAKES],
        )


def _blamed(known: Known, came: list[float]) -> dict[str, Seen]:
    """Which rows are wrong: none, that of the mistake with these shares, or a guess."""
    tolerances = np.array([trial.tolerance for trial in known.trials])
    apart = np.abs(np.array(came) - known.right) - tolerances
    if apart.max() <= 0:
        return {}
    worst = int(apart.argmax())
    words = f"{came[worst]:.2f} where about {known.right[worst]:.2f} is right"
    gaps = (np.abs(np.array(came) - known.mistakes) / tolerances).max(axis=1)
    found = MISTAKES[int(gaps.argmin())] if gaps.min() <= 1 else None
    if found is None:
        likely = "Fit scaler and SVM on the training set, and count on the test set."
        if came[CLEAR] < 0.7:
            likely = (
                "Classes that lie far apart are mixed up: labels are in another order than their "
                "features, in one of the sets."
            )
        return {"share": wrong(words, likely)}
    return {found.row: wrong(words, found.likely)}


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

    def words(data: Set) -> Set:
        return data[0].astype(np.float32), np.array(["cup", "jar", "lid", "pot"])[data[1]]

    # Test labels with mistakes: a set that is scored on itself, or the other way round, is better.
    x, y = blobs(120, 3)
    a, b = blobs(80, 3)
    yield Trial(words((x, y)), words((a, noisy(b, 0.3, 3))), 0.06)
    # A class that the test set lacks.
    a, b = blobs(80, 3)
    yield Trial(words(blobs(120, 4)), words((a, b)), 0.06)
    # Nothing to be learnt, with more features than pictures.
    x, a = normal(size=(60, 300)), normal(size=(120, 300))
    y, b = draw.integers(0, 2, 60), draw.integers(0, 2, 120)
    yield Trial(words((x, y)), words((a, b)), 0.17)
    # The test set says the opposite.
    x, y = blobs(100, 2)
    a, b = blobs(90, 2)
    yield Trial(words((x, y)), words((a, 1 - b)), 0.1)
    # What tells the classes has a small unit, and noise a large one; nothing lies around 0.
    x, y = blobs(200, 2, dim=8, apart=5.0)
    a, b = blobs(120, 2, dim=8, apart=5.0)
    unit = np.array([1e-4, 1e-4, *[1e2] * 6])
    yield Trial(words((unit * (x + 3), y)), words((unit * (a + 3), b)), 0.12)
    # Nothing lies around 0, and the units are alike.
    (x, y), (a, b) = (blobs(n, 2, dim=4, apart=5.0) for n in (100, 80))
    yield Trial(words((10 * x + 50, y)), words((10 * a + 50, b)), 0.12)
    # How long a row is tells its class.
    y, b = np.arange(100) % 2, np.arange(80) % 2
    x, a = (np.outer(4 * k + 2, np.ones(3)) + 0.3 * normal(size=(len(k), 3)) for k in (y, b))
    yield Trial(words((x, y)), words((a, b)), 0.12)
    # The test set has one class almost alone.
    y, b = np.arange(120) % 2, (np.arange(100) < 94).astype(int)
    x, a = (normal(size=(len(k), 4)) + np.outer(6 * k - 3, [1, 0, 0, 0]) for k in (y, b))
    yield Trial(words((x, y)), words((a, b)), 0.12)
    # One feature is huge in a part of the test set; another tells the classes in training only.
    x = np.stack([4 * y - 2 + 0.5 * normal(size=120), 2 * y - 1 + 0.8 * normal(size=120)], 1)
    b = np.arange(100) % 2
    a = np.stack([4 * b - 2 + 0.5 * normal(size=100), 1 - 2 * b + 0.8 * normal(size=100)], 1)
    a[:20, 0] *= 4000
    yield Trial(words((x, y)), words((a, b)), 0.2)
    # No line tells the classes.
    x, a = (draw.uniform(-1, 1, (n, 2)) for n in (300, 200))
    y, b = ((z[:, 0] * z[:, 1] > 0).astype(int) for z in (x, a))
    yield Trial(words((x, y)), words((a, b)), 0.2)


def reference(train: Set, test: Set) -> float:
    """The share of the test set that a right answer gets."""
    return float(_machine().fit(*train).score(*test))


def _machine(*first: object) -> object:
    svm = LinearSVC(max_iter=3000, random_state=0, dual="auto")
    return make_pipeline(*(first or (StandardScaler(),)), svm)


def _plain(train: Set, test: Set) -> float:
    return float(_machine("passthrough").fit(*train).score(*test))


def _joined(*sets: Set) -> Set:
    return tuple(np.concatenate(parts) for parts in zip(*sets, strict=True))


def _scaled_by(*sets: Set) -> StandardScaler:
    return StandardScaler().fit(np.concatenate([x for x, _ in sets]))


def _each_by(scaler_of_train: object, scaler_of_test: object, train: Set, test: Set) -> float:
    scaled = [
        (x if scaler is None else scaler.transform(x), y)
        for scaler, (x, y) in ((scaler_of_train, train), (scaler_of_test, test))
    ]
    return _plain(*scaled)


ON_TEST = "The test set's labels are seen: fit on the training set alone, and only count here."
OWN_SCALE = (
    "The test set is scaled by its own mean and deviation (fit_transform): use transform, with the "
    "training set's."
)
UNITS = (
    "Features keep their units, and one with a large unit rules: standardise each column by its "
    "own mean and deviation (StandardScaler)."
)
SEEN = (
    "The scaler is fitted on the test set, alone or with the other: its mean and deviation are the "
    "training set's."
)
ONE_SIDE = "One of the two sets is scaled and the other is not: transform both."
CURVED = (
    "It is not linear (SVC's kernel is 'rbf' unless told, neighbours know no line): take LinearSVC."
)
MISTAKES = (
    Mistake(
        "share",
        "This is the share of the training set: it tells what was learnt by heart.",
        lambda train, test: _machine().fit(*train).score(*train),
    ),
    Mistake(
        "share",
        "This is the share that is wrong: one minus it is asked for.",
        lambda train, test: 1 - reference(train, test),
    ),
    Mistake(
        "training set alone",
        "The sets are exchanged: fit on the first, count on the second.",
        lambda train, test: reference(test, train),
    ),
    Mistake("training set alone", ON_TEST, lambda train, test: reference(test, test)),
    Mistake(
        "training set alone", ON_TEST, lambda train, test: reference(_joined(train, test), test)
    ),
    Mistake(
        "training set alone",
        "The test set is cut into parts of its own (cross-validation): the training set is unused.",
        lambda train, test: cross_val_score(_machine(), *test, cv=3).mean(),
    ),
    Mistake("scaled", UNITS, _plain),
    Mistake(
        "scaled",
        UNITS,
        lambda train, test: _machine(StandardScaler(with_std=False)).fit(*train).score(*test),
    ),
    Mistake(
        "scaled",
        "Rows are scaled: each picture to length 1. Scale the columns, each feature by itself.",
        lambda train, test: _machine(Normalizer()).fit(*train).score(*test),
    ),
    Mistake(
        "scaler",
        OWN_SCALE,
        lambda train, test: _each_by(_scaled_by(train), _scaled_by(test), train, test),
    ),
    Mistake(
        "scaler",
        SEEN,
        lambda train, test: _each_by(_scaled_by(test), _scaled_by(test), train, test),
    ),
    Mistake(
        "scaler",
        SEEN,
        lambda train, test: _each_by(*[_scaled_by(train, test)] * 2, train, test),
    ),
    Mistake(
        "scaler",
        ONE_SIDE,
        lambda train, test: _each_by(_scaled_by(train), None, train, test),
    ),
    Mistake(
        "scaler",
        ONE_SIDE,
        lambda train, test: _each_by(None, _scaled_by(train), train, test),
    ),
    Mistake(
        "linear",
        CURVED,
        lambda train, test: make_pipeline(StandardScaler(), SVC()).fit(*train).score(*test),
    ),
    Mistake(
        "linear",
        CURVED,
        lambda train, test: (
            make_pipeline(StandardScaler(), KNeighborsClassifier(3)).fit(*train).score(*test)
        ),
    ),
    Mistake(
        "linear",
        "Every picture gets the same answer: fit a LinearSVC.",
        lambda train, test: DummyClassifier().fit(*train).score(*test),
    ),
)


def hint_of_sklearn(message: str) -> str:
    """The likely mistake behind scikit-learn's and NumPy's words."""
    if "could not convert string" in message or "invalid literal" in message:
        return "Labels may be words: compare them with ==, and leave them as they are."
    if "inconsistent numbers of samples" in message:
        return "Features of one set meet the labels of the other."
    if "features, but" in message:
        return "Pictures are rows and features are columns, in both sets."
    return ""
