"""Quoted figures have sources; verdicts follow from measurements; rows and chapters agree."""

import re
import tomllib
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from modarch_utils import claims
from modarch_utils.claims import Claim, Interval, Ledger, contrast, paper, rule

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "modarch_utils" / "papers").glob("*.toml"))
PAPERS = {file.stem: tomllib.loads(file.read_text("utf-8")) for file in FILES}
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


def test_a_file_holds_the_tables_of_its_name():
    assert all(list(tables) == [name] for name, tables in PAPERS.items())


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
    verdicts = ["reproduced", "opposite", "ours", "partly"]
    assert [row["verdict"] for row in ledger.rows()] == verdicts
    ledger.verdicts()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-1] for line in lines] == ["it holds", "it fails", "we say so", "half"]
    assert [line.strip().split("  ")[0] for line in lines] == verdicts


@pytest.mark.parametrize(
    ("decision", "verdict"),
    [
        ({"within": 2}, "reproduced"),
        ({"within": 2.1}, "opposite"),
        ({"beyond": 2}, "reproduced"),
        ({"beyond": 1.9}, "opposite"),
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
        (
            {"margin": 1},
            {"ours": "1"},
            "needs one of `effect`, `holds`, `within`, `beyond` and `verdict`",
        ),
        ({}, HELD | {"within": 2}, "needs one of `effect`"),
        ({}, HELD | {"verdict": "ours"}, "needs one of `effect`"),
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
    for verdict in ("reproduced", "partly"):
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
        "visible": "",
        "needed": "",
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
        ["it fails (no <GPU> here)", "", "2", "opposite"],
        ["we say so", "", "3 ± 0.1|seeds 0-2, 1.2 minutes", "ours"],
        ["half", "", "a < b", "partly"],
    ]


def at(low, high, visible=1.0, runs=3) -> Interval:
    return Interval((low + high) / 2, low, high, visible, runs)


@pytest.mark.parametrize(
    ("low", "high", "paper", "spread", "verdict"),
    [
        (0.1, 3, None, 0, "reproduced"),
        (0.1, 1.4, 2, 0, "reproduced"),  # reaches to within the margin of the paper's 2
        (3, 4, 2, 0, "reproduced"),  # more than the paper's
        (0.1, 2.5, 4, 0, "partly"),
        (-0.9, 0.9, 2, 0, "no difference"),
        (0.2, 0.9, None, 0, "no difference"),  # of a size that we said does not matter
        (-3, -1, 2, 0, "opposite"),
        (-0.5, 3, 2, 0, "undecided"),
        (-3, 0.5, 2, 0, "undecided"),
        (1, 3, 0.06, 0.15, "undecided"),  # the paper's own effect is within its spread
        (-0.9, 0.9, 0.06, 0.15, "no difference"),
        # a paper that lost two points
        (-3, -0.1, -2, 0, "reproduced"),
        (-0.95, -0.1, -2, 0, "no difference"),
        (1, 3, -2, 0, "opposite"),
        (-1.2, -0.1, -4, 0, "partly"),
    ],
)
def test_an_interval_a_margin_and_a_paper_make_a_verdict(low, high, paper, spread, verdict):
    assert rule.verdict(at(low, high), 1, paper, spread) == verdict


def test_a_margin_is_positive():
    with pytest.raises(ValueError, match="smallest effect that matters: 0 is none"):
        rule.verdict(at(1, 2), 0)


@given(
    arrays(float, st.tuples(st.just(2), st.integers(2, 8)), elements=st.floats(-50, 50)),
    st.booleans(),
)
def test_an_interval_is_that_of_scipy(runs, paired):
    after, before = runs
    found = contrast(after, before, paired)
    test = stats.ttest_rel if paired else partial(stats.ttest_ind, equal_var=False)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # runs that are all the same
        expected = test(after, before).confidence_interval()
    if np.isfinite(expected.low):
        assert (found.low, found.high) == pytest.approx(tuple(expected), abs=1e-6)
    assert found.low <= found.value <= found.high and found.visible >= found.half


def test_a_contrast_that_is_visible_is_seen_four_times_in_five():
    rng = np.random.default_rng(0)
    typical = np.mean([contrast(rng.normal(size=5), np.zeros(5)).visible for _ in range(2000)])
    seen = [contrast(rng.normal(typical, size=5), np.zeros(5)).low > 0 for _ in range(2000)]
    assert 0.7 < np.mean(seen) < 0.9


@pytest.mark.parametrize(
    ("after", "before", "words"), [([1], [2], "two runs"), ([1, 2], [1, 2, 3], "no pairs")]
)
def test_a_contrast_needs_runs_and_pairs(after, before, words):
    with pytest.raises(ValueError, match=words):
        contrast(after, before)


def test_an_interval_is_written_with_its_ends():
    assert f"{Interval(1.234, -0.5, 3, 2, 3):+.1f}" == "+1.2 (-0.5 to +3.0)"
    assert claims.mean([1, 2, 3]).value == 2


def test_an_effect_fills_its_row():
    row = {"source": SOURCE, "margin": 1, "unit": "points", "figure": "convnext.ladder.recipe.std"}
    row |= {"figure_spread": "noise", "seeds": "0-2"}
    made = one(row, effect=at(-1, 3, visible=4), noise=0.01)
    assert (made["verdict"], made["ours"], made["spread"]) == (
        "undecided",
        "+1.00 points",
        "(-1.00 to +3.00)",
    )
    assert (made["paper"], made["tolerance"]) == ("+0.07 points", "margin 1 points")
    assert (made["visible"], made["needed"]) == ("4 points", "about 48 runs of each kind")
    # Enough runs four times in five, and this was the fifth.
    assert one(row, effect=at(-1, 3, visible=0.9), noise=0.01)["needed"].startswith("the same runs")
    assert one(row, effect=at(-1, 3), noise=0.1)["verdict"] == "undecided"


@pytest.mark.parametrize(("low", "verdict"), [(1, "ours"), (-1, "undecided"), (-4, "opposite")])
def test_an_effect_of_our_own_is_judged_too(low, verdict):
    assert one({"margin": 1}, effect=at(low, low + 2.5))["verdict"] == verdict


def test_a_limit_that_is_missed_may_say_what_that_means():
    row = {"source": SOURCE, "margin": 2, "otherwise": "not tested here"}
    assert one(row, ours="1", beyond=1)["verdict"] == "not tested here"


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_plus_minus_means_one_thing(chapter):
    # Half of an interval at 95 %, as `claims.mean` and `claims.contrast` give it.
    deviations = re.findall(r"±[^\n]*(?:standard deviation|std\()", chapter.read_text("utf-8"))
    assert not deviations
