"""Quoted figures have sources; verdicts follow from measurements; rows and chapters agree."""

import re
import tomllib
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from modarch_utils import claims
from modarch_utils.claims import Claim, Ledger, contrast, paper

ROOT = Path(__file__).parents[1]
PAPERS = tomllib.loads((ROOT / "modarch_utils" / "papers.toml").read_text(encoding="utf-8"))
BIBLIOGRAPHY = (ROOT / "references.bib").read_text(encoding="utf-8")
KEYS = set(re.findall(r"^@\w+\{([^,\s]+),", BIBLIOGRAPHY, re.MULTILINE))
CHAPTERS = sorted((ROOT / "notebooks" / "source").glob("*.py"))


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


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_every_row_names_a_source_of_the_bibliography(chapter):
    rows = Ledger(chapter.stem).data
    assert rows and {row.get("source", "") for row in rows.values()} <= KEYS | {""}


def test_no_file_of_claims_without_a_chapter():
    files = (ROOT / "modarch_utils" / "claims").glob("*.toml")
    assert {path.stem for path in files} == {path.stem for path in CHAPTERS}


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_a_row_that_quotes_papers_names_their_source(chapter):
    for name, row in Ledger(chapter.stem).data.items():
        for field in re.findall(r"\{([^}:]+)", row.get("paper", "")):
            for key in re.findall(r"[a-z]\w*(?:\.\w+)+", field):
                tables = [paper(key.rsplit(".", i)[0]) for i in range(1, key.count(".") + 1)]
                quoted = next((table["source"] for table in tables if "source" in table), None)
                assert quoted == row["source"], f"[{name}] quotes {key}"


SOURCE = "liu2022convnet"
ROWS = {
    "holds": {"claim": "it holds", "source": SOURCE, "paper": "1.1"},
    "fails": {"claim": "it fails", "source": SOURCE, "note": "no <GPU> here"},
    "ours": {"claim": "we say so", "spread": "± {gap[1]}", "ours": "{gap[0]}", "seeds": "0-2"},
    "half": {"claim": "half", "source": SOURCE},
}


@pytest.fixture
def ledger():
    ledger = Ledger("99_test", ROWS)
    ledger.add("holds", ours="1", holds=True)
    ledger.add("fails", ours="2", holds=False)
    ledger.add("ours", gap=(3, 0.1), holds=True, minutes=1.25)
    ledger.add("half", ours="a < b", verdict="partly")
    return ledger


def one(row: dict, /, **given) -> dict:
    """The only row of a ledger to which `given` was added."""
    ledger = Ledger("99_test", {"x": {"claim": "c"} | row})
    ledger.add("x", **given)
    return ledger.rows()[0]


def test_verdicts(ledger, capsys):
    verdicts = ["reproduced", "not reproduced", "ours", "partly"]
    assert [row["verdict"] for row in ledger.rows()] == verdicts
    ledger.verdicts()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-1] for line in lines] == ["it holds", "it fails", "we say so", "half"]
    assert [line.strip().split("  ")[0] for line in lines] == verdicts


@pytest.mark.parametrize(
    ("decision", "verdict"),
    [
        ({"within": 2}, "reproduced"),
        ({"within": 2.1}, "not reproduced"),
        ({"beyond": 2}, "reproduced"),
        ({"beyond": 1.9}, "not reproduced"),
    ],
)
def test_a_margin_decides(decision, verdict):
    row = {"source": SOURCE, "margin": 2, "tolerance": "up to {margin} %"}
    made = one(row, ours="1", **decision)
    assert (made["verdict"], made["tolerance"]) == (verdict, "up to 2 %")
    value = next(iter(decision.values()))
    row["ours"] = f"{{{next(iter(decision))}:.2f}}"
    assert one(row, **decision)["ours"] == f"{value:.2f}"


def test_our_own_wrong_claim_stops_the_notebook():
    ledger = Ledger("99_test", {"pigs": {"claim": "pigs fly"}})
    with pytest.raises(AssertionError, match="does not hold: pigs fly .measured: no"):
        ledger.add("pigs", ours="no", holds=False)
    assert ledger.rows() == []


def test_measuring_again_replaces_the_row_in_its_place(ledger):
    ledger.add("holds", ours="5", holds=True)
    assert [row["ours"] for row in ledger.rows()] == ["5", "2", "3", "a < b"]


def test_templates_compute_with_papers_and_given_values():
    row = {
        "claim": "{things['a b'][-1] * 2} of {span.stop}",
        "paper": "{convnext.ladder.recipe.top1 - convnext.ladder.resnet50.top1:+.2f} points, "
        "{convnext.params.resnet50 / 1e6:.1f}M, {choosing.lcm.lcm.fid[2]}",
        "source": SOURCE,
    }
    made = one(row, things={"a b": [1, 2]}, span=range(3), ours="1", spread="± 2", holds=True)
    assert made["claim"] == "4 of 3"
    assert made["paper"] == "+2.69 points, 25.6M, 11.1"
    assert made["spread"] == "± 2"


HELD = {"ours": "1", "holds": True}


@pytest.mark.parametrize(
    ("row", "given", "message"),
    [
        ({"ours": "{n}"}, {"holds": True}, r"\[x\]: `ours` names 'n', which is neither in papers"),
        ({}, {"holds": True}, r"\[x\]: `ours` names 'ours', which is neither"),
        ({"note": "{convnext.no}"}, HELD, "`note` names 'no', which is neither"),
        ({"note": "{n[5]}"}, HELD | {"n": [1]}, "`note` cannot be filled: .*out of range"),
        ({"note": "{n:.1f}"}, HELD | {"n": "a"}, "`note` cannot be filled: .*format code"),
        ({"note": "{f(1)}"}, HELD | {"f": abs}, r"cannot be filled: f\(1\) is neither"),
        ({}, HELD | {"m": 2}, "names no value 'm', which was given"),
        ({"margin": 1}, {"ours": "1"}, "needs one of `holds`, `within`, `beyond` and `verdict`"),
        ({}, HELD | {"within": 2}, "needs one of `holds`"),
        ({}, HELD | {"verdict": "ours"}, "needs one of `holds`"),
        ({}, {"ours": "1", "within": 2}, "has no margin to decide it"),
        ({"claims": "c"}, HELD, "has the unknown key 'claims'"),
        ({}, {"ours": "1", "verdict": "maybe"}, "verdict must be one of .* 'maybe'"),
        ({}, {"ours": "1", "verdict": "partly"}, "'c' needs its source"),
    ],
)
def test_a_row_that_cannot_be_filled_says_why(row, given, message):
    with pytest.raises(ValueError, match=message):
        one(row, **given)


def test_unknown_rows_and_chapters_are_named(ledger):
    with pytest.raises(ValueError, match=r"99_test.toml has no row \[x\]: .*one of holds, fails"):
        ledger.add("x", ours="1", holds=True)
    with pytest.raises(ValueError, match=r"\[x\] lacks its sentence"):
        Ledger("99_test", {"x": {}})
    with pytest.raises(FileNotFoundError, match="write modarch_utils/claims/99_test.toml"):
        Ledger("99_test")


def test_verdicts_name_rows_that_nobody_measured(capsys):
    ledger = Ledger("99_test", ROWS)
    ledger.add("holds", ours="1", holds=True)
    with pytest.raises(ValueError, match="No cell has measured fails, ours, half yet"):
        ledger.verdicts()
    assert "it holds" in capsys.readouterr().out


def test_a_claim_of_a_paper_needs_its_source():
    for verdict in ("reproduced", "partly", "not reproduced"):
        with pytest.raises(ValueError, match="'c' needs its source"):
            Claim("c", ours="1", verdict=verdict)


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


@pytest.mark.parametrize(("minutes", "stored"), [(0, "0"), (109.0, "109"), (0.0921, "0.09")])
def test_minutes_are_stored_as_jupyterlab_writes_them(minutes, stored):
    assert str(one({}, ours="1", holds=True, minutes=minutes)["minutes"]) == stored


def test_the_table_is_escaped_and_complete(ledger):
    table = BeautifulSoup(ledger._repr_mimebundle_()["text/html"], "html.parser").table
    rows = [[cell.get_text("|") for cell in row.select("td")] for row in table.select("tbody tr")]
    assert [cell.get_text() for cell in table.select("th")] == ["Claim", "Paper", "Ours", "Verdict"]
    assert rows == [
        ["it holds", "1.1", "1", "reproduced"],
        ["it fails (no <GPU> here)", "", "2", "not reproduced"],
        ["we say so", "", "3 ± 0.1|seeds 0-2, 1.2 minutes", "ours"],
        ["half", "", "a < b", "partly"],
    ]


def test_contrast_is_a_difference_and_twice_its_standard_error():
    change, noise = contrast([3, 5, 7], [1, 2, 3])
    assert change == 3
    assert noise == pytest.approx(2 * ((4 + 1) / 3) ** 0.5)
