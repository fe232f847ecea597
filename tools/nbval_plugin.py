"""What nbval needs to know about this course: loaded with ``pytest -p tools.nbval_plugin``.

Printed output, tables and every other kind of output are compared strictly, with these exceptions:

* the pixels and the alternative text of a figure: a curve drawn from another processor's floats may
  differ. That the figure is there does count;
* what a claim table measured, which the chapter asserts with a tolerance. What is claimed, what the
  paper says and the verdict do count;
* a cell tagged ``nbval-ignore-output``, except for its figures and claims;
* under another profile than ``laptop``, the cells tagged ``profile-dependent``.

A notebook that fails is kept with the outputs of this run (``tools.notebooks.keep_failed``).
"""

import copy
import difflib
import json
import os
import re
from collections.abc import Iterable

import nbformat
import pytest
from nbformat import NotebookNode
from nbval.plugin import IPyNbCell

from modarch_utils.claims import MIME
from tools.notebooks import keep_failed, kernel_environment, profile

MEASURED = {"ours", "spread", "minutes", "visible", "needed"}
FIGURE = re.compile(r'<img\b[^>]*\bsrc="data:image/')


def pytest_configure() -> None:
    """Give the kernels the environment that the committed outputs were made in."""
    os.environ.update(kernel_environment(profile()))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Take the claims, and what depends on the profile, out of nbval's own comparison."""
    if not isinstance(item, IPyNbCell):
        return
    item.parent.skip_compare = (*item.parent.skip_compare, MIME)
    if _is_free(item):
        item.options["check"] = False


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item):
    """Compare what counts in every cell, and keep a notebook that fails."""
    try:
        result = yield
        if isinstance(item, IPyNbCell) and not _is_free(item):
            _compare(item)
        return result
    except Exception:  # a wrong cell, or a kernel that died
        if isinstance(item, IPyNbCell):
            _keep(item)
        raise


def _is_free(item: IPyNbCell) -> bool:
    return profile() != "laptop" and "profile-dependent" in item.cell.metadata.get("tags", [])


def fixed(outputs: Iterable[NotebookNode]) -> list[str]:
    """Return what may not differ in the outputs of any cell, as lines: its figures and claims."""
    lines = []
    for output in outputs:
        data = output.get("data", {})
        pictures = len(FIGURE.findall(data.get("text/html", "")))
        pictures += sum(name.startswith("image/") for name in data)
        lines += ["a figure"] * pictures
        for claim in data.get(MIME, []):
            counts = {key: value for key, value in claim.items() if key not in MEASURED}
            lines += json.dumps(counts, indent=1, sort_keys=True, ensure_ascii=False).splitlines()
    return lines


def _compare(item: IPyNbCell) -> None:
    stored, now = fixed(item.cell.outputs), fixed(item.test_outputs or [])
    if stored != now:
        lines = difflib.unified_diff(stored, now, "stored", "this run", lineterm="")
        item.raise_cell_error("The cell's figures or claims differ", "\n".join(lines))


def _keep(item: IPyNbCell) -> None:
    notebook = copy.deepcopy(item.parent.nb)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for other in item.session.items:
        if other.parent is item.parent and other.test_outputs is not None:
            outputs = nbformat.from_dict(other.test_outputs)
            cells[other.cell_num].outputs = outputs
    path = keep_failed(notebook, item.path.stem, item.config.rootpath)
    item.add_report_section("call", "notebook", f"The notebook of this run is {path}.")
