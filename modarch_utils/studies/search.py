"""Architecture search for training speed, at laptop size (chapter 03_efficientnetv2).

As in section 3.3 of EfficientNetV2 (Tan & Le 2021): the search chooses the operator, the kernel
and the number of layers of each stage, and the expansion; channels are given. Candidates are drawn
at random, trained briefly, and judged by one number made of accuracy, the *measured* time of a
training step, and parameters.
"""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modarch_utils import claims, measure, records
from modarch_utils.models.efficientnetv2 import EfficientNetV2, Stage
from modarch_utils.studies.block_costs import clock, one_thread
from modarch_utils.training.config import TrainConfig
from modarch_utils.training.loop import evaluate, fit

CHANNELS = (16, 32, 128)
STRIDES = (1, 2, 2)
"""Of the three stages, on feature maps of 16, 8 and 4 positions a side for 32-pixel images."""
STEM = 16
HEAD = 256
SE = 0.25
"""Of MBConv; Fused-MBConv has none, as in the paper."""

OPERATORS = (("mbconv", 3), ("mbconv", 5), ("fused", 3))
"""Operator and kernel. A fused 5×5, almost three times the work of a fused 3×3, is left out."""
LAYERS = (1, 2)
EXPANSIONS = (2, 4)


@dataclass(frozen=True)
class Candidate:
    """One network of the search space."""

    operators: tuple[tuple[str, int], ...]
    """Operator and kernel of each stage, from :data:`OPERATORS`."""
    layers: tuple[int, ...]
    """Blocks of each stage."""
    expand: int
    """Expansion of all blocks."""

    def __post_init__(self):
        if len(self.operators) != len(CHANNELS) or len(self.layers) != len(CHANNELS):
            raise ValueError(
                f"A candidate needs an operator and layers for {len(CHANNELS)} stages."
            )

    @property
    def name(self) -> str:
        """For example ``F3x2-F3x1-M5x2-e4``: fused 3×3, two layers; ...; expansion 4."""
        stages = (
            f"{op[0].upper()}{kernel}x{n}"
            for (op, kernel), n in zip(self.operators, self.layers, strict=True)
        )
        return "-".join((*stages, f"e{self.expand}"))

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The rows of its architecture table."""
        rows = zip(self.operators, self.layers, CHANNELS, STRIDES, strict=True)
        return tuple(
            Stage(op, kernel, stride, channels, n, self.expand, SE if op == "mbconv" else 0.0)
            for (op, kernel), n, channels, stride in rows
        )


def parse(name: str) -> Candidate:
    """The candidate with this :attr:`Candidate.name`.

    Raises:
        ValueError: the search space has none of that name.
    """
    for candidate in space():
        if candidate.name == name:
            return candidate
    raise ValueError(f"No candidate {name!r}; names look like {PATTERNS['none'].name!r}.")


def space() -> list[Candidate]:
    """Every candidate: 432."""
    stages = len(CHANNELS)
    return [
        Candidate(operators, layers, expand)
        for operators in itertools.product(OPERATORS, repeat=stages)
        for layers in itertools.product(LAYERS, repeat=stages)
        for expand in EXPANSIONS
    ]


def _pattern(fused: Sequence[int]) -> Candidate:
    operators = tuple(("fused" if i in fused else "mbconv", 3) for i in (1, 2, 3))
    return Candidate(operators, (2, 2, 2), 4)


PATTERNS = {
    "none": _pattern(()),
    "1": _pattern((1,)),
    "1-2": _pattern((1, 2)),
    "1-3": _pattern((1, 2, 3)),
    "2": _pattern((2,)),
    "3": _pattern((3,)),
    "1, 3": _pattern((1, 3)),
    "2-3": _pattern((2, 3)),
}
"""All ways to fuse stages of the largest 3×3 network, named by the fused stages.

The first four are those of the paper's table 3; ``"1-2"`` is the paper's pattern, fused early and
MBConv late."""
BASELINE = PATTERNS["none"]
"""MBConv everywhere, as in the first EfficientNet: time and parameters are relative to its own."""


@dataclass(frozen=True)
class SearchSettings:
    """The budget that all candidates share."""

    image_size: int = 32
    framing: str = "close"
    train_images: int = 500
    val_images: int = 1000
    test_images: int = 2000
    epochs: int = 8
    batch_size: int = 50
    lr: float = 8e-3


SETTINGS = SearchSettings()


def sample(n: int, seed: int) -> list[Candidate]:
    """Draw ``n`` different candidates at random.

    Raises:
        ValueError: none, or more than there are.
    """
    candidates = space()
    if not 0 < n <= len(candidates):
        raise ValueError(f"Draw 1 or more of the {len(candidates)} candidates, not {n}.")
    return random.Random(seed).sample(candidates, n)


def build(candidate: Candidate, num_classes: int, seed: int) -> EfficientNetV2:
    """The candidate's network, freshly initialised from ``seed``."""
    torch.manual_seed(seed)
    return EfficientNetV2(candidate.stages, stem=STEM, head=HEAD, num_classes=num_classes)


def train(
    candidate: Candidate,
    seed: int,
    train: tuple[Tensor, Tensor],
    val: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor] | None = None,
    settings: SearchSettings = SETTINGS,
    **options,
) -> dict:
    """Train a candidate and score it.

    Args:
        candidate: which.
        seed: initialisation, order of the images, augmentation.
        train, val, test: images ``(N, 3, H, W)`` uint8 and labels ``(N,)``.
        settings: the budget.
        options: further arguments of :func:`modarch_utils.training.loop.fit`.

    Returns:
        ``val`` and, if asked for, ``test``: accuracies in percent.
    """
    model = build(candidate, int(train[1].max()) + 1, seed)
    config = TrainConfig(
        epochs=settings.epochs, batch_size=settings.batch_size, lr=settings.lr, seed=seed
    )
    fit(model, train, None, config, **options)
    sets = {"val": val} | ({} if test is None else {"test": test})
    return {name: 100 * evaluate(model, data).accuracy for name, data in sets.items()}


@dataclass(frozen=True)
class StepTime:
    """Time of a candidate's training step divided by the baseline's, timed in turns."""

    relative: float
    q1: float
    q3: float
    """Quartiles of the ratio over the pairs of steps."""
    seconds: float


def step_seconds(
    candidates: Sequence[Candidate],
    *,
    settings: SearchSettings = SETTINGS,
    device: torch.device | str = "cpu",
    repeats: int = 15,
) -> list[StepTime]:
    """Measure training steps: forward, backward, and the optimizer's update.

    Each candidate's steps take turns with the baseline's, on one CPU thread; what counts is the
    median over the pairs, which a slow moment of the machine does not bend.

    Args:
        candidates: what to measure.
        settings: of the batch.
        device: where.
        repeats: pairs of steps for each candidate.
    """
    found = []
    with one_thread():
        reference = _step(BASELINE, settings, device)
        for candidate in candidates:
            # "Ours" is the baseline, so that the ratio is the candidate's time divided by its.
            times = measure.compare(
                reference,
                _step(candidate, settings, device),
                repeats=repeats,
                clock=clock(device),
            )
            found.append(StepTime(times.ratio, times.q1, times.q3, times.reference_s))
    return found


def _step(candidate: Candidate, settings: SearchSettings, device: torch.device | str):
    model: nn.Module = build(candidate, 8, 0).to(device).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    images = torch.randn(settings.batch_size, 3, settings.image_size, settings.image_size)
    images, labels = images.to(device), torch.arange(settings.batch_size, device=device) % 8

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()

    return step


def counts(candidate: Candidate, settings: SearchSettings = SETTINGS) -> dict[str, int]:
    """Parameters, and multiply-adds for one image."""
    model = build(candidate, 8, 0)
    shape = (1, 3, settings.image_size, settings.image_size)
    return {"params": measure.count_params(model), "macs": measure.count_macs(model, shape)}


def reward(accuracy, time, params):
    """The paper's ``A · S^w · P^v``, with w = -0.07 and v = -0.05 (section 3.3).

    Twice the step time costs 4.7 % of the reward, twice the parameters 3.4 %. Units do not matter
    for the order of candidates: they multiply every reward by one number.

    Args:
        accuracy: A, numbers or arrays.
        time: S, of a training step, relative to a baseline's. (Multiply-adds in its place give the
            reward of a search that looks at arithmetic and not at time.)
        params: P, relative to the baseline's.
    """
    power = claims.paper("efficientnetv2.search")
    return accuracy * time ** power["time"] * params ** power["params"]


@dataclass(frozen=True)
class Results:
    """What the record knows of its candidates, one after the other."""

    names: list[str]
    """The ways to fuse first, then those drawn."""
    time: np.ndarray
    macs: np.ndarray
    params: np.ndarray
    """Relative to the baseline's: of a training step, for one image, and in all."""
    val: np.ndarray
    test: np.ndarray
    """Accuracies in percent, ``(candidates, seeds)``."""

    def pairs(self, stage: int) -> tuple[list[int], list[int]]:
        """The ways to fuse that fuse this stage (from 0), and their partners that do not."""
        found = {parse(self.names[i]).operators: i for i in range(len(PATTERNS))}
        after = {ops: i for ops, i in found.items() if ops[stage][0] == "fused"}
        before = [found[*ops[:stage], ("mbconv", 3), *ops[stage + 1 :]] for ops in after]
        return [*after.values()], before


def results(record: dict) -> Results:
    """The record of ``python -m recipes.architecture_search`` as arrays."""
    settings = record["settings"]
    names = list(dict.fromkeys([*settings["patterns"].values(), *settings["drawn"]]))
    steps = {r["name"]: r for r in record["results"] if r["kind"] == "step"}
    base = steps[BASELINE.name]
    time = np.array([steps[n]["relative"] for n in names])
    macs, params = (np.array([steps[n][k] for n in names]) / base[k] for k in ("macs", "params"))
    scores = (
        np.array([records.select(record, what, kind="training", name=n) for n in names])
        for what in ("val", "test")
    )
    return Results(names, time, macs, params, *scores)
