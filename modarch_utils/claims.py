"""What a paper says, what this course measured, and whether the two agree.

A chapter collects its claims in a :class:`Ledger` and shows it as its last table. The same rows
travel in the notebook's output as JSON, from which the book's ledger page is made.
"""

import html
import tomllib
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources

import numpy as np

VERDICTS = ("reproduced", "partly", "not reproduced", "ours")
MIME = "application/vnd.modarch.claims+json"


@cache
def _papers() -> dict:
    return tomllib.loads(resources.files("modarch_utils").joinpath("papers.toml").read_text())


def paper(key: str) -> dict:
    """Return figures quoted from a paper, for example ``paper("convnext.ladder")``.

    Args:
        key: a table of ``papers.toml``, with dots between its parts.

    Returns:
        The table: its figures, ``source`` (a key of ``references.bib``) and ``where``.

    Raises:
        KeyError: no such table.
    """
    table = _papers()
    for part in key.split("."):
        if not isinstance(table, dict) or part not in table:
            raise KeyError(f"papers.toml has no table {key!r}; add it there with its source.")
        table = table[part]
    return table


def contrast(after: np.ndarray, before: np.ndarray) -> tuple[float, float]:
    """Difference of two means over seeds, and twice its standard error.

    A difference counts, throughout the course, when it is the larger of the two.

    Args:
        after, before: one value for each seed, two or more each.
    """
    error = np.sqrt(np.var(after, ddof=1) / len(after) + np.var(before, ddof=1) / len(before))
    return float(np.mean(after) - np.mean(before)), float(2 * error)


@dataclass(frozen=True)
class Claim:
    """One row: a statement, the paper's figure, ours, and the verdict.

    Raises:
        ValueError: an unknown verdict, or a claim marked as a paper's without a source.
    """

    claim: str
    """One sentence that can be true or false."""
    ours: str
    """What was measured here, with its unit."""
    verdict: str
    """One of :data:`VERDICTS`; ``"ours"`` marks a statement that no paper makes."""
    paper: str = ""
    """The paper's figure, as quoted."""
    source: str = ""
    """Key of ``references.bib``."""
    spread: str = ""
    """How far ``ours`` varies, for example ``"± 0.4"`` (standard deviation over seeds)."""
    seeds: str = ""
    """Seeds used, for example ``"0-2"``; empty where nothing is random."""
    minutes: float = 0.0
    """Minutes that the measurement took."""
    tolerance: str = ""
    """How near counts as agreement."""
    note: str = ""
    """The reason where a claim does not reproduce, or what was compared."""

    def __post_init__(self):
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict must be one of {VERDICTS}, but is {self.verdict!r}.")
        if self.verdict != "ours" and not self.source:
            raise ValueError(f"The claim {self.claim!r} needs its source, a key of references.bib.")


@dataclass
class Ledger:
    """The claims of one chapter, shown as a table.

    Args:
        chapter: slug of the notebook, for example ``"02_convnext"``.
    """

    chapter: str
    claims: list[Claim] = field(default_factory=list)

    def add(self, claim: str, *, ours: str, holds: bool | None = None, **rest) -> Claim:
        """Record a claim.

        Args:
            claim: one sentence.
            ours: what was measured.
            holds: whether the measurement agrees with the claim; sets the verdict to
                ``"reproduced"`` or ``"not reproduced"`` (for a claim without a source: raises if
                it is False, because then the sentence is simply wrong). Or give ``verdict``.
            rest: the other fields of :class:`Claim`.

        Raises:
            AssertionError: a claim of our own that does not hold.
        """
        if holds is not None:
            if rest.get("source"):
                rest["verdict"] = "reproduced" if holds else "not reproduced"
            elif holds:
                rest["verdict"] = "ours"
            else:
                raise AssertionError(f"Our own claim does not hold: {claim} (measured: {ours})")
        row = Claim(claim=claim, ours=ours, **rest)
        self.claims.append(row)
        return row

    def verdicts(self) -> None:
        """Print each claim with its verdict, and no measured number."""
        for row in self.claims:
            print(f"{row.verdict:>14}  {row.claim}")

    def rows(self) -> list[dict]:
        """The claims as plain dictionaries, each with its chapter."""
        return [{"chapter": self.chapter, **asdict(row)} for row in self.claims]

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        head = ("Claim", "Paper", "Ours", "Seeds", "Minutes", "Verdict")
        titles = "".join(f"<th>{h}</th>" for h in head)
        lines = [f'<table class="claims"><thead><tr>{titles}</tr></thead><tbody>']
        for row in self.claims:
            cells = (
                row.claim + (f" ({row.note})" if row.note else ""),
                row.paper,
                f"{row.ours} {row.spread}".strip(),
                row.seeds,
                f"{row.minutes:.1f}" if row.minutes else "",
                row.verdict,
            )
            lines += ["<tr>", *(f"<td>{html.escape(c)}</td>" for c in cells), "</tr>"]
        lines.append("</tbody></table>")
        return {
            "text/plain": f"<claims of {self.chapter}: {len(self.claims)}>",
            "text/html": "".join(lines),
            MIME: self.rows(),
        }
