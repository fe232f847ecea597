"""The two tasks on sequences: right answers, no leak of the future, and they can be learned."""

from dataclasses import asdict, replace

import pytest
import torch

from modarch_utils import records
from modarch_utils.studies import sequences
from modarch_utils.studies.sequences import COPYING, RECALL, Copying, Recall
from recipes import sequence_tasks

NETWORKS = [(task, mixer) for task in (COPYING, RECALL) for mixer in task.mixers()]
TINY_COPYING = Copying(length=6, n_tokens=2, vocab=5, dim=16, steps=120, eval_every=50, warmup=10)
TINY_RECALL = Recall(length=16, vocab=4, dim=16, steps=120, heads=2, eval_every=50, warmup=10)


def test_copying_asks_for_the_symbols_in_order():
    inputs, targets = sequences.selective_copying(50, length=12, n_tokens=5, vocab=7, seed=3)
    assert inputs.shape == targets.shape == (50, 17)
    for x, y in zip(inputs.tolist(), targets.tolist(), strict=True):
        assert x[12:] == [6] * 5
        assert y == [-100] * 12 + [s for s in x[:12] if s != 0]
        assert len(y) == 17
    symbols, places = inputs[:, :12].unique(), (inputs[:, :12] > 0).float().mean(0)
    assert symbols.tolist() == [0, 1, 2, 3, 4, 5]
    assert places.min() > 0.1 and places.max() < 0.8  # anywhere; 5/12 on average


def test_recall_asks_for_what_the_key_came_with():
    inputs, targets = sequences.associative_recall(50, length=24, vocab=10, seed=3)
    ages = sequences.pairs_ago(inputs)
    assert inputs.shape == targets.shape == (50, 24) and ages.shape == (50, 12)
    for x, y, ago in zip(inputs.tolist(), targets.tolist(), ages.tolist(), strict=True):
        known, last = {}, {}
        for pair, (key, value) in enumerate(zip(x[::2], x[1::2], strict=True)):
            assert key < 5 <= value < 10
            assert y[2 * pair] == known.get(key, -100)
            assert y[2 * pair + 1] == -100
            assert ago[pair] == pair - last.get(key, pair)
            assert known.setdefault(key, value) == value  # a key keeps its value
            last[key] = pair
    assert inputs.unique().tolist() == list(range(10))
    firsts = inputs[inputs[:, 0] == 0, 1]
    assert len(firsts.unique()) > 1  # and has another one in another sequence


@pytest.mark.parametrize("task", [COPYING, RECALL])
def test_data_depend_on_the_seed_alone(task):
    one, same, other = (task.data(4, seed) for seed in (5, 5, 6))
    assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(one[0], other[0])
    parts = [sequences.held_out(task, part)[0] for part in ("validation", "test")]
    assert not torch.equal(*parts)
    assert len(torch.cat(parts).unique(dim=0)) == 2 * task.eval_sequences


def test_impossible_data_are_refused():
    with pytest.raises(ValueError, match="9 symbols do not fit into 8"):
        sequences.selective_copying(1, 8, 9, 5, 0)
    with pytest.raises(ValueError, match="vocab must be 3 or more"):
        sequences.selective_copying(1, 8, 2, 2, 0)
    for length, vocab in ((7, 4), (2, 4), (8, 3), (8, 0)):
        with pytest.raises(ValueError, match=f"must be even, but are {length} and {vocab}"):
            sequences.associative_recall(1, length, vocab, 0)
    with pytest.raises(ValueError, match="No mixer 'mlp' in this task; it has selective"):
        sequences.build(COPYING, "mlp", 0)


@pytest.mark.parametrize(("task", "mixer"), NETWORKS, ids=[mixer for _, mixer in NETWORKS])
def test_no_network_sees_the_future(task, mixer):
    model = sequences.build(task, mixer, seed=0)
    inputs, _ = task.data(2, seed=0)
    changed = inputs.clone()
    changed[:, 40:] = (inputs[:, 40:] + 1) % task.vocab
    before, after = model(inputs), model(changed)
    torch.testing.assert_close(before[:, :40], after[:, :40])
    assert not torch.allclose(before[:, 40], after[:, 40])


def test_the_convolution_sees_as_far_back_as_its_reach():
    model = sequences.build(RECALL, "convolution", seed=0)
    inputs, _ = RECALL.data(8, seed=0)
    last = RECALL.length - 2  # a key
    answer = last - 2 * RECALL.reach + 1  # the value that far back

    def moves(place: int) -> bool:
        changed = inputs.clone()
        changed[:, place] = (inputs[:, place] + 1) % RECALL.vocab
        return not torch.equal(model(inputs)[:, last], model(changed)[:, last])

    assert moves(answer - 1) and not moves(answer - 2)


@pytest.mark.parametrize(("task", "mixer"), [(TINY_COPYING, "selective"), (TINY_RECALL, "Hyena")])
def test_a_tiny_network_learns_a_tiny_task(task, mixer):
    model, curve = sequences.train(task, mixer, 2e-2, seed=0, progress=False)
    assert [step for step, _ in curve] == [50, 100, 120]
    assert curve[-1][1] > 0.9
    assert sequences.accuracy(model, sequences.held_out(task, "test")) > 0.9


def test_a_network_without_a_past_can_only_guess():
    blind = replace(TINY_RECALL, kernel_size=1, vocab=8)
    model, curve = sequences.train(blind, "convolution", 1e-2, seed=0, progress=False)
    assert abs(curve[-1][1] - 1 / 4) < 0.05
    by_age = sequences.accuracy_by_age(model, sequences.held_out(blind, "test"))
    assert len(by_age) > 3 and max(by_age) < 0.4


def test_training_repeats_itself():
    short = replace(TINY_RECALL, steps=3)
    (a, curve), (b, same), (c, _) = (
        sequences.train(short, "Hyena", 1e-2, seed, progress=False) for seed in (0, 0, 1)
    )
    assert curve == same
    assert torch.equal(a.head.weight, b.head.weight)
    assert not torch.equal(a.head.weight, c.head.weight)


def test_accuracy_by_age_adds_up_to_the_accuracy():
    data = sequences.held_out(RECALL, "test")
    model = sequences.build(RECALL, "attention", seed=0)
    ages = sequences.accuracy_by_age(model, data)
    count = sequences.pairs_ago(data[0]).flatten().bincount()[1:]
    assert (count[: len(ages)] >= 100).all() and count[len(ages)] < 100
    right = sequences.correct(model, data)
    within = right[:, ::2][sequences.pairs_ago(data[0]) <= len(ages)].sum().item()
    assert sum(a * n for a, n in zip(ages, count.tolist(), strict=False)) == pytest.approx(within)
    asked = (data[1] != -100).sum().item()
    assert sequences.accuracy(model, data) == pytest.approx(right.sum().item() / asked)


def test_the_record_belongs_to_these_settings():
    record = records.load("sequence_tasks")
    for name, task in sequence_tasks.TASKS.items():
        assert record["settings"][name] == asdict(task)
        rows = [r for r in record["results"] if r["task"] == name]
        assert all(r["curve"][-1] == [task.steps, r["val"]] for r in rows)
