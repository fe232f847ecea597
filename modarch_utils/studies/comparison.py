"""The comparison table as data: networks, costs, quoted accuracies (chapter 06_comparison).

Costs are counted, never typed: :func:`count` builds a network on the meta device. Accuracies come
from ``papers/``, each with what it was measured with: labels, pictures, resolution, method.
"""

import csv
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

import numpy as np
import torch
from IPython.display import HTML
from torch import nn

from modarch_utils import claims, measure, tables

_GIANT = {
    "hidden_size": 1536,
    "num_hidden_layers": 40,
    "num_attention_heads": 24,
    "use_swiglu_ffn": True,
}


@dataclass(frozen=True)
class Network:
    """A row of the table: what is built, and the side at which its accuracy is usually quoted."""

    name: str
    side: int
    """Pixels."""
    timm: str = ""
    """Name in timm; empty for a network of transformers' ``Dinov2Model``."""
    dinov2: Mapping[str, int | bool] = field(default_factory=dict)
    """Settings of ``Dinov2Config`` that differ from DINOv2-B's."""
    sized: bool = False
    """Whether timm builds it for one image size, as it must for learned positions."""

    def build(self, side: int | None = None) -> nn.Module:
        """Return the network with random weights, for pictures of ``side`` (its own if None)."""
        if not self.timm:
            from transformers import Dinov2Config, Dinov2Model  # slow to import

            # The checkpoints keep positions for 518 pixels and resize them for other sides.
            return Dinov2Model(Dinov2Config(image_size=518, patch_size=14, **self.dinov2))
        import timm  # slow to import

        options = {"img_size": side or self.side} if self.sized else {}
        return timm.create_model(self.timm, pretrained=False, **options)


NETWORKS = {
    network.name: network
    for network in (
        Network("MobileNetV3-L", 224, "mobilenetv3_large_100"),
        Network("ResNet-50", 224, "resnet50"),
        Network("EfficientNet-B4", 380, "tf_efficientnet_b4"),
        Network("EfficientNetV2-S", 384, "tf_efficientnetv2_s"),
        Network("ViT-B/16", 224, "vit_base_patch16_224", sized=True),
        Network("Swin-T", 224, "swin_tiny_patch4_window7_224", sized=True),
        Network("Swin-B", 224, "swin_base_patch4_window7_224", sized=True),
        Network("ConvNeXt-T", 224, "convnext_tiny"),
        Network("ConvNeXt-B", 224, "convnext_base"),
        Network("ConvNeXt V2-B", 224, "convnextv2_base"),
        Network("Hiera-B", 224, "hiera_base_224", sized=True),
        Network("MobileNetV4-Hybrid-L", 384, "mobilenetv4_hybrid_large"),
        Network("EVA-02-L", 448, "eva02_large_patch14_448", sized=True),
        Network("SigLIP So400m", 378, "vit_so400m_patch14_siglip_gap_378", sized=True),
        Network("DINOv2-B", 224),
        Network("DINOv2-g", 224, dinov2=_GIANT),
    )
}


@dataclass(frozen=True)
class Cost:
    """Parameters, and multiply-adds of one picture (``measure.count_macs``)."""

    params: int
    macs: int


@cache
def count(name: str, side: int | None = None) -> Cost:
    """Count a network of :data:`NETWORKS` for one picture of ``side`` pixels (its own if None).

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name not in NETWORKS:
        raise ValueError(f"Unknown network {name!r}; the table has {', '.join(NETWORKS)}.")
    return count_network(NETWORKS[name], side)


def count_network(network: Network, side: int | None = None) -> Cost:
    """Count any network for one picture of ``side`` pixels (its own if None)."""
    side = side or network.side
    with torch.device("meta"):
        built = network.build(side)
    return Cost(measure.count_params(built), measure.count_macs(built, (1, 3, side, side)))


@cache
def timm_results() -> dict[tuple[str, int], dict[str, float]]:
    """Accuracies in percent of timm's checkpoints, by name with tag and side in pixels.

    ``top1`` on ImageNet-1k's validation pictures; ``real`` on them with the labels of ReaL (Beyer
    et al. 2020, arXiv 2006.07159); ``v2`` on new pictures, ImageNet-V2 (Recht et al. 2019, arXiv
    1902.10811). All were scored by timm's own evaluator; the head of the file says when.
    """
    file = resources.files(__package__).joinpath("timm_results.csv")
    rows = csv.DictReader(line for line in file.read_text("utf-8").splitlines() if line[0] != "#")
    kinds = ("top1", "real", "v2")
    return {
        (row["model"], int(row["side"])): {kind: float(row[kind]) for kind in kinds} for row in rows
    }


@dataclass(frozen=True)
class Result:
    """One quoted accuracy on ImageNet-1k's validation pictures, and what it was measured with."""

    network: str
    side: int
    """Pixels at evaluation."""
    pictures: str
    """What it learned from, the labelled and the unlabelled."""
    labels: str
    """The labels that were used anywhere on the way."""
    method: str
    table: str
    """Table of ``papers/`` that holds ``source``; empty for a figure of timm's."""
    figure: str
    """Where in that table the accuracy stands, with dots between the parts; or a checkpoint."""

    @property
    def top1(self) -> float:
        """Accuracy in percent."""
        if not self.table:
            return timm_results()[self.figure, self.side]["top1"]
        value = claims.paper(self.table)
        for part in self.figure.split("."):
            value = value[part]
        return value

    @property
    def source(self) -> str:
        """Key of ``references.bib``."""
        return claims.paper(self.table)["source"] if self.table else "wightman2019timm"

    @property
    def cost(self) -> Cost:
        """Counted at the side of this result."""
        return count(self.network, self.side)


def _supervised(network: str, side: int, data: str, table: str, figure: str) -> Result:
    return Result(network, side, data, data, "supervised", table, figure)


def _in1k(network: str, side: int, method: str, checkpoint: str) -> Result:
    return Result(network, side, "IN-1k", "IN-1k", method, "", checkpoint)


EQUAL = (
    _supervised("MobileNetV3-L", 224, "IN-1k", "comparison.mobilenetv3", "large.top1"),
    _in1k("ResNet-50", 224, "supervised", "resnet50.tv_in1k"),
    Result(
        "ResNet-50", 224, "IN-1k", "IN-1k", "ConvNeXt's recipe", "convnext.ladder", "recipe.top1"
    ),
    _in1k("ResNet-50", 224, "torchvision's second", "resnet50.tv2_in1k"),
    _supervised("EfficientNet-B4", 380, "IN-1k", "comparison.efficientnet_b4", "top1"),
    _supervised("EfficientNetV2-S", 384, "IN-1k", "efficientnetv2.models", "s.in1k"),
    _in1k("ViT-B/16", 224, "AugReg", "vit_base_patch16_224.augreg_in1k"),
    _in1k("ViT-B/16", 224, "DeiT", "deit_base_patch16_224.fb_in1k"),
    _in1k("ViT-B/16", 224, "DeiT III", "deit3_base_patch16_224.fb_in1k"),
    _supervised("Swin-T", 224, "IN-1k", "convnext.swin_tiny", "top1"),
    _supervised("Swin-B", 224, "IN-1k", "comparison.swin", "base.in1k"),
    _supervised("ConvNeXt-T", 224, "IN-1k", "convnext.models", "tiny.in1k"),
    _supervised("ConvNeXt-B", 224, "IN-1k", "convnext.models", "base.in1k"),
    _supervised("ConvNeXt-B", 384, "IN-1k", "comparison.convnext_base_384", "top1"),
    Result("ConvNeXt V2-B", 224, "IN-1k", "IN-1k", "FCMAE first", "convnextv2.models", "base.in1k"),
    _in1k("Hiera-B", 224, "MAE first", "hiera_base_224.mae_in1k_ft_in1k"),
    _in1k("MobileNetV4-Hybrid-L", 384, "supervised", "mobilenetv4_hybrid_large.e600_r384_in1k"),
)
"""Equal data: ImageNet-1k's 1.28 million pictures and their labels, and nothing else. The training
recipes differ: epochs, augmentation, pre-training on the same pictures."""

MORE = (
    _supervised("EfficientNetV2-S", 384, "IN-21k", "efficientnetv2.models", "s.in21k"),
    Result("ViT-B/16", 224, "IN-21k", "IN-21k", "AugReg", "comparison.vit_augreg", "base.in21k"),
    _supervised("ViT-B/16", 384, "JFT-300M", "comparison.vit", "base.jft_384"),
    _supervised("Swin-B", 224, "IN-22k", "comparison.swin", "base.in22k"),
    _supervised("ConvNeXt-T", 224, "IN-22k", "convnext.models", "tiny.in22k"),
    _supervised("ConvNeXt-B", 224, "IN-22k", "convnext.models", "base.in22k"),
    _supervised("ConvNeXt-B", 384, "IN-22k", "convnext.models", "base.in22k_384"),
    Result(
        "ConvNeXt V2-B", 224, "IN-22k", "IN-22k", "FCMAE first", "convnextv2.models", "base.in22k"
    ),
    Result(
        "EVA-02-L",
        448,
        "Merged-38M",
        "IN-22k",
        "masked first",
        "",
        "eva02_large_patch14_448.mim_m38m_ft_in22k_in1k",
    ),
    Result(
        "SigLIP So400m",
        378,
        "WebLI",
        "captions",
        "fine-tuned",
        "",
        "vit_so400m_patch14_siglip_gap_378.webli_ft_in1k",
    ),
    Result("DINOv2-B", 224, "LVD-142M", "IN-1k", "linear probe", "dinov2.models", "base.linear"),
    Result("DINOv2-g", 224, "LVD-142M", "IN-1k", "linear probe", "dinov2.models", "giant.linear"),
    Result(
        "DINOv2-g", 224, "LVD-142M", "IN-1k", "fine-tuned", "dinov2.fine_tuned", "giant.fine_tuned"
    ),
)
"""Other budgets. All are scored on ImageNet-1k and use its labels at the end."""


def table(
    head: Sequence[str], rows: Iterable[Sequence[str | tuple[str, str]]], title: str = ""
) -> str:
    """Return an HTML table. In a cell ``(wrong, right)`` the one is struck out."""

    def cell(content: str | tuple[str, str]) -> str | HTML:
        if isinstance(content, str):
            return content
        wrong, right = map(html.escape, content)
        return HTML(f'<del>{wrong}</del> <strong style="white-space:nowrap">{right}</strong>')

    return tables.table(head, (map(cell, row) for row in rows), caption=title)


def pareto(cost: Sequence[float], value: Sequence[float]) -> list[int]:
    """Return the positions of the points that no other point beats, from cheap to dear.

    One point beats another when it costs no more and is worth no less, and is better in one of the
    two. Equal points do not beat each other.

    Raises:
        ValueError: not as many values as costs, or a number that is NaN.
    """
    c, v = np.asarray(cost, float), np.asarray(value, float)
    if c.shape != v.shape or np.isnan(c).any() or np.isnan(v).any():
        raise ValueError("A front needs one value for each cost, none of them NaN.")
    no_worse = (c[:, None] <= c) & (v[:, None] >= v)  # [i, j]: i at least as good as j in both
    better = (c[:, None] < c) | (v[:, None] > v)
    beaten = (no_worse & better).any(0)
    return sorted(np.flatnonzero(~beaten).tolist(), key=lambda i: (c[i], v[i]))
