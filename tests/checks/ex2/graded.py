"""Exercise 2: for each function its check, and what to compare answers by."""

import copy
import random

from modarch_utils.checks import ex2
from modarch_utils.checks.ex2 import stretch
from tests.checks.answers import Graded, outcome


def three_stages(function, seed):
    return [outcome(function, epoch) for epoch in range(-5, 160)]


def progressive_schedule(function, seed):
    draw = random.Random(seed)
    found = []
    for _ in range(6):
        epochs, number = draw.randint(20, 70), draw.choice((1, 2, 3, 4, 5, 7))
        size, step = 32 * draw.randint(2, 6), 32 * draw.randint(1, 9)
        first = {"image_size": size, "randaugment": draw.random(), "mixup": draw.random()}
        last = {"image_size": size + step, "randaugment": 9 + draw.random(), "mixup": 2.0}
        ends = (last if number == 1 else first), last
        for epoch in range(-2, epochs + 2):
            found.append(outcome(function, epoch, epochs, number, *copy.deepcopy(ends)))
    return found


def share_of_pixels(function, seed):
    draw = random.Random(seed)
    found = []
    for _ in range(9):
        sizes = [32 * draw.randint(2, 9) for _ in range(draw.randint(1, 12))]
        found.append(outcome(function, lambda e, sizes=sizes: {"image_size": sizes[e]}, len(sizes)))
    return found


def batch_size(function, seed):
    draw = random.Random(seed)
    sizes = [(draw.randint(32, 400), 256, draw.randint(8, 300)) for _ in range(200)]
    return [outcome(function, *some) for some in sizes]


CHECKS = {
    "three_stages": (ex2.check_three_stages, three_stages),
    "progressive_schedule": (ex2.check_schedule, progressive_schedule),
    "share_of_pixels": (stretch.check_share_of_pixels, share_of_pixels),
    "batch_size": (stretch.check_batch_size, batch_size),
}
GRADED = {name: Graded(check, outputs, check.part) for name, (check, outputs) in CHECKS.items()}
