"""Quoted figures have sources; verdicts follow from measurements."""

import re
import tomllib
from pathlib import Path

import pytest

from modarch_utils import claims
from modarch_utils.claims import Claim, Ledger, contrast, paper

ROOT = Path(__file__).parents[1]
PAPERS = tomllib.loads((ROOT / "modarch_utils" / "papers.toml").read_text())
KEYS = set(re.findall(r"^@\w+\{([^,\s]+),", (ROOT / "references.bib").read_text(), re.MULTILINE))


def test_paper_finds_tables_and_single_rows():
    assert paper("convnext.ladder")["source"] == "liu2022convnet"
    assert paper("convnext.ladder.resnet50") == {"top1": 76.13, "gmacs": 4.09}


@pytest.mark.parametrize("key", ["nothing", "convnext.nothing", "convnext.ladder.source.x"])
def test_paper_names_what_is_missing(key):
    with pytest.raises(KeyError, match=f"no table '{key}'"):
        paper(key)


def unsourced(node: dict, path: str = "") -> list[str]:
    """Paths of figures with no `source` and `where` in a table above them."""
    if "source" in node and "where" in node:
        return []
    found = []
    for key, value in node.items():
        here = f"{path}.{key}".lstrip(".")
        found += unsourced(value, here) if isinstance(value, dict) else [here]
    return found


def sources(node: dict) -> set[str]:
    below = (sources(value) for value in node.values() if isinstance(value, dict))
    return {node["source"]}.union(*below) if "source" in node else set().union(*below)


def test_every_quoted_figure_has_a_source_and_a_place():
    assert unsourced(PAPERS) == []
    assert unsourced({"a": {"b": {"source": "x", "n": 1}}}) == ["a.b.source", "a.b.n"]


def test_every_source_is_in_the_bibliography():
    assert sources(PAPERS) and sources(PAPERS) <= KEYS


@pytest.fixture
def ledger():
    ledger = Ledger("99_test")
    ledger.add("it holds", ours="1", holds=True, source="liu2022convnet", paper="1.1")
    ledger.add("it fails", ours="2", holds=False, source="liu2022convnet", note="no <GPU> here")
    ledger.add("we say so", ours="3", holds=True, spread="± 0.1", seeds="0-2", minutes=1.25)
    ledger.add("half", ours="a < b", verdict="partly", source="liu2022convnet")
    return ledger


def test_verdicts(ledger, capsys):
    verdicts = ["reproduced", "not reproduced", "ours", "partly"]
    assert [row.verdict for row in ledger.claims] == verdicts
    ledger.verdicts()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-1] for line in lines] == ["it holds", "it fails", "we say so", "half"]
    assert [line.strip().split("  ")[0] for line in lines] == verdicts


def test_our_own_wrong_claim_stops_the_notebook():
    ledger = Ledger("99_test")
    with pytest.raises(AssertionError, match="does not hold: pigs fly .measured: no"):
        ledger.add("pigs fly", ours="no", holds=False)
    assert ledger.claims == []


def test_errors():
    with pytest.raises(ValueError, match="verdict must be one of .* 'maybe'"):
        Claim("c", ours="1", verdict="maybe", source="x")
    for verdict in ("reproduced", "partly", "not reproduced"):
        with pytest.raises(ValueError, match="'c' needs its source"):
            Claim("c", ours="1", verdict=verdict)
    with pytest.raises(TypeError, match="verdict"):  # neither holds nor verdict
        Ledger("x").add("c", ours="1")


def test_mime_bundle_carries_the_rows(ledger):
    bundle = ledger._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", claims.MIME}
    rows = bundle[claims.MIME]
    assert [row["claim"] for row in rows] == ["it holds", "it fails", "we say so", "half"]
    assert all(row["chapter"] == "99_test" for row in rows)
    assert rows[2] == {
        "chapter": "99_test",
        "claim": "we say so",
        "ours": "3",
        "verdict": "ours",
        "paper": "",
        "source": "",
        "spread": "± 0.1",
        "seeds": "0-2",
        "minutes": 1.25,
        "tolerance": "",
        "note": "",
    }


def test_html_is_escaped_and_complete(ledger):
    table = ledger._repr_mimebundle_()["text/html"]
    assert table.count("<tr>") == 5 and table.count("<td>") == 4 * 6
    assert "it fails (no &lt;GPU&gt; here)" in table and "<GPU>" not in table
    assert "<td>a &lt; b</td>" in table
    assert "<td>3 ± 0.1</td>" in table
    assert table.count("<td></td>") >= 1 and "<td>0.0</td>" not in table


def test_contrast_is_a_difference_and_twice_its_standard_error():
    change, noise = contrast([3, 5, 7], [1, 2, 3])
    assert change == 3
    assert noise == pytest.approx(2 * ((4 + 1) / 3) ** 0.5)
