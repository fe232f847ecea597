"""Diagrams say what the modules do, and every word in them can be read."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from matplotlib.colors import to_hex
from matplotlib.patches import FancyBboxPatch
from torch import nn

from modarch_utils import diagrams
from modarch_utils.models.convnext import Block as ConvNeXtBlock
from modarch_utils.models.mamba import Mamba
from modarch_utils.models.resnet import Bottleneck
from modarch_utils.models.swin import Block as SwinBlock
from modarch_utils.models.swin import SwinTransformer
from modarch_utils.models.uib import UniversalInvertedBottleneck
from modarch_utils.models.vit import VisionTransformer
from modarch_utils.plots import PALETTE

OUT = {"residual": 2, "vit": 2, "swin": 2, "three_blocks": 3, "mamba": 1, "grn": 2, "uib": 5}
OUT |= {"fused_mbconv": 3}
"""Arrows that leave each diagram."""


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


@pytest.fixture(params=OUT, scope="module")
def drawn(request):
    figure = getattr(diagrams, request.param)()
    figure.draw_without_rendering()
    return request.param, figure


def texts(figure):
    return [text for text in figure.axes[0].texts if text.get_text()]


def words(figure):
    return [text.get_text() for text in texts(figure)]


def patches(figure):
    """Boxes, and their extents in inches: (left, bottom, right, top), upwards."""
    boxes = [p for p in figure.axes[0].patches if isinstance(p, FancyBboxPatch)]
    boxes = [box for box in boxes if box.get_gid() == "box"]
    return boxes, [box.get_path().get_extents(box.get_transform()).extents for box in boxes]


def test_it_fits_a_page_and_can_be_read(drawn):
    _, figure = drawn
    width, height = figure.get_size_inches()
    assert width <= 6.5 and height <= 8
    assert min(text.get_fontsize() for text in texts(figure)) >= 9
    page = figure.bbox.padded(-2)
    for text in texts(figure):
        x0, y0, x1, y1 = text.get_window_extent().extents
        assert page.contains(x0, y0) and page.contains(x1, y1), text.get_text()


def test_no_text_touches_another_text_or_a_line(drawn):
    _, figure = drawn
    for one, other in combinations(texts(figure), 2):
        assert not one.get_window_extent().overlaps(other.get_window_extent()), (one, other)
    for line in figure.axes[0].lines:
        path = line.get_path().transformed(line.get_transform())
        for text in texts(figure):
            if text.get_gid() != "inside":  # lines pass under the boxes
                box = text.get_window_extent()
                assert not path.intersects_bbox(box, filled=False), text.get_text()


def test_texts_stay_inside_their_boxes(drawn):
    _, figure = drawn
    inside = [text.get_window_extent() for text in texts(figure) if text.get_gid() == "inside"]
    boxes, extents = patches(figure)
    for x0, y0, x1, y1 in extents:
        own = [t for t in inside if x0 < (t.x0 + t.x1) / 2 < x1 and y0 < (t.y0 + t.y1) / 2 < y1]
        assert len(own) == 1
        assert x0 + 3 < own[0].x0 and own[0].x1 < x1 - 3 and y0 < own[0].y0 and own[0].y1 < y1


def test_arrows_touch_what_they_point_at(drawn):
    name, figure = drawn
    ax, (_, extents) = figure.axes[0], patches(figure)
    free = 0
    for arrow in ax.texts:
        if getattr(arrow, "arrow_patch", None):
            x, y = ax.transData.transform(arrow.xy)
            x0, y0, x1, y1 = np.transpose(extents)
            level = (abs(y - y1) < 0.5) & (x0 < x) & (x < x1)  # from above
            level |= ((abs(x - x0) < 0.5) | (abs(x - x1) < 0.5)) & (y0 < y) & (y < y1)
            assert level.sum() <= 1
            free += not level.any()
    assert free == OUT[name]


def test_a_colour_means_the_same_everywhere(drawn):
    _, figure = drawn
    boxes, extents = patches(figure)
    kinds = {"conv": "blue", "depthwise": "blue", "causal conv": "blue", "1×1": "blue"}
    kinds |= {"attention": "orange", "W-MSA": "orange", "SW-MSA": "orange", "linear": "green"}
    kinds |= {"MLP": "green", "patch merging": "green", "LayerNorm": "grey", "BatchNorm": "grey"}
    kinds |= {"GRN": "grey", "ReLU": "ink", "GELU": "ink", "SiLU": "ink", "+": "ink", "×": "ink"}
    for text in texts(figure):
        colour = next((c for k, c in kinds.items() if text.get_text().startswith(k)), None)
        if text.get_gid() != "inside" or not colour:
            continue
        x, y = figure.axes[0].transData.transform(text.get_position())
        (own,) = (
            box
            for box, (x0, y0, x1, y1) in zip(boxes, extents, strict=True)
            if x0 < x < x1 and y0 < y < y1
        )
        assert to_hex(own.get_edgecolor()) == PALETTE[colour].lower()


@pytest.mark.parametrize(
    "draw, other, labels",
    [
        ("residual", {"dim": 24, "side": 10}, ["24×10×10"]),
        (
            "vit",
            {"model": VisionTransformer(48, 8, dim=32, depth=3, num_heads=4, num_classes=7)},
            ["conv 8×8, stride 8", "32×6×6", "to 36 patches", "37×32", "37×128", "7"]
            + ["3 encoder layers", "encoder layer, × 3", "attention, 4 heads"],
        ),
        (
            "swin",
            {"model": SwinTransformer(40, 2, 12, (3, 1), (2, 4), window=5), "side": 40},
            ["conv 2×2, stride 2", "20×20×12", "stage 1: 3 blocks", "stage 2: 1 blocks"]
            + ["10×10×24", "W-MSA 5×5", "SW-MSA 5×5, shift 2", "16×25×12", "MLP, 48 hidden"],
        ),
        (
            "three_blocks",
            {
                "bottleneck": Bottleneck(80, 20),
                "attention": SwinBlock(12, 2, (4, 4), (2, 2)),
                "conv": ConvNeXtBlock(20, 5),
                "side": 8,
            },
            ["80×8×8", "20×8×8", "4×16×36", "SW-MSA 4×4, shift 2", "8×8×48", "depthwise 5×5"]
            + ["8×8×80"],
        ),
        (
            "mamba",
            {"mixer": Mamba(40, state=5, conv=3, expand=3), "length": 9},
            ["9×40", "9×120", "causal conv 3", "Δ 9×3", "B, C 9×5", "Δ 9×120"],
        ),
        (
            "grn",
            {"block": ConvNeXtBlock(10, 3, use_grn=True, layer_scale=None), "side": 6},
            ["depthwise 3×3", "10×6×6", "6×6×40", "G 1×1×40", "N 1×1×40"],
        ),
        (
            "uib",
            {"block": UniversalInvertedBottleneck(10, 10, 5, 5, expand=6), "side": 9},
            ["10×9×9", "60×9×9", "depthwise 5×5 (optional)"],
        ),
    ],
)
def test_another_module_has_other_labels(draw, other, labels):
    usual, changed = words(getattr(diagrams, draw)()), words(getattr(diagrams, draw)(**other))
    assert not set(labels) & set(usual)
    assert set(labels) <= set(changed)


def test_the_papers_channels_stand_in_the_papers_blocks():
    label = words(diagrams.three_blocks())
    resnet, swin, convnext = (label.index(name) for name in ("ResNet", "Swin", "ConvNeXt"))

    def channels(start, end, last=False):
        """Of what enters, and of what leaves each layer that has weights but no norm."""
        part = label[start:end]
        steps = ("x", "conv", "depthwise", "linear", "W-MSA")
        found = [after for now, after in zip(part, part[1:], strict=False) if now.startswith(steps)]
        return [int(text.split("×")[-1 if last else 0]) for text in found]

    assert channels(resnet, swin) == [256, 64, 64, 256]
    assert channels(swin, convnext, last=True) == [96, 3 * 96, 96, 96, 384, 96]
    assert channels(convnext, None)[:2] == [96, 96]
    assert channels(convnext, None, last=True)[2:] == [384, 96]
    assert {"W-MSA 7×7", "depthwise 7×7"} <= set(label)


def test_shapes_are_noted_under_their_names():
    found = diagrams.shapes(Bottleneck(16, 4, stride=2), 2, 16, 6, 6)
    assert found[":in"] == found["conv1:in"] == (2, 16, 6, 6)
    assert found["act"] == (2, 4, 6, 6) and found["act#2"] == (2, 4, 3, 3)
    assert found[""] == found["act#3:in"] == found["downsample.1"] == (2, 16, 3, 3)
    found = diagrams.shapes(Mamba(32, state=3), 1, 5, 32)
    assert [found[f"split()[{i}]"] for i in range(3)] == [(1, 5, 2), (1, 5, 3), (1, 5, 3)]
    with pytest.raises(KeyError, match="conv9"):
        diagrams.Trace(Bottleneck(16, 4), 1, 16, 6, 6)("conv9 | conv")


def test_boxes_out_of_order_are_refused():
    class Swapped(ConvNeXtBlock):
        def forward(self, x):
            y = self.pwconv2(self.act(self.pwconv1(x.permute(0, 2, 3, 1))))
            return x + self.norm(self.dwconv(y.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)).mT

    with pytest.raises(ValueError, match="makes 'pwconv1' before 'norm', not after"):
        diagrams.three_blocks(conv=Swapped(8), side=8)


def test_a_module_and_the_random_numbers_stay_as_they_are():
    block = Bottleneck(16, 4).train()
    before = {name: tensor.clone() for name, tensor in block.state_dict().items()}
    state = torch.get_rng_state()
    diagrams.three_blocks(bottleneck=block)
    for name in OUT:
        getattr(diagrams, name)()
    assert torch.equal(torch.get_rng_state(), state)
    assert block.training and all(p.device.type == "cpu" for p in block.parameters())
    for name, tensor in block.state_dict().items():
        torch.testing.assert_close(tensor, before[name], rtol=0, atol=0)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in block.modules())


def test_the_settings_of_the_universal_block_are_the_papers():
    label = words(diagrams.uib())
    names = ("FFN", "ConvNext-like", "inverted bottleneck", "ExtraDW")
    rows = {name: label[label.index(name) + 1 :] for name in names}
    assert rows["FFN"][:2] == ["1×1", "1×1"] and rows["FFN"][2] == "ConvNext-like"
    assert rows["ConvNext-like"][:3] == ["dw", "1×1", "1×1"]
    assert rows["inverted bottleneck"][:3] == ["1×1", "dw", "1×1"]
    assert rows["ExtraDW"] == ["dw", "1×1", "dw", "1×1"]
    assert "+" not in words(diagrams.uib(UniversalInvertedBottleneck(8, 16)))  # no shortcut fits
    with pytest.raises(ValueError):
        diagrams.uib(UniversalInvertedBottleneck(8, 8, kernel_before=0))
    dashed = [box for box in patches(diagrams.uib())[0] if box.get_linestyle() != "-"]
    assert len(dashed) == 2


def test_layers_describe_themselves():
    assert diagrams.describe(nn.Conv2d(6, 6, 5, 2, groups=6)) == ("depthwise 5×5, stride 2", "conv")
    assert diagrams.describe(nn.GELU()) == ("GELU", "element")


def test_the_gradient_tells_which_pixels_a_window_covers():
    conv = nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False)
    assert diagrams.covered(conv, 6) == [[0, 1], [1, 2, 3], [3, 4, 5]]
    assert diagrams.covered(nn.Conv2d(1, 1, 2, stride=2), 4) == [[0, 1], [2, 3]]


def test_windows_lie_over_the_pixels_that_they_cover():
    figure = diagrams.windows({"behind": [[0, 1, 2], [2, 3]], "both": [[0, 1], [1, 2, 3]]}, 4)
    bars = [[line for line in ax.lines if len(line.get_xdata()) == 2] for ax in figure.axes]
    middles = [[line.get_xdata().mean() for line in row] for row in bars]
    assert middles == [pytest.approx([1, 3]), pytest.approx([0, 2])]
    assert [len(ax.patches) for ax in figure.axes] == [6, 6]
