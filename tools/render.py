"""The two renderings of a notebook: MyST for the site, plain Markdown for every editor.

Sources are MyST. JupyterLab, VS Code, Colab, Kaggle and GitHub know only Markdown, so in what is
committed a citation is a link and a box is a titled quotation (folded away, if its class is
``dropdown``). Markup that has no such form is refused.
"""

import functools
import html
import re
from collections.abc import Callable
from pathlib import Path

import nbformat
from markdown_it import MarkdownIt
from mdit_py_plugins.colon_fence import colon_fence_plugin
from nbformat import NotebookNode, v4
from pybtex.database import Entry, parse_file
from pybtex.richtext import Text

from tools import repository

BIBLIOGRAPHY = Path(__file__).resolve().parents[1] / "references.bib"
FOLDED = {"hide-input", "hide-cell", "remove-input", "remove-cell"}
HEAD_ID, BUTTONS_ID = "install", "elsewhere"

# A code span, with its role where it has one; or a formula. Whatever of them begins first counts.
SPAN = re.compile(
    r"(?:\{(?P<role>[A-Za-z][\w:+-]*)\})?"
    r"(?<![`\\])(?P<ticks>`+)(?!`)(?P<code>(?:(?!\n\s*\n).)+?)(?<!`)(?P=ticks)(?!`)"
    r"|(?<!\\)(?P<formula>\$\$[^`]+?\$\$|\$(?![\s$])[^$`]+?(?<![\s\\])\$(?!\d))",
    re.DOTALL,
)
DIRECTIVE = re.compile(r"\{(?P<name>[\w:+-]+)\}\s*(?P<title>.*)")
OPTION = re.compile(r":(?P<key>[\w-]+):\s*(?P<value>.*)")
# A target, a break of blocks, a comment, a definition, a link without words, a substitution,
# attributes, and a formula's label: what only MyST knows outside of roles and directives.
FOREIGN = re.compile(
    r"^\([\w-]+\)=\s*$|^\+\+\+.*$|^% .*$|^: .*$|(?<!!)\[\]\([^)]*\)|\{\{.*?\}\}|\]\{[.#][^}]*\}"
    r"|(?<=\$\$) *\([\w:-]+\)\s*$",
    re.MULTILINE,
)
PARSER = MarkdownIt("commonmark").use(colon_fence_plugin)


class RenderError(ValueError):
    """Markup that editors cannot show; the message says which, and where."""


def for_editors(notebook: NotebookNode, path: str) -> NotebookNode:
    """Return the notebook that is committed as ``path``: plain Markdown, hidden code folded.

    After the title comes one folded cell that sees to the package and, if the repository has an
    address, links to services that run the notebook. Ids are the given notebook's.

    Raises:
        RenderError: markup that has no form in Markdown, or a citation that is not in
            ``references.bib``.
    """
    rendered = nbformat.from_dict(notebook)
    for index, cell in enumerate(rendered.cells):
        if cell.cell_type == "markdown":
            try:
                # The style sheet of nbgrader's feedback takes a summary's triangle away.
                cell.source = markdown(cell.source).replace(
                    "<summary>", '<summary style="display:list-item">'
                )
            except RenderError as error:
                raise RenderError(f"cell {index}: {error}") from None
        elif FOLDED & set(cell.metadata.get("tags", [])):
            cell.metadata["jupyter"] = nbformat.from_dict({"source_hidden": True})
    place = int(bool(rendered.cells) and rendered.cells[0].cell_type == "markdown")
    rendered.cells[place:place] = head(repository.committed(), path)
    return rendered


def head(url: str, path: str) -> list[NotebookNode]:
    """Return the cells below the title; ``url`` is the repository's address, or ``""``."""
    if url:
        missing = (
            "    get_ipython().run_line_magic(  # noqa: F821\n"
            f'        "pip", \'install --quiet "modarch-utils[diffusion] @ git+{url}"\'\n'
            "    )\n"
        )
    else:
        missing = (
            "    raise ModuleNotFoundError(\n"
            '        "The course\'s package is missing in this Python: open a terminal in the "\n'
            '        "course\'s folder, the one with pyproject.toml, and run "\n'
            "        '`python -m pip install -c requirements.lock -e \".[diffusion,lab]\"`; '\n"
            '        "then restart the kernel."\n'
            "    )\n"
        )
    cell = v4.new_code_cell(
        "# Is the course's package there?\nimport importlib.util\n\n"
        f'if importlib.util.find_spec("modarch_utils") is None:\n{missing}'.rstrip(),
        id=HEAD_ID,
        metadata={"jupyter": {"source_hidden": True}, "tags": ["remove-cell"]},
    )
    links = [f"[{name}]({link})" for name, link in repository.services(url, path).items()]
    if not links:
        return [cell]
    return [v4.new_markdown_cell(f"Run it on {' · '.join(links)}", id=BUTTONS_ID), cell]


def markdown(text: str) -> str:
    """Return MyST as Markdown.

    Raises:
        RenderError: as :func:`for_editors`.
    """
    rendered = _blocks(text, _inline, _box)
    if left := raw(rendered):
        raise RenderError(
            f"{', '.join(left)} is not something editors show: write a citation (`cite:t`, "
            "`cite:p`), an `admonition`, or plain Markdown"
        )
    return rendered


def raw(text: str) -> list[str]:
    """Return the markup in a Markdown text that a page would show as it is; code is no markup.

    That is what only Jupyter Book knows, and code spans inside of HTML, which no empty line ends.
    """
    blocks = [t.content for t in PARSER.parse(text) if t.type == "html_block"]
    found = [span for block in blocks for span in re.findall(r"`[^`\n]+`", block)]

    def prose(text: str) -> str:
        spans = SPAN.finditer(text)
        found.extend(f"{{{span['role']}}}" for span in spans if span["role"])
        # A span's own letters are no markup; only its ends stay.
        found.extend(FOREIGN.findall(SPAN.sub(lambda m: m["formula"] and m[0][:2] or "`", text)))
        return text

    def directive(before: str, opening: str, body: list[str]) -> str:
        found.append(opening)
        return ""

    _blocks(text, prose, directive)
    return found


def _blocks(text: str, prose: Callable[[str], str], directive: Callable) -> str:
    """Put ``text`` together again, its prose and its directives replaced, its code untouched."""
    lines = text.split("\n")
    out: list[str] = []
    done = 0

    def flush(end: int) -> None:
        if end > done:
            out.append(prose("\n".join(lines[done:end])))

    for token in PARSER.parse(text):
        if token.type not in ("fence", "colon_fence", "code_block", "html_block"):
            continue
        start, end = token.map
        flush(start)
        block = lines[start:end]
        if token.type == "colon_fence" or (token.type == "fence" and token.info.startswith("{")):
            before, marks, opening = lines[start].partition(token.markup)
            inside = directive(before.strip(), token.info.strip(), token.content.split("\n")[:-1])
            out.append("\n".join(before + line if line else "" for line in inside.split("\n")))
        else:
            out.append("\n".join(block))
        done = end
    flush(len(lines))
    return "\n".join(out)


def _inline(text: str) -> str:
    return SPAN.sub(lambda m: _citation(m) if m["role"] else m[0], text)


def _box(before: str, opening: str, body: list[str]) -> str:
    """A box as a quotation with a title, or folded away."""
    if before:
        raise RenderError(f"a box begins on a line of its own, not after `{before}`")
    found = DIRECTIVE.fullmatch(opening)
    if not found or found["name"] != "admonition":
        raise RenderError(
            f"{opening or ':::'} is not something editors show: only an admonition is"
        )
    title = found["title"]
    options = {}
    while body and (option := OPTION.fullmatch(body[0])):
        options[option["key"]] = option["value"]
        body = body[1:]
    text = markdown("\n".join(body).strip("\n"))
    if "dropdown" in options.get("class", "").split():
        return f"<details>\n<summary>{html.escape(title)}</summary>\n\n{text}\n\n</details>"
    # Editors take a formula out of the text before they see that a line is quoted.
    text = _blocks(text, lambda t: SPAN.sub(_on_one_line, t), lambda *_: "")
    quoted = [f"**{_inline(title)}**", "", *text.split("\n")]
    return "\n".join(f"> {line}".rstrip() for line in quoted)


def _on_one_line(match: re.Match) -> str:
    return " ".join(match[0].split()) if match["formula"] else match[0]


def _citation(match: re.Match) -> str:
    role, keys = match["role"], [key.strip() for key in match["code"].split(",")]
    if role == "cite:t":
        return "; ".join(_link(key, "{} ({})") for key in keys)
    if role in ("cite", "cite:p"):
        return f"({'; '.join(_link(key, '{}, {}') for key in keys)})"
    return match[0]


def _link(key: str, form: str) -> str:
    entries = bibliography()
    if key not in entries:
        raise RenderError(f"{key!r} is not in {BIBLIOGRAPHY.name}")
    name = form.format(authors(entries[key]), entries[key].fields["year"])
    url = link(entries[key])
    return f"[{name}]({url})" if url else name


@functools.cache
def bibliography() -> dict[str, Entry]:
    """Return the entries of ``references.bib``."""
    return dict(parse_file(BIBLIOGRAPHY, bib_format="bibtex").entries)


def authors(entry: Entry) -> str:
    """Return "Liu", "Tan and Le" or "Liu et al."."""
    names = [
        Text.from_latex(" ".join(person.prelast_names + person.last_names)).render_as("text")
        for person in entry.persons["author"]
    ]
    return f"{names[0]} et al." if len(names) > 2 else " and ".join(names)


def link(entry: Entry) -> str:
    """Return where an entry can be read: arXiv, its DOI or its own address; or ``""``."""
    note, how = (entry.fields.get(key, "") for key in ("note", "howpublished"))
    if arxiv := re.search(r"arXiv:(\S+)", note):
        return f"https://arxiv.org/abs/{arxiv[1]}"
    if doi := entry.fields.get("doi"):
        return f"https://doi.org/{doi}"
    if url := entry.fields.get("url") or re.sub(r"\\url\{(.*)\}", r"\1", how):
        return url if "://" in url else f"https://{url}"
    return ""
