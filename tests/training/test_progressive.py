"""The progressive schedule by hand."""

from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modarch_utils.claims import paper
from modarch_utils.training.progressive import LESSON, ProgressiveSchedule, Setting

TABLE = paper("efficientnetv2.progressive")
S = ProgressiveSchedule(
    *(Setting(**TABLE["s"][end]) for end in ("first", "last")), TABLE["stages"], TABLE["epochs"]
)


def test_s_by_hand():
    stages = S.stages()
    assert [(first, last) for first, last, _ in stages] == [
        (0, 87),
        (88, 174),
        (175, 262),
        (263, 349),
    ]
    settings = [setting for *_, setting in stages]
    assert [s.image_size for s in settings] == [128, 185, 243, 300]  # 185.33, 242.67
    assert [s.randaugment for s in settings] == pytest.approx([5, 25 / 3, 35 / 3, 15])
    assert [s.mixup for s in settings] == [0, 0, 0, 0]
    assert [s.dropout for s in settings] == pytest.approx([0.1, 1 / 6, 7 / 30, 0.3])


def test_lesson_by_hand():
    assert LESSON.stages() == [
        (0, 49, Setting(128, 5, 0, 0)),
        (50, 99, Setting(192, 10, 0.2, 0)),
        (100, 149, Setting(256, 15, 0.4, 0)),
    ]


SETTINGS = st.builds(
    Setting, st.integers(1, 512), st.floats(0, 30), st.floats(0, 1), st.floats(0, 0.9)
)


@st.composite
def schedules(draw):
    stages = draw(st.integers(2, 9))
    epochs, multiple = draw(st.integers(stages, 400)), draw(st.sampled_from([1, 32, 100]))
    return ProgressiveSchedule(draw(SETTINGS), draw(SETTINGS), stages, epochs, multiple)


@given(schedules())
def test_stages_of_equal_length_lead_from_end_to_end(schedule):
    stages, epochs = schedule.stages(), range(schedule.epochs)
    lengths = [last - first + 1 for first, last, _ in stages]
    assert max(lengths) - min(lengths) <= 1
    told = [(i, s) for i, (first, last, s) in enumerate(stages) for _ in range(first, last + 1)]
    assert [(schedule.stage_of(epoch), schedule.at(epoch)) for epoch in epochs] == told
    settings = [setting for *_, setting in stages]
    assert (settings[0], settings[-1]) == (schedule.first, schedule.last)
    for values in zip(*map(astuple, settings), strict=True):
        assert list(values) in (sorted(values), sorted(values, reverse=True))


def test_sizes_between_the_ends_are_rounded():
    sizes = [s.image_size for *_, s in replace(S, multiple=32).stages()]
    assert sizes == [128, 192, 256, 300]
    narrow = ProgressiveSchedule(Setting(100, 0, 0, 0), Setting(110, 0, 0, 0), 3, 3, multiple=32)
    assert [s.image_size for *_, s in narrow.stages()] == [100, 100, 110]  # 96 lies outside


def test_one_stage_is_training_at_a_fixed_setting():
    fixed = ProgressiveSchedule(LESSON.last, LESSON.last, 1, 10)
    assert fixed.stages() == [(0, 9, LESSON.last)]
    with pytest.raises(ValueError, match="One stage has one setting"):
        ProgressiveSchedule(LESSON.first, LESSON.last, 1, 10)


@pytest.mark.parametrize("epoch", [-1, 150, 300, 1.0, 0.5, "3", None, True])
def test_epochs_outside_are_refused(epoch):
    for method in (LESSON.at, LESSON.stage_of):
        with pytest.raises(ValueError, match=r"An epoch must be a whole number from 0 to 149, not"):
            method(epoch)


def test_numpy_epochs_are_epochs():
    assert LESSON.stage_of(np.int64(50)) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 2}, "3 stages need at least as many epochs, but there are 2"),
        ({"num_stages": 0}, "num_stages must be a whole number from 1, not 0"),
        ({"epochs": 9.5}, "epochs must be a whole number"),
        ({"multiple": 0}, "multiple must be a whole number"),
    ],
)
def test_impossible_schedules_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(LESSON, **change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 0}, "image_size must be a whole number from 1, not 0"),
        ({"image_size": 12.5}, "image_size must be a whole number"),
        ({"mixup": -0.1}, "must not be negative"),
        ({"dropout": 1}, r"dropout must lie in \[0, 1\)"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(LESSON.first, **change)
