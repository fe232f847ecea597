"""EfficientNetV2's padding, blocks and refusals."""

import math

import pytest
import torch
import torch.nn.functional as F

from modarch_utils.models.efficientnetv2 import (
    STAGES,
    EfficientNetV2,
    FusedMBConv,
    MBConv,
    SameConv2d,
    Stage,
)

TINY = (Stage("fused", 3, 1, 8, 2, 1), Stage("mbconv", 3, 2, 16, 3, 4, 0.25))


def test_same_padding_by_hand():
    conv = SameConv2d(1, 1, 3, 2, bias=False)
    conv.weight.data.fill_(1)
    x = torch.arange(4.0).expand(1, 1, 4, 4).contiguous()  # columns 0, 1, 2, 3
    # Windows begin at 0 and 2; the last one hangs over the right and lower edge by one.
    assert conv(x)[0, 0].tolist() == [[9, 15], [6, 10]]
    assert F.conv2d(x, conv.weight, stride=2, padding=1)[0, 0].tolist() == [[2, 12], [3, 18]]


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_gives_the_size_divided_by_the_stride(kernel, stride):
    conv = SameConv2d(1, 2, kernel, stride)
    for size in (5, 6, 7, 8, 9):
        assert conv(torch.zeros(1, 1, size, 4)).shape == (
            1,
            2,
            math.ceil(size / stride),
            math.ceil(4 / stride),
        )


@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("size", [(1, 1), (31, 50), (64, 33)])
def test_any_size(padding, size):
    model = EfficientNetV2(TINY, 8, 24, 5, padding=padding).eval()
    x = torch.randn(2, 3, *size)
    assert model(x).shape == (2, 5)
    assert model.forward_features(x).shape == (2, 24, *(math.ceil(s / 4) for s in size))


def test_squeeze_width_is_a_share_of_what_enters_the_block():
    assert MBConv(64, 64, expand=6, se=0.25).se.conv_reduce.out_channels == 16


def test_shortcut_only_where_shapes_allow_it():
    assert MBConv(8, 8).has_skip and FusedMBConv(8, 8, expand=1).has_skip
    assert not MBConv(8, 8, stride=2).has_skip and not FusedMBConv(8, 16).has_skip


@pytest.mark.parametrize("block", [MBConv(8, 8), FusedMBConv(8, 8), FusedMBConv(8, 8, expand=1)])
def test_block_leaves_its_input_as_it_was(block):
    x = torch.randn(2, 8, 6, 6)
    before = x.clone()
    block(x)
    with torch.no_grad():  # where SiLU works in place
        block(x)
    assert torch.equal(x, before)


def test_drop_path_and_dropout():
    model = EfficientNetV2(TINY, 8, 24, 5, dropout=0.3, drop_path_rate=0.2)
    rates = [block.drop_path.rate for stage in model.blocks for block in stage]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    x = torch.randn(4, 3, 32, 32)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def test_first_weights_have_the_deviation_of_the_fan_out():
    block = EfficientNetV2(STAGES["s"]).blocks[5][1]
    assert block.conv_dw.weight.std().item() == pytest.approx(math.sqrt(2 / 9), rel=0.05)
    assert block.conv_pwl.weight.std().item() == pytest.approx(math.sqrt(2 / 256), rel=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"op": "conv"}, "op must be one of"),
        ({"kernel": 4}, "kernel must be odd"),
        ({"layers": 0}, "layers must be a whole number from 1, not 0"),
        ({"expand": 1.5}, "expand must be a whole number"),
        ({"se": -0.1}, r"se must lie in \[0, 1\]"),
    ],
)
def test_impossible_stages_are_refused(change, message):
    good = {"op": "mbconv", "kernel": 3, "stride": 1, "channels": 8, "layers": 1, "expand": 4}
    with pytest.raises(ValueError, match=message):
        Stage(**(good | change))


def test_impossible_networks_are_refused():
    with pytest.raises(ValueError, match="padding must be one of"):
        EfficientNetV2(TINY, padding="valid")
    with pytest.raises(ValueError, match="at least one Stage"):
        EfficientNetV2(())
