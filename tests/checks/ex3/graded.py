"""What exercise 3 asks for, and what answers give on inputs that are not the checks'."""

from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import torch
from transformers import BitImageProcessor

from modarch_utils.checks import ex3
from modarch_utils.checks.core import TRY, new_folder
from modarch_utils.checks.ex3 import stretch, tokens
from tests.checks.answers import Graded, outcome


@cache
def folders(seed):
    """Two saved networks with their processors."""
    saved, place = [], new_folder()
    for registers in (0, 2):
        torch.manual_seed(seed)
        _, theirs = tokens.networks(tokens.Case(registers=registers, dropout=0.2))
        saved.append(place / f"{seed}-{registers}")
        theirs.save_pretrained(saved[-1])
        processor = BitImageProcessor(image_mean=[0.1, 0.2, 0.3], image_std=[0.4, 0.5, 0.6])
        processor.save_pretrained(saved[-1])
    return saved


def load(function, seed):
    found = []
    for folder in folders(seed):
        match outcome(function, folder):
            case processor, torch.nn.Module() as model:
                means = [*getattr(processor, "image_mean", "")]
                found += [type(model).__name__, model.training, means, *model.parameters()]
            case other:
                found.append(type(other).__name__)
    return found


def to_input(function, seed):
    random = np.random.default_rng(seed)
    mean, std = random.uniform(0.1, 0.9, (2, 3)).tolist()
    processor = BitImageProcessor(image_mean=mean, image_std=std)
    found = []
    for shape in ((5, 8, 3), (9, 3, 3)):
        picture = random.integers(0, 256, shape, dtype=np.uint8)
        result = outcome(function, picture, processor)
        found += [result, str(getattr(result, "dtype", "")), picture]
    return found


def patch_grid(function, seed):
    found = []
    for case in (tokens.Case(0, 4, (3, 5), (1, 0)), tokens.Case(5, 7, (4, 2), dropout=0.3)):
        torch.manual_seed(seed)
        _, model = tokens.networks(case)
        rows, columns = (
            n * case.patch + more for n, more in zip(case.grid, case.rest, strict=True)
        )
        result = outcome(function, model, torch.randn(2, 3, rows, columns))
        found += [result, getattr(result, "requires_grad", "")]
    return found


def cosine_similarity(function, seed):
    random = torch.Generator().manual_seed(seed)
    x = [torch.randn(*shape, generator=random) for shape in ((2, 3, 5), (4, 4, 4))]
    return [outcome(function, each) for each in (*x, x[0].double())]


def patch_map(function, seed):
    random = torch.Generator().manual_seed(seed)
    found = []
    for grid, place in (((3, 5), (1, 2)), ((4, 2), (3, 0)), ((4, 4), (0, 3))):
        half = torch.rand(grid[0] * grid[1], grid[0] * grid[1], generator=random)
        found.append(outcome(function, half + half.T, grid, place))
    return found


def draw_map(function, seed):
    """What is drawn, and where; colours and units are free."""
    random = np.random.default_rng(seed)
    picture = random.integers(0, 256, (12, 20, 3), dtype=np.uint8)
    figure, axis = plt.subplots()
    error = outcome(function, axis, picture, torch.from_numpy(random.uniform(-1, 1, (3, 5))))
    found = [error if isinstance(error, str) else "", len(axis.images)]
    for image in axis.images:
        edges = np.subtract(image.get_extent(), axis.images[0].get_extent())
        covered = image.get_array().ndim == 3 or np.abs(image.get_clim()).min() >= 1
        found += [image.get_array(), edges, covered, image.get_alpha() and image.get_alpha() < 1]
    plt.close(figure)
    return found


def foreground(function, seed):
    random = torch.Generator().manual_seed(seed)
    found = []
    for row, column in ((1, 2), (2, 1), (3, 3)):
        x = 0.2 * torch.randn(8, 9, 5, generator=random)
        direction = torch.randn(5, generator=random)
        x[row : row + 3, column : column + 4] += 5 * direction
        x[0, 0] += 5 * (row % 2) * direction
        found.append(outcome(function, x))
    return found


def partners(function, seed):
    random = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(*grid, 5, generator=random) for grid in ((4, 3), (5, 7)))
    return [outcome(function, a, b), outcome(function, b, a)]


DRAWING = frozenset(
    {TRY, "Rows go down, columns to the right, each as large as its patch."}
)  # words that name no mistake

CHECKS = {
    "load": (ex3.check_load, load),
    "to_input": (ex3.check_to_input, to_input),
    "cosine_similarity": (ex3.check_cosine, cosine_similarity),
    "patch_map": (ex3.check_patch_map, patch_map),
    "foreground": (stretch.check_foreground, foreground),
    "partners": (stretch.check_partners, partners),
}
GRADED = {name: Graded(check, outputs, check.part) for name, (check, outputs) in CHECKS.items()} | {
    "patch_grid": Graded(ex3.check_patch_grid, patch_grid, tokens.patch_grid),
    "draw_map": Graded(ex3.check_draw_map, draw_map, words=DRAWING),
}
