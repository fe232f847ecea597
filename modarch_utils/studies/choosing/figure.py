"""The decision tree as a figure, from the data that ``choosing.recommend`` walks (chapter 08)."""

import textwrap

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from modarch_utils.plots import PALETTE
from modarch_utils.studies.choosing.leaves import Leaf
from modarch_utils.studies.choosing.tree import TREE, Question, leaves

COLUMNS = (0.0, 2.45, 4.9, 7.5)
"""Left edges of the questions, by depth, and of the leaves."""
WIDTH, HEIGHT = 1.3, 0.75
"""Of a question's box."""
LEAF_WIDTH = 5.5
CHARACTERS = 66
"""Of a leaf's line."""
LINE, GAP = 0.3, 0.28


def lines(leaf: Leaf) -> list[str]:
    """What stands in a leaf's box: its candidates, and how they are ordered."""
    names = " · ".join(candidate.name.replace(" ", "\xa0") for candidate in leaf.candidates)
    wrapped = textwrap.wrap(names, CHARACTERS, break_on_hyphens=False)
    return [line.replace("\xa0", " ").rstrip(" ·") for line in wrapped] + [leaf.ordered]


def draw() -> Figure:
    """Draw the whole tree, questions at the left and leaves at the right."""
    boxes = [(path, leaf, lines(leaf)) for path, leaf in leaves()]
    heights = [LINE * (1 + len(text)) for *_, text in boxes]
    total = sum(heights) + GAP * len(boxes)
    figure, axis = plt.subplots(figsize=(10, 0.62 * total))
    axis.set(xlim=(-0.1, COLUMNS[-1] + LEAF_WIDTH + 0.05), ylim=(total, -0.1))
    axis.axis("off")
    top, middle = 0.0, {}
    for (path, leaf, text), height in zip(boxes, heights, strict=True):
        _leaf(axis, leaf.name, text, top, height)
        middle[path] = top + height / 2
        top += height + GAP
    _question(axis, TREE, (), middle)
    return figure


def _leaf(axis: Axes, name: str, text: list[str], top: float, height: float) -> None:
    x = COLUMNS[-1]
    axis.add_patch(
        plt.Rectangle(
            (x, top), LEAF_WIDTH, height, fc=(PALETTE["blue"], 0.07), ec=PALETTE["blue"], lw=1
        )
    )
    axis.text(x + 0.1, top + 0.06, name, fontsize=9, fontweight="bold", va="top")
    for i, line in enumerate(text, start=1):
        style = {"style": "italic", "color": PALETTE["grey"]} if i == len(text) else {}
        axis.text(x + 0.1, top + 0.04 + i * LINE, line, fontsize=8, va="top", **style)


def _question(axis: Axes, node: Question, path: tuple[str, ...], middle: dict) -> float:
    """Draw a question and what is below it; returns the height of its middle."""
    depth = len(path)
    ends = {}
    for answer, child in node.answers.items():
        here = (*path, answer)
        ends[answer] = (
            middle[here] if isinstance(child, Leaf) else _question(axis, child, here, middle)
        )
    y = (min(ends.values()) + max(ends.values())) / 2
    left = COLUMNS[depth]
    bend = left + WIDTH + 0.12
    for answer, child in node.answers.items():
        end = COLUMNS[-1] if isinstance(child, Leaf) else COLUMNS[depth + 1]
        points = [left + WIDTH, bend, bend, end], [y, y, ends[answer], ends[answer]]
        axis.plot(*points, color=PALETTE["line"], lw=1)
        axis.text(bend + 0.06, ends[answer] - 0.06, answer, fontsize=8, color=PALETTE["orange"])
    axis.add_patch(
        plt.Rectangle((left, y - HEIGHT / 2), WIDTH, HEIGHT, fc="white", ec=PALETTE["ink"], lw=1)
    )
    title = textwrap.fill(node.text, 12)
    style = {"fontsize": 9, "fontweight": "bold", "ha": "center", "va": "center"}
    axis.text(left + WIDTH / 2, y, title, **style)
    return y
