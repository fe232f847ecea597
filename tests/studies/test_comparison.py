"""The table's data against counts and papers; fronts and labels against brute force."""

import re

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from modarch_utils.studies import circulating_table, comparison
from modarch_utils.studies.circulating_table import CIRCULATING, KINDS
from modarch_utils.studies.comparison import EQUAL, MORE, NETWORKS


@pytest.fixture(scope="module")
def counted():
    """Every network of the circulating rows at the resolution of its accuracy."""
    return {row.network: comparison.count(row.network) for row in CIRCULATING}


@pytest.fixture(scope="module")
def faults():
    return {(fault.network, fault.column): fault for fault in circulating_table.faults()}


def test_counts_of_four_networks():
    # Torchvision's and Meta's published numbers of parameters; ViT's by hand from its shapes.
    assert comparison.count("ResNet-50").params == 25_557_032
    assert comparison.count("DINOv2-B").params == 86_580_480
    dim, tokens = 768, 197
    block = 12 * dim**2 * tokens + 2 * tokens**2 * dim
    vit = 12 * block + 196 * dim * 3 * 16**2 + 1000 * dim
    assert comparison.count("ViT-B/16").macs == vit
    assert comparison.count("ViT-B/16", 384).params - comparison.count("ViT-B/16").params == (
        (24**2 - 14**2) * dim
    )


def test_dinov2_giant_is_the_courses_own():
    from modarch_utils import measure
    from modarch_utils.models.dinov2 import dinov2_giant

    with torch.device("meta"):
        ours = dinov2_giant(registers=0)
    counted = comparison.count("DINOv2-g")
    assert counted.macs == measure.count_macs(ours, (1, 3, 224, 224))
    assert counted.params == measure.count_params(ours)


def test_unknown_network():
    with pytest.raises(ValueError, match="Unknown network 'VGG'; the table has MobileNetV3-L, "):
        comparison.count("VGG")


@pytest.mark.parametrize(
    ("printed", "value", "holds"),
    [
        ("25M", 25.49e6, True),
        ("25M", 25.557e6, False),
        ("86M", 86.57e6, True),  # cut off, but within 1 %
        ("1.1B", 1.136e9, True),
        ("1.1B", 1.16e9, False),
        ("4.1", 4.089e9, True),
        ("4.5", 4.39e9, False),
        ("280", 299e9, False),
    ],
)
def test_a_printed_count_agrees_when_it_rounds(printed, value, holds):
    assert circulating_table.agrees(printed, value) is holds


def test_exactly_the_wrong_counts_are_faults(counted, faults):
    for row in CIRCULATING:
        cost = counted[row.network]
        for column, value in (("params", cost.params), ("gmacs", cost.macs)):
            wrong = not circulating_table.agrees(getattr(row, column), value)
            assert wrong == ((row.network, column) in faults), (row.network, column)
            if wrong:
                assert circulating_table.agrees(faults[row.network, column].right, value)


def test_an_accuracy_is_right_with_its_data_or_is_a_fault(faults):
    """As printed, with 1.3M labels unless the row says otherwise; a mended row has a result."""
    quoted = {(r.network, f"{r.top1:.1f}", r.labels) for r in EQUAL + MORE}
    for row in CIRCULATING:
        mended = dict(
            zip(
                circulating_table.COLUMNS,
                circulating_table.cells(row, faults.values()),
                strict=True,
            )
        )
        mended = {k: v if isinstance(v, str) else v[1] for k, v in mended.items()}
        top1 = re.match(r"[\d.]+", mended["top1"]).group()
        data = mended["data"].partition(" + ")[0]
        labels = data if data.startswith("IN-") else "IN-1k"
        assert (row.network, top1, labels) in quoted, row.network
        named = {(row.network, c) for c in ("top1", "data", "method")}
        printed = re.match(r"[\d.]+", row.top1).group()
        linear = "(linear)" in row.top1
        as_printed = [
            r
            for r in EQUAL + MORE
            if (r.network, f"{r.top1:.1f}") == (row.network, printed)
            and (r.method == "linear probe") == linear
            and {"1.3M": "IN-1k", "300M": "JFT-300M", "142M": "LVD-142M"}[row.data] == r.pictures
        ]
        assert bool(as_printed) or bool(named & set(faults)), row.network


def test_faults_name_cells_that_exist_and_differ(faults):
    rows = {row.network: row for row in CIRCULATING}
    for (network, column), fault in faults.items():
        assert getattr(rows[network], column) != fault.right
        assert fault.kind in KINDS and fault.why
    assert len(faults) == len(circulating_table.faults())


def test_results_are_figures_of_papers_with_sources():
    for result in EQUAL + MORE:
        assert result.network in NETWORKS and 70 < result.top1 < 91 and result.source
    assert {(r.labels, r.pictures) for r in EQUAL} == {("IN-1k", "IN-1k")}
    assert all(r.pictures != "IN-1k" for r in MORE)


def test_table_strikes_out_and_escapes():
    page = comparison.table(("a", "b"), [("<x>", ("1 < 2", "3"))], "T & t")
    assert ">&lt;x&gt;</td>" in page and "<caption><strong>T &amp; t" in page
    assert ">1 &lt; 2</del> <strong" in page and ">3</strong></td>" in page
    assert "color" not in page  # the page's own, light or dark
    assert "caption" not in comparison.table(("a",), [("1",)])


def sweep(cost, value):
    """The front of points without equals: from cheap to dear, each new best value."""
    found, best = [], -np.inf
    for i in sorted(range(len(cost)), key=lambda i: (cost[i], -value[i])):
        if value[i] > best:
            found.append(i)
            best = value[i]
    return found


@given(st.sets(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_front_equals_a_sweep(points):
    cost, value = zip(*points, strict=True)
    assert comparison.pareto(cost, value) == sweep(cost, value)


def test_equal_points_are_both_on_the_front_and_bad_input_is_refused():
    assert comparison.pareto([1, 1, 2], [5, 5, 5]) == [0, 1]
    assert comparison.pareto([], []) == []
    for cost, value in (([1], [1, 2]), ([float("nan")], [1])):
        with pytest.raises(ValueError, match="one value for each cost"):
            comparison.pareto(cost, value)
