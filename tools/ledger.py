"""The ledger: one page with every claim of every chapter, made from the notebooks' outputs.

A chapter's claim table stores its rows as JSON beside what it displays (``modarch_utils.claims``);
this module only gathers them, so the page cannot disagree with the chapters.
"""

from collections import Counter
from pathlib import Path

import nbformat

from modarch_utils.claims import MIME, VERDICTS

MARKS = {"reproduced": "✓", "partly": "≈", "not reproduced": "✗", "ours": "·"}
COLUMNS = ("Claim", "Paper", "Here", "Tolerance", "Seeds", "Minutes", "Verdict")
HEAD = """\
# Ledger

Every claim that a chapter makes, beside what the chapter measured. A claim that does not reproduce
at this scale stays in the list, with the reason. *Ours* marks a statement that no paper makes.
"""


def claims(notebook: Path) -> list[dict]:
    """Return the claims stored in a notebook's outputs, in order.

    Raises:
        ValueError: a claim has a verdict that is not one of ``modarch_utils.claims.VERDICTS``.
    """
    found = [
        claim
        for cell in nbformat.read(notebook, as_version=4).cells
        for output in cell.get("outputs", [])
        for claim in output.get("data", {}).get(MIME, [])
    ]
    for claim in found:
        if claim["verdict"] not in VERDICTS:
            raise ValueError(
                f"{notebook.name}: the verdict of {claim['claim']!r} is {claim['verdict']!r}; "
                f"it must be one of {', '.join(VERDICTS)}."
            )
    return found


def title(notebook: Path) -> str:
    """Return the notebook's first heading, or its file name."""
    for cell in nbformat.read(notebook, as_version=4).cells:
        for line in cell.source.splitlines():
            if cell.cell_type == "markdown" and line.startswith("# "):
                return line.removeprefix("# ").strip()
    return notebook.stem


def row(claim: dict) -> list[str]:
    """Return a claim's table cells, in the order of ``COLUMNS``."""
    note, source = claim.get("note"), claim.get("source")
    cells = [
        claim["claim"] + (f" *{note}*" if note else ""),
        claim.get("paper", "") + (f" {{cite}}`{source}`" if source else ""),
        f"{claim['ours']} {claim.get('spread', '')}",
        claim.get("tolerance", ""),
        claim.get("seeds", ""),
        f"{claim['minutes']:.1f}" if claim.get("minutes") else "",
        f"{MARKS[claim['verdict']]} {claim['verdict']}",
    ]
    return [cell.strip().replace("|", "\\|").replace("\n", " ") for cell in cells]


def table(rows: list[list[str]], columns: tuple[str, ...]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def counts(found: list[dict]) -> list[str]:
    """Return how many claims there are, then how many of each verdict."""
    by_verdict = Counter(claim["verdict"] for claim in found)
    return [str(len(found)), *(str(by_verdict[verdict]) for verdict in VERDICTS)]


def page(notebooks: list[Path]) -> str:
    """Return the ledger page (MyST Markdown) of these notebooks; it lies in ``book/``."""
    chapters = [(path, title(path), found) for path in notebooks if (found := claims(path))]
    everything = [claim for _, _, found in chapters for claim in found]
    summary = [[f"[{name}](#{path.stem})", *counts(found)] for path, name, found in chapters]
    summary.append(["**Together**", *counts(everything)])
    parts = [HEAD, table(summary, ("Chapter", "Claims", *map(str.capitalize, VERDICTS)))]
    for path, name, found in chapters:
        parts.append(f"({path.stem})=\n## {name}\n\n[Open the chapter](../notebooks/{path.name})")
        rows = table([row(claim) for claim in found], COLUMNS)
        parts.append(f":::{{div}} full-width\n{rows}\n:::")
    return "\n\n".join(parts) + "\n"
