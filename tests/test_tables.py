"""Tables look alike in every client: inline styles, titles for all columns, escaped text."""

import pytest
from bs4 import BeautifulSoup
from IPython.display import HTML

from modarch_utils.tables import table


def parsed(*args, **kwargs) -> BeautifulSoup:
    return BeautifulSoup(table(*args, **kwargs), "html.parser")


def test_text_is_escaped_and_markup_is_kept():
    page = parsed(["a < b"], [["<script>&"], [HTML("<del>old</del>")]], caption="1 < 2")
    assert [cell.get_text() for cell in page.select("th, td")] == ["a < b", "<script>&", "old"]
    assert page.caption.get_text() == "1 < 2"
    assert parsed(["a"], [["1\n2"]]).td.get_text("|") == "1|2"
    assert page.td.find() is None and page.select("td > del")


def test_every_cell_carries_its_alignment_and_no_colour():
    page = parsed(["a", "b"], [["1", "2"]], widths=["30%", "70%"], name="claims")
    assert page.table["class"] == ["claims"]
    for cell in page.select("th, td"):
        assert "text-align:left" in cell["style"] and "padding" in cell["style"]
        assert "color" not in cell["style"] and "background" not in cell["style"]
    assert [cell["scope"] for cell in page.select("th")] == ["col", "col"]
    assert [cell["style"].split(";width:")[1] for cell in page.select("th")] == ["30%", "70%"]


@pytest.mark.parametrize(
    ("head", "rows", "widths", "message"),
    [
        (["a", ""], [], [], r"needs a title, but the head is \['a', ''\]"),
        (["a", "b"], [["1"]], [], r"2 columns, but a row is \['1'\]"),
        (["a", "b"], [], ["10%"], r"2 columns, but a row is \['10%'\]"),
    ],
)
def test_a_table_that_does_not_fit_is_refused(head, rows, widths, message):
    with pytest.raises(ValueError, match=message):
        table(head, rows, widths=widths)
