"""The table of findings."""

import numpy as np
import pytest
import torch
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


# The engine.


def double(numbers):
    return [2 * n for n in numbers]


def part(**changes):
    cases = [core.given([1, 2, 3]), core.given([4.0])]
    several = core.Mutant(
        {"values": "They are too large.", "sum": "So is their sum."},
        lambda numbers: [9 * n for n in numbers],
        "large numbers",
    )
    late = [core.given([5])]
    known = {"The order is lost.": lambda numbers: double(numbers[::-1])}
    looks = (
        core.Look(("values", "sum"), cases, "Double each.", (several,), carries=True),
        core.one_row("order", cases, "Keep the order.", known, after=("values",)),
        core.one_row("late", late, "Double it.", {"So is this.": lambda _: [None]}),
        core.Property(
            "kept", core.keeps_arguments(late[0], changed="Copy it.", shared="Return a new one.")
        ),
    )
    expected = dict.fromkeys(("values", "sum", "order", "late", "kept"), "right")
    fields = dict(title="double", expected=expected, reference=double, looks=looks) | changes
    return core.Part(**fields)


def verdicts(report):
    return {f.what: (f.passed, f.came, f.likely) for f in report.findings}


def test_the_reference_is_right_in_every_row():
    assert part().check(double).passed
    assert part().general == {"Double each.", "Keep the order.", "Double it.", core.TRY} | {
        core.UNREADABLE
    }


def test_a_mutant_names_its_rows_and_later_looks_compare_with_it():
    found = verdicts(part().check(lambda numbers: [9 * n for n in numbers]))
    assert found["values"] == (False, "large numbers", "They are too large.")
    assert found["sum"] == (False, "large numbers", "So is their sum.")
    assert found["order"][0] and found["late"][0]


def test_what_no_mutant_explains_is_shown_where_it_differs():
    found = verdicts(part().check(lambda numbers: [2 * n + (n == 2) for n in numbers]))
    assert found["values"] == (False, "2, 5, 6 where 2, 4, 6 are right", "Double each.")
    assert found["sum"] == found["order"] == tuple(AFTER)
    assert found["late"][0] and found["kept"][0]


def test_if_the_first_look_cannot_run_the_others_wait():
    found = verdicts(part().check(lambda numbers: numbers.missing))
    assert found.pop("values")[0] is False
    assert set(found.values()) == {tuple(AFTER)}


def test_what_is_read_and_what_is_raised():
    def read(result, args):
        (numbers,) = args
        return core.returned(result, list, "Return a list.") + [len(numbers)]

    def grows(numbers):
        numbers.append(0)
        return double(numbers[:-1])

    found = verdicts(part(read=read).check(grows))
    assert found["values"] == (False, "2, 4, 6, 4 where 2, 4, 6, 3 are right", "Double each.")
    assert found["kept"] == (False, "an argument has changed after a call", "Copy it.")
    found = verdicts(part(read=read).check(lambda numbers: None))
    assert found["values"][:2] == (False, "None") and "no `return`" in found["values"][2]
    found = verdicts(part(hint=lambda message, args: f"{message} {args}").check(lambda x: x[9]))
    assert found["values"][2] == "list index out of range ([1, 2, 3],)"


@pytest.mark.parametrize(
    ("came", "right", "same"),
    [
        (1, 1.0, True),
        (1 + 1e-8, 1, True),
        (1.001, 1, False),
        (True, 1, False),
        (float("nan"), float("nan"), False),
        ("a", "a", True),
        (None, 0, False),
        ([1, 2], (1, 2), True),
        ([1], [1, 2], False),
        ({"a": [1]}, {"a": [1.0]}, True),
        ({"a": 1}, {"b": 1}, False),
        (torch.ones(2), np.ones(2), True),
        (torch.ones(2), torch.ones(3), False),
        (torch.tensor([1.0, float("nan")]), torch.ones(2), False),
        (torch.ones(0), torch.ones(0), True),
        (1.0, torch.ones(()), False),
    ],
)
def test_agree(came, right, same):
    assert core.agree(came, right) is same


@pytest.mark.parametrize(
    ("came", "right", "words"),
    [
        (1, 2, "1 where 2 is right"),
        (None, "x", "None where 'x' is right"),
        ([1, 2], [1, 3], "1, 2 where 1, 3 are right"),
        ([1, 2, 3], [1, 3], "1, 2, 3 where 1, 3 are right"),
        ([4], [3], "4 where 3 is right"),
        (["x"], [], "also 'x'"),
        ([[1, 2], [3, 4]], [[1, 2], [3, 5]], "3, 4 where 3, 5 are right"),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, "b: 2 where 3 is right"),
        (torch.eye(2), torch.ones(2, 2), "0 at [0, 1] where 1 is right"),
        (torch.ones(2), torch.ones(3), "shape (2,) where shape (3,) is right"),
        ([1.0, 2.0], [1.0, 2.0 + 1e-8], "1, 2 where 1, 2 are right"),  # for who looks closer
        ({"a": [1, 2] * 9}, {"a": [1, 2] * 9}, "{'a': [1, 2, 1"),
        (np.array(["a"]), np.array(["b"]), "shape (1,) where shape (1,) is right"),
        (3, torch.ones(3), "an int where shape (3,) is right"),
    ],
)
def test_a_difference_in_words(came, right, words):
    assert core.difference(came, right).startswith(words)


@pytest.mark.parametrize(
    ("read", "result", "came"),
    [
        (core.number, None, "None"),
        (core.number, "3", "a str"),
        (core.number, True, "a bool"),
        (core.number, float("inf"), "inf"),
        (lambda r: core.tensor(r, (2,), str), [1, 2], "a list"),
        (lambda r: core.tensor(r, (2,), str), torch.ones(3), "shape (3,) where (2,) is right"),
        (lambda r: core.tensor(r, (1,), str), torch.tensor([float("nan")]), "numbers that are NaN"),
    ],
)
def test_what_cannot_be_read(read, result, came):
    with pytest.raises(Unusable) as caught:
        read(result)
    assert caught.value.came.startswith(came) and caught.value.likely


def test_what_can_be_read():
    assert core.number(np.float32(2)) == 2.0
    graph = torch.ones(2, requires_grad=True)
    assert not core.tensor(graph, (2,), str).requires_grad


def first(x):
    return x


MEMORY = torch.zeros(1)


def gives_its_table(x):
    return MEMORY


@pytest.mark.parametrize(
    ("look", "good", "bad", "came"),
    [
        (
            core.keeps_arguments(core.given(torch.ones(2)), changed="a", shared="b"),
            lambda x: x + 1,
            lambda x: x.add_(1),
            "has changed",
        ),
        (
            core.keeps_arguments(core.given([1]), changed="a", shared="b", names="x"),
            list,
            first,
            "the result is x itself",
        ),
        (core.keeps_no_state(core.given([1]), "a"), list, gives_its_table, "changes the next"),
        (
            core.refuses(core.given(-1), explain=lambda came, args: f"{came} {args}"),
            [].index,
            abs,
            "-1 gives 1",
        ),
        (
            core.refuses(core.given(-1), explain=lambda came, args: f"{came} {args}"),
            [].index,
            [].pop,
            "IndexError for -1",
        ),
        (
            core.same_dtype(core.given(torch.ones(2, dtype=torch.float64)), "a"),
            first,
            torch.Tensor.float,
            "torch.float32 from torch.float64",
        ),
    ],
)
def test_properties(look, good, bad, came):
    assert look(good) == RIGHT
    seen = look(bad)
    assert seen.passed is False and came in seen.came and seen.likely
