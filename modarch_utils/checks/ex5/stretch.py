"""Exercise 5, stretch parts: C chosen on validation, a neighbours' vote, and how sure a mean is."""

import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from modarch_utils.checks.core import RIGHT, Report, Rows, Seen, Unusable, call, wrong
from modarch_utils.checks.ex5.svm import Set, hint_of_sklearn

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)


def check_choose_strength(function: Callable, seed: int = 0) -> Report:
    """Findings on a function that chooses the SVM's C on validation pictures.

    Args:
        function: ``function(train, val, strengths)`` gives one of the strengths.
        seed: decides the data sets.
    """
    rows = Rows(
        {
            "runs": "one of the strengths",
            "validation": "the one with the largest share on validation pictures",
            "ties": "the smallest of those that are equally good",
            "any order": "the list may come in any order, and is left as it is",
        }
    )
    draw = np.random.default_rng(seed)

    def data(n: int, noise: float, dim: int) -> Set:
        y = np.arange(n) % 2
        x = draw.normal(size=(n, dim)).astype(np.float32)
        x[:, :5] += (1.2 * y - 0.6)[:, None]
        y = np.where(draw.random(n) < noise, 1 - y, y)
        return x, np.array(["even", "odd"])[y]

    hard = data(80, 0.15, 60), data(400, 0.0, 60)
    easy = data(120, 0.0, 6), data(100, 0.0, 6)
    easy[0][0][:, 0] += 30 * (easy[0][1] == "odd")
    easy[1][0][:, 0] += 30 * (easy[1][1] == "odd")

    def run(sets: tuple[Set, Set], strengths: Sequence[float]) -> float:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            came = call(function, *sets, list(strengths), hint=hint_of_sklearn)
        if came is None:
            raise Unusable("None", "The function ends without `return`.")
        if isinstance(came, bool) or came not in strengths:
            if isinstance(came, int) and 0 <= came < len(strengths):
                raise Unusable(f"{came}", "This is a place in the list: return the strength.")
            raise Unusable(f"{came!r}", "Return a strength of the list, not its share.")
        return came

    def shares(sets: tuple[Set, Set], on: int) -> dict[float, float]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return {
                c: make_pipeline(StandardScaler(), LinearSVC(C=c, max_iter=20000, random_state=0))
                .fit(*sets[0])
                .score(*sets[on])
                for c in STRENGTHS
            }

    def validation() -> Seen:
        came, found = run(hard, STRENGTHS), shares(hard, 1)
        if found[came] >= max(found.values()) - 0.01:
            return RIGHT
        words = f"C={came:g}, right on {found[came]:.3f}, where {max(found.values()):.3f} is best"
        learnt = shares(hard, 0)
        if learnt[came] == max(learnt.values()):
            return wrong(
                words, "It is the best on the training set: there the weakest rule always wins."
            )
        return wrong(words, "Fit on the training set with each C, and count on validation.")

    def ties() -> Seen:
        came, found = run(easy, STRENGTHS[2:]), shares(easy, 1)
        if found[came] < 1:
            return RIGHT  # the row above speaks of it
        right = min(c for c in STRENGTHS[2:] if found[c] == 1)
        if came == right:
            return RIGHT
        return wrong(
            f"C={came:g}, where C={right:g} is as good",
            "Several are equally good: the smallest C regularises most.",
        )

    def any_order() -> Seen:
        backwards = list(STRENGTHS[2:])[::-1]
        given = list(backwards)
        came = run(easy, given)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            function(*easy, given)
        if given != backwards:
            return wrong("the list has another order after the call", "sorted() makes a new list.")
        if came == run(easy, STRENGTHS[2:]):
            return RIGHT
        return wrong(
            "another choice for the list backwards",
            "The first of equals is taken: look at the strength itself where shares are equal.",
        )

    rows.add("runs", lambda: run(hard, STRENGTHS) is not None and RIGHT)
    rows.add("validation", validation, ("runs",))
    rows.add("ties", ties, ("runs",))
    rows.add("any order", any_order, ("runs", "ties"))
    return rows.report("choose_strength")


def check_knn(function: Callable, seed: int = 0) -> Report:
    """Findings on a vote of the k nearest training pictures, by cosine similarity.

    Args:
        function: ``function(train, test, k)`` gives the share of the test set that is right.
        seed: decides the data sets.
    """
    rows = Rows(
        {
            "runs": "one number from 0 to 1",
            "neighbours": "the training set's, for each test picture",
            "direction": "the nearest by direction: lengths do not count",
            "k": "k neighbours vote, and the majority decides",
        }
    )
    draw = np.random.default_rng(seed)
    names = np.array(["left", "right"])

    def run(train: Set, test: Set, k: int) -> float:
        came = call(function, train, test, k, hint=hint_of_sklearn)
        if isinstance(came, bool) or not isinstance(came, int | float | np.number):
            kind = "None" if came is None else f"a {type(came).__name__}"
            raise Unusable(kind, "Return one number, the share that is right.")
        if not 0 <= came <= 1:
            raise Unusable(f"{came:g}", "Divide by the number of test pictures.")
        return float(came)

    def data(n: int, lengths: tuple[float, float] = (1.0, 1.0)) -> Set:
        """Two classes that are two directions; each has its own length."""
        y = np.arange(n) % 2
        angle = np.where(y, 0.8, 0.2) + 0.05 * draw.normal(size=n)
        x = np.stack([np.cos(angle), np.sin(angle)], 1) * np.array(lengths)[y][:, None]
        return x.astype(np.float32), names[y]

    def neighbours() -> Seen:
        train, (x, y) = data(60), data(40)
        flipped = names[1 - (y == names[1]).astype(int)]
        came = run(train, (x, flipped), 3)
        if came < 0.1:
            return RIGHT
        return wrong(
            f"{came:.2f} where no test label fits its neighbours",
            "The neighbours are looked for in the test set: they are the training set's.",
        )

    def direction() -> Seen:
        came = run(data(60, (1.0, 10.0)), data(40, (10.0, 1.0)), 5)
        if came > 0.97:
            return RIGHT
        return wrong(
            f"{came:.2f} where 1.00 is right",
            "Lengths decide (Euclidean distance): divide features by their lengths, or take "
            "metric='cosine'.",
        )

    def votes() -> Seen:
        # Each test picture lies on one training picture of the other class, amid four of its own.
        x, y = data(40)
        angle = np.arctan2(x[:, 1], x[:, 0])
        around = np.concatenate([angle] + [angle + d for d in (-2e-3, -1e-3, 1e-3, 2e-3)])
        other = names[1 - (y == names[1]).astype(int)]
        train = (
            np.stack([np.cos(around), np.sin(around)], 1).astype(np.float64),
            np.concatenate([other, *[y] * 4]),
        )
        test = x.astype(np.float64), y
        many, one = run(train, test, 5), run(train, test, 1)
        words = f"{one:.2f} with k=1, {many:.2f} with k=5"
        if abs(one - many) < 0.05:
            return wrong(words, "k changes nothing: is it used?")
        if many < 0.6:
            return wrong(words, "All k count: the class with most of them, not the nearest alone.")
        return RIGHT

    rows.add("runs", lambda: run(data(30), data(20), 3) is not None and RIGHT)
    rows.add("neighbours", neighbours, ("runs",))
    rows.add("direction", direction, ("runs", "neighbours"))
    rows.add("k", votes, ("runs", "neighbours"))
    return rows.report("knn_accuracy")


def check_mean_and_error(function: Callable, seed: int = 0) -> Report:
    """Findings on a mean over seeds and its standard error.

    Args:
        function: from a list of shares to (mean, standard error of the mean).
        seed: decides the shares.
    """
    rows = Rows(
        {
            "runs": "two numbers",
            "mean": "the mean of the shares",
            "error": "their deviation (with n - 1), by the root of their number",
            "one share": "ValueError: a single run says nothing of its error",
        }
    )
    shares = np.random.default_rng(seed).uniform(0.6, 0.9, 5).tolist()
    n, spread = len(shares), float(np.std(shares, ddof=1))

    def run() -> tuple[float, float]:
        came = call(function, list(shares))
        if not isinstance(came, tuple | list) or len(came) != 2:
            kind = "None" if came is None else f"a {type(came).__name__}"
            raise Unusable(kind, "Return two numbers, `return mean, error`.")
        return float(came[0]), float(came[1])

    def mean() -> Seen:
        came, right = run()[0], float(np.mean(shares))
        if math.isclose(came, right, rel_tol=1e-6):
            return RIGHT
        words = f"{came:.3f} where {right:.3f} is right"
        if math.isclose(came, float(np.median(shares)), rel_tol=1e-6):
            return wrong(words, "This is the median: its error is another one.")
        return wrong(words, "Add them up, and divide by their number.")

    def error() -> Seen:
        came, right = run()[1], spread / math.sqrt(n)
        words = f"{came:.4f} where {right:.4f} is right"
        for value, likely in (
            (right, ""),
            (spread, "This is the deviation of single runs: the mean's is smaller, by the root."),
            (
                float(np.std(shares)) / math.sqrt(n),
                "The deviation is divided by n: numpy's default; with few runs take ddof=1.",
            ),
            (float(np.std(shares)), "The root of n is missing, and so is ddof=1."),
            (spread / n, "Divided by n: by the root of n."),
            (spread**2 / n, "This is the variance: take its root."),
            (1.96 * right, "This is half an interval of 95 %: the error itself is asked for."),
        ):
            if math.isclose(came, value, rel_tol=1e-6):
                return wrong(words, likely) if likely else RIGHT
        return wrong(words, "Standard deviation with n - 1, divided by the root of n.")

    def single() -> Seen:
        try:
            came = function([0.8])
        except ValueError:
            return RIGHT
        except Exception as problem:
            came = type(problem).__name__
        return wrong(f"{came}", "Raise ValueError for fewer than two shares, with a sentence.")

    rows.add("runs", lambda: run() is not None and RIGHT)
    rows.add("mean", mean, ("runs",))
    rows.add("error", error, ("runs",))
    rows.add("one share", single, ("runs",))
    return rows.report("mean_and_error")
