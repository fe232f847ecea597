"""The decision tree as data: questions, answers, and the leaves they lead to (chapter 08).

``choosing.recommend`` walks it and ``choosing.figure.draw`` draws it; neither knows a model's name.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from modarch_utils import records
from modarch_utils.studies.choosing.evidence import Need
from modarch_utils.studies.choosing.leaves import (
    ACCURACY,
    EDGE,
    FAST,
    FEATURES,
    FEW,
    LIMIT,
    OWN,
    QUALITY,
    SPEED,
    Leaf,
)


@dataclass(frozen=True)
class Question:
    """A question, its answers, and the function that answers it."""

    text: str
    answers: Mapping[str, "Question | Leaf"]
    answer: Callable[[Need], str]


MOST = max(records.load("transfer")["settings"]["per_class"])
"""Labels of each class up to which the record ``transfer`` knows what few labels are worth."""


def _labels(need: Need) -> str:
    return "none" if need.labels == 0 else f"1 to {MOST}" if need.labels <= MOST else "more"


def _limit(need: Need) -> str:
    if need.device == "edge":
        return "a small device"
    if need.latency_ms is not None:
        return "a time limit"
    return "speed" if need.priority == "speed" else "nothing"


TREE = Question(
    "What is the task?",
    {
        "classification": Question(
            "Labels of each class?",
            {
                "none": FEATURES,
                f"1 to {MOST}": FEW,
                "more": Question(
                    "What limits it?",
                    {
                        "nothing": ACCURACY,
                        "speed": SPEED,
                        "a time limit": LIMIT,
                        "a small device": EDGE,
                    },
                    _limit,
                ),
            },
            _labels,
        ),
        "features": FEATURES,
        "self-supervised": OWN,
        "generation": Question(
            "What matters?",
            {"few steps": FAST, "quality": QUALITY},
            lambda need: "few steps" if need.priority == "speed" else "quality",
        ),
    },
    lambda need: need.task,
)


def leaves(node: Question | Leaf = TREE) -> Iterator[tuple[tuple[str, ...], Leaf]]:
    """Yield each leaf with the answers that lead to it, from top to bottom."""
    if isinstance(node, Leaf):
        yield (), node
        return
    for answer, child in node.answers.items():
        for path, leaf in leaves(child):
            yield (answer, *path), leaf
