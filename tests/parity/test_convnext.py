"""Our ConvNeXt and ConvNeXt V2 against timm's, with the same weights."""

import pytest
import torch
from timm.models import convnext as reference
from torch import nn

from modarch_utils.models import convnext
from tests.parity import near

TINY = {"depths": (1, 2, 1, 1), "dims": (8, 16, 24, 40), "num_classes": 7}
V2 = {"layer_scale": None, "use_grn": True}


def assert_same(ours: nn.Module, theirs: nn.Module, shape: tuple[int, ...]) -> None:
    def translate(named: dict) -> dict:
        # Gradients carry the names and shapes of the weights, so one function translates both.
        return reference.checkpoint_filter_fn(named, theirs)

    near.assert_same(ours.eval(), theirs.eval(), shape, translate)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (convnext.convnext_tiny, reference.convnext_tiny),
        (convnext.convnextv2_tiny, reference.convnextv2_tiny),
    ],
    ids=["v1", "v2"],
)
def test_tiny_equals_timm(ours, theirs):
    assert_same(ours(), theirs(), (2, 3, 64, 64))


@pytest.mark.parametrize(
    ("ours", "theirs", "shape"),
    [
        ({}, {}, (2, 3, 64, 96)),
        ({"kernel_size": 5}, {"kernel_sizes": 5}, (1, 3, 96, 32)),
        ({"in_chans": 4}, {"in_chans": 4}, (2, 4, 32, 64)),
        (V2, {"use_grn": True, "ls_init_value": None}, (3, 3, 96, 64)),
    ],
    ids=["wide", "kernel5", "chans4", "v2"],
)
def test_other_sizes_equal_timm(ours, theirs, shape):
    assert_same(convnext.ConvNeXt(**TINY, **ours), reference.ConvNeXt(**TINY, **theirs), shape)


@pytest.mark.parametrize(
    ("make", "theirs", "params"),
    [
        (convnext.convnext_tiny, reference.convnext_tiny, 28_589_128),
        (convnext.convnextv2_tiny, reference.convnextv2_tiny, 28_635_496),
        (convnext.convnext_small, reference.convnext_small, 50_223_688),
        (convnext.convnext_base, reference.convnext_base, 88_591_464),
    ],
)
def test_parameters(make, theirs, params):
    with torch.device("meta"):
        counts = [sum(p.numel() for p in m.parameters()) for m in (make(), theirs())]
    assert counts == [params, params]


def test_layer_scale_starts_where_the_paper_says():
    model = convnext.ConvNeXt(**TINY)
    assert all((block.gamma == 1e-6).all() for stage in model.stages for block in stage)
