"""The same number of steps on however few images, so that sets of all sizes compare."""

from modarch_utils.training.config import TrainConfig


def equal_steps(n: int, steps: int, batch_size: int, **rest) -> TrainConfig:
    """Settings that take ``steps`` steps over ``n`` images, the first sixteenth to warm up.

    Args:
        n: training images.
        steps: of all passes together.
        batch_size: images in a step.
        rest: further fields of :class:`TrainConfig`.

    Raises:
        ValueError: the steps are no whole number of passes.
    """
    a_pass = n // batch_size
    if a_pass < 1 or n % batch_size or steps % a_pass:
        raise ValueError(
            f"{steps} steps of {batch_size} images are no whole number of passes over {n} images; "
            f"choose {batch_size} times a divisor of {steps}."
        )
    return TrainConfig(
        epochs=steps // a_pass, batch_size=batch_size, warmup_epochs=steps / 16 / a_pass, **rest
    )
