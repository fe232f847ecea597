"""The table of findings."""

import pytest
from bs4 import BeautifulSoup

from modarch_utils.checks import core
from modarch_utils.checks.core import AFTER, RIGHT, Rows, Unusable, call, wrong


def report():
    rows = Rows({"shape": "kept", "sign": "is +", "size": "small", "rest": "<nothing>"})
    rows.add("shape", lambda: RIGHT)
    rows.add("sign", lambda: wrong("a <b>", "Turn it & look."))
    rows.add("size", lambda: RIGHT, after=("sign",))
    return rows.report("thing")


def test_all_findings_at_once():
    assert [f.passed for f in report().findings] == [True, False, None, None]
    assert report().findings[2].came == AFTER.came
    assert report().verdict == "thing: 1 of 4 wrong, 2 not looked at yet."
    assert not report().passed


def test_points_are_the_share_of_right_rows():
    assert report().points(6) == 1.5
    rows = Rows({"a": "x", "b": "y", "c": "z"})
    assert rows.report("empty").points(10) == 0
    for what in "abc":
        rows.add(what, lambda: RIGHT)
    assert rows.report("full").passed and rows.report("full").points(10) == 10


def test_as_text():
    lines = str(report()).splitlines()
    assert lines[1] == "   right  shape: kept"
    assert lines[2:5] == [
        "   WRONG  sign: is +",
        "          came: a <b>",
        "          likely: Turn it & look.",
    ]
    assert lines[5:] == [" not yet  size, rest"]
    assert repr(report()) == str(report())


def test_as_a_table():
    page = BeautifulSoup(report()._repr_html_(), "html.parser")
    assert page.p.get_text() == report().verdict
    head, *rows = ([cell.get_text() for cell in row(["th", "td"])] for row in page("tr"))
    assert all(head)
    assert rows == [
        ["✓\N{NO-BREAK SPACE}right", "shape", "kept", "as expected", ""],
        ["✗\N{NO-BREAK SPACE}WRONG", "sign", "is +", "a <b>", "Turn it & look."],
        ["…\N{NO-BREAK SPACE}not yet", "size", "small", AFTER.came, ""],
        ["…\N{NO-BREAK SPACE}not yet", "rest", "<nothing>", AFTER.came, ""],
    ]
    assert "color" not in str(page)  # no colour of ours reads on every page, light or dark
    assert "padding" in page.td["style"] and "text-align:left" in page.td["style"]


def test_backticks_are_code_in_a_table():
    rows = Rows({"runs": "calls `f(x < 1)` once"})
    rows.add("runs", lambda: wrong("a single ` stays", "Call `super().__init__()` and `f`."))
    page = BeautifulSoup(rows.report("`f`")._repr_html_(), "html.parser")
    assert [code.get_text() for code in page("code")] == [
        "f",
        "f(x < 1)",
        "super().__init__()",
        "f",
    ]
    assert page("td")[-2].get_text() == "a single ` stays"


def test_an_empty_report_has_not_passed():
    assert not core.Report("nothing", ()).passed


def test_an_exception_becomes_a_finding_with_the_students_line():
    def student(x):
        return x.missing

    rows = Rows({"runs": "at all"})
    rows.add("runs", lambda: call(student, 3))
    (finding,) = rows.report("x").findings
    assert finding.passed is False
    assert "AttributeError" in finding.came and "in the line `return x.missing`" in finding.came
    assert "typing error in the name" in finding.likely


@pytest.mark.parametrize("error", [SystemExit(0), MemoryError(), RecursionError("deep")])
def test_no_error_of_the_students_gets_out(error):
    def student():
        raise error

    with pytest.raises(Unusable):
        call(student)


def test_a_strange_result_is_a_finding_too():
    rows = Rows({"size": "a number"})
    seen = rows.add("size", lambda: core.RIGHT if object() > 3 else AFTER)
    assert seen.passed is False and "TypeError" in seen.came


def test_an_interrupt_is_the_persons():
    def student():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call(student)


def test_an_unwritten_part_is_no_error():
    def student():
        raise NotImplementedError()

    with pytest.raises(Unusable) as caught:
        call(student)
    assert caught.value.came == "nothing yet: this part is still to be written"
    assert "Replace" in caught.value.likely
