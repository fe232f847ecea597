"""The report: a table for a spreadsheet, and a page to read."""

import csv
import html
from dataclasses import dataclass
from pathlib import Path

from .folder import Submission
from .verdict import Verdict

COLUMNS = (
    "student",
    "exercise",
    "points",
    "most",
    "status",
    "cause",
    "parts",
    "look",
    "seconds",
    "file",
)
STYLE = """
body { font: 16px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem;
       color: #1e293b; background: #fff }
table { border-collapse: collapse; width: 100%; margin: 1rem 0 }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem;
         border-bottom: 1px solid #cbd5e1 }
td.n { text-align: right; white-space: nowrap }
.look { color: #92400e } .bad { color: #b91c1c; font-weight: 600 }
pre { background: #f1f5f9; padding: .6rem; overflow: auto; max-height: 24rem;
      white-space: pre-wrap }
"""


@dataclass(frozen=True)
class Row:
    """A submission and its verdict."""

    submission: Submission
    verdict: Verdict

    def fields(self, folder: Path) -> dict[str, str]:
        """The columns, as text."""
        s, v = self.submission, self.verdict
        parts = (f"{part.name} {part.points:g} of {part.most:g}" for part in v.parts)
        return {
            "student": s.student,
            "exercise": s.exercise,
            "points": f"{v.points:g}",
            "most": f"{sum(part.most for part in v.parts):g}",
            "status": v.status,
            "cause": v.cause,
            "parts": "; ".join(parts),
            "look": "; ".join(v.notes),
            "seconds": f"{v.seconds:g}",
            "file": str(s.path.relative_to(folder)),
        }


def plain(text: str) -> str:
    """Text that shows what it holds: control characters, and those that turn its direction or have
    no encoding, become a replacement character."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def write_csv(path: Path, rows: list[Row], folder: Path) -> None:
    """Write one line for each submission. No field is a formula to a spreadsheet."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in rows:
            fields = row.fields(folder).items()
            writer.writerow({name: _no_formula(plain(text)) for name, text in fields})


def _no_formula(text: str) -> str:
    return f"'{text}" if text.lstrip().startswith(("=", "+", "-", "@")) else text


def write_page(path: Path, rows: list[Row], folder: Path, title: str) -> None:
    """Write a page that needs no other file and runs no script; all text is escaped."""
    names = ("student", "exercise", "points", "status", "look")
    head = "".join(f"<th>{name}</th>" for name in names)
    table, details = [], []
    for number, row in enumerate(rows, 1):
        fields = {name: _escape(text) for name, text in row.fields(folder).items()}
        status = fields["status"]
        bad = "" if status == "graded" else ' class="bad"'
        table.append(
            f'<tr><td><a href="#s{number}">{fields["student"]}</a></td>'
            f"<td>{fields['exercise']}</td>"
            f'<td class="n">{fields["points"]} of {fields["most"]}</td>'
            f"<td{bad}>{status}</td>"
            f'<td class="look">{fields["look"]}</td></tr>'
        )
        details.append(_details(number, row, fields))
    good = sum(row.verdict.status == "graded" for row in rows)
    heading = _escape(title)
    path.write_text(
        f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width">
<title>{heading}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{heading}</h1>
<p>{len(rows)} submissions: {good} ran to their end, {len(rows) - good} did not or were not run.
The last column says what a person should look at before the points count.</p>
<table><thead><tr>{head}</tr></thead><tbody>
{chr(10).join(table)}
</tbody></table>
{chr(10).join(details)}
</body>
</html>
""",
        "utf-8",
    )


def _details(number: int, row: Row, fields: dict[str, str]) -> str:
    v = row.verdict
    blocks = [
        f"<h3>{_escape(part.name)}: {part.points:g} of {part.most:g}</h3>"
        f"<pre>{_escape(part.text)}</pre>"
        for part in v.parts
    ]
    if v.output.strip():
        blocks.append(
            "<details><summary>What it printed (its words, not the grader's)</summary>"
            f"<pre>{_escape(v.output)}</pre></details>"
        )
    look = f'<p class="look">Look at: {fields["look"]}</p>' if v.notes else ""
    return (
        f'<section id="s{number}"><h2>{fields["student"]} {fields["exercise"]}</h2>'
        f"<p>{fields['cause']} ({fields['file']}, {fields['seconds']} s)</p>{look}"
        f"{''.join(blocks)}</section>"
    )


def _escape(text: str) -> str:
    return html.escape(plain(text))
