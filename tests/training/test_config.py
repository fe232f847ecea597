"""A recipe that cannot work is refused in one sentence."""

import pytest

from modarch_utils.training.config import TrainConfig


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"lr": 0}, "lr must be positive"),
        ({"optimizer": "lion"}, "optimizer must be one of"),
        ({"weight_decay": -1}, "weight_decay must not be negative"),
        ({"epochs": 3, "warmup_epochs": 4}, "between 0 and epochs=3"),
        ({"label_smoothing": 1.0}, "label_smoothing must lie"),
        ({"mixup": -0.1}, "must not be negative"),
        ({"batch_size": 33, "mixup": 0.8}, "batch_size must be even; choose 34 or 32"),
        ({"batch_size": 33, "cutmix": 1.0}, "batch_size must be even"),
        ({"ema_decay": 1.0}, "ema_decay must lie"),
        ({"grad_clip": 0.0}, "grad_clip must be positive"),
        ({"augment": "blur"}, "augment must be one of"),
        ({"autocast": "fp8"}, "autocast must be one of"),
        ({"seed": -1}, "seed must not be negative"),
    ],
)
def test_bad_settings(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        TrainConfig(**change)


def test_an_odd_batch_is_fine_without_mixing():
    assert TrainConfig(batch_size=33).batch_size == 33
