"""The ledger says what the notebooks' outputs say, and nothing else."""

from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from modarch_utils.claims import MIME, Interval
from modarch_utils.claims import Ledger as Claims
from tools import ledger


def notebook(folder: Path, stem: str, rows: list[dict]) -> Path:
    output = v4.new_output("display_data", data={MIME: rows, "text/plain": "claims"})
    cells = [
        v4.new_markdown_cell(f"# About {stem}\n\nText."),
        v4.new_code_cell("claims", outputs=[output]),
        v4.new_code_cell("1", outputs=[v4.new_output("execute_result", data={"text/plain": "1"})]),
    ]
    path = folder / f"{stem}.ipynb"
    nbformat.write(v4.new_notebook(cells=cells), path)
    return path


ROWS = {
    "patchify": {
        "claim": "Patchify helps | a little",
        "paper": "+0.15",
        "source": "liu2022convnet",
        "seeds": "0-2",
        "tolerance": "1 point",
    },
    "deeper": {"claim": "Deeper wins", "source": "he2016resnet", "note": "Too short."},
    "wider": {"claim": "Wider wins", "margin": 1},
    "shapes": {"claim": "Shapes agree"},
}


@pytest.fixture
def claims() -> Claims:
    claims = Claims("02_b", ROWS)
    claims.add("patchify", ours="61.2 %", spread="± 0.4", minutes=12.34, holds=True)
    claims.add("deeper", ours="-1.0", holds=False)
    claims.add("wider", effect=Interval(1, -1, 3, 2, 3))
    claims.add("shapes", ours="yes", holds=True)
    return claims


def test_a_claim_is_a_row_below_its_verdict(tmp_path, claims):
    page = ledger.page([notebook(tmp_path, "02_b", claims.rows())])
    chapter = "[02](../notebooks/02_b.ipynb)"
    parts = [part.split("\n\n")[0] for part in page.split("\n## ")[1:]]
    verdicts = ["✓ Reproduced", "✗ Opposite", "? Undecided", "· Ours"]
    assert parts == [*verdicts, "What the records can see"]
    assert (
        rf"| {chapter} | Patchify helps \| a little | +0.15 {{cite}}`liu2022convnet` | 61.2 % "
        "± 0.4 *seeds 0-2, 12.3 minutes* | 1 point |  |"
    ) in page
    assert f"| {chapter} | Deeper wins *Too short.* | {{cite}}`he2016resnet` | -1.0 |  |  |" in page
    assert (
        f"| {chapter} | Wider wins |  | +1.00 (-1.00 to +3.00) | 1 | 2 "
        "| about 12 runs of each kind |"
    ) in page
    assert "1 rows rest on an interval" in page


def test_counts_add_up_over_chapters(tmp_path, claims):
    two = [notebook(tmp_path, name, claims.rows()) for name in ("02_b", "03_c")]
    page = ledger.page([notebook(tmp_path, "00_a", []), *two])
    assert "| [About 02_b](../notebooks/02_b.ipynb) | 4 | 1 | 0 | 1 | 0 | 1 | 0 | 1 |" in page
    assert "| **Together** | 8 | 2 | 0 | 2 | 0 | 2 | 0 | 2 |" in page
    assert "00_a" not in page, "a chapter without claims is not listed"


def test_unknown_verdict_names_notebook_and_claim(tmp_path, claims):
    rows = claims.rows()
    rows[1]["verdict"] = "fine"
    with pytest.raises(ValueError, match="02_b.ipynb.*Deeper wins.*'fine'"):
        ledger.page([notebook(tmp_path, "02_b", rows)])


def test_badge_counts_each_verdict():
    found = [{"verdict": v} for v in ("ours", "reproduced", "ours")]
    assert ledger.badge(found) == "3 claims: 1 reproduced, 2 ours"


def test_sensitivity_is_that_of_runs_that_differ_in_the_seed_alone():
    # Two cases a hundred points apart, each with a standard deviation of 1 over three seeds.
    rows = [
        {
            "n": n,
            "lr": lr,
            "seed": seed,
            "parameters": seed,
            "test": 100.0 * n + step,
            "seconds": 1.0,
        }
        for n in (0, 1)
        for lr in (1, 2)
        for seed, step in enumerate((-1, 0, 1) if lr == 1 else (-9, 0, 9))
    ]
    record = {"name": "one", "results": rows, "settings": {"best_lr": [{"lr": 1}]}}
    name, seeds, runs, spread, visible = ledger.sensitivity(record)
    assert (name, seeds, runs, float(spread)) == ("`one`", "3", "12", 1)
    # Welch with equal spreads has 2n - 2 degrees: (2.776 + 0.941) · √(2/3).
    assert float(visible) == pytest.approx(3.0, abs=0.06)
    assert ledger.sensitivity({"name": "two", "results": [{"loss": 1.0}], "settings": {}}) is None
