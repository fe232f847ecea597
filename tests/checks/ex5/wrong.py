"""Wrong answers to exercise 5, from features to the table: each is one mistake, with rows, words.

Those on opening a network are in ``wrong_open.py``.
"""

import numpy as np
import torch
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torchvision.transforms.v2.functional import pil_to_tensor

from tests.checks.ex5.right import cosines, largest_share, slices

# extract(pictures, prepare, embed, batch_size)


def batches(pictures, prepare, embed, size):
    """Features, batch by batch."""
    for start in range(0, len(pictures), size):
        yield embed(torch.stack([prepare(p) for p in pictures[start : start + size]]))


def drop_last(pictures, prepare, embed, size):
    whole = pictures[: len(pictures) // size * size]
    return torch.cat([*batches(whole, prepare, embed, size)]) if whole else torch.empty(0, 3)


def only_the_last(pictures, prepare, embed, size):
    return [*batches(pictures, prepare, embed, size)][-1]


def only_the_first(pictures, prepare, embed, size):
    for features in batches(pictures, prepare, embed, size):
        return features


def a_row_for_a_batch(pictures, prepare, embed, size):
    return torch.stack([f.mean(0) for f in batches(pictures, prepare, embed, size)])


def shuffled(pictures, prepare, embed, size):
    order = np.random.default_rng(0).permutation(len(pictures))
    return slices([pictures[i] for i in order], prepare, embed, size)


def sorted_rows(pictures, prepare, embed, size):
    features = slices(pictures, prepare, embed, size).numpy()
    return features[np.argsort(features[:, 0])]


def backwards(pictures, prepare, embed, size):
    result = torch.empty(0, 3)
    for picture in pictures:
        result = torch.cat([embed(prepare(picture)[None]), result])
    return result


def one_at_a_time(pictures, prepare, embed, size):
    return torch.cat([embed(prepare(p)[None]) for p in pictures])


def all_at_once(pictures, prepare, embed, size):
    return embed(torch.stack([prepare(p) for p in pictures]))


def a_list_of_batches(pictures, prepare, embed, size):
    return [*batches(pictures, prepare, embed, size)]


def transposed(pictures, prepare, embed, size):
    return slices(pictures, prepare, embed, size).T


def one_long_row(pictures, prepare, embed, size):
    return slices(pictures, prepare, embed, size).flatten()


def not_prepared(pictures, prepare, embed, size):
    parts = [pictures[i : i + size] for i in range(0, len(pictures), size)]
    return torch.cat([embed(torch.stack([pil_to_tensor(p) / 255 for p in part])) for part in parts])


def prepared_for_each_batch(pictures, prepare, embed, size):
    parts = []
    for start in range(0, len(pictures), size):
        parts.append(embed(torch.stack([prepare(p) for p in pictures])[start : start + size]))
    return torch.cat(parts)


def normalised_once_more(pictures, prepare, embed, size):
    return slices(pictures, lambda p: (prepare(p) - 0.485) / 0.229, embed, size)


def unit_rows(pictures, prepare, embed, size):
    return torch.nn.functional.normalize(slices(pictures, prepare, embed, size), dim=1)


def standardised(pictures, prepare, embed, size):
    features = slices(pictures, prepare, embed, size)
    return (features - features.mean(0)) / features.std(0)


def filled_up(pictures, prepare, embed, size):
    more = -len(pictures) % size
    return slices([*pictures, *[pictures[-1]] * more], prepare, embed, size)


def no_return(pictures, prepare, embed, size):
    slices(pictures, prepare, embed, size)


EXTRACT = [
    (drop_last, "all pictures", "drop_last"),
    (only_the_last, "all pictures", "Only the last batch"),
    (only_the_first, "all pictures", "inside the loop"),
    (a_row_for_a_batch, "all pictures", "averaged over pictures"),
    (filled_up, "all pictures|own preparation", "filling is left in"),
    (shuffled, "order", "shuffle=True is for training"),
    (sorted_rows, "order", "or sorts"),
    (backwards, "order|batches", "New batches are put in front"),
    (one_at_a_time, "batches", "More calls than needed"),
    (all_at_once, "batches", "do not fit into memory"),
    (a_list_of_batches, "runs", "These are batches: join them"),
    (transposed, "runs", "transpose it"),
    (one_long_row, "runs", "A row for each picture"),
    (not_prepared, "own preparation", "Another preprocessing is used"),
    (prepared_for_each_batch, "own preparation", "more than once"),
    (normalised_once_more, "own preparation", "change nothing about it"),
    (unit_rows, "features", "divided by their lengths"),
    (standardised, "features", "standardised here already"),
    (no_return, "runs", "without `return`"),
]

# choose_strength(train, val, strengths)


def best_on_training(train, val, strengths):
    return largest_share(train, train, strengths[::-1]) and max(strengths)


def one_share(train, val, strength):
    svm = LinearSVC(C=strength, max_iter=20_000, random_state=0)
    return make_pipeline(StandardScaler(), svm).fit(*train).score(*val)


def the_share_itself(train, val, strengths):
    return max(one_share(train, val, c) for c in strengths)


def the_place(train, val, strengths):
    return int(np.argmax([one_share(train, val, c) for c in strengths]))


def the_first_of_equals(train, val, strengths):
    return max(strengths, key=lambda c: one_share(train, val, c))


def the_largest_of_equals(train, val, strengths):
    return max(strengths, key=lambda c: (one_share(train, val, c), c))


def the_callers_list_sorted(train, val, strengths):
    strengths.sort()
    return largest_share(train, val, strengths)


CHOOSE = [
    (best_on_training, "validation|ties", "the weakest rule always wins"),
    (the_share_itself, "runs", "not its share"),
    (the_place, "runs", "a place in the list"),
    (the_first_of_equals, "any order", "The first of equals"),
    (the_largest_of_equals, "ties", "regularises most"),
    (the_callers_list_sorted, "any order", "makes a new list"),
]

# knn_accuracy(train, test, k)


def by_distance(train, test, k):
    return KNeighborsClassifier(k).fit(*train).score(*test)


def among_the_test_set(train, test, k):
    return cosines(test, test, k)


def k_not_used(train, test, k):
    return cosines(train, test, 5)


def the_nearest_alone(train, test, k):
    return cosines(train, test, 1)


def the_nearest_decides(train, test, k):
    return cosines(train, test, 1) if k > 1 else cosines(train, test, 5)


def knn_in_percent(train, test, k):
    return 100 * cosines(train, test, k)


KNN = [
    (by_distance, "direction", "Lengths decide"),
    (among_the_test_set, "neighbours", "in the test set"),
    (k_not_used, "k", "k changes nothing"),
    (the_nearest_alone, "k", "is it used?"),
    (the_nearest_decides, "k", "the class with most of them"),
    (knn_in_percent, "runs", "Divide by the number"),
]

# mean_and_error(shares)


def needs_two(shares):
    if len(shares) < 2:
        raise ValueError("At least two.")


def deviation_of_runs(shares):
    needs_two(shares)
    return np.mean(shares), np.std(shares, ddof=1)


def divided_by_n(shares):
    needs_two(shares)
    return np.mean(shares), np.std(shares, ddof=1) / len(shares)


def numpys_default(shares):
    needs_two(shares)
    return np.mean(shares), np.std(shares) / np.sqrt(len(shares))


def the_variance(shares):
    needs_two(shares)
    return np.mean(shares), np.var(shares, ddof=1) / len(shares)


def half_an_interval(shares):
    needs_two(shares)
    return np.mean(shares), 1.96 * np.std(shares, ddof=1) / np.sqrt(len(shares))


def of_the_median(shares):
    needs_two(shares)
    return np.median(shares), np.std(shares, ddof=1) / np.sqrt(len(shares))


def one_is_enough(shares):
    spread = np.std(shares, ddof=1) if len(shares) > 1 else 0.0
    return np.mean(shares), spread / np.sqrt(len(shares))


def the_mean_alone(shares):
    return np.mean(shares)


ERROR = [
    (deviation_of_runs, "error", "deviation of single runs"),
    (divided_by_n, "error", "by the root of n"),
    (numpys_default, "error", "ddof=1"),
    (the_variance, "error", "take its root"),
    (half_an_interval, "error", "an interval of 95"),
    (of_the_median, "mean", "This is the median"),
    (one_is_enough, "one share", "Raise ValueError"),
    (the_mean_alone, "runs", "Return two numbers"),
]
