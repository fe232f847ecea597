"""What speaks for a model: numbers cited, counted, recorded or measured here (chapter 08).

Every number has an origin and a date. What nobody has measured stays blank.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Protocol

import numpy as np
import torch

from modarch_utils import claims, records
from modarch_utils.measure import Latency


@dataclass(frozen=True)
class Need:
    """What is wanted, as :func:`modarch_utils.studies.choosing.recommend` has checked it."""

    task: str
    labels: int | None
    """Labelled pictures of each class."""
    latency_ms: float | None
    device: str
    priority: str


@dataclass(frozen=True)
class Evidence:
    """One number, and where it comes from."""

    key: str
    """What it is good for; the same key can be compared between candidates."""
    text: str
    """What was measured, with its conditions."""
    value: float
    unit: str
    origin: str
    """``"cited"``, ``"counted"``, ``"record"`` or ``"here"``."""
    source: str
    """Key of ``references.bib``, name of a record, or device; empty for a count."""
    date: str
    """Year and month of a source, day of a measurement; empty for a count."""
    spread: float = 0.0
    """Standard deviation over seeds; 0 where there is one number only."""

    @property
    def number(self) -> str:
        """The value to three digits, with its spread and unit."""
        if not self.spread:
            return f"{_rounded(self.value)} {self.unit}".rstrip()
        digits = _digits(self.value)
        return f"{self.value:.{digits}f} ± {self.spread:.{digits}f} {self.unit}".rstrip()

    def __str__(self) -> str:
        where = " ".join(part for part in (self.origin, self.source) if part)
        when = f", {self.date}" if self.date else ""
        return f"{self.text}: {self.number} [{where}{when}]"


class Fact(Protocol):
    """Something that can become evidence, or None where nobody has measured it."""

    def evidence(self, need: Need) -> Evidence | None: ...


@dataclass(frozen=True)
class Cited:
    """A figure of ``papers/``."""

    key: str
    text: str
    unit: str
    table: str
    figure: str
    """Where in the table it stands, with dots between the parts; a number is a place in a list."""
    per: float = 1.0
    """What the figure is divided by, for example 1e6 for millions."""

    def evidence(self, need: Need | None = None) -> Evidence:
        table = claims.paper(self.table)
        value = table
        for part in self.figure.split("."):
            value = value[int(part) if isinstance(value, list) else part]
        source, when = table["source"], published(table)
        return Evidence(self.key, self.text, value / self.per, self.unit, "cited", source, when)


def published(table: dict) -> str:
    """Year and month of a table of ``papers/``: its ``date``, or when arXiv had the paper.

    Raises:
        ValueError: it has no date, and its source is not in the timeline.
    """
    if "date" in table:
        return table["date"]
    for row in claims.paper("timeline").values():
        if row["source"] == table["source"]:
            number = row["where"].removeprefix("arXiv:")
            return f"20{number[:2]}-{number[2:4]}"
    raise ValueError(
        f"A figure of {table['source']} has no date; give its table in papers/ a `date`."
    )


@dataclass(frozen=True)
class Counted:
    """A number that follows from shapes alone."""

    key: str
    text: str
    unit: str
    count: Callable[[], float]

    def evidence(self, need: Need | None = None) -> Evidence:
        return Evidence(self.key, self.text, self.count(), self.unit, "counted", "", "")


@dataclass(frozen=True)
class Recorded:
    """The mean over the runs of a shipped record that fit; nothing where there is no record."""

    key: str
    text: str
    unit: str
    record: str
    what: str
    where: tuple[tuple[str, str | int | float | bool], ...]

    def evidence(self, need: Need | None = None) -> Evidence | None:
        try:
            record = records.load(self.record)
        except FileNotFoundError:
            return None  # its recipe has not been run
        values = records.select(record, self.what, **dict(self.where))
        return from_record(self.key, self.text, values, self.unit, record)


def from_record(key: str, text: str, values: np.ndarray, unit: str, record: dict) -> Evidence:
    """Evidence with the record's name and day: the mean over seeds, and how far they are apart."""
    when, spread = record["provenance"]["date"], np.std(values, ddof=1) if len(values) > 1 else 0.0
    mean = float(np.mean(values))
    return Evidence(key, text, mean, unit, "record", record["name"], when, float(spread))


@dataclass(frozen=True)
class FewLabels:
    """A method of the record ``transfer``, at the number of labels that is nearest to the need."""

    method: str
    key: str
    """``"behind"``, ``"right"`` or ``"learn_s"``."""

    def evidence(self, need: Need) -> Evidence:
        record = records.load("transfer")
        k = nearest(need.labels, record["settings"]["per_class"])
        if self.key == "behind":
            value = np.array([behind(record, self.method, k)])
            return from_record("behind", "measurably behind the best", value, "points", record)
        what, text, unit = {
            "right": ("test", f"right, {k} labels of each of 8 shapes of scenes", "%"),
            "learn_s": ("train_seconds", "learning, one CPU thread", "s"),
        }[self.key]
        return from_record(self.key, text, _runs(record, self.method, k, what), unit, record)


@dataclass(frozen=True)
class FewSteps:
    """A sampler of the record ``few_steps``: mini-sd's pictures; nothing before there is one."""

    method: str
    steps: int
    key: str
    """``"frechet"``, ``"follows"`` or ``"batch_s"``."""
    record: str = "few_steps"

    def evidence(self, need: Need | None = None) -> Evidence | None:
        try:
            record = records.load(self.record)
        except FileNotFoundError:
            return None  # its recipe has not been run
        # LCM-LoRA has its guidance built in, and 1 adds none.
        scale = 1.0 if self.method == "lcm_lora" else record["settings"]["guidance"]
        what, text, unit = {
            "frechet": ("frechet", "Fréchet distance", ""),
            "follows": ("follows", "share of a prompt that is drawn", ""),
            "batch_s": ("batch_seconds", "a batch of pictures, one CPU thread", "s"),
        }[self.key]
        where = {"method": self.method, "guidance": scale, "steps": self.steps}
        values = records.select(record, what, **where)
        return from_record(self.key, f"mini-sd, {text}", values, unit, record)


def nearest(labels: int, measured: list[int]) -> int:
    """The measured number of labels that is nearest by ratio; ``labels`` is at least 1."""
    return min(measured, key=lambda k: abs(math.log(k / labels)))


def behind(record: dict, method: str, k: int) -> float:
    """Points behind the best method of ``transfer``; 0 if its interval holds zero."""
    methods = {row["method"] for row in record["results"]}
    runs = {m: _runs(record, m, k, "test") for m in sorted(methods)}
    best = max(runs, key=lambda m: runs[m].mean())
    gap = claims.contrast(runs[best], runs[method])
    return gap.value if gap.low > 0 else 0.0


def _runs(record: dict, method: str, k: int, what: str) -> np.ndarray:
    return records.select(record, what, method=method, per_class=k)


def timed(side: int, latency: Latency, device: str) -> Evidence:
    """A latency that was measured on this machine, today."""
    threads = f", {torch.get_num_threads()} thread(s)" if device == "cpu" else ""
    return Evidence(
        "ms",
        f"one picture of {side} pixels",
        1e3 * latency.median,
        "ms",
        "here",
        f"{device}{threads}",
        date.today().isoformat(),
    )


def _rounded(value: float) -> str:
    """Three digits, or all those before the point; whole numbers as they are."""
    return f"{value:,.{0 if value == int(value) else _digits(value)}f}"


def _digits(value: float) -> int:
    """How many digits after the point make three in all."""
    return max(0, 2 - math.floor(math.log10(abs(value)))) if value else 0
