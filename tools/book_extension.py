"""Sphinx extension of the course's site (``_config.yml`` loads it).

* Refuses notebooks that hold an error.
* Writes ``book/ledger.md`` before the build reads it, and a chapter's verdicts below its title.
* Adds buttons that run the page elsewhere, suggest an edit of its source and report an error, where
  the repository has an address.
* Leaves out Thebe, which Jupyter Book always loads: the site runs no code, and needs no network.
"""

from pathlib import Path
from urllib.parse import quote

import nbformat
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.errors import ExtensionError

from tools import ledger, repository
from tools.notebooks import errors


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


def add_buttons(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Put what the repository's address allows before the theme's buttons."""
    if doctree is None or not (url := repository.address()):
        return

    def button(text: str, link: str, icon: str) -> dict[str, str]:
        label = text.lower().replace(" ", "-")
        return {"type": "link", "text": text, "tooltip": text, "url": link, "label": label} | {
            "icon": f"fas fa-{icon}"
        }

    services = repository.services(url, f"{page}.ipynb") if page.startswith("notebooks/") else {}
    buttons = [button(f"Run on {name}", link, "rocket") for name, link in services.items()]
    file = repository.source(page)
    title = quote(f"{page}: ", safe="")
    buttons += [
        button("Suggest an edit", f"{url}/edit/{repository.BRANCH}/{file}", "pencil-alt"),
        button(
            "Report an error", f"{url}/issues/new?template=chapter.yml&title={title}", "lightbulb"
        ),
    ]
    group = {"type": "group", "tooltip": "Run, edit, report", "icon": "fas fa-rocket"}
    context["header_buttons"].insert(0, group | {"buttons": buttons, "label": "repository-buttons"})


def show_verdicts(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Say below a chapter's title what became of its claims, with a link to the ledger."""
    notebook = Path(app.srcdir) / f"{page}.ipynb"
    if page.startswith("notebooks/") and notebook.is_file() and (found := ledger.claims(notebook)):
        link = f'<a href="{context["pathto"]("book/ledger")}">{ledger.badge(found)}</a>'
        title, end, rest = context["body"].partition("</h1>")
        context["body"] = f'{title}{end}\n<p class="verdicts">{link}</p>{rest}'


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
    app.connect("html-page-context", leave_out_thebe)
    app.connect("html-page-context", show_verdicts)
    app.connect("html-page-context", add_buttons, priority=502)  # the theme's come at 501
    return {"parallel_read_safe": True, "parallel_write_safe": True}
