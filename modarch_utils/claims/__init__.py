"""What a paper says, what this course measured, and whether the two agree.

Every figure that the course quotes from a paper stands in ``papers/``, once: ``source`` is a key of
``references.bib``, ``where`` the place in it, and GMACs are the paper's "FLOPs", multiply-adds in
units of 1e9 at 224 × 224. What a chapter claims stands in this folder in a file
named after it, one table a row: the sentence, the paper's figure, its source, the tolerance. The
notebook hands a :class:`Ledger` what it measured, one line a row, and shows it as its last table.
The same rows travel in the notebook's output as JSON, from which the book's ledger page is made.
"""

import ast
import operator
import string
import tomllib
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib import resources

from modarch_utils import tables
from modarch_utils.claims import rule
from modarch_utils.claims.rule import Interval, contrast, mean

__all__ = ["Claim", "Interval", "Ledger", "contrast", "mean", "paper", "rule"]

VERDICTS = (
    "reproduced",
    "partly",
    "opposite",
    "no difference",
    "undecided",
    "not tested here",
    "ours",
)
MIME = "application/vnd.modarch.claims+json"


@cache
def _papers(file: str) -> dict:
    """A file each, so that a figure's change makes those chapters stale that quote its file."""
    path = resources.files("modarch_utils").joinpath("papers", f"{file}.toml")
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def paper(key: str) -> dict:
    """Return figures quoted from a paper, for example ``paper("convnext.ladder")``.

    Args:
        key: a table, with dots between its parts, of which the first is its file in ``papers/``.

    Returns:
        The table: its figures, ``source`` (a key of ``references.bib``) and ``where``.

    Raises:
        KeyError: no such table.
    """
    table = _papers(key.partition(".")[0])
    for part in key.split("."):
        if not isinstance(table, dict) or part not in table:
            raise KeyError(f"papers/ has no table {key!r}; add it there with its source.")
        table = table[part]
    return table


_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def _value(node: ast.AST, names: dict) -> object:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=key):
            return names[key]
        case ast.Attribute(value=table, attr=key):
            table = _value(table, names)
            return table[key] if isinstance(table, dict) else getattr(table, key)
        case ast.Subscript(value=table, slice=key):
            return _value(table, names)[_value(key, names)]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, names)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
            return _OPERATORS[type(op)](_value(left, names), _value(right, names))
    raise ValueError(f"{ast.unparse(node)} is neither a name, a number nor one of + - * /")


class _Template(string.Formatter):
    """``str.format`` whose fields may also compute: ``"{a.b / 1e6:.1f}M"``."""

    def get_field(self, field_name, args, kwargs):
        return _value(ast.parse(field_name.strip(), mode="eval").body, kwargs), field_name


def names(template: str) -> set[str]:
    """Return the names in a template, without what follows their dots."""
    fields = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    nodes = (node for name in fields for node in ast.walk(ast.parse(name.strip(), mode="eval")))
    return {node.id for node in nodes if isinstance(node, ast.Name)}


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
    """One of :data:`VERDICTS`; ``"ours"`` marks one that holds and no paper makes."""
    paper: str = ""
    """The paper's figure, as quoted."""
    source: str = ""
    """Key of ``references.bib``."""
    spread: str = ""
    """How far ``ours`` may lie from the truth: an interval at 95 %."""
    seeds: str = ""
    """Seeds used, for example ``"0-2"``; empty where nothing is random."""
    minutes: float = 0
    """Minutes that the measurement took."""
    tolerance: str = ""
    """How near counts as agreement."""
    note: str = ""
    """The reason where a claim does not reproduce, or what was compared."""
    visible: str = ""
    """The smallest effect that would have shown, where an interval decides."""
    needed: str = ""
    """What it would take to decide, where the verdict is ``undecided``."""

    def __post_init__(self):
        if self.verdict not in VERDICTS:
            raise ValueError(f"verdict must be one of {VERDICTS}, but is {self.verdict!r}.")
        if self.verdict in VERDICTS[:2] and not self.source:
            raise ValueError(f"The claim {self.claim!r} needs its source, a key of references.bib.")


TEXTS = ("claim", "paper", "ours", "spread", "seeds", "tolerance", "note", "needed")
"""What a row of a chapter's file may hold as templates."""
SETTINGS = ("source", "margin", "unit", "figure", "figure_spread", "otherwise")
"""And what else it may hold; see :class:`Ledger`."""


@cache
def _rows(chapter: str) -> dict[str, dict]:
    path = resources.files("modarch_utils").joinpath("claims", f"{chapter}.toml")
    if not path.is_file():
        raise FileNotFoundError(
            f"The chapter {chapter!r} has no file of claims: write modarch_utils/claims/"
            f"{chapter}.toml, with a table for each row of its ledger."
        )
    return tomllib.loads(path.read_text(encoding="utf-8"))


@dataclass
class Ledger:
    """The claims of one chapter, shown as a table.

    Args:
        chapter: slug of the notebook, for example ``"02_convnext"``.
        data: the rows by name, as they stand in ``modarch_utils/claims/{chapter}.toml``, which is
            read where none are given. A row has a ``claim``, and may have the texts
            :data:`TEXTS` and the settings :data:`SETTINGS`: ``margin``, the number that decides;
            for an effect its ``unit``, the paper's ``figure`` in that unit and ``figure_spread``;
            ``otherwise``, the verdict where a number misses its margin (``opposite`` unless said).
            The texts, and the paper's figure and spread, are templates as of :meth:`str.format`:
            they name what :meth:`add` is given, ``margin``, and figures of ``papers/``. A
            field may compute: ``"{convnext.params.resnet50 / 1e6:.1f}M"``.

    Raises:
        FileNotFoundError: the chapter has no file.
        ValueError: a row without a claim, or with an unknown key.
    """

    chapter: str
    data: dict[str, dict] | None = None
    added: dict[str, Claim] = field(default_factory=dict)

    def __post_init__(self):
        if self.data is None:
            self.data = _rows(self.chapter)
        for name, row in self.data.items():
            if unknown := sorted(set(row) - {*TEXTS, *SETTINGS}):
                raise ValueError(f"{self._place(name)} has the unknown key {unknown[0]!r}.")
            if "claim" not in row:
                raise ValueError(f"{self._place(name)} lacks its sentence, `claim`.")

    def _place(self, name: str) -> str:
        return f"claims/{self.chapter}.toml: [{name}]"

    def _row(self, name: str) -> dict:
        if name not in self.data:
            raise ValueError(
                f"claims/{self.chapter}.toml has no row [{name}]: add it there, or use one of "
                f"{', '.join(self.data)}."
            )
        return self.data[name]

    def add(
        self,
        name: str,
        /,
        *,
        effect: Interval | None = None,
        holds: bool | None = None,
        within: float | None = None,
        beyond: float | None = None,
        verdict: str | None = None,
        minutes: float = 0,
        **values,
    ) -> None:
        """Record what was measured for a row. A second time replaces the first.

        Args:
            name: the row.
            effect: an interval, from which :func:`modarch_utils.claims.rule.verdict` gives the
                verdict by the row's ``margin`` and the paper's ``figure``. Or, for what does not
                vary, one of:
            holds: whether the measurement agrees with the claim.
            within: the number that decides; it holds if it is at most the row's ``margin``.
            beyond: likewise; it holds if it is at least the row's ``margin``.
            verdict: one of :data:`VERDICTS`, by hand: for exact counts and what was not tested.
            minutes: that the measurement took.
            values: what the row's templates name; ``ours``, and perhaps ``spread``, where the row
                has no template for it.

        Raises:
            ValueError: no such row, a value that is missing or that no template names, not one
                decision, no ``margin`` for it, or what :class:`Claim` raises.
            AssertionError: a claim of our own, without an interval, that does not hold: the
                sentence is simply wrong.
        """
        row, source = self._row(name), self._row(name).get("source", "")
        decisions = {"effect": effect, "holds": holds, "within": within, "beyond": beyond}
        decisions |= {"verdict": verdict}
        decisions = {key: value for key, value in decisions.items() if value is not None}
        if len(decisions) != 1:
            raise ValueError(
                f"{self._place(name)} needs one of `effect`, `holds`, `within`, `beyond` and "
                "`verdict`."
            )
        if {"effect", "within", "beyond"} & set(decisions) and "margin" not in row:
            raise ValueError(f"{self._place(name)} has no margin to decide it; add `margin = …`.")
        margin = {"margin": row["margin"]} if "margin" in row else {}
        texts = self._texts(name, margin | decisions, values)
        if effect is not None:
            figure, spread = (
                float(texts.pop(key)) if key in texts else None
                for key in ("figure", "figure_spread")
            )
            verdict = rule.verdict(effect, row["margin"], figure, spread or 0.0)
            texts["visible"] = f"{effect.visible:.2g} {texts.pop('unit')}".strip()
            if verdict == "undecided" and "needed" not in texts:
                runs = rule.needed(effect, row["margin"], figure)
                if figure is not None and abs(figure) <= (spread or 0.0):
                    texts["needed"] = "a paper that tells it from none"
                elif runs > effect.runs:
                    texts["needed"] = f"about {runs:,} runs of each kind"
                else:  # they were enough, four times in five
                    texts["needed"] = "the same runs with new seeds"
            if not source and verdict == "reproduced":
                verdict = "ours"
        elif verdict is None:
            if within is not None:
                holds = within <= row["margin"]
            elif beyond is not None:
                holds = beyond >= row["margin"]
            if not source and not holds:
                raise AssertionError(
                    f"Our own claim does not hold: {texts['claim']} (measured: {texts['ours']})"
                )
            verdict = "reproduced" if holds else row.get("otherwise", "opposite")
            verdict = verdict if source else "ours"
        minutes = round(float(minutes), 2)
        minutes = int(minutes) if minutes.is_integer() else minutes
        self.added[name] = Claim(**texts, source=source, verdict=verdict, minutes=minutes)

    def _texts(self, name: str, known: dict, values: dict) -> dict[str, str]:
        """The row's texts, filled in."""
        row = self.data[name]
        given = {"ours": "{ours}"}
        if "effect" in known:
            unit = row.get("unit", "")
            given = {
                "ours": f"{{effect.value:+.2f}} {unit}",
                "spread": "({effect.low:+.2f} to {effect.high:+.2f})",
                "tolerance": f"margin {{margin}} {unit}",
                "unit": unit,
            }
            if "figure" in row:
                given |= {
                    key: f"{{{row[key]}}}" for key in ("figure", "figure_spread") if key in row
                }
                given["paper"] = f"{{{row['figure']}:+.2f}} {unit}"
        given |= {key: f"{{{key}}}" for key in ("ours", "spread") if key in values}
        templates = given | {key: row[key] for key in TEXTS if key in row}
        asked = set().union(*map(names, templates.values()))
        if idle := sorted(set(values) - asked):
            raise ValueError(f"{self._place(name)} names no value {idle[0]!r}, which was given.")
        known = {key: table for file in asked for key, table in _papers(file).items()} | known
        known |= values
        texts = {}
        for key, template in templates.items():
            try:
                texts[key] = _Template().vformat(template, (), known).strip()
            except KeyError as missing:
                raise ValueError(
                    f"{self._place(name)}: `{key}` names {missing}, which is neither in "
                    "papers/ nor given to ledger.add."
                ) from None
            except (AttributeError, IndexError, SyntaxError, TypeError, ValueError) as error:
                raise ValueError(
                    f"{self._place(name)}: `{key}` cannot be filled: {error}"
                ) from error
        return texts

    def verdicts(self) -> None:
        """Print each claim with its verdict, and no measured number.

        Raises:
            ValueError: rows that no cell has added yet.
        """
        for row in self.added.values():
            print(f"{row.verdict:>15}  {row.claim}")
        if absent := [name for name in self.data if name not in self.added]:
            raise ValueError(
                f"No cell has measured {', '.join(absent)} yet: run the cells above, or take the "
                f"rows out of claims/{self.chapter}.toml."
            )

    def rows(self) -> list[dict]:
        """The claims as plain dictionaries, each with its chapter."""
        return [{"chapter": self.chapter, **asdict(row)} for row in self.added.values()]

    def _repr_mimebundle_(self, include=None, exclude=None) -> dict:
        return {
            "text/plain": f"<claims of {self.chapter}: {len(self.added)}>",
            "text/html": tables.table(
                ("Claim", "Paper", "Ours", "Verdict"),
                [_cells(row) for row in self.added.values()],
                widths=("36%", "17%", "31%", "16%"),
                name="claims",
            ),
            MIME: self.rows(),
        }


def _cells(row: Claim) -> tuple:
    measured = f"{row.ours} {row.spread}".strip()
    details = [f"seeds {row.seeds}"] if row.seeds else []
    details += [f"{row.minutes:.1f} minutes"] if row.minutes else []
    details += [f"would have shown {row.visible}"] if row.visible else []
    note = f" ({row.note})" if row.note else ""
    return (
        row.claim + note,
        row.paper,
        "\n".join((measured, ", ".join(details))).strip(),
        row.verdict + (f"\nit would take {row.needed}" if row.needed else ""),
    )
