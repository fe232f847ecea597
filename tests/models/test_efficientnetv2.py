"""EfficientNetV2's sizes, padding, first weights and refusals; tests/parity has its blocks."""

import math

import pytest
import torch

from modarch_utils.models.efficientnetv2 import (
    STAGES,
    EfficientNetV2,
    FusedMBConv,
    MBConv,
    SameConv2d,
    Stage,
)

TINY = (Stage("fused", 3, 1, 8, 2, 1), Stage("mbconv", 3, 2, 16, 3, 4, 0.25))


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_gives_the_size_divided_by_the_stride(kernel, stride):
    conv = SameConv2d(1, 2, kernel, stride)
    for size in (5, 6, 7, 8, 9):
        shape = (1, 2, math.ceil(size / stride), math.ceil(4 / stride))
        assert conv(torch.zeros(1, 1, size, 4)).shape == shape


@pytest.mark.parametrize("padding", ["same", "symmetric"])
@pytest.mark.parametrize("size", [(1, 1), (31, 50), (64, 33)])
def test_any_size(padding, size):
    model = EfficientNetV2(TINY, 8, 24, 5, padding=padding).eval()
    x = torch.randn(2, 3, *size)
    assert model(x).shape == (2, 5)
    assert model.forward_features(x).shape == (2, 24, *(math.ceil(s / 4) for s in size))


@pytest.mark.parametrize("block", [MBConv(8, 8), FusedMBConv(8, 8), FusedMBConv(8, 8, expand=1)])
def test_block_leaves_its_input_as_it_was(block):
    x = torch.randn(2, 8, 6, 6)
    before = x.clone()
    block(x)
    with torch.no_grad():  # where SiLU works in place
        block(x)
    assert torch.equal(x, before)


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
