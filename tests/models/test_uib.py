"""MobileNetV4's block against timm's, with the same weights, and what it refuses."""

import pytest
import torch
from timm.models._efficientnet_blocks import UniversalInvertedResidual
from torch import nn

from modarch_utils.models.uib import KINDS, UniversalInvertedBottleneck

SHAPES = [(16, 16, 1), (16, 24, 1), (16, 16, 2), (16, 24, 2)]


def pair(
    dim_in: int, dim_out: int, before: int, between: int, stride: int
) -> tuple[nn.Module, nn.Module]:
    """Ours and timm's in float64, with the same weights, every one of them random."""
    torch.manual_seed(0)
    ours = UniversalInvertedBottleneck(dim_in, dim_out, before, between, stride, expand=3)
    theirs = UniversalInvertedResidual(
        dim_in, dim_out, before, between, stride=stride, exp_ratio=3, layer_scale_init_value=None
    )
    for p in theirs.parameters():
        nn.init.normal_(p, std=0.5)
    for name, buffer in theirs.named_buffers():
        if name.endswith(("mean", "var")):
            nn.init.uniform_(buffer, 0.5, 1.5)
    weights = zip(ours.state_dict(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict(dict(weights))
    return ours.double(), theirs.double()


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(("dim_in", "dim_out", "stride"), SHAPES)
@pytest.mark.parametrize(("before", "between"), [(0, 0), (5, 0), (0, 3), (3, 5)], ids=KINDS)
def test_equals_timm(before, between, dim_in, dim_out, stride, mode):
    if stride == 2 and not before and not between:
        pytest.skip("without a depthwise convolution there is nothing to carry a stride")
    ours, theirs = (
        m.train(mode == "train") for m in pair(dim_in, dim_out, before, between, stride)
    )
    x = torch.randn(3, dim_in, 9, 7, dtype=torch.float64, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    mine, expected = ours(x), theirs(y)
    assert expected.shape == (3, dim_out, -(-9 // stride), -(-7 // stride))
    torch.testing.assert_close(mine, expected, rtol=1e-12, atol=1e-12)
    direction = torch.randn_like(expected)
    (mine * direction).sum().backward()
    (expected * direction).sum().backward()
    close = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(x.grad, y.grad, **close)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, **close)
    # Training mode has moved the running statistics.
    for a, b in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_block_leaves_its_input_as_it_was():
    x = torch.randn(2, 8, 6, 6)
    before = x.clone()
    for first, second in KINDS.values():
        UniversalInvertedBottleneck(8, 8, 3 * first, 3 * second)(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_before": 4}, "odd, or 0 for none, but one is 4"),
        ({"kernel_between": -3}, "odd, or 0 for none, but one is -3"),
        ({"stride": 0}, "The stride must be 1 without .* but is 0"),
        ({"kernel_before": 0, "kernel_between": 0, "stride": 2}, "but is 2"),
        ({"expand": 0.01}, "8 channels times expand = 0.01 leave none"),
    ],
)
def test_impossible_blocks_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        UniversalInvertedBottleneck(8, 8, **settings)
