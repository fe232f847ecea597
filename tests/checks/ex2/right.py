"""Right answers to exercise 2, each written in another way: pairs of functions."""

import bisect
import math
from dataclasses import dataclass
from fractions import Fraction

from modarch_utils.training.progressive import ProgressiveSchedule, Setting

KEYS = ("image_size", "randaugment", "mixup")


def refuse(epoch, total):
    if epoch < 0 or epoch >= total:
        raise ValueError(f"There are epochs 0 to {total - 1}, not {epoch}.")


# 1. A list of rows, and a loop over keys.


def rows_three(epoch):
    refuse(epoch, 150)
    size, magnitude, alpha = [(128, 5, 0.0), (192, 10, 0.2), (256, 15, 0.4)][epoch // 50]
    return {"image_size": size, "randaugment": magnitude, "mixup": alpha}


def rows_general(epoch, total_epochs, num_stages, first, last):
    refuse(epoch, total_epochs)
    stage = epoch * num_stages // total_epochs
    share = stage / max(num_stages - 1, 1)
    now = {key: first[key] + (last[key] - first[key]) * share for key in first}
    now["image_size"] = 32 * round(now["image_size"] / 32)
    return now


# 2. Comparisons one after the other; weights of both ends.


def compare_three(epoch):
    if not 0 <= epoch <= 149:
        raise ValueError("no such epoch")
    if epoch < 50:
        return dict(image_size=128, randaugment=5.0, mixup=0)
    if epoch < 100:
        return dict(image_size=192, randaugment=10.0, mixup=0.2)
    return dict(image_size=256, randaugment=15.0, mixup=0.4)


def loop_general(epoch, total_epochs, num_stages, first, last):
    if epoch not in range(total_epochs):
        raise ValueError("no such epoch")
    stage = 0
    while (stage + 1) * total_epochs <= epoch * num_stages:
        stage += 1
    if num_stages == 1:
        return {**first}

    def mix(a, b):
        return (a * (num_stages - 1 - stage) + b * stage) / (num_stages - 1)

    return {
        "mixup": mix(first["mixup"], last["mixup"]),
        "randaugment": mix(first["randaugment"], last["randaugment"]),
        "image_size": int(mix(first["image_size"], last["image_size"]) / 32 + 0.5) * 32,
    }


# 3. Bisection among the stages' first epochs.


def bisect_three(epoch):
    if epoch < 0 or epoch > 149:
        raise ValueError(epoch)
    stage = bisect.bisect_right([50, 100], epoch)
    return {"mixup": stage * 0.2, "image_size": 128 + 64 * stage, "randaugment": 5 * (stage + 1)}


def bisect_general(epoch, total_epochs, num_stages, first, last):
    starts = [math.ceil(i * total_epochs / num_stages) for i in range(num_stages)]
    if not starts[0] <= epoch < total_epochs:
        raise ValueError("epoch")
    stage = bisect.bisect(starts, epoch) - 1
    if stage == num_stages - 1:
        return last.copy()
    result = {}
    for key, begin in first.items():
        value = begin + stage * (last[key] - begin) / (num_stages - 1)
        result[key] = int(round(value / 32)) * 32 if key == "image_size" else value
    return result


# 4. A class whose objects can be called.


class Stages:
    def __init__(self, total, number, first, last):
        self.total, self.number, self.first, self.last = total, number, first, last

    def __call__(self, epoch):
        if epoch < 0 or epoch >= self.total:
            raise ValueError(f"{epoch} is outside of [0, {self.total})")
        stage = epoch // (self.total / self.number)
        way = stage / (self.number - 1) if self.number > 1 else 0.0
        size, *rest = ((1 - way) * self.first[k] + way * self.last[k] for k in KEYS)
        return dict(zip(KEYS, (round(size / 32) * 32, *rest), strict=True))


class_three = Stages(
    150,
    3,
    dict(image_size=128, randaugment=5, mixup=0),
    dict(image_size=256, randaugment=15, mixup=0.4),
)


def class_general(epoch, total_epochs, num_stages, first, last):
    return Stages(total_epochs, num_stages, first, last)(epoch)


# 5. Every epoch's setting laid out beforehand; exact fractions.


def table_three(epoch):
    plan = [{"image_size": s, "randaugment": m, "mixup": a} for s, m, a in
            ((128, 5, 0.0), (192, 10, 0.2), (256, 15, 0.4)) for _ in range(50)]  # fmt: skip
    if epoch < 0 or epoch >= len(plan):
        raise ValueError("outside of the plan")
    return plan[epoch]


def table_general(epoch, total_epochs, num_stages, first, last):
    stages = [int(Fraction(e * num_stages, total_epochs)) for e in range(total_epochs)]
    try:
        stage = dict(enumerate(stages))[epoch]
    except KeyError:
        raise ValueError("outside of the plan") from None
    way = Fraction(stage, max(1, num_stages - 1))
    values = {k: float(Fraction(first[k]) + Fraction(last[k] - first[k]) * way) for k in first}
    return values | {"image_size": 32 * int(values["image_size"] / 32 + 0.5)}


# 6. The course's own class.


def package_three(epoch):
    return package_general(
        epoch,
        150,
        3,
        dict(image_size=128, randaugment=5, mixup=0.0),
        dict(image_size=256, randaugment=15, mixup=0.4),
    )


def package_general(epoch, total_epochs, num_stages, first, last):
    schedule = ProgressiveSchedule(
        Setting(**first, dropout=0), Setting(**last, dropout=0), num_stages, total_epochs, 32
    )
    now = schedule.at(epoch)
    return {key: getattr(now, key) for key in KEYS}


# 7. Match and a dataclass that is unpacked at the end.


@dataclass
class Now:
    image_size: int
    randaugment: float
    mixup: float


def match_three(epoch):
    match divmod(epoch, 50):
        case (0, _):
            now = Now(128, 5, 0.0)
        case (1, _):
            now = Now(192, 10, 0.2)
        case (2, _):
            now = Now(256, 15, 0.4)
        case _:
            raise ValueError("0 to 149")
    return vars(now)


def dataclass_general(epoch, total_epochs, num_stages, first, last):
    if min(epoch, total_epochs - 1 - epoch) < 0:
        raise ValueError("outside")
    stage = math.floor(epoch * num_stages / total_epochs)
    a, b, n = Now(**first), Now(**last), num_stages - 1 or 1
    now = Now(
        round((a.image_size + (b.image_size - a.image_size) / n * stage) / 32) * 32,
        a.randaugment + (b.randaugment - a.randaugment) / n * stage,
        a.mixup + (b.mixup - a.mixup) / n * stage,
    )
    return now.__dict__


# The stretch parts.


def share(schedule, total):
    squares = [schedule(epoch)["image_size"] ** 2 for epoch in range(total)]
    return sum(squares) / total / max(squares)


def batch(size, largest, batch):
    return max((batch * largest * largest // (size * size)) & ~7, 8)


ANSWERS = {
    "three_stages": [
        rows_three,
        compare_three,
        bisect_three,
        class_three,
        table_three,
        package_three,
        match_three,
    ],
    "progressive_schedule": [
        rows_general,
        loop_general,
        bisect_general,
        class_general,
        table_general,
        package_general,
        dataclass_general,
    ],
    "share_of_pixels": [share],
    "batch_size": [batch],
}
