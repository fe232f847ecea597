"""Sphinx extension of the course's site (``_config.yml`` loads it).

* Refuses notebooks that hold an error.
* Writes ``book/ledger.md`` before the build reads it.
* Gives each figure the alternative text that its notebook stored in the output's metadata, which
  MyST-NB does not read.
* Leaves out Thebe, which Jupyter Book always loads: the site runs no code, and needs no network.
"""

import sys
from pathlib import Path

import nbformat
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools import ledger  # noqa: E402
from tools.notebooks import errors  # noqa: E402

PNG = "image/png"


def refuse_errors(app: Sphinx, config: Config) -> None:
    """Stop the build where a chapter's stored output is an error."""
    for path in sorted((Path(app.srcdir) / "notebooks").glob("*.ipynb")):
        if found := errors(nbformat.read(path, as_version=4)):
            raise ExtensionError(f"{path.name}: {found[0]}")


def write_ledger(app: Sphinx, config: Config) -> None:
    """Write the ledger of the notebooks that are about to be built."""
    source = Path(app.srcdir)
    page = ledger.page(sorted((source / "notebooks").glob("*.ipynb")))
    path = source / "book" / "ledger.md"
    if not path.exists() or path.read_text("utf-8") != page:
        path.write_text(page, "utf-8")


def add_alternative_text(app: Sphinx, doctree: nodes.document) -> None:
    """Set ``alt`` on the figures of a notebook's page."""
    path = Path(app.env.doc2path(app.env.docname))
    if path.suffix != ".ipynb":
        return
    cells = nbformat.read(path, as_version=4).cells
    for container in doctree.findall(nodes.container):
        if container.get("nb_element") != "cell_code":
            continue
        outputs = cells[container["cell_index"]].outputs
        figures = [output for output in outputs if PNG in output.get("data", {})]
        bundles = [c for c in container.findall(nodes.container) if c.get("mime_type") == PNG]
        for figure, bundle in zip(figures, bundles, strict=True):
            bundle[0]["alt"] = figure.metadata.get(PNG, {}).get("alt", "")


def leave_out_thebe(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Take Thebe's scripts off the page."""
    context["script_files"] = [
        script
        for script in context["script_files"]
        if "thebe" not in f"{script.filename} {script.attributes.get('body')}".lower()
    ]


def setup(app: Sphinx) -> dict:
    app.connect("config-inited", refuse_errors)
    app.connect("config-inited", write_ledger)
    app.connect("doctree-read", add_alternative_text)
    app.connect("html-page-context", leave_out_thebe)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
