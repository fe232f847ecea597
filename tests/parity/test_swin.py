"""Our Swin against timm's, and its shifted block against torchvision's, with the same weights."""

import pytest
import torch
from timm.models import swin_transformer as reference
from torch import nn
from torchvision.models import swin_transformer as torchvision_swin

from modarch_utils.models import swin
from tests.parity.near import assert_same, randomise

TINY = {"dim": 12, "depths": (2, 1, 2), "num_heads": (2, 3, 6), "num_classes": 7}


def timm_tiny(window: int = 7, **kwargs) -> nn.Module:
    names = {"dim": "embed_dim"}
    config = {names.get(name, name): value for name, value in TINY.items()}
    return reference.SwinTransformer(**config, window_size=window, drop_path_rate=0.0, **kwargs)


ANY_SIZE = {"strict_img_size": False, "drop_path_rate": 0.0}


def test_tiny_equals_timm():
    assert_same(
        swin.swin_tiny_patch4_window7_224(),
        reference.swin_tiny_patch4_window7_224(drop_path_rate=0.0),
        (1, 3, 224, 224),
    )


def test_tiny_equals_timm_where_windows_do_not_fill_the_maps():
    # Maps of 50×58, 25×29, 13×15 and 7×8: padding everywhere, and a shift along one side only.
    ours = swin.swin_tiny_patch4_window7_224(image_size=(200, 232))
    theirs = reference.swin_tiny_patch4_window7_224(img_size=(200, 232), **ANY_SIZE)
    assert_same(ours, theirs, (1, 3, 200, 232))


def test_tiny_made_for_224_equals_timm_at_another_size():
    ours = swin.swin_tiny_patch4_window7_224()
    assert_same(ours, reference.swin_tiny_patch4_window7_224(**ANY_SIZE), (1, 3, 96, 232))


@pytest.mark.parametrize(
    ("size", "window", "kwargs"),
    [
        ((56, 56), 7, {}),  # maps 14, 7, 4: shifted, whole, smaller than a window
        ((64, 88), 4, {}),  # even windows; padding in the last stage
        ((36, 124), 5, {}),  # odd sides to merge, windows of another height than width
        ((32, 64), 4, {"patch_size": 2, "in_chans": 4}),
        ((64, 64), 4, {"mlp_ratio": 2.5}),
    ],
    ids=["small", "even", "odd", "patch2", "mlp2.5"],
)
def test_other_sizes_equal_timm(size, window, kwargs):
    ours = swin.SwinTransformer(image_size=size, window=window, **TINY, **kwargs)
    theirs = timm_tiny(window, img_size=size, **kwargs)
    assert_same(ours, theirs, (2, kwargs.get("in_chans", 3), *size))


@pytest.mark.parametrize("pad_first", [False, True])
@pytest.mark.parametrize("size", [(14, 21), (17, 10)], ids=["full", "padded"])
@pytest.mark.parametrize("shift", [0, 3])
def test_block_equals_torchvision(size, shift, pad_first):
    """Windows that fill the map give one answer; where they do not, torchvision pads first."""

    def rename(named: dict) -> dict:
        return {n.replace("mlp.fc1", "mlp.0").replace("mlp.fc2", "mlp.3"): named[n] for n in named}

    ours = swin.Block(12, 3, (7, 7), (shift, shift), pad_first=pad_first)
    theirs = torchvision_swin.SwinTransformerBlock(12, 3, [7, 7], [shift, shift])
    if size == (17, 10) and shift and not pad_first:
        theirs.load_state_dict(rename(randomise(ours).state_dict()), strict=False)
        x = torch.randn(2, *size, 12)
        assert (ours(x) - theirs(x)).abs().max() > 0.1
    else:
        assert_same(ours, theirs, (2, *size, 12), rename)


def test_parameters_and_names():
    with torch.device("meta"):
        ours = swin.swin_tiny_patch4_window7_224()
        theirs = reference.swin_tiny_patch4_window7_224()
    assert sum(p.numel() for p in ours.parameters()) == 28_288_354
    shapes = [{n: p.shape for n, p in m.state_dict().items()} for m in (ours, theirs)]
    assert shapes[0] == shapes[1]
