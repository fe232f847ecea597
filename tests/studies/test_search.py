"""The search: its space, what a candidate builds, and the paper's reward."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from modarch_utils import records
from modarch_utils.data import scenes
from modarch_utils.models.efficientnetv2 import FusedMBConv, MBConv
from modarch_utils.studies import search


def test_space_is_small_and_every_candidate_has_its_own_name():
    space = search.space()
    assert len(space) == 3**3 * 2**3 * 2 == len(set(space)) == len({c.name for c in space})
    assert set(search.PATTERNS.values()) <= set(space)
    assert len(set(search.PATTERNS.values())) == 8


def test_a_name_leads_back_to_its_candidate():
    for candidate in search.sample(20, seed=3):
        assert search.parse(candidate.name) == candidate
    with pytest.raises(ValueError, match="No candidate 'F5x9'"):
        search.parse("F5x9")


def test_sample_is_random_repeatable_and_without_repetition():
    assert search.sample(30, seed=0) == search.sample(30, seed=0)
    assert search.sample(30, seed=0) != search.sample(30, seed=1)
    assert len(set(search.sample(432, seed=0))) == 432
    for n in (0, 433):
        with pytest.raises(ValueError, match="of the 432 candidates"):
            search.sample(n, seed=0)


def test_a_candidate_needs_three_stages():
    with pytest.raises(ValueError, match="3 stages"):
        search.Candidate((("mbconv", 3),), (1,), 4)


def test_patterns_fuse_the_stages_that_they_name():
    for name, candidate in search.PATTERNS.items():
        first, last = (name.split("-") * 2)[:2] if "-" in name else ("0", "-1")
        named = {int(n) for n in name.split(",") if n.strip().isdigit()}
        named |= set(range(int(first), int(last) + 1))
        fused = {i for i, (op, _) in enumerate(candidate.operators, 1) if op == "fused"}
        assert fused == named, name


def test_build_has_the_candidates_blocks_and_its_seeds_weights():
    candidate = search.parse("F3x2-M5x1-M3x2-e2")
    model = search.build(candidate, 8, seed=0)
    blocks = [list(stage) for stage in model.blocks]
    assert [len(stage) for stage in blocks] == [2, 1, 2]
    assert [type(stage[0]) for stage in blocks] == [FusedMBConv, MBConv, MBConv]
    assert blocks[1][0].conv_dw.kernel_size == (5, 5)
    assert blocks[2][1].conv_pw.out_channels == 2 * search.CHANNELS[2]
    assert model.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 8)
    again, other = (search.build(candidate, 8, seed).state_dict() for seed in (0, 1))
    assert all(torch.equal(v, again[k]) for k, v in model.state_dict().items())
    assert not torch.equal(again["classifier.weight"], other["classifier.weight"])


def test_counts_are_exact_and_fusing_adds_to_both():
    counts = {name: search.counts(c) for name, c in search.PATTERNS.items()}
    model = search.build(search.BASELINE, 8, 0)
    assert counts["none"]["params"] == sum(p.numel() for p in model.parameters())
    for fewer, more in (("none", "1"), ("1", "1-2"), ("1-2", "1-3")):
        assert counts[fewer]["params"] < counts[more]["params"]
        assert counts[fewer]["macs"] < counts[more]["macs"]


def test_reward_is_the_papers():
    assert search.reward(80.0, 1.0, 1.0) == pytest.approx(80.0)
    assert search.reward(80.0, 2.0, 1.0) == pytest.approx(80 * 2**-0.07)
    assert search.reward(80.0, 1.0, 2.0) == pytest.approx(80 * 2**-0.05)
    several = search.reward(np.array([80.0, 90.0]), np.array([1.0, 2.0]), 1.0)
    assert several.shape == (2,)
    # Units multiply every reward by one number, and change no order.
    assert search.reward(80.0, 5.0, 1.0) / search.reward(80.0, 2.5, 1.0) == pytest.approx(2**-0.07)


def test_step_time_is_relative_to_the_baseline():
    settings = replace(search.SETTINGS, batch_size=16)
    tiny = search.parse("M3x1-M3x1-M3x1-e2")
    same, small = search.step_seconds([search.BASELINE, tiny], settings=settings, repeats=9)
    assert 0.7 < same.relative < 1.4
    assert small.relative < 0.8 * same.relative
    assert small.q1 <= small.relative <= small.q3 and small.seconds > 0


def test_a_candidate_learns():
    train, val = (scenes.render(n, 32, seed=s, framing="close") for s, n in ((0, 96), (1, 64)))
    settings = replace(search.SETTINGS, epochs=6, batch_size=16)
    sets = [(s.images, s.shape) for s in (train, train, val)]
    candidate = search.parse("F3x1-F3x1-M3x1-e2")
    scores = search.train(candidate, 0, *sets, settings=settings, progress=False)
    assert scores.keys() == {"val", "test"}
    assert scores["val"] > 25  # "val" is the training set here; guessing gives 12.5
    assert scores == search.train(candidate, 0, *sets, settings=settings, progress=False)
    assert search.train(candidate, 0, *sets[:2], settings=settings, progress=False).keys() == {
        "val"
    }


def test_results_hold_each_candidate_once_and_pairs_differ_in_one_stage():
    record = records.load("architecture_search")
    found = search.results(record)
    trained = {r["name"] for r in record["results"] if r["kind"] == "training"}
    assert len(found.names) == len(set(found.names)) and set(found.names) == trained
    assert found.names[: len(search.PATTERNS)] == [c.name for c in search.PATTERNS.values()]
    base = found.names.index(search.BASELINE.name)
    assert found.macs[base] == found.params[base] == 1
    seeds = len(record["settings"]["seeds"])
    assert found.val.shape == found.test.shape == (len(found.names), seeds)
    for stage in range(3):
        for after, before in zip(*found.pairs(stage), strict=True):
            one, other = (search.parse(found.names[i]) for i in (after, before))
            assert one.operators[stage] == ("fused", 3) and other.operators[stage] == ("mbconv", 3)
            operators = list(one.operators)
            operators[stage] = ("mbconv", 3)
            assert replace(one, operators=tuple(operators)) == other
