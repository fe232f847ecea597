"""Sphinx extension of the course's site: what its pages need that Sphinx does not write."""

from html import escape
from textwrap import shorten

from docutils import nodes
from sphinx.application import Sphinx


def describe(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Describe the page to search engines, with its first sentences."""
    if doctree is None:
        return
    paragraphs = (
        p for p in doctree.findall(nodes.paragraph) if isinstance(p.parent, nodes.section)
    )
    first = next(paragraphs, None)
    if first is None:
        return
    text = shorten(first.astext(), 160, placeholder=" …")
    context["metatags"] += f'<meta name="description" content="{escape(text)}">\n'


def mark_citations(app: Sphinx, page: str, template: str, context: dict, doctree: object) -> None:
    """Make the citations items of their list: docutils gives them a role that ARIA has dropped."""
    if "body" in context:
        context["body"] = context["body"].replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app: Sphinx) -> dict:
    app.connect("html-page-context", describe)
    app.connect("html-page-context", mark_citations)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
