"""Wrong answers to exercise 2: each is one mistake, with the rows and words that must name it."""

import math

STAGES = ((128, 5, 0.0), (192, 10, 0.2), (256, 15, 0.4))
KEYS = ("image_size", "randaugment", "mixup")


def refuse(epoch, total=150):
    if epoch < 0 or epoch >= total:
        raise ValueError(f"no epoch {epoch}")


def row(stage, stages=STAGES):
    return dict(zip(KEYS, stages[stage], strict=True))


# The lesson's three stages.


def late_by_one(epoch):
    refuse(epoch)
    return row(0) if epoch <= 50 else row(1) if epoch <= 100 else row(2)


def early_by_one(epoch):
    refuse(epoch)
    return row((epoch + 1) // 50 if epoch < 149 else 2)


def thirds_of_another_length(epoch):
    refuse(epoch)
    return row(epoch // 60)


def like_the_lesson(epoch):
    """The published solution: a fallback to the last row, whatever the epoch."""
    stages = [{"epochs": (i * 50, i * 50 + 50), **row(i)} for i in range(3)]
    for stage in stages:
        if stage["epochs"][0] <= epoch < stage["epochs"][1]:
            return {key: stage[key] for key in KEYS}
    return stages[-1]


def with_epochs(epoch):
    refuse(epoch)
    return {"epochs": 50, **row(epoch // 50)}


def accepts_negative(epoch):
    if epoch >= 150:
        raise ValueError("too large")
    return row(epoch // 50)


def clamps(epoch):
    if epoch < 0:
        raise ValueError("negative")
    return row(min(epoch // 50, 2))


def one_too_many(epoch):
    if epoch < 0 or epoch > 150:
        raise ValueError("no such epoch")
    return row(min(epoch // 50, 2))


def asserts(epoch):
    assert 0 <= epoch < 150
    return row(epoch // 50)


def index_error(epoch):
    if epoch < 0:
        raise ValueError("negative")
    return row(epoch // 50)


def falls_through(epoch):
    if epoch < 0:
        raise ValueError("negative")
    for i in range(3):
        if epoch < 50 * (i + 1):
            return row(i)


def backwards(epoch):
    refuse(epoch)
    return row(2 - epoch // 50)


def mixup_too_early(epoch):
    refuse(epoch)
    return row(epoch // 50) | {"mixup": (0.2, 0.4, 0.4)[epoch // 50]}


def mixup_too_late(epoch):
    refuse(epoch)
    return row(epoch // 50) | {"mixup": (0.0, 0.0, 0.2)[epoch // 50]}


def magnitude_as_a_share(epoch):
    refuse(epoch)
    return row(epoch // 50) | {"randaugment": (0.5, 1.0, 1.5)[epoch // 50]}


def alpha_in_percent(epoch):
    refuse(epoch)
    return row(epoch // 50) | {"mixup": (0, 20, 40)[epoch // 50]}


def swapped(epoch):
    refuse(epoch)
    now = row(epoch // 50)
    return {**now, "randaugment": now["mixup"], "mixup": now["randaugment"]}


def constant_mixup(epoch):
    refuse(epoch)
    return row(epoch // 50) | {"mixup": 0.2}


def size_as_float(epoch):
    refuse(epoch)
    now = row(epoch // 50)
    return now | {"image_size": 128 * (1 + 0.5 * (epoch // 50))}


def every_epoch(epoch):
    refuse(epoch)
    return row(epoch // 50) | {"randaugment": (5, 10, 15)[epoch // 50] + (epoch % 50 - 24) / 1e3}


TABLE = [row(i) for i in range(3)]


def own_table(epoch):
    refuse(epoch)
    return TABLE[epoch // 50]


def as_tuple(epoch):
    refuse(epoch)
    return STAGES[epoch // 50]


def other_names(epoch):
    refuse(epoch)
    return dict(zip(("img_size", "rand_aug_mag", "mixup_alpha"), STAGES[epoch // 50], strict=True))


def prints_only(epoch):
    refuse(epoch)
    row(epoch // 50)


def as_text(epoch):
    refuse(epoch)
    return row(epoch // 50) | {"image_size": "128 px"}


def empty(epoch):
    raise NotImplementedError()


def no_argument():
    return row(0)


THREE = [
    (late_by_one, "edges", "an epoch too late"),
    (early_by_one, "edges", "an epoch too early"),
    (thirds_of_another_length, "edges", "in the wrong stage"),
    (like_the_lesson, "negative|too large", "A row of your own table gets out"),
    (with_epochs, "keys", "also 'epochs'"),
    (accepts_negative, "negative", "Negative epochs pass"),
    (clamps, "too large", "Epochs after the end pass"),
    (one_too_many, "too large", "epoch 150 gives"),
    (asserts, "negative|too large", "by an assert"),
    (index_error, "too large", "by accident"),
    (falls_through, "too large", "gives None"),
    (backwards, "image_size|randaugment|mixup", "It runs backwards"),
    (mixup_too_early, "mixup", "one stage too early"),
    (mixup_too_late, "mixup", "one stage too late"),
    (magnitude_as_a_share, "randaugment", "0.1 times"),
    (alpha_in_percent, "mixup", "100 times"),
    (swapped, "randaugment|mixup", "two keys are swapped"),
    (constant_mixup, "mixup", "same in every stage"),
    (size_as_float, "image_size", "make it an int"),
    (every_epoch, "edges", "inside of a stage"),
    (own_table, "own result", "hands out its own table"),
    (as_tuple, "keys", "Return a dictionary"),
    (other_names, "keys", "image_size is missing"),
    (prints_only, "keys", "no `return`"),
    (as_text, "keys", "plain numbers"),
    (empty, "keys", "Replace `raise NotImplementedError()`"),
    (no_argument, "keys", "Compare the signature"),
]


# The general schedule.


def blend(first, last, share, multiple=32, nearest=round):
    now = {key: first[key] + (last[key] - first[key]) * share for key in KEYS}
    return now | {"image_size": nearest(now["image_size"] / multiple) * multiple}


def right(epoch, total_epochs, num_stages, first, last):
    refuse(epoch, total_epochs)
    return blend(first, last, epoch * num_stages // total_epochs / max(num_stages - 1, 1))


def ignores_total(epoch, total_epochs, num_stages, first, last):
    refuse(epoch, total_epochs)
    stage = min(epoch * num_stages // 150, num_stages - 1)
    return blend(first, last, stage / max(num_stages - 1, 1))


def fifty_each(epoch, total_epochs, num_stages, first, last):
    refuse(epoch, total_epochs)
    return blend(first, last, min(epoch // 50, num_stages - 1) / max(num_stages - 1, 1))


def limit_of_the_lesson(epoch, total_epochs, num_stages, first, last):
    refuse(epoch)
    return blend(first, last, epoch * num_stages // total_epochs / max(num_stages - 1, 1))


def no_upper_limit(epoch, total_epochs, num_stages, first, last):
    refuse(epoch, math.inf)
    stage = min(epoch * num_stages // total_epochs, num_stages - 1)
    return blend(first, last, stage / max(num_stages - 1, 1))


def no_lower_limit(epoch, total_epochs, num_stages, first, last):
    if epoch >= total_epochs:
        raise ValueError("too large")
    return blend(first, last, epoch * num_stages // total_epochs / max(num_stages - 1, 1))


def three_fixed(epoch, total_epochs, num_stages, first, last):
    refuse(epoch, total_epochs)
    return blend(first, last, epoch * 3 // total_epochs / 2)


def three_fixed_in_the_steps(epoch, total_epochs, num_stages, first, last):
    refuse(epoch, total_epochs)
    return blend(first, last, epoch * num_stages // total_epochs / 2)


def never_arrives(epoch, total_epochs, num_stages, first, last):
    refuse(epoch, total_epochs)
    if num_stages == 1:
        return dict(last)
    return blend(first, last, epoch * num_stages // total_epochs / num_stages)


def starts_late(epoch, total_epochs, num_stages, first, last):
    refuse(epoch, total_epochs)
    return blend(first, last, (epoch * num_stages // total_epochs + 1) / num_stages)


def wrong_way(epoch, total_epochs, num_stages, first, last):
    return right(epoch, total_epochs, num_stages, last, first)


def doubling(epoch, total_epochs, num_stages, first, last):
    refuse(epoch, total_epochs)
    share = epoch * num_stages // total_epochs / max(num_stages - 1, 1)
    now = {key: first[key] * (last[key] / first[key]) ** share for key in KEYS}
    return now | {"image_size": round(now["image_size"] / 32) * 32}


def smooth(epoch, total_epochs, num_stages, first, last):
    refuse(epoch, total_epochs)
    return blend(first, last, epoch / max(total_epochs - 1, 1))


def lesson_fixed(epoch, total_epochs, num_stages, first, last):
    ends = (dict(zip(KEYS, STAGES[i], strict=True)) for i in (0, 2))
    return right(epoch, total_epochs, num_stages, *ends) if num_stages > 1 else dict(last)


def divides_by_zero(epoch, total_epochs, num_stages, first, last):
    refuse(epoch, total_epochs)
    return blend(first, last, epoch * num_stages // total_epochs / (num_stages - 1))


def whole_lengths(epoch, total_epochs, num_stages, first, last):
    refuse(epoch, total_epochs)
    stage = min(epoch // (total_epochs // num_stages), num_stages - 1)
    return blend(first, last, stage / max(num_stages - 1, 1))


def whole_lengths_beyond_last(epoch, total_epochs, num_stages, first, last):
    refuse(epoch, total_epochs)
    shares = [i / max(num_stages - 1, 1) for i in range(num_stages)]
    return blend(first, last, shares[epoch // (total_epochs // num_stages)])


def lengths_rounded_up(epoch, total_epochs, num_stages, first, last):
    refuse(epoch, total_epochs)
    stage = epoch // math.ceil(total_epochs / num_stages)
    return blend(first, last, stage / max(num_stages - 1, 1))


def late_edges(epoch, total_epochs, num_stages, first, last):
    refuse(epoch, total_epochs)
    stage = max(epoch - 1, 0) * num_stages // total_epochs
    return blend(first, last, stage / max(num_stages - 1, 1))


def any_size(epoch, total_epochs, num_stages, first, last):
    now = right(epoch, total_epochs, num_stages, first, last)
    share = epoch * num_stages // total_epochs / max(num_stages - 1, 1)
    exact = first["image_size"] + (last["image_size"] - first["image_size"]) * share
    return now | {"image_size": int(exact)}


def float_size(epoch, total_epochs, num_stages, first, last):
    now = right(epoch, total_epochs, num_stages, first, last)
    return now | {"image_size": float(now["image_size"])}


def rounds_down(epoch, total_epochs, num_stages, first, last):
    refuse(epoch, total_epochs)
    share = epoch * num_stages // total_epochs / max(num_stages - 1, 1)
    return blend(first, last, share, nearest=int)


def rounds_up(epoch, total_epochs, num_stages, first, last):
    refuse(epoch, total_epochs)
    share = epoch * num_stages // total_epochs / max(num_stages - 1, 1)
    return blend(first, last, share, nearest=lambda v: math.ceil(v - 1e-9))


def whole_magnitudes(epoch, total_epochs, num_stages, first, last):
    now = right(epoch, total_epochs, num_stages, first, last)
    return now | {"randaugment": int(now["randaugment"])}


def rounded_mixup(epoch, total_epochs, num_stages, first, last):
    now = right(epoch, total_epochs, num_stages, first, last)
    return now | {"mixup": round(now["mixup"], 1)}


def forgets_mixup(epoch, total_epochs, num_stages, first, last):
    now = right(epoch, total_epochs, num_stages, first, last)
    return now | {"mixup": last["mixup"]}


def writes_into_first(epoch, total_epochs, num_stages, first, last):
    now = right(epoch, total_epochs, num_stages, first, last)
    first.update(now)
    return dict(first)


def gives_first_away(epoch, total_epochs, num_stages, first, last):
    now = right(epoch, total_epochs, num_stages, first, last)
    return first if now == first else now


def with_stage(epoch, total_epochs, num_stages, first, last):
    return right(epoch, total_epochs, num_stages, first, last) | {"stage": 0}


def unwritten(epoch, total_epochs, num_stages, first, last):
    raise NotImplementedError()


GENERAL = [
    (ignores_total, "even edges", "total_epochs is ignored"),
    (fifty_each, "even edges", "50 epochs each"),
    (limit_of_the_lesson, "keys", "fixed in the code?"),
    (no_upper_limit, "too large", "no limit"),
    (no_lower_limit, "negative", "Negative epochs pass"),
    (three_fixed, "stages", "Three stages are fixed"),
    (three_fixed_in_the_steps, "steps", "goes beyond last"),
    (never_arrives, "steps", "never arrives at last"),
    (starts_late, "steps", "already a step away"),
    (wrong_way, "steps", "runs backwards"),
    (doubling, "steps", "in equal steps"),
    (smooth, "stages", "inside of a stage"),
    (lesson_fixed, "steps", "use first and last"),
    (divides_by_zero, "one stage", "can become 0"),
    (whole_lengths, "uneven edges", "drops the remainder"),
    (whole_lengths_beyond_last, "uneven edges", "A list has fewer elements"),
    (lengths_rounded_up, "uneven edges", "rounded up, the last one is too short"),
    (late_edges, "even edges", "an epoch too late"),
    (any_size, "image_size", "no multiples of 32"),
    (float_size, "image_size", "make it an int"),
    (rounds_down, "image_size", "rounded down"),
    (rounds_up, "image_size", "rounded up: take"),
    (whole_magnitudes, "randaugment", "may be a fraction"),
    (rounded_mixup, "mixup", "may be a fraction"),
    (forgets_mixup, "mixup", "same in every stage"),
    (writes_into_first, "own result", "writes into its arguments"),
    (gives_first_away, "own result", "return a copy"),
    (with_stage, "keys", "also 'stage'"),
    (unwritten, "keys", "Replace `raise NotImplementedError()`"),
]
