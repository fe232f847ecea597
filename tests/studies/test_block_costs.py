"""The map of block costs: what is timed is what it is called, and the crossing is found."""

import math
import platform
import subprocess
import sys
from dataclasses import asdict

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from modarch_utils.models.efficientnetv2 import STAGES, FusedMBConv, MBConv
from modarch_utils.studies import block_costs


def test_blocks_are_those_of_the_papers_table():
    mbconv, fused = block_costs.blocks(32)
    assert isinstance(mbconv, MBConv) and isinstance(fused, FusedMBConv)
    assert mbconv.has_skip and fused.has_skip
    for stage in STAGES["s"]:
        assert stage.se == (block_costs.SE if stage.op == "mbconv" else 0)
    assert mbconv.se.conv_reduce.out_channels == 8
    assert isinstance(fused.se, torch.nn.Identity)
    assert mbconv.conv_dw.out_channels == fused.conv_exp.out_channels == 4 * 32


def test_a_cell_reports_its_place_and_exact_arithmetic():
    found = block_costs.cell(16, 8, numbers=1e5, repeats=2)
    # Fused: 3·3·C·4C + 4C·C a position. MBConv: 4C·C + 3·3·4C + 4C·C, and SE once an image.
    fused = 8 * 8 * (36 + 4) * 16**2
    mbconv = 8 * 8 * (8 * 16**2 + 36 * 16) + 2 * 4 * 64
    assert found.mac_ratio == pytest.approx(mbconv / fused)
    assert (found.width, found.side) == (16, 8)
    assert found.batch == round(1e5 / (4 * 16 * 8 * 8))
    assert 0 < found.q1 <= found.ratio <= found.q3
    assert found.mbconv_s > 0 and found.fused_s > 0


def test_wide_blocks_favour_mbconv_more_than_narrow_ones():
    narrow, wide = (block_costs.cell(w, 8, repeats=5) for w in (16, 256))
    assert narrow.ratio > 1.5 * wide.ratio


def test_batches_hold_as_many_numbers_and_a_cell_that_is_too_large_is_left_out():
    for width, side in ((16, 7), (64, 28), (256, 14)):
        batch = block_costs.batch_size(width, side, 1e6)
        widest = block_costs.blocks(width)[0].conv_dw(torch.zeros(batch, 4 * width, side, side))
        assert 0.8e6 < widest.numel() < 1.2e6
    assert block_costs.cell(64, 64, numbers=1e5) is None
    cells = block_costs.grid((8, 64), (4, 64), numbers=1e5, repeats=1)
    assert [(c.width, c.side) for c in cells] == [(8, 4), (64, 4), (8, 64)]


@pytest.mark.parametrize(("width", "side"), [(0, 8), (8, 0)])
def test_cell_names_what_it_needs(width, side):
    with pytest.raises(ValueError, match="width and a side from 1"):
        block_costs.cell(width, side)


def test_step_trains_the_layer_and_passes_the_gradient_on():
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(4, 4, 3, padding=1).eval()
    step = block_costs.training_step(layer, (2, 4, 8, 8))
    assert layer.training
    step()
    first = layer.weight.grad.clone()
    assert first.abs().sum() > 0
    step()
    assert torch.equal(layer.weight.grad, first)  # the same work again, nothing piled up


def test_threads_are_put_back():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError), block_costs.one_thread():
            assert torch.get_num_threads() == 1
            raise RuntimeError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


PAGE_FAULTS = """
import resource, torch
from modarch_utils.studies import block_costs

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.zeros(16_000_000).add_(1)  # 64 MB
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

fresh = faults()
assert block_costs.keep_memory()
faults()
print(fresh, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's call")
def test_kept_memory_is_not_fetched_again():
    # In a process of its own, as it cannot be undone.
    done = subprocess.run(
        [sys.executable, "-c", PAGE_FAULTS], capture_output=True, encoding="utf-8", check=True
    )
    fresh, kept = map(int, done.stdout.split())
    assert kept < fresh / 10


def row(side, widths, lower, upper):
    return [
        block_costs.Cell(w, side, 1, (low * high) ** 0.5, low, high, 0.2, 1.0, 1.0)
        for w, low, high in zip(widths, lower, upper, strict=True)
    ]


def test_bands_lie_between_the_falls_of_the_quartiles_and_keep_the_sides_apart():
    # 2 at width 16 and 1/2 at 64: a straight line of logarithms passes 1 in the middle, at 32.
    cells = row(7, [64, 16], [0.25, 1.5], [0.5, 2]) + row(
        14, [16, 32, 64], [2, 0.5, 0.2], [4, 2, 0.5]
    )
    found = block_costs.crossing_bands(cells)
    assert found[7][1] == pytest.approx(32) and 16 < found[7][0] < 32
    assert found[14] == (pytest.approx(16 * 2**0.5), pytest.approx(32 * 2**0.5))


def test_a_band_spans_all_places_where_noise_passes_one():
    zigzag = [2, 0.5, 2, 0.5]
    (band,) = block_costs.crossing_bands(row(7, [4, 8, 16, 64], zigzag, zigzag)).values()
    assert band == (pytest.approx(4 * 2**0.5), pytest.approx(32))


def test_a_map_that_ends_too_early_shows_no_crossing():
    below = block_costs.crossing_bands(row(7, [16, 64], [0.9, 0.5], [0.95, 0.6]))
    assert below[7] == (16, 16)
    above = block_costs.crossing_bands(row(7, [16, 64], [2, 0.9], [3, 2]))
    assert 16 < above[7][0] < 64 and math.isnan(above[7][1])
    assert all(map(math.isnan, block_costs.crossing_bands(row(7, [16, 64], [3, 2], [3, 2]))[7]))


def test_a_map_shows_each_ratio_and_its_stages_once():
    cells = row(7, [16, 64], [2, 0.5], [2, 0.5]) + row(14, [16], [3], [3])
    figure, axis = plt.subplots()
    block_costs.draw_map(
        axis, cells, block_costs.crossing_bands(cells[:2]) | {14: (16, 20)}, STAGES["s"]
    )
    assert [t.get_text() for t in axis.texts] == ["2.00", "0.50", "3.00", *"23456"]
    assert np.isnan(axis.images[0].get_array().filled(np.nan)[1, 1])  # not measured
    plt.close(figure)


def test_lines_have_quartiles_and_stars_have_bars():
    cells = row(7, [16, 64], [2, 0.5], [3, 1])
    figure, axis = plt.subplots()
    block_costs.draw_lines(axis, {"record": (cells, "blue", "-"), "live": (cells, "pink", "*")})
    assert axis.get_legend_handles_labels()[1] == ["record"]
    (star,) = axis.containers
    assert [seg[:, 1].tolist() for seg in star[2][0].get_segments()] == [
        pytest.approx([2, 3]),
        pytest.approx([0.5, 1]),
    ]
    plt.close(figure)


def test_cells_come_back_from_a_record():
    cells = row(7, [16, 64], [2, 0.5], [3, 1])
    rows = [{"kind": "cell", **asdict(c), "seconds": 1.0} for c in cells]
    assert block_costs.recorded({"results": [{"kind": "kernel"}, *rows]}, "cell") == cells


def test_squeeze_and_excitation_can_be_left_out():
    with_se, without = (block_costs.cell(16, 8, numbers=1e4, repeats=1, se=se) for se in (0.25, 0))
    assert without.mac_ratio < with_se.mac_ratio
    assert isinstance(block_costs.blocks(16, se=0)[0].se, torch.nn.Identity)


def test_half_precision_runs_in_sixteen_bits_with_weights_in_full():
    seen = []
    layer = torch.nn.Conv2d(4, 4, 3, padding=1)
    layer.register_forward_hook(lambda _, args, out: seen.append((args[0].dtype, out.dtype)))
    block_costs.training_step(layer, (2, 4, 8, 8), half=True)()
    assert set(seen) == {(torch.bfloat16, torch.bfloat16)}
    assert layer.weight.grad.dtype == torch.float32


def test_kernels_count_and_time_what_they_are_called():
    found = {k.name: k for k in block_costs.kernels(64, 14, 2, repeats=5)}
    positions = 2 * 14 * 14
    assert found["1×1"].macs == positions * 64 * 64
    assert found["full 3×3"].macs == 9 * found["1×1"].macs
    for k in block_costs.KERNELS:
        assert found[f"depthwise {k}×{k}"].macs == positions * 64 * k * k
    assert all(0 < k.q1 <= k.relative <= k.q3 for k in found.values())
    cheap, dear = found["full 3×3"], found["depthwise 3×3"]
    assert dear.macs < cheap.macs / 60
    assert dear.relative / dear.macs > 2 * cheap.relative / cheap.macs
