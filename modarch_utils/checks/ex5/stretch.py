"""Exercise 5, stretch parts: C chosen on validation, a neighbours' vote, and how sure a mean is."""

from collections.abc import Callable
from functools import partial

import numpy as np
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from modarch_utils.checks.core import (
    Case,
    Part,
    Row,
    Unusable,
    as_check,
    given,
    number,
    part_of_rows,
    refuses,
    returned,
)
from modarch_utils.checks.ex5.svm import HINT, Score, Set, quietly, score, share

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


def _close(came: list[float], right: list[float], most: float = 0.05) -> bool:
    return bool(np.max(np.abs(np.subtract(came, right))) <= most)


# C, chosen on validation pictures.


def _svm(strength: float) -> Score:
    return score(StandardScaler(), LinearSVC(C=strength, max_iter=20_000, random_state=0))


def _chosen(result: object, args: tuple) -> tuple[float, list[float]]:
    """The student's choice, and the list after the call."""
    came = number(result, "Return a strength of the list.")
    if came not in args[2]:
        if came in range(len(args[2])):
            raise Unusable(f"{came:g}", "This is a place in the list: return the strength.")
        raise Unusable(f"{came!r}", "Return a strength of the list, not its share.")
    return came, args[2]


def _choose(key: Callable = lambda share, c: (share, -c), on: int = 1) -> Callable:
    """The C of the largest key, which is made of its share on the training or validation set."""

    def function(train: Set, val: Set, strengths: list[float]) -> float:
        return max(strengths, key=lambda c: key(_svm(c)(train, (train, val)[on]), c))

    return function


@partial(as_check, adapt=quietly)
def check_choose_strength(seed: int = 0) -> Part:
    """Findings on a function that chooses the SVM's C on validation pictures.

    Args:
        function: ``function(train, val, strengths)`` gives one of the strengths.
        seed: decides the data: one on which a small C is best, others for a large one and for many.
    """
    draw = np.random.default_rng(seed)

    def data(n: int, noise: float, dim: int, apart: float) -> Set:
        y = np.arange(n) % 2
        x = draw.normal(size=(n, dim)).astype(np.float32)
        x[:, :5] += (1.2 * y - 0.6)[:, None]
        x[:, 0] += apart * y
        y = np.where(draw.random(n) < noise, 1 - y, y)
        return x, np.array(["even", "odd"])[y]

    strong = data(80, 0.15, 60, 0), data(400, 0.0, 60, 0)
    weak = data(120, 0.1, 40, 0), data(400, 0.0, 40, 0)
    for x, _ in weak:  # what features share tells nothing: a strong rule cannot weigh it up
        x[:, :5] += 3 * x[:, 5:6]
    easy = data(120, 0.0, 6, 30), data(100, 0.0, 6, 30)
    shares = [{c: _svm(c)(*sets) for c in STRENGTHS} for sets in (strong, weak)]

    def changed(*args):
        args[2].sort()
        return _choose()(*args)

    equal = "Several are equally good: the smallest C regularises most."
    first = "The first of equals is taken: look at the strength itself where shares are equal."
    learnt = "It is the best on the training set: there the weakest rule always wins."
    rows = {
        "runs": Row("one of the strengths", view=len),
        "validation": Row(
            "the one with the largest share on validation pictures",
            "Fit on the training set with each C, and count on validation.",
            {learnt: _choose(on=0)},
            lambda results: [of[c] for of, (c, _) in zip(shares, results, strict=True)],
            ("runs",),
            partial(_close, most=0.01),
        ),
        "ties": Row(
            "the smallest of those that are equally good",
            equal,
            {equal: _choose(lambda share, c: (share, c))},
            lambda results: [c for c, _ in results],
            ("runs",),
            cases=[given(*easy, [*STRENGTHS[2:]])],
        ),
        "any order": Row(
            "the list may come in any order, and is left as it is",
            "Another C is chosen for the list backwards.",
            {first: _choose(lambda share, c: share), "sorted() makes a new list.": changed},
            after=("ties",),
            cases=[given(*easy, [*STRENGTHS[:1:-1]])],
        ),
    }
    cases = [given(*sets, [*STRENGTHS]) for sets in (strong, weak)]
    return part_of_rows("choose_strength", rows, _choose(), cases, read=_chosen, hint=HINT)


# The vote of neighbours.


def _vote(k: Callable = lambda k: k, metric: str = "cosine", among: int = 0) -> Callable:
    """The share with another k, by another metric or among the test set's pictures."""

    def function(train: Set, test: Set, neighbours: int) -> float:
        found = KNeighborsClassifier(k(neighbours), metric=metric).fit(*(train, test)[among])
        return float(found.score(*test))

    return function


@as_check
def check_knn(seed: int = 0) -> Part:
    """Findings on a vote of the k nearest training pictures, by cosine similarity.

    Args:
        function: ``function(train, test, k)`` gives the share of the test set that is right.
        seed: decides the data sets, in which two classes are two directions.
    """
    draw = np.random.default_rng(seed)
    names = np.array(["left", "right"])

    def data(n: int, lengths: tuple[float, float] = (1.0, 1.0)) -> tuple[np.ndarray, np.ndarray]:
        """Features, each class with its own length, and the classes' numbers."""
        y = np.arange(n) % 2
        angle = np.where(y, 0.8, 0.2) + 0.05 * draw.normal(size=n)
        return np.stack([np.cos(angle), np.sin(angle)], 1) * np.array(lengths)[y][:, None], y

    def named(x: np.ndarray, y: np.ndarray) -> Set:
        return x, names[y]

    def case(train: tuple, test: tuple, k: int) -> Case:
        return given(named(*train), named(*test), k)

    x, y = data(40)
    flipped = x, 1 - y
    # Each test picture lies on one training picture of the other class, amid four of its own.
    angle = np.arctan2(x[:, 1], x[:, 0])
    around = np.concatenate([angle + d for d in (0, -2e-3, -1e-3, 1e-3, 2e-3)])
    train = np.stack([np.cos(around), np.sin(around)], 1), np.concatenate([1 - y, *[y] * 4])
    rows = {
        "runs": Row("one number from 0 to 1", cases=[case(data(30), data(20), 3)], view=len),
        "neighbours": Row(
            "the training set's, for each test picture",
            "No test label fits its neighbours here, and yet some are right: count on the test "
            "set.",
            {
                "The neighbours are looked for in the test set: they are the training set's.": (
                    _vote(among=1)
                )
            },
            after=("runs",),
            same=_close,
            cases=[case(data(60), flipped, 3)],
        ),
        "direction": Row(
            "the nearest by direction: lengths do not count",
            "Compare directions alone: the cosine of the angle between two pictures' features.",
            {
                "Lengths decide (Euclidean distance): divide features by their lengths, or take "
                "metric='cosine'.": _vote(metric="euclidean")
            },
            after=("neighbours",),
            same=_close,
            cases=[case(data(60, (1.0, 10.0)), data(40, (10.0, 1.0)), 5)],
        ),
        "k": Row(
            "k neighbours vote, and the majority decides",
            "All k count: the class with most of them, not the nearest alone.",
            {
                "k changes nothing: is it used?": tuple(
                    _vote(lambda _, fixed=fixed: fixed) for fixed in (1, 5)
                )
            },
            after=("neighbours",),
            same=_close,
            cases=[case(train, (x, y), 5), case(train, (x, y), 1)],
        ),
    }
    return part_of_rows("knn_accuracy", rows, _vote(), [], read=share, hint=HINT)


# A mean, and its error.


def _two(result: object, args: tuple) -> tuple[float, float]:
    pair = "Return two numbers, `return mean, error`."
    found = returned(result, tuple | list | np.ndarray, pair)
    if len(found) != 2:
        raise Unusable(f"{len(found)} numbers", pair)
    return tuple(number(each, pair) for each in found)


def _error(
    power: float = 0.5, ddof: int = 1, factor: float = 1.0, spread: Callable = np.std, mean=np.mean
) -> Callable:
    """A mean, and its error with other pieces: factor * spread / n ** power."""

    def function(shares: list[float]) -> tuple[float, float]:
        if not shares[1:]:
            raise ValueError("A single run says nothing of its error.")
        error = factor * spread(shares, ddof=ddof) / len(shares) ** power
        return float(mean(shares)), float(error)

    return function


@as_check
def check_mean_and_error(seed: int = 0) -> Part:
    """Findings on a mean over seeds and its standard error.

    Args:
        function: from a list of shares to (mean, standard error of the mean).
        seed: decides the shares of five runs, of two and of one.
    """
    draw = np.random.default_rng(seed)
    cases = [given(draw.uniform(0.6, 0.9, n).tolist()) for n in (5, 2)]
    single = "Raise ValueError for fewer than two shares, with a sentence."
    errors = {
        "This is the deviation of single runs: the mean's is smaller, by the root.": (
            _error(power=0)
        ),
        "The deviation is divided by n: numpy's default; with few runs take ddof=1.": (
            _error(ddof=0)
        ),
        "The root of n is missing, and so is ddof=1.": _error(ddof=0, power=0),
        "Divided by n: by the root of n.": _error(power=1),
        "This is the variance: take its root.": _error(power=1, spread=np.var),
        "This is half an interval of 95 %: the error itself is asked for.": _error(factor=1.96),
    }
    rows = {
        "runs": Row("two numbers", view=len),
        "mean": Row(
            "the mean of the shares",
            "Add them up, and divide by their number.",
            {"This is the median: its error is another one.": _error(mean=np.median)},
            lambda results: [mean for mean, _ in results],
        ),
        "error": Row(
            "their deviation (with n - 1), by the root of their number",
            "Standard deviation with n - 1, divided by the root of n.",
            errors,
            lambda results: [error for _, error in results],
        ),
        "one share": Row(
            "ValueError: a single run says nothing of its error",
            look=refuses(given([0.8]), given([]), explain=lambda *_: single),
        ),
    }
    return part_of_rows("mean_and_error", rows, _error(), cases, read=_two)
