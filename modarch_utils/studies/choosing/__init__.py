"""Which model? Answers that rest on numbers, each with its source and its date (chapter 08).

:func:`recommend` walks the tree of :mod:`.tree`, lays the evidence of the
candidates side by side, and times them on this machine where that decides.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from modarch_utils import measure, profile
from modarch_utils.measure import Latency
from modarch_utils.studies.choosing.costs import NETWORKS, cost
from modarch_utils.studies.choosing.evidence import Evidence, Need, timed
from modarch_utils.studies.choosing.leaves import Candidate, Leaf
from modarch_utils.studies.choosing.tree import TREE

DEVICES = ("cpu", "cuda", "mps", "edge")
"""``"edge"`` is a device that is not this machine: a phone, a small board."""
PRIORITIES = ("quality", "speed")


@dataclass(frozen=True)
class Choice:
    """A candidate in its place."""

    name: str
    get: str
    evidence: tuple[Evidence, ...]
    ruled_out: str
    """Why it is out; empty if it is not."""
    unknown: tuple[str, ...]
    """What nobody has measured, with the reason."""

    def value(self, key: str) -> float | None:
        """The first number of this key, or None."""
        return next((e.value for e in self.evidence if e.key == key), None)

    def __str__(self) -> str:
        lines = [f"{self.name}   {self.get}"]
        lines += [f"    {evidence}" for evidence in self.evidence]
        lines += [f"    not known: {what}" for what in self.unknown]
        if self.ruled_out:
            lines.append(f"    RULED OUT: {self.ruled_out}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Answer:
    """What :func:`recommend` says; print it."""

    need: Need
    path: tuple[str, ...]
    """The answers that led to the leaf."""
    leaf: Leaf
    choices: tuple[Choice, ...]
    """In order; those that are ruled out come last."""

    @property
    def first(self) -> Choice | None:
        """The first that is not ruled out; None if no number orders them, or none is in time.

        With a limit, a candidate whose time is not known is not in time.
        """
        limited = self.need.latency_ms is not None
        for choice in self.choices if self.leaf.order else ():
            if not choice.ruled_out and not (limited and choice.value("ms") is None):
                return choice
        return None

    def brief(self) -> str:
        """A line for each candidate: what decides, and what rules it out."""
        keys = dict.fromkeys([key for key, _ in self.leaf.order] + ["ms"])
        lines = [self._title()]
        for i, choice in enumerate(self.choices, start=1):
            found = {e.key: e for e in reversed(choice.evidence)}
            told = [f"{found[key].text} {found[key].number}" for key in keys if key in found]
            out = ["RULED OUT"] if choice.ruled_out else []
            lines.append(f"{i}. {choice.name}: {'; '.join(told + out) or 'no number decides'}")
        return "\n".join(lines)

    def __str__(self) -> str:
        lines = [self._title()]
        lines += [f"{i}. {choice}" for i, choice in enumerate(self.choices, start=1)]
        if self.first is None and self.need.latency_ms is not None:
            lines.append(
                "None of them is known to be in time. Allow more time, give it smaller pictures, "
                "or look for a smaller network and measure that."
            )
        return "\n".join(lines + [self.leaf.note] if self.leaf.note else lines)

    def _title(self) -> str:
        return f"{' > '.join(self.path)}: {self.leaf.name} ({self.leaf.ordered})"


def recommend(
    *,
    task: str,
    labels: int | None = None,
    latency_ms: float | None = None,
    device: str | None = None,
    priority: str = "quality",
    measured: Mapping[str, Latency] | None = None,
) -> Answer:
    """Name candidates for a task, in order, with what is known of each.

    Args:
        task: ``"classification"``, ``"features"``, ``"self-supervised"`` (training on pictures
            of your own, without labels) or ``"generation"``.
        labels: labelled pictures of each class; classification needs it.
        latency_ms: milliseconds for one picture, at most. Candidates that can be timed here are,
            and those above the limit are ruled out.
        device: ``"cpu"``, ``"cuda"``, ``"mps"``, or ``"edge"`` for a device that is not this
            machine; the fastest of this machine if None.
        priority: ``"quality"``, or ``"speed"``: few steps of generation, small classifiers.
        measured: latencies on this device that :func:`time_here` took before.

    Raises:
        ValueError: an unknown task, device or priority; labels that are missing or negative; a
            limit that is not positive.
    """
    need = _checked(task, labels, latency_ms, device, priority)
    path, node = [], TREE
    while not isinstance(node, Leaf):
        path.append(node.answer(need))
        node = node.answers[path[-1]]
    times, why = {}, {}
    if need.latency_ms is not None or node.times:
        names = list(dict.fromkeys(c.network for c in node.candidates if c.network))
        why = {name: reason for name in names if (reason := _not_timed(name, need.device))}
        wanted = [name for name in names if name not in why]
        times = dict(measured or {})
        times |= time_here([name for name in wanted if name not in times], need.device)
        times = {name: times[name] for name in wanted}
    choices = [_choice(c, node, need, times, why) for c in node.candidates]
    choices.sort(key=lambda choice: _place(choice, node, need))
    return Answer(need, tuple(path), node, tuple(choices))


def time_here(
    names: Iterable[str], device: str | None = None, *, rounds: int = 7
) -> dict[str, Latency]:
    """Time networks on this machine: one picture each, random weights, taking turns.

    Args:
        names: of ``choosing.costs.NETWORKS``; each sees pictures of its own side.
        device: one that this machine has; the fastest if None.
        rounds: calls of each; the result is the median with quartiles, after one call to warm up.

    Returns:
        Latency by name.
    """
    device = device or profile.current().device.type
    steps = {}
    for name in names:
        network = NETWORKS[name].build().eval().to(device)
        picture = torch.randn(1, 3, *2 * (NETWORKS[name].side,), device=device)
        steps[name] = torch.no_grad()(partial(network, picture))
    return measure.take_turns(steps, rounds=rounds) if steps else {}


def _checked(task, labels, latency_ms, device, priority) -> Need:
    if task not in TREE.answers:
        raise ValueError(f"Unknown task {task!r}; the tree knows {', '.join(TREE.answers)}.")
    if device is not None and device not in DEVICES:
        raise ValueError(
            f"Unknown device {device!r}; choose one of {', '.join(DEVICES)} "
            '("edge": a phone or board that is not this machine).'
        )
    if priority not in PRIORITIES:
        raise ValueError(f"Unknown priority {priority!r}; choose {' or '.join(PRIORITIES)}.")
    if latency_ms is not None and not latency_ms > 0:
        raise ValueError(
            f"latency_ms is a time for one picture and must be above 0, not {latency_ms}."
        )
    if task == "classification" and labels is None:
        raise ValueError(
            "The answer depends on the labels: say how many labelled pictures each class has, "
            "for example labels=4, or labels=0 for none."
        )
    if labels is not None and labels < 0:
        raise ValueError(f"labels counts the labelled pictures of a class; {labels} is below 0.")
    device = device or profile.current().device.type
    return Need(task, labels, latency_ms, device, priority)


def _not_timed(name: str, device: str) -> str:
    """Why a network is not timed here; empty if it can be."""
    if device == "edge":
        return "this machine is not the device"
    has = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if device in has and not has[device]():
        return f"this machine has no {device} device"
    gmacs, most = cost(name).macs / 1e9, profile.current().timed_gmacs
    if gmacs > most:
        return f"{gmacs:.0f} GMACs, and this profile times networks of up to {most:g}"
    return ""


def _choice(
    candidate: Candidate,
    leaf: Leaf,
    need: Need,
    times: Mapping[str, Latency],
    why: Mapping[str, str],
) -> Choice:
    found = [e for fact in candidate.facts if (e := fact.evidence(need)) is not None]
    network, out = candidate.network, candidate.closed
    if network in times:
        found.append(timed(NETWORKS[network].side, times[network], need.device))
        ms = 1e3 * times[network].median
        if need.latency_ms is not None and ms > need.latency_ms and not out:
            out = f"{ms:.1f} ms here, and the limit is {need.latency_ms:g}"
    wanted = dict(leaf.wants)
    if need.latency_ms is not None:
        wanted.setdefault("ms", "its time for one picture")
    known = {e.key for e in found}
    unknown = [
        f"{what} ({reason})" if key == "ms" and (reason := why.get(network)) else what
        for key, what in wanted.items()
        if key not in known
    ]
    return Choice(candidate.name, candidate.get, tuple(found), out, tuple(unknown))


def _place(choice: Choice, leaf: Leaf, need: Need) -> tuple:
    """Sorts: in before out, in time before untimed, then by the leaf's keys, blanks last."""
    values = [(choice.value(key), sign) for key, sign in leaf.order]
    untimed = need.latency_ms is not None and choice.value("ms") is None
    keys = [(value is None, -sign * (value or 0)) for value, sign in values]
    return bool(choice.ruled_out), untimed, *keys
