"""Swin's windows: who sees whom."""

import pytest
import torch
from torch import nn

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


@pytest.mark.parametrize("shift", [(2, 1), (2, 0), (0, 1)])
def test_mask_keeps_apart_what_the_shift_brought_together(shift):
    height, width, window = 12, 9, (4, 3)
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    place = torch.stack((rows, columns), dim=-1)[None]
    place = place.roll((-shift[0], -shift[1]), dims=(1, 2))
    place = swin.window_partition(place, window)[0]  # (windows, positions, 2): where each was
    distance = (place[:, :, None] - place[:, None, :]).abs()
    neighbours = (distance[..., 0] < window[0]) & (distance[..., 1] < window[1])
    mask = swin.shift_mask(height, width, window, shift)
    assert torch.equal(mask == 0, neighbours)
    assert (mask[~neighbours] == -torch.inf).all() and (~neighbours).any()


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


def test_bias_depends_on_the_offset_alone():
    attention = swin.WindowAttention(8, 2, (3, 2))
    bias = attention.relative_position_bias()
    assert bias.shape == (2, 6, 6)
    places = [(row, column) for row in range(3) for column in range(2)]
    seen = {}
    for q, a in enumerate(places):
        for k, b in enumerate(places):
            offset = (a[0] - b[0], a[1] - b[1])
            assert torch.equal(seen.setdefault(offset, bias[:, q, k]), bias[:, q, k])
    assert len(seen) == attention.relative_position_bias_table.shape[0] == 15


def reach(model: nn.Module, height: int, width: int, row: int, column: int) -> torch.Tensor:
    """The positions whose input moves the output at (row, column): ``(height, width)``."""
    x = torch.randn(1, height, width, 12, requires_grad=True)
    model(x)[0, row, column].square().sum().backward()
    return x.grad[0].abs().amax(-1) > 0


def test_without_shift_windows_never_talk():
    torch.manual_seed(0)
    still = swin.SwinTransformer(image_size=48, shift=False, **TINY).layers[0]
    expected = torch.zeros(12, 12, dtype=torch.bool)
    expected[4:8, 0:4] = True
    assert torch.equal(reach(still, 12, 12, 5, 3), expected)


def test_with_shift_neighbouring_windows_talk_but_not_opposite_edges():
    torch.manual_seed(0)
    shifted = swin.SwinTransformer(image_size=48, **TINY).layers[0]
    seen = reach(shifted, 12, 12, 5, 3)
    # The shifted window is rows 2-5 and columns 2-5; the windows before it are 4 by 4.
    assert torch.equal(seen, torch.nn.functional.pad(torch.ones(8, 8), (0, 4, 0, 4)).bool())
    assert not reach(shifted, 12, 12, 0, 0)[8:].any()


@pytest.mark.parametrize("pad_first", [False, True])
def test_padding_first_keeps_opposite_edges_apart(pad_first):
    torch.manual_seed(0)
    block = swin.Block(12, 2, (4, 4), (2, 2), pad_first=pad_first)
    far = reach(block, 11, 12, 10, 0)[:2].any()  # does the last row see the first two?
    assert far == (not pad_first)


def test_windows_shrink_to_small_maps_and_then_do_not_shift():
    model = swin.SwinTransformer(image_size=(12, 64), **TINY)
    blocks = [block for stage in model.layers for block in stage.blocks]
    assert [block.window for block in blocks] == [(3, 4), (3, 4), (2, 4)]
    assert [block.shift for block in blocks] == [(0, 0), (0, 2), (0, 0)]


def test_features_and_drop_path():
    model = swin.SwinTransformer(image_size=32, drop_path_rate=0.4, **TINY)
    rates = [block.drop_path.rate for stage in model.layers for block in stage.blocks]
    assert rates == pytest.approx([0, 0.2, 0.4])
    x = torch.randn(4, 3, 32, 40)
    assert model.forward_features(x).shape == (4, 4, 5, 24)
    torch.manual_seed(0)
    assert not torch.equal(model(x), model(x))
    model.eval()
    assert torch.equal(model(x), model(x))


def test_bad_sizes_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="do not fill an image of 30×30; take sides"):
        swin.SwinTransformer(image_size=30, **TINY)
    with pytest.raises(ValueError, match="12 channels in stage 1 cannot be shared by 5 heads"):
        swin.SwinTransformer(image_size=32, **{**TINY, "num_heads": (5, 3)})
    with pytest.raises(ValueError, match="2 depths but 3 num_heads"):
        swin.SwinTransformer(image_size=32, **{**TINY, "num_heads": (2, 3, 6)})
    with pytest.raises(ValueError, match="do not fill an image of 32×33"):
        swin.SwinTransformer(image_size=32, **TINY)(torch.zeros(1, 3, 32, 33))
