"""The benchmark races equal networks only, and writes what the issue tracker and CI read."""

import json

import pytest
import torch
from torch import nn

from tools import bench


def test_every_row_races_equal_networks():
    names = [row.name for row in bench.BENCHES]
    assert {"convnext_tiny", "convnextv2_tiny", "resnet50"} <= set(names)
    assert len(set(names)) == len(names)
    for row in bench.BENCHES:
        for step in bench.prepare(row, row.quick_shape):
            step()


def test_unequal_networks_are_refused():
    def linear():
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 2))

    unequal = bench.Bench("odd", linear, linear, copy=lambda ours, reference: None)
    with pytest.raises(ValueError, match="odd: the outputs differ by"):
        bench.prepare(unequal, (1, 3, 2, 2))
    bench.prepare(bench.Bench("even", linear, linear), (1, 3, 2, 2))


def test_a_step_leaves_the_gradients_of_one_backward():
    model, images = nn.Sequential(nn.Flatten(), nn.Linear(3, 1)), torch.randn(5, 3, 1, 1)
    step = bench.training_step(model, images)
    step()
    first = model[1].weight.grad.clone()
    step()
    assert torch.equal(model[1].weight.grad, first) and first.abs().sum() > 0


def test_table_and_file(tmp_path, capsys):
    before = torch.get_num_threads()

    def tiny(channels):
        return lambda: nn.Sequential(nn.Conv2d(3, channels, 1), nn.AdaptiveAvgPool2d(1))

    rows = [
        bench.Bench("one", tiny(4), tiny(4), input_shape=(1, 3, 8, 8)),
        bench.Bench("two", tiny(8), tiny(8), input_shape=(2, 3, 8, 8)),
    ]
    output = tmp_path / "new" / "bench.json"
    try:
        bench.main(["--repeats", "3"], rows, output)
        written = json.loads(output.read_text("utf-8"))
        assert [row["name"] for row in written] == ["one", "two"]
        for row in written:
            assert set(row) == {"name", "ours_s", "reference_s", "ratio"}
            assert min(row["ours_s"], row["reference_s"], row["ratio"]) > 0
        table = capsys.readouterr().out
        assert "2x3x8x8" in table and str(output) in table

        bench.main(["two", "--quick"], rows, output)
        assert [row["name"] for row in json.loads(output.read_text("utf-8"))] == ["two"]
        assert "1x3x64x64" in capsys.readouterr().out
        with pytest.raises(SystemExit):
            bench.main(["three"], rows, output)
    finally:
        torch.set_num_threads(before)
