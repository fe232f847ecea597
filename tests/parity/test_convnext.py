"""Our ConvNeXt and ConvNeXt V2 against timm's, with the same weights."""

import pytest
import torch
from timm.models import convnext as reference
from torch import nn

from modarch_utils.models import convnext
from tests.parity.near import compare

TINY = {"depths": (1, 2, 1, 1), "dims": (8, 16, 24, 40), "num_classes": 7}
V2 = {"layer_scale": None, "use_grn": True}


def randomise(model: nn.Module) -> nn.Module:
    """Move every weight away from its start, where LayerScale and GRN hide mistakes."""
    generator = torch.Generator().manual_seed(0)
    for name, p in model.named_parameters():
        noise = torch.randn(p.shape, generator=generator)
        if name.endswith("bias") or "grn" in name:
            p.data = 0.2 * noise
        elif p.ndim == 1:  # the norms' scales and LayerScale
            p.data = 1 + 0.2 * noise
        else:
            p.data = noise / p[0].numel() ** 0.5
    return model


def pair(ours: nn.Module, theirs: nn.Module) -> tuple[nn.Module, nn.Module]:
    randomise(ours)
    theirs.load_state_dict(reference.checkpoint_filter_fn(ours.state_dict(), theirs))
    return ours.eval(), theirs.eval()


def assert_same(ours: nn.Module, theirs: nn.Module, shape: tuple[int, ...]) -> None:
    # Gradients carry the names and shapes of the weights, so one function translates both.
    compare(ours, theirs, shape, lambda named: reference.checkpoint_filter_fn(named, theirs))


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (convnext.convnext_tiny, reference.convnext_tiny),
        (convnext.convnextv2_tiny, reference.convnextv2_tiny),
    ],
    ids=["v1", "v2"],
)
def test_tiny_equals_timm(ours, theirs):
    assert_same(*pair(ours(), theirs()), (2, 3, 64, 64))


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
    assert_same(
        *pair(convnext.ConvNeXt(**TINY, **ours), reference.ConvNeXt(**TINY, **theirs)), shape
    )


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


def test_drop_path_grows_over_the_blocks_and_is_off_at_test_time():
    model = randomise(convnext.ConvNeXt(**TINY, drop_path_rate=0.4))
    rates = [block.drop_path.rate for stage in model.stages for block in stage]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    x = torch.randn(4, 3, 32, 32)
    torch.manual_seed(0)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))
