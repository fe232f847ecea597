"""Exercise 4, the comparison: whether its table says what the pipelines did.

Small pipelines draw; a clock of their own moves by what their networks are given, so that seconds
are known beforehand and nothing waits. A stand-in for the reading network gives each set of
pictures a mark, and notes what it was shown.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from modarch_utils.checks.core import RIGHT, Report, Rows, Seen, Unusable, call, wrong
from modarch_utils.checks.ex4 import tiny as tiny
from modarch_utils.checks.ex4.draw import as_pictures
from modarch_utils.checks.ex4.watch import Run, Watch, encoded

EXPECTED = {
    "runs": "a dictionary: method to a dictionary of four numbers",
    "settings": "each method draws with its own pipeline, steps and guidance",
    "prompts": "every method draws all prompts, in one order",
    "noise": "every run of every method begins with the same noise",
    "evaluations": "of the U-Net for one picture, counted",
    "seconds": "for one picture; warm, by the given clock, drawing and nothing else",
    "speedup": "times as fast as the first method",
    "judged": "score() is shown what the method has drawn, from 0 to 1, with the prompts",
    "follows": "what score() says of the method's pictures",
}
KEYS = "evaluations", "seconds", "speedup", "follows"
# So slow that no real clock can be taken for this one.
COLD, JUDGING = 2e5, 7e5  # seconds of a pipeline's first call, and of a look at its pictures
COSTS = {"unet": 500.0, "vae": 250.0}  # seconds for a sample


class Method(NamedTuple):
    """One row of the table that is asked for."""

    scheduler: Callable
    steps: int
    guidance: float
    seconds: float
    """Of its U-Net, relative to the others'."""


METHODS = {
    "PNDM, guided": Method(tiny.pndm, 4, 3.0, 1.0),
    "LCM": Method(lambda: tiny.lcm(tiny.STABLE), 2, 1.0, 0.6),
    "DDIM": Method(lambda: tiny.ddim(tiny.STABLE), 3, 1.0, 1.7),
}


class Shown(NamedTuple):
    """What the stand-in for the reading network was given, and its mark."""

    images: Tensor
    prompts: list[str]
    mark: float


def check_compare(function: Callable[..., object], seed: int = 0) -> Report:
    """All findings on a function that compares methods.

    Args:
        function: ``function(methods, prompts, score, clock)`` gives a dictionary from each of
            ``methods``, which maps a name to ``(pipe, steps, guidance)``, to the four numbers.
        seed: decides weights and marks.
    """
    with tiny.quiet():
        return _Compare(function, seed).report()


class _Compare:
    def __init__(self, function: Callable, seed: int):
        self.function, self.prompts = function, tiny.PROMPTS[:3]
        self.now, self.shown, self.cold = 500.0, [], set(METHODS)
        self.random = torch.Generator().manual_seed(seed)
        self.watches: dict[str, Watch] = {}
        for name, method in METHODS.items():
            pipe = tiny.pipeline(seed)
            pipe.scheduler = method.scheduler()
            self.watches[name] = Watch(pipe, lambda *what, name=name: self._moves(name, *what))
        self.asked = encoded(pipe, self.prompts)

    def _moves(self, name: str, what: str, samples: int) -> None:
        self.now += samples * COSTS[what] * METHODS[name].seconds
        if name in self.cold:
            self.cold.discard(name)
            self.now += COLD

    def _score(self, images: Tensor, prompts: list[str]) -> float:
        self.now += JUDGING
        mark = round(torch.rand((), generator=self.random).item(), 6)
        self.shown.append(Shown(as_pictures(images, (len(images), 3, 16, 16)), prompts, mark))
        return mark

    def report(self) -> Report:
        rows = Rows(EXPECTED)
        if rows.add("runs", self._runs).passed:
            rows.add("settings", self._settings)
            rows.add("prompts", self._all_prompts)
            rows.add("noise", self._noise, ("prompts",))
            rows.add("evaluations", self._evaluations, ("settings", "prompts"))
            rows.add("seconds", self._seconds, ("settings", "prompts"))
            rows.add("speedup", self._speedup)
            rows.add("judged", self._judged, ("prompts",))
            rows.add("follows", self._follows, ("judged",))
        return rows.report("compare")

    def _runs(self) -> Seen:
        methods = {
            name: (watch.pipe, METHODS[name].steps, METHODS[name].guidance)
            for name, watch in self.watches.items()
        }
        result = call(
            self.function,
            dict(methods),
            self.prompts.copy(),
            self._score,
            lambda: self.now,
            hint=tiny.hint,
            otherwise="It calls your functions of the parts before: are those right?",
        )
        self.table = _table(result)
        for name, watch in self.watches.items():
            if not any(run.pictures is not None for run in watch.runs):
                return wrong(f"{name!r} has drawn nothing", "Draw with every method's pipeline.")
        return RIGHT

    def _settings(self) -> Seen:
        for name, watch in self.watches.items():
            method = METHODS[name]
            calls = self._calls(name)
            for run in watch.runs:
                came = run.calls[0].guidance
                if came != method.guidance:
                    return wrong(
                        f"guidance {came:g} for {name}, where {method.guidance:g} is asked for",
                        "One guidance scale is used for all (7.5 is the pipeline's default): a "
                        "LoRA with guidance built in would be guided twice.",
                    )
                if len(run.calls) != calls:
                    steps = method.steps + len(run.calls) - calls
                    others = {other.steps for other in METHODS.values()}
                    return wrong(
                        f"{len(run.calls)} U-Net calls for {name}, where {method.steps} steps are "
                        f"{calls}",
                        "Another method's steps, or one number for all: are they swapped?"
                        if steps in others
                        else "Some run has its own number of steps: all of a method's runs, also "
                        "the counted and the judged, have the method's.",
                    )
        return RIGHT

    def _calls(self, name: str) -> int:
        return METHODS[name].steps + (name == "PNDM, guided")

    def _all_prompts(self) -> Seen:
        for name, watch in self.watches.items():
            texts = torch.cat([run.text for run in watch.runs])
            wanted = self.asked.repeat(len(texts) // len(self.asked), 1, 1)
            if texts.shape == wanted.shape and torch.allclose(texts, wanted, atol=1e-5):
                continue
            return wrong(
                f"{len(watch.runs[0].start)} prompts in a run of {name}, or others than the given",
                "Every run of every method draws the same prompts, all of them.",
            )
        return RIGHT

    def _noise(self) -> Seen:
        first = None
        for name, watch in self.watches.items():
            start = torch.cat([run.start for run in watch.runs])
            first = start[: len(self.prompts)] if first is None else first
            if not tiny.same(start, first.repeat(len(start) // len(first), 1, 1, 1)):
                return wrong(
                    f"another noise in a run of {name}",
                    "The seed differs from method to method, or from run to run: then luck is "
                    "compared too, and what is judged is not what was timed.",
                )
        return RIGHT

    def _named(self, key: str, guesses: Callable[[str], dict[str, float]], otherwise: str) -> Seen:
        """Whether a column is right; the first guess is, the others are mistakes' messages."""
        for name in METHODS:
            values, came = guesses(name), self.table[name][key]
            right = values[""]
            if _near(came, right):
                continue
            # A message has to fit every method whose number is wrong in the same way.
            fits = [
                words
                for words in values
                if all(_near(self.table[n][key], guesses(n)[words]) for n in METHODS)
            ]
            likely = fits[0] if fits else otherwise
            return wrong(f"{came:.4g} for {name}, where {right:.4g} is right", likely)
        return RIGHT

    def _evaluations(self) -> Seen:
        def guesses(name: str) -> dict[str, float]:
            method, calls = METHODS[name], self._calls(name)
            copies = 2 if method.guidance > 1 else 1
            n, runs = len(self.prompts), self._pictures(name) / len(self.prompts)
            return {
                "": calls * copies,
                "These are the steps: count what the U-Net is given; guidance doubles it, and PNDM "
                "makes one call more.": method.steps,
                "The calls are counted, and not that guidance sends each picture through the "
                "U-Net twice.": calls,
                "Steps times two with guidance is what one would expect; PNDM makes one call more: "
                "count.": method.steps * copies,
                "These are for the whole batch: divide by the number of pictures.": calls
                * copies
                * n,
                "These are of all runs together: count one.": calls * copies * runs,
                "These are of all runs and pictures together: count one run, and divide by its "
                "pictures.": calls * copies * runs * n,
                "Divided by the number of pictures twice.": calls * copies / n,
            }

        return self._named("evaluations", guesses, "Count one run, and divide by its pictures.")

    def _pictures(self, name: str) -> int:
        return sum(len(run.start) for run in self.watches[name].runs)

    def _true_seconds(self, name: str) -> float:
        """For one picture."""
        method = METHODS[name]
        samples = self._calls(name) * (2 if method.guidance > 1 else 1)
        return method.seconds * (COSTS["unet"] * samples + COSTS["vae"])

    def _seconds(self) -> Seen:
        n = len(self.prompts)

        def guesses(name: str) -> dict[str, float]:
            method, one = METHODS[name], self._true_seconds(name)
            return {
                "": one,
                "These are seconds for the whole batch: divide by the number of pictures.": one * n,
                "Divided by the number of pictures twice.": one / n,
                "The first call is counted, which is slow: warm up.": one + COLD / n,
                "The first call is counted, which is slow, and the batch is not divided by its "
                "pictures.": one * n + COLD,
                "The clock runs while the pictures are judged: time the drawing alone.": one
                + JUDGING / n,
                "The clock runs while the pictures are judged, and the batch is not divided by "
                "its pictures.": one * n + JUDGING,
                "These are seconds for a step: people wait for pictures.": one / method.steps,
                "These are pictures in a second: turn it round.": 1 / one,
            }

        otherwise = "Time warm runs that draw and do nothing else, by `clock`."
        if all(abs(self.table[n]["seconds"]) < 0.02 * self._true_seconds(n) for n in METHODS):
            otherwise = "Another clock was read than the given one: hand `clock` on to timed()."
        return self._named("seconds", guesses, otherwise)

    def _speedup(self) -> Seen:
        seconds = {name: row["seconds"] for name, row in self.table.items()}
        first, last = list(METHODS)[0], list(METHODS)[-1]

        def guesses(name: str) -> dict[str, float]:
            calls = {n: self.table[n]["evaluations"] for n in METHODS}
            own = seconds[name]
            return {
                "": seconds[first] / own,
                "It is upside down: the first method's seconds divided by this one's.": own
                / seconds[first],
                "It is relative to the last method: take the first.": seconds[last] / own,
                "It is relative to the slowest: take the first.": max(seconds.values()) / own,
                "It is relative to the fastest: take the first.": min(seconds.values()) / own,
                "This is a ratio of steps, not of seconds.": METHODS[first].steps
                / METHODS[name].steps,
                "This is a ratio of U-Net evaluations, not of seconds.": calls[first] / calls[name],
                "This is a difference: divide.": seconds[first] - own,
                "This is a share saved: divide the first method's seconds by this one's.": 1
                - own / seconds[first],
            }

        if not all(seconds.values()):
            return wrong("seconds of 0", "Nothing can be divided by them.")
        true = {name: self._true_seconds(name) for name in METHODS}
        if all(_near(self.table[n]["speedup"], true[first] / true[n]) for n in METHODS):
            return RIGHT
        return self._named("speedup", guesses, "The first method's seconds divided by this one's.")

    def _judged(self) -> Seen:
        if not self.shown:
            return wrong("score() was never called", "Let it judge each method's pictures.")
        for shown in self.shown:
            if list(shown.prompts) != self.prompts:
                return wrong(
                    f"the prompts {shown.prompts!r}",
                    "score() needs the prompts that were drawn, all of them, in their order.",
                )
        for name, watch in self.watches.items():
            if any(self._is_of(watch.runs, shown) for shown in self.shown):
                continue
            shown = [s for s in self.shown if len(s.images) == len(self.prompts)]
            if not shown:
                return wrong(
                    f"{len(self.shown[0].images)} pictures for {len(self.prompts)} prompts",
                    "Show it all pictures at once.",
                )
            for s in shown:
                back = s._replace(images=s.images / 2 + 0.5)
                if self._is_of(watch.runs, back):
                    return wrong(
                        f"{name}'s pictures from -1 to 1", "score() wants them from 0 to 1."
                    )
            return wrong(
                f"pictures that {name} has not drawn",
                "Other pictures are judged than were drawn and timed for this method.",
            )
        return RIGHT

    def _is_of(self, runs: list[Run], shown: Shown) -> bool:
        """Whether a set that was judged is one that these runs have drawn."""
        pictures = torch.cat([run.pictures for run in runs])
        return any(tiny.same(shown.images, drawn) for drawn in pictures.split(len(self.prompts)))

    def _follows(self) -> Seen:
        marks = {
            name: [s.mark for s in self.shown if self._is_of(watch.runs, s)]
            for name, watch in self.watches.items()
        }
        for name, own in marks.items():
            came = self.table[name]["follows"]
            if any(_near(came, mark) for mark in own):
                continue
            whose = [n for n, m in marks.items() if any(_near(came, mark) for mark in m)]
            if whose:
                return wrong(f"{whose[0]}'s mark for {name}", "Marks and methods are mixed up.")
            if any(_near(came, 100 * mark) for mark in own):
                return wrong(f"{came:g} for {name}", "Leave it from 0 to 1.")
            return wrong(f"{came:g} for {name}, where score() says {own[0]:g}", "Keep its answer.")
        return RIGHT


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= 1e-6 * max(abs(a), abs(b))


def _table(result: object) -> dict[str, dict[str, float]]:
    """The student's table. Raises Unusable for what it cannot be read from."""
    if result is None:
        raise Unusable("None", "A way through the function has no `return`.")
    if not isinstance(result, dict):
        raise Unusable(f"a {type(result).__name__}", "Return a dictionary, method to row.")
    if list(result) != list(METHODS):
        came = ", ".join(map(str, result))
        raise Unusable(f"the methods {came}", "Use the names of `methods`, in their order.")
    table = {}
    for name, row in result.items():
        if not isinstance(row, dict) or set(row) != set(KEYS):
            came = sorted(map(str, row)) if isinstance(row, dict) else f"a {type(row).__name__}"
            raise Unusable(f"{came} for {name}", f"Each row has the keys {', '.join(KEYS)}.")
        try:
            table[name] = {key: float(value) for key, value in row.items()}
        except (TypeError, ValueError):
            raise Unusable(f"no numbers for {name}", "Each of the four is one number.") from None
    return table
