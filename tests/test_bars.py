"""Progress bars are text on standard output, in a notebook too, and only where they are wanted."""

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import v4

from modarch_utils import bars


@pytest.mark.parametrize(
    ("progress", "environment", "needed", "shown"),
    [
        (True, "0", True, True),
        (False, "1", True, False),
        (None, "1", True, True),
        (None, "0", True, False),
        (True, "1", False, False),
    ],
)
def test_a_bar_is_shown_where_it_is_wanted(
    monkeypatch, capsys, progress, environment, needed, shown
):
    monkeypatch.setenv("MODARCH_PROGRESS", environment)
    assert list(bars.bar("abc", progress=progress, needed=needed, desc="Counting")) == [*"abc"]
    written = capsys.readouterr()
    assert written.err == ""
    assert ("Counting" in written.out and "3/3" in written.out) is shown
    assert bool(written.out) is shown


def test_a_notebook_keeps_the_bar_as_text():
    code = "from modarch_utils import bars\nfor _ in bars.bar(range(7), progress=True): pass"
    notebook = v4.new_notebook(cells=[v4.new_code_cell(code)])
    NotebookClient(notebook, coalesce_streams=True).execute()
    kept = nbformat.reads(nbformat.writes(notebook), as_version=4)
    (output,) = kept.cells[0].outputs  # no widget beside it
    assert output.name == "stdout"
    (line,) = output.text.strip().splitlines()
    assert "7/7" in line
