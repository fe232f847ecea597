"""HTML tables that read alike in JupyterLab, VS Code, nbconvert and on the site, light and dark.

Every style is inline and no colour is set: notebooks put cells to the right, and a page that shows
an output has no style sheet of ours.
"""

import html
from collections.abc import Iterable, Sequence

CELL = (
    "text-align:left;vertical-align:top;padding:.3em .5em;white-space:normal;"
    "overflow-wrap:break-word;border-bottom:1px solid rgba(128,128,128,.4)"
)


def _content(cell: object) -> str:
    if hasattr(cell, "__html__"):
        return cell.__html__()
    return html.escape(str(cell), quote=False).replace("\n", "<br>")


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    caption: str = "",
    widths: Sequence[str] = (),
    name: str = "",
) -> str:
    """Return an HTML table.

    Args:
        head: a title for each column, none of them empty.
        rows: the cells. Text is escaped and keeps its line ends; what has ``__html__``, as
            ``IPython.display.HTML`` does, goes in as it is.
        caption: a line above the table.
        widths: a CSS width for each column, for example ``"40%"``; without, the browser decides.
        name: the table's class, for the site's style sheet.

    Raises:
        ValueError: an empty title, or rows or widths of another length than ``head``.
    """
    rows = [list(row) for row in rows]
    if not all(head):
        raise ValueError(f"Each column needs a title, but the head is {list(head)}.")
    if wrong := [row for row in (*rows, widths or head) if len(row) != len(head)]:
        raise ValueError(f"The table has {len(head)} columns, but a row is {list(wrong[0])}.")
    wide = [f"{CELL};width:{width}" for width in widths] or [CELL] * len(head)
    titles = [
        f'<th scope="col" style="{style}">{_content(title)}</th>'
        for title, style in zip(head, wide, strict=True)
    ]
    body = [[f'<td style="{CELL}">{_content(cell)}</td>' for cell in row] for row in rows]
    kind = f' class="{html.escape(name)}"' if name else ""
    above = f"<caption><strong>{_content(caption)}</strong></caption>" if caption else ""
    top, *below = ("".join(["<tr>", *cells, "</tr>"]) for cells in (titles, *body))
    return f"<table{kind}>{above}<thead>{top}</thead><tbody>{''.join(below)}</tbody></table>"
