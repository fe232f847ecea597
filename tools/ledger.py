"""The ledger: one page with every claim of every chapter, made from the notebooks' outputs.

A chapter's claim table stores its rows as JSON beside what it displays (``modarch_utils.claims``);
this module only gathers them, so the page cannot disagree with the chapters.
"""

from collections import Counter, defaultdict
from pathlib import Path

import nbformat
import numpy as np

from modarch_utils import records
from modarch_utils.claims import MIME, VERDICTS, rule

MARKS = dict(zip(VERDICTS, "✓≈✗=?–·", strict=True))
COLUMNS = ("Chapter", "Claim", "Paper", "Here", "Margin", "Would have shown", "It would take")
HEAD = """\
# Ledger

Every claim that a chapter makes, beside what the chapter measured. The first chapter explains the
rule for verdicts; here it is in four lines:

1. An effect is an interval at 95 % (Student's *t*, paired where runs share a seed), half of which
   stands after ±. A margin, the smallest effect that matters, stands in the claim's file.
2. All of the interval on the claim's side: *reproduced*; *partly* if all of it falls short of the
   paper's value by more than the margin. All of it on the other side: *opposite*.
3. All of it inside the margin: *no difference*. It holds both the claim and nothing: *undecided*.
4. Without an interval: exact counts and measured limits agree or do not; *not tested here* is what
   this machine or data cannot show; *ours* is what no paper says and holds here.
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


def row(claim: dict, columns: tuple[str, ...]) -> list[str]:
    """Return a claim's table cells, in the order of ``columns``."""
    note, source, chapter = claim.get("note"), claim.get("source"), claim["chapter"]
    details = [f"seeds {claim['seeds']}"] if claim.get("seeds") else []
    details += [f"{claim['minutes']:.1f} minutes"] if claim.get("minutes") else []
    details = [f"*{', '.join(details)}*"] if details else []
    cells = {
        "Chapter": f"[{chapter[:2]}](../notebooks/{chapter}.ipynb)",
        "Claim": claim["claim"] + (f" *{note}*" if note else ""),
        "Paper": claim.get("paper", "") + (f" {{cite}}`{source}`" if source else ""),
        "Here": " ".join(filter(None, (claim["ours"], claim.get("spread"), *details))),
        "Margin": claim.get("tolerance", "").removeprefix("margin "),
        "Would have shown": claim.get("visible", ""),
        "It would take": claim.get("needed", ""),
    }
    return [cells[name].strip().replace("|", "\\|").replace("\n", " ") for name in columns]


def table(rows: list[list[str]], columns: tuple[str, ...]) -> str:
    """Return a Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def wide(rows: str, kind: str = "") -> str:
    """Return a table that takes the page's whole width, and is sorted by its titles."""
    return f":::{{div}} full-width sortable {kind}\n{rows}\n:::"


def counts(found: list[dict]) -> list[str]:
    """Return how many claims there are, then how many of each verdict."""
    by_verdict = Counter(claim["verdict"] for claim in found)
    return [str(len(found)), *(str(by_verdict[verdict]) for verdict in VERDICTS)]


def sensitivity(record: dict) -> list[str] | None:
    """Return what a record can see: its name, seeds, runs, spread and smallest visible effect.

    The spread is the standard deviation of runs that differ in nothing but their seed. The effect
    is between two means of as many runs as there are seeds; paired runs see less. None for a
    record without seeds or without accuracies.
    """
    best, alike = record["settings"].get("best_lr", [{}]), defaultdict(list)
    for run in record["results"]:
        score = run.get("test", run.get("error"))
        if "seed" in run and score is not None and any(c.items() <= run.items() for c in best):
            case = [run[k] for k in run if k not in ("seed", "lr") and not k.startswith("param")]
            alike[tuple(v for v in case if isinstance(v, str | bool | int))].append(score)
    cases = [scores for scores in alike.values() if len(scores) > 1]
    if not cases:
        return None
    runs, spread = min(map(len, cases)), np.sqrt(np.mean([np.var(c, ddof=1) for c in cases]))
    # Two samples with exactly this spread, one beside the other.
    sample = np.linspace(-1, 1, runs)
    sample *= spread / sample.std(ddof=1)
    visible = rule.contrast(sample, sample, paired=False).visible
    name = f"`{record['name']}`"
    return [name, str(runs), str(len(record["results"])), f"{spread:.2g}", f"{visible:.2g}"]


def badge(found: list[dict]) -> str:
    """Return a chapter's verdicts in a line: ``12 claims: 9 reproduced, 3 undecided``."""
    by_verdict = Counter(claim["verdict"] for claim in found)
    shares = [f"{n} {name}" for name in VERDICTS if (n := by_verdict[name])]
    return f"{len(found)} claims: {', '.join(shares)}"


def page(notebooks: list[Path]) -> str:
    """Return the ledger page (MyST Markdown) of these notebooks; it lies in ``book/``."""
    chapters = [(path, title(path), found) for path in notebooks if (found := claims(path))]
    everything = [claim for _, _, found in chapters for claim in found]
    summary = [
        [f"[{name}](../notebooks/{path.name})", *counts(found)] for path, name, found in chapters
    ]
    summary.append(["**Together**", *counts(everything)])
    judged = sum(bool(claim.get("visible")) for claim in everything)
    parts = [
        HEAD,
        f"{judged} rows rest on an interval: if none of their effects existed, about "
        f"{0.05 * judged:.0f} of them would still seem to go one way or the other.",
        "Rows of each chapter: "
        + ", ".join(f"{mark} {name}" for name, mark in MARKS.items())
        + ".",
        wide(table(summary, ("Chapter", "All", *MARKS.values())), "summary"),
    ]
    for verdict in VERDICTS:
        if found := [claim for claim in everything if claim["verdict"] == verdict]:
            columns = COLUMNS if any(claim.get("needed") for claim in found) else COLUMNS[:-1]
            rows = table([row(claim, columns) for claim in found], columns)
            parts.append(f"## {MARKS[verdict]} {verdict.capitalize()}")
            parts.append(wide(rows))
    seen = [sensitivity(records.load(file.stem)) for file in sorted(records.FOLDER.glob("*.json"))]
    columns = ("Record", "Seeds", "Runs", "Spread (points)", "Would have shown (points)")
    parts += [
        "## What the records can see",
        "Longer experiments, each made by `python -m recipes.NAME`. *Spread* is the standard "
        "deviation of test accuracy between runs that differ in their seed alone, over all of a "
        "record's cases. The last column is the smallest difference between two cases that would "
        "have left zero out four times in five; where runs are paired, smaller ones do.",
        wide(table([line for line in seen if line], columns)),
    ]
    return "\n\n".join(parts) + "\n"
