"""A table as it circulates, and which of its cells cannot be true (chapter 06_comparison).

What should stand in a wrong cell is counted, or quoted from ``papers/``; see ``comparison``.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields

from modarch_utils.studies import comparison
from modarch_utils.studies.comparison import count


@dataclass(frozen=True)
class Row:
    """A row as it circulates. Every cell is text, to the printed digit."""

    network: str
    params: str
    gmacs: str
    top1: str
    data: str
    method: str


COLUMNS = {
    "network": "Network",
    "params": "Parameters",
    "gmacs": "FLOPs (G)",
    "top1": "ImageNet",
    "data": "Data",
    "method": "Pre-training",
}

CIRCULATING = (
    Row("ResNet-50", "25M", "4.1", "76.2%", "1.3M", "Supervised"),
    Row("EfficientNet-B4", "19M", "4.5", "82.9%", "1.3M", "Supervised + AutoAug"),
    Row("EfficientNetV2-S", "24M", "8.4", "84.9%", "1.3M", "Supervised + Progressive"),
    Row("ViT-B/16", "86M", "17.6", "84.5%", "300M", "Supervised (JFT-300M)"),
    Row("Swin-B", "88M", "15.4", "85.2%", "1.3M", "Supervised"),
    Row("ConvNeXt-B", "89M", "15.4", "85.8%", "1.3M", "Supervised"),
    Row("ConvNeXt V2-B", "89M", "15.4", "86.8%", "1.3M", "FCMAE (self-supervised)"),
    Row("DINOv2-B", "86M", "17.6", "84.5% (linear)", "142M", "Self-supervised (DINO)"),
    Row("DINOv2-g", "1.1B", "280", "88.5% (linear)", "142M", "Self-supervised (DINO)"),
)
"""A table of the kind found in many courses; its note says that all FLOPs are for 224 pixels."""

SLIGHT = ("rounding", "another count")
"""Kinds of slips that change a digit, and not what a row says."""
KINDS = (
    *SLIGHT,
    "another network",
    "other labels",
    "another method",
    "no known origin",
)


@dataclass(frozen=True)
class Fault:
    """A wrong cell: what should stand there, what kind of slip it is, and why."""

    network: str
    column: str
    right: str
    kind: str
    """One of :data:`KINDS`."""
    why: str


def faults() -> list[Fault]:
    """Return the wrong cells of :data:`CIRCULATING`, with counted costs and quoted accuracies."""
    top1 = {
        (r.network, r.side, r.labels, r.method): f"{r.top1:g}%"
        for r in comparison.EQUAL + comparison.MORE
    }
    one = {
        r.network: f"{r.top1:g}%"
        for r in comparison.EQUAL
        if r.side == comparison.NETWORKS[r.network].side
    }

    def millions(name: str) -> str:
        return f"{count(name).params / 1e6:.1f}M"

    def gmacs(name: str) -> str:
        return f"{count(name).macs / 1e9:.3g}"

    def labels(name: str, data: str) -> Fault:
        why = f"with 1.3M labelled pictures alone it has {one[name]}"
        return Fault(name, "data", f"{data} + 1.3M", "other labels", why)

    losses = "DINO + iBOT + KoLeo"
    b4, v2s, vit = "EfficientNet-B4", "EfficientNetV2-S", "ViT-B/16"
    jft, augreg = top1[vit, 384, "JFT-300M", "supervised"], top1[vit, 224, "IN-21k", "AugReg"]
    tuned = top1["DINOv2-g", 224, "IN-1k", "fine-tuned"]
    tokens = "patches of 14 pixels: 257 tokens, where ViT-B/16 has 197"
    return [
        Fault("ResNet-50", "params", millions("ResNet-50"), "rounding", "rounded down"),
        Fault(
            b4,
            "gmacs",
            gmacs(b4),
            "another count",
            "half of all operations at 380 pixels, sums and activations too; ours are products",
        ),
        Fault(
            v2s,
            "params",
            millions(v2s),
            "another count",
            "24M stands in the paper's figure 1b; its code builds fewer",
        ),
        labels(v2s, "IN-21k"),
        Fault(
            vit,
            "data",
            "IN-21k + 1.3M",
            "other labels",
            f"JFT-300M gives {jft}, at 384 pixels; {augreg} at 224 is IN-21k",
        ),
        Fault(vit, "method", "Supervised (IN-21k)", "other labels", "as in the cell before"),
        labels("Swin-B", "IN-22k"),
        labels("ConvNeXt-B", "IN-22k"),
        labels("ConvNeXt V2-B", "IN-22k"),
        Fault(
            "ConvNeXt V2-B",
            "method",
            "FCMAE, then supervised",
            "other labels",
            "the labels of IN-22k come between",
        ),
        Fault("DINOv2-B", "gmacs", gmacs("DINOv2-B"), "another network", tokens),
        Fault(
            "DINOv2-B",
            "method",
            "Distilled from g",
            "another method",
            f"only g was trained from scratch: {losses}",
        ),
        Fault(
            "DINOv2-g",
            "gmacs",
            gmacs("DINOv2-g"),
            "no known origin",
            "counted, like all the others",
        ),
        Fault(
            "DINOv2-g",
            "top1",
            f"{top1['DINOv2-g', 224, 'IN-1k', 'linear probe']} (linear)",
            "another method",
            f"{tuned} is fine-tuned: all weights trained with labels",
        ),
        Fault("DINOv2-g", "method", losses, "another method", "DINO is one of three losses"),
    ]


def agrees(printed: str, counted: float) -> bool:
    """Whether a printed count ("25M", "1.1B", or "4.1" in billions) can stand for ``counted``.

    It can when ``counted`` rounds to it, or differs from it by 1 % at most: papers often cut digits
    off, and leave out small layers.
    """
    unit = {"M": 1e6, "B": 1e9}.get(printed[-1], 1e9)
    digits = printed.rstrip("MB")
    half = 0.5 * 10.0 ** -len(digits.partition(".")[2])
    off = abs(counted / unit - float(digits))
    return off <= half or off <= 0.01 * float(digits)


def cells(row: Row, wrong: Iterable[Fault] = ()) -> list[str | tuple[str, str]]:
    """Return a row's cells for :func:`comparison.table`, each wrong one with the right one."""
    right = {fault.column: fault.right for fault in wrong if fault.network == row.network}
    found = []
    for column in (f.name for f in fields(Row)):
        text = getattr(row, column)
        found.append((text, right[column]) if column in right else text)
    return found
