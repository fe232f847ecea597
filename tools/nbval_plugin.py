"""What nbval needs to know about this course: loaded with ``pytest -p tools.nbval_plugin``.

Printed output, tables and every other kind of output are compared strictly. Three exceptions:

* images, which nbval leaves out itself: a curve drawn from another processor's floats may differ;
* the claims behind a claim table: measured numbers, which the chapter asserts with a tolerance;
* under another profile than ``laptop``, the cells tagged ``profile-dependent``.
"""

import os

import pytest
from nbval.plugin import IPyNbCell

from modarch_utils.claims import MIME
from tools.notebooks import kernel_environment, profile


def pytest_configure() -> None:
    """Give the kernels the environment that the committed outputs were made in."""
    os.environ.update(kernel_environment(profile()))


def pytest_itemcollected(item: pytest.Item) -> None:
    """Take the claims, and what depends on the profile, out of the comparison."""
    if not isinstance(item, IPyNbCell):
        return
    item.parent.skip_compare = (*item.parent.skip_compare, MIME)
    if profile() != "laptop" and "profile-dependent" in item.cell.metadata.get("tags", []):
        item.options["check"] = False
