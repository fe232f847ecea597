"""Swin's windows: who sees whom."""

import pytest
import torch

from modarch_utils.models import swin

TINY = {"dim": 12, "depths": (2, 1), "num_heads": (2, 3), "num_classes": 5, "window": 4}


def test_windows_hold_neighbours_and_go_back():
    rows, columns = torch.arange(8), torch.arange(6)
    x = torch.stack(torch.meshgrid(rows, columns, indexing="ij"), dim=-1)[None].float()
    windows = swin.window_partition(x, (4, 3))
    assert windows.shape == (1, 4, 12, 2)
    assert windows[0, 1, 0].tolist() == [0, 3]  # the second window starts at column 3
    assert windows[0, 2, -1].tolist() == [7, 2]
    assert torch.equal(swin.window_reverse(windows, (4, 3), 8, 6), x)
    x = torch.randn(2, 6, 9, 5)
    assert torch.equal(swin.window_reverse(swin.window_partition(x, 3), 3, 6, 9), x)


def test_windows_must_fill_the_map():
    with pytest.raises(ValueError, match="Windows of 4×4 do not fill a map of 8×6; pad it"):
        swin.window_partition(torch.zeros(1, 8, 6, 1), 4)


def test_mask_is_made_once_for_each_size():
    model = swin.SwinTransformer(image_size=64, **TINY)
    swin.shift_mask.cache_clear()
    with torch.inference_mode():  # such a mask must serve training too
        model(torch.zeros(1, 3, 64, 64))
        model(torch.zeros(2, 3, 64, 64))
    assert swin.shift_mask.cache_info().misses == 1
    model(torch.zeros(1, 3, 64, 64)).sum().backward()
    model(torch.zeros(1, 3, 64, 96))
    assert swin.shift_mask.cache_info().misses == 2


def test_windows_shrink_to_small_maps_and_then_do_not_shift():
    model = swin.SwinTransformer(image_size=(12, 64), **TINY)
    blocks = [block for stage in model.layers for block in stage.blocks]
    assert [block.window for block in blocks] == [(3, 4), (3, 4), (2, 4)]
    assert [block.shift for block in blocks] == [(0, 0), (0, 2), (0, 0)]


def test_without_shift_windows_never_talk():
    torch.manual_seed(0)
    still = swin.SwinTransformer(image_size=48, shift=False, **TINY).layers[0]
    x = torch.randn(1, 12, 12, 12, requires_grad=True)
    still(x)[0, 5, 3].square().sum().backward()
    expected = torch.zeros(12, 12, dtype=torch.bool)
    expected[4:8, 0:4] = True
    assert torch.equal(x.grad[0].abs().amax(-1) > 0, expected)


def test_features_have_their_place():
    model = swin.SwinTransformer(image_size=32, **TINY)
    assert model.forward_features(torch.zeros(4, 3, 32, 40)).shape == (4, 4, 5, 24)


def test_bad_sizes_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="do not fill an image of 30×30; take sides"):
        swin.SwinTransformer(image_size=30, **TINY)
    with pytest.raises(ValueError, match="12 channels in stage 1 cannot be shared by 5 heads"):
        swin.SwinTransformer(image_size=32, **{**TINY, "num_heads": (5, 3)})
    with pytest.raises(ValueError, match="2 depths but 3 num_heads"):
        swin.SwinTransformer(image_size=32, **{**TINY, "num_heads": (2, 3, 6)})
    with pytest.raises(ValueError, match="do not fill an image of 32×33"):
        swin.SwinTransformer(image_size=32, **TINY)(torch.zeros(1, 3, 32, 33))
