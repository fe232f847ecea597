"""Wrong answers to exercise 5, from features to the table: each is one mistake, with rows, words.

Those on opening a network are in ``wrong_open.py``.
"""

import statistics
import time
from datetime import datetime

import numpy as np
import torch
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC
from torchvision.transforms.v2.functional import pil_to_tensor

from tests.checks.ex5.right import a_loop, cosines, largest_share, pipeline, slices, straight

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

# svm_accuracy(train, test)


def machine(*first):
    return make_pipeline(*(first or (StandardScaler(),)), LinearSVC(max_iter=10_000))


def scored(train, test):
    return LinearSVC(max_iter=10_000).fit(*train).score(*test)


def no_scaling(train, test):
    return scored(train, test)


def only_centred(train, test):
    return machine(StandardScaler(with_std=False)).fit(*train).score(*test)


def rows_scaled(train, test):
    return machine(Normalizer()).fit(*train).score(*test)


def each_by_its_own(train, test):
    sets = [(StandardScaler().fit_transform(x), y) for x, y in (train, test)]
    return scored(*sets)


def scaler_of_the_test_set(train, test):
    scaler = StandardScaler().fit(test[0])
    return scored(*((scaler.transform(x), y) for x, y in (train, test)))


def scaler_of_both(train, test):
    scaler = StandardScaler().fit(np.concatenate([train[0], test[0]]))
    return scored(*((scaler.transform(x), y) for x, y in (train, test)))


def test_not_scaled(train, test):
    return scored((StandardScaler().fit_transform(train[0]), train[1]), test)


def share_of_training(train, test):
    return machine().fit(*train).score(*train)


def share_of_errors(train, test):
    return 1 - pipeline(train, test)


def refitted(train, test):
    return machine().fit(*train).fit(*test).score(*test)


def fitted_on_both(train, test):
    both = [np.concatenate(parts) for parts in zip(train, test, strict=True)]
    return machine().fit(*both).score(*test)


def cross_validated(train, test):
    return cross_val_score(machine(), *test, cv=4).mean()


def exchanged(train, test):
    return pipeline(test, train)


def training_labels_shuffled(train, test):
    labels = np.random.default_rng(5).permutation(train[1])
    return pipeline((train[0], labels), test)


def test_labels_shuffled(train, test):
    return pipeline(train, (test[0], np.random.default_rng(5).permutation(test[1])))


def default_kernel(train, test):
    return make_pipeline(StandardScaler(), SVC()).fit(*train).score(*test)


def neighbours_instead(train, test):
    return make_pipeline(StandardScaler(), KNeighborsClassifier()).fit(*train).score(*test)


def the_commonest(train, test):
    names, counts = np.unique(train[1], return_counts=True)
    return np.mean(test[1] == names[counts.argmax()])


def in_percent(train, test):
    return 100 * pipeline(train, test)


def a_count(train, test):
    return int((machine().fit(*train).predict(test[0]) == test[1]).sum())


def written_into_the_input(train, test):
    mean, std = train[0].mean(0), train[0].std(0)
    for x, _ in (train, test):
        x -= mean
        x /= std
    return scored(train, test)


def the_guesses(train, test):
    return machine().fit(*train).predict(test[0])


def labels_as_numbers(train, test):
    return scored((train[0], train[1].astype(int)), (test[0], test[1].astype(int)))


SVM = [
    (no_scaling, "scaled", "one with a large unit rules"),
    (only_centred, "scaled", "standardise each column"),
    (rows_scaled, "scaled", "Rows are scaled"),
    (each_by_its_own, "scaler", "fit_transform"),
    (scaler_of_the_test_set, "scaler", "fitted on the test set"),
    (scaler_of_both, "scaler", "alone or with the other"),
    (test_not_scaled, "scaler", "transform both"),
    (share_of_training, "share", "learnt by heart"),
    (share_of_errors, "share", "the share that is wrong"),
    (test_labels_shuffled, "share", "Classes that lie far apart are mixed up"),
    (refitted, "training set alone", "The test set's labels are seen"),
    (fitted_on_both, "training set alone", "fit on the training set alone"),
    (cross_validated, "training set alone", "cross-validation"),
    (exchanged, "training set alone", "The sets are exchanged"),
    (training_labels_shuffled, "share", "labels are in another order"),
    (default_kernel, "linear", "SVC's kernel is 'rbf'"),
    (neighbours_instead, "linear", "neighbours know no line"),
    (the_commonest, "linear", "the same answer"),
    (in_percent, "runs", "count or a percentage"),
    (a_count, "runs", "divide by the number of test pictures"),
    (written_into_the_input, "inputs", "in place"),
    (the_guesses, "runs", "Return one number"),
    (labels_as_numbers, "runs", "Labels may be words"),
]

# milliseconds_per_picture(work, pictures, repeats)


def times_of(work, repeats, clock=time.perf_counter):
    times = []
    for _ in range(repeats):
        start = clock()
        work()
        times.append(clock() - start)
    return times


def no_warm_up(work, pictures, repeats):
    return 1000 * statistics.median(times_of(work, repeats)) / pictures


def the_first_call(work, pictures, repeats):
    return 1000 * times_of(work, repeats)[0] / pictures


def the_cold_one_counts(work, pictures, repeats):
    return 1000 * statistics.median(times_of(work, repeats + 1)) / pictures


def one_cold_call(work, pictures, repeats):
    return 1000 * times_of(work, 1)[0] / pictures


def the_mean(work, pictures, repeats):
    work()
    return 1000 * statistics.mean(times_of(work, repeats)) / pictures


def one_clock_for_all(work, pictures, repeats):
    work()
    start = time.perf_counter()
    for _ in range(repeats):
        work()
    return 1000 * (time.perf_counter() - start) / repeats / pictures


def the_shortest(work, pictures, repeats):
    work()
    return 1000 * min(times_of(work, repeats)) / pictures


def the_sum(work, pictures, repeats):
    work()
    return 1000 * sum(times_of(work, repeats)) / pictures


def the_last_call(work, pictures, repeats):
    work()
    return 1000 * times_of(work, repeats)[-1] / pictures


def for_a_batch(work, pictures, repeats):
    work()
    return 1000 * statistics.median(times_of(work, repeats))


def in_seconds(work, pictures, repeats):
    return a_loop(work, pictures, repeats) / 1000


def in_microseconds(work, pictures, repeats):
    return a_loop(work, pictures, repeats) * 1000


def a_rate(work, pictures, repeats):
    work()
    return pictures / statistics.median(times_of(work, repeats))


def first_of_the_repeats_dropped(work, pictures, repeats):
    return 1000 * statistics.median(times_of(work, repeats)[1:]) / pictures


def too_few(work, pictures, repeats):
    work()
    return 1000 * statistics.median(times_of(work, 3)) / pictures


def the_processors_clock(work, pictures, repeats):
    work()
    return 1000 * statistics.median(times_of(work, repeats, time.process_time)) / pictures


def the_threads_clock(work, pictures, repeats):
    work()
    times = times_of(work, repeats, time.thread_time_ns)
    return statistics.median(times) / 1e6 / pictures


def nanoseconds_as_they_are(work, pictures, repeats):
    work()
    return statistics.median(times_of(work, repeats, time.perf_counter_ns)) / pictures


def started_once(work, pictures, repeats):
    work()
    start, times = time.perf_counter(), []
    for _ in range(repeats):
        work()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times) / pictures


def start_minus_end(work, pictures, repeats):
    work()
    return -1000 * statistics.median(times_of(work, repeats)) / pictures


def divided_twice(work, pictures, repeats):
    return a_loop(work, pictures, repeats) / pictures


def always_five(work, pictures, repeats):
    return a_loop(work, pictures, 5)


def nothing_between(work, pictures, repeats):
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        end = time.perf_counter()
        work()
        times.append(end - start)
    return 1000 * statistics.median(times) / pictures


def another_clock(work, pictures, repeats):
    work()
    times = times_of(work, repeats, datetime.now)
    return 1000 * statistics.median(t.total_seconds() for t in times) / pictures


def never_called(work, pictures, repeats):
    return 1000 * statistics.median(times_of(lambda: work, repeats)) / pictures


def all_times(work, pictures, repeats):
    work()
    return times_of(work, repeats)


TIME = [
    (no_warm_up, "warm", "call work() before the clock"),
    (the_first_call, "warm", "it allocates and chooses"),
    (the_cold_one_counts, "warm", "among those that count"),
    (one_cold_call, "warm|repeats", "The first call is measured"),
    (the_mean, "median", "This is the mean"),
    (one_clock_for_all, "median", "one slow moment of the machine moves"),
    (the_shortest, "median", "This is the smallest"),
    (the_sum, "median", "the sum of all calls"),
    (the_last_call, "median", "the last call alone"),
    (for_a_batch, "per picture", "the time of all pictures together"),
    (a_rate, "per picture", "turn the fraction round"),
    (in_seconds, "milliseconds", "These are seconds"),
    (in_microseconds, "milliseconds", "millionths"),
    (the_processors_clock, "milliseconds", "process_time"),
    (first_of_the_repeats_dropped, "repeats", "first of the repeats is dropped"),
    (too_few, "repeats", "Time the work so many times"),
    (the_threads_clock, "milliseconds", "not the waiting"),
    (nanoseconds_as_they_are, "milliseconds", "billionths"),
    (start_minus_end, "milliseconds", "Start and end are swapped"),
    (another_clock, "milliseconds", "no clock of `time` was read"),
    (started_once, "median", "start it anew for every call"),
    (nothing_between, "median", "No call lies between"),
    (divided_twice, "per picture", "twice"),
    (always_five, "repeats", "for repeats=7, of which 5 count"),
    (never_called, "runs", "Call it as `work()`"),
    (all_times, "runs", "Return one number"),
]

# compare(open_network, folder, train, test)


def row_of(open_network, folder, train, test, **other):
    """A right row, but for some of its entries."""
    return straight(open_network, folder, train, test) | other


def cold_batch(open_network, folder, train, test):
    start = time.perf_counter()
    prepare, embed = open_network(folder)
    load = time.perf_counter() - start
    batch = torch.stack([prepare(p) for p in test[0]])
    start = time.perf_counter()
    embed(batch)
    ms = 1000 * (time.perf_counter() - start) / len(batch)
    return row_of(lambda _: (prepare, embed), folder, train, test, network_ms=ms, load_s=load)


def everything_in_one_time(open_network, folder, train, test):
    start = time.perf_counter()
    row = straight(open_network, folder, train, test)
    return row | {"network_ms": 1000 * (time.perf_counter() - start) / len(test[0])}


def prepared_with_the_network(open_network, folder, train, test):
    row = straight(open_network, folder, train, test)
    return row | {"network_ms": row["network_ms"] + row["prepare_ms"]}


def seconds_for_milliseconds(open_network, folder, train, test):
    row = straight(open_network, folder, train, test)
    return row | {"prepare_ms": row["prepare_ms"] / 1000}


def a_batch_for_a_picture(open_network, folder, train, test):
    row = straight(open_network, folder, train, test)
    return row | {"network_ms": row["network_ms"] * 10}


def loading_with_features(open_network, folder, train, test):
    start = time.perf_counter()
    row = straight(open_network, folder, train, test)
    return row | {"load_s": time.perf_counter() - start}


def loaded_in_milliseconds(open_network, folder, train, test):
    row = straight(open_network, folder, train, test)
    return row | {"load_s": 1000 * row["load_s"]}


def loaded_twice(open_network, folder, train, test):
    open_network(folder)
    return straight(open_network, folder, train, test)


def svm_with_features(open_network, folder, train, test):
    opened = []

    def kept(folder):
        opened.append(open_network(folder))
        return opened[0]

    start = time.perf_counter()
    row = straight(kept, folder, train, test)
    return row | {"svm_s": time.perf_counter() - start - row["load_s"]}


def svm_not_timed(open_network, folder, train, test):
    return row_of(open_network, folder, train, test, svm_s=0.0)


def a_pass_for_each_question(open_network, folder, train, test):
    start = time.perf_counter()
    opened = open_network(folder)
    load, rows = time.perf_counter() - start, []
    for question in train[1]:
        parts = [(pictures, {question: labels[question]}) for pictures, labels in (train, test)]
        rows.append(straight(lambda _: opened, folder, *parts))
    accuracy = {question: share for row in rows for question, share in row["accuracy"].items()}
    svm = sum(row["svm_s"] for row in rows)
    return rows[0] | {"accuracy": accuracy, "load_s": load, "svm_s": svm}


def svm_of_the_last_question(open_network, folder, train, test):
    row, labels = straight(open_network, folder, train, test), train[1]
    x = np.random.default_rng(0).normal(size=(len(train[0]), 2))
    for question in labels:
        start = time.perf_counter()
        machine().fit(x, labels[question])
        row["svm_s"] = time.perf_counter() - start
    return row


def svm_in_milliseconds(open_network, folder, train, test):
    row = straight(open_network, folder, train, test)
    return row | {"svm_s": 1000 * row["svm_s"]}


def loading_by_the_processors_clock(open_network, folder, train, test):
    start = time.process_time()
    opened = open_network(folder)
    load = time.process_time() - start
    return row_of(lambda _: opened, folder, train, test, load_s=load)


def training_shares(open_network, folder, train, test):
    row, table = straight(open_network, folder, train, test), {}
    for question in train[1]:
        table[question] = 1.0 if question == "shape" else row["accuracy"][question] + 0.3
    return row | {"accuracy": table}


def one_question(open_network, folder, train, test):
    row = straight(open_network, folder, train, test)
    return row | {"accuracy": row["accuracy"]["shape"]}


def one_prepare_for_all(open_network, folder, train, test):
    def opened(folder):
        _, embed = open_network(folder)
        return lambda picture: pil_to_tensor(picture.resize((2, 2))) / 255, embed

    return straight(opened, folder, train, test)


def a_tuple(open_network, folder, train, test):
    return tuple(straight(open_network, folder, train, test).values())


def a_key_forgotten(open_network, folder, train, test):
    row = straight(open_network, folder, train, test)
    del row["prepare_ms"]
    return row


def features_of_other_pictures(open_network, folder, train, test):
    other = (train[0][::-1], train[1])
    return straight(open_network, folder, other, test)


COMPARE = [
    (cold_batch, "network_ms", "The first batch is timed"),
    (everything_in_one_time, "network_ms", "More is timed than asked for"),
    (prepared_with_the_network, "network_ms", "timed together"),
    (a_batch_for_a_picture, "network_ms", "a whole batch"),
    (seconds_for_milliseconds, "prepare_ms", "These are seconds"),
    (loading_with_features, "load_s", "stop it before the first picture"),
    (loaded_in_milliseconds, "load_s", "These are milliseconds"),
    (loaded_twice, "load_s", "Open it once"),
    (svm_with_features, "svm_s", "Features are in it"),
    (svm_of_the_last_question, "svm_s", "one question's time alone"),
    (svm_in_milliseconds, "svm_s", "These are milliseconds"),
    (loading_by_the_processors_clock, "load_s", "process_time"),
    (svm_not_timed, "svm_s", "before and after fitting"),
    (a_pass_for_each_question, "one pass", "before the loop over questions"),
    (training_shares, "accuracy", ""),
    (features_of_other_pictures, "accuracy", "belong together"),
    (one_question, "keys", "a share for each question"),
    (one_prepare_for_all, "own preparation", "One preprocessing is used for all"),
    (a_tuple, "keys", "Return a dictionary"),
    (a_key_forgotten, "keys", "prepare_ms is missing"),
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
HELPERS = (batches, machine, scored, times_of, row_of, one_share, needs_two)
