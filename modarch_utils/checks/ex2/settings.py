"""A student's schedule, epoch by epoch, beside the right one."""

import math
from collections.abc import Callable, Sequence

from modarch_utils.checks.core import AFTER, EMPTY, RIGHT, Seen, Unusable, call, wrong
from modarch_utils.training.progressive import LESSON, ProgressiveSchedule

KEYS = ("image_size", "randaugment", "mixup")
INSIDE = (
    "The values change inside of a stage: interpolate from stage to stage, not from epoch to epoch."
)


class Table:
    """What a student's function gives for each epoch of a schedule.

    Args:
        function: from an epoch to a dictionary.
        schedule: the right answer.
    """

    def __init__(self, function: Callable[[int], dict], schedule: ProgressiveSchedule):
        self.function, self.schedule = function, schedule
        self._starts: list[int] | None = None
        self.ends = [(start, end) for start, end, _ in schedule.stages()]
        self.right = [setting for _, _, setting in schedule.stages()]

    def at(self, epoch: int) -> dict:
        """The answer for one epoch.

        Raises:
            Unusable: it is no dictionary with the three keys and numbers.
        """
        last = self.schedule.epochs - 1
        likely = (
            f"Here epochs 0 to {last} exist: none may raise. Is another number fixed in the code?"
        )
        now = call(self.function, epoch, otherwise=likely)
        if now is None:
            raise Unusable(f"None for epoch {epoch}", "A way through the function has no `return`.")
        if not isinstance(now, dict):
            came = f"a {type(now).__name__} for epoch {epoch}"
            raise Unusable(came, f"Return a dictionary with the keys {', '.join(KEYS)}.")
        if missing := [key for key in KEYS if key not in now]:
            came = f"for epoch {epoch} the keys {', '.join(map(str, now))}"
            raise Unusable(came, f"{missing[0]} is missing: the keys are {', '.join(KEYS)}.")
        for key in KEYS:
            if isinstance(now[key], bool) or not isinstance(now[key], int | float):
                came = f"{key} is {now[key]!r} for epoch {epoch}"
                raise Unusable(came, "All three are plain numbers.")
        return now

    def by_stage(self, key: str) -> list:
        """The student's values stage by stage, wherever the student's stages begin.

        Without as many stages as there should be: in the middle of each right stage.
        """
        try:
            epochs = self.starts()
        except Unusable:  # at some epoch; the row on edges says at which
            epochs = []
        if len(epochs) != len(self.ends):
            epochs = [(start + end) // 2 for start, end in self.ends]
        return [self.at(epoch)[key] for epoch in epochs]

    def keys(self) -> Seen:
        """Whether the answers are dictionaries with the three keys alone."""
        for start, _ in self.ends:
            extra = [key for key in self.at(start) if key not in KEYS]
            if extra:
                return wrong(
                    f"also {', '.join(map(repr, extra))}",
                    "The caller asked for three settings: leave out what only your table needs.",
                )
        return RIGHT

    def starts(self) -> list[int]:
        """The epochs at which the student's setting changes, 0 among them."""
        if self._starts is None:
            self._starts = self._find_starts()
        return self._starts

    def _find_starts(self) -> list[int]:
        found, before = [], None
        for epoch in range(self.schedule.epochs):
            now = self.at(epoch)
            now = tuple(now[key] for key in KEYS)
            if now != before:
                found.append(epoch)
            before = now
        return found

    def edges(self) -> Seen:
        """Whether stages begin where they should."""
        if len(set(zip(*(self.by_stage(key) for key in KEYS), strict=True))) < len(self.ends):
            return AFTER  # two stages that look alike have no edge
        should, came = [start for start, _ in self.ends], self.starts()
        if came == should:
            return RIGHT
        words = f"stages begin at {few(came)}"
        wanted = f"here they begin at {few(should)}"
        if len(came) > 2 * len(should):
            return wrong(words, INSIDE)
        total, number = self.schedule.epochs, self.schedule.num_stages
        if total % number:
            whole = total // number
            if came[1:number] == [i * whole for i in range(1, number)]:
                return wrong(
                    words,
                    f"{total} // {number} drops the remainder, and the last stage gets it all: "
                    f"{wanted}.",
                )
            if came[1:] == [i * (whole + 1) for i in range(1, len(came))]:
                return wrong(
                    words,
                    f"The length of a stage is rounded up, the last one is too short: {wanted}.",
                )
        steps = {a - b for a, b in zip(came[1:], should[1:], strict=False)}
        if len(came) == len(should) and steps == {1}:
            return wrong(words, f"Off by one, an epoch too late (< or <=?): {wanted}.")
        if len(came) == len(should) and steps == {-1}:
            return wrong(
                words, f"Off by one, an epoch too early (do epochs count from 0?): {wanted}."
            )
        if len(came) > 1 and total != LESSON.epochs:
            if all(start % 50 == 0 for start in came):
                return wrong(words, f"50 epochs each are fixed in the code: {wanted}.")
            fixed = [LESSON.epochs * i / number for i in range(1, len(came))]
            if all(abs(a - b) < 1 for a, b in zip(came[1:], fixed, strict=True)):
                return wrong(words, f"total_epochs is ignored, 150 is fixed in the code: {wanted}.")
        return wrong(words, f"Epochs are in the wrong stage: {wanted}.")

    def refuses(self, epochs: Sequence[int]) -> Seen:
        """Whether epochs that do not exist raise ValueError."""
        for epoch in epochs:
            try:
                now = self.function(epoch)
            except ValueError:
                continue
            except NotImplementedError:
                raise Unusable("nothing yet", EMPTY) from None
            except Exception as error:
                return wrong(
                    f"{type(error).__name__} for epoch {epoch}",
                    "It is refused, but by accident or by an assert: raise ValueError with a "
                    "sentence that says which epochs there are.",
                )
            if isinstance(now, dict) and set(now) - set(KEYS):
                extra = ", ".join(repr(key) for key in now if key not in KEYS)
                return wrong(
                    f"epoch {epoch} gives a dictionary with {extra}",
                    "A row of your own table gets out when no stage fits: raise ValueError there.",
                )
            if now is None:
                return wrong(
                    f"epoch {epoch} gives None",
                    "No stage fits, and the function ends without a word: raise ValueError there.",
                )
            if epoch < 0:
                return wrong(
                    f"epoch {epoch} gives {now!r}",
                    "Negative epochs pass for early ones or count from the end: refuse epoch < 0.",
                )
            if self.schedule.epochs < LESSON.epochs <= max(epochs) and epoch < LESSON.epochs:
                return wrong(
                    f"epoch {epoch} of {self.schedule.epochs} gives {now!r}",
                    "The limit is not this schedule's (150 fixed in the code, or no limit): refuse "
                    "epoch >= total_epochs.",
                )
            return wrong(
                f"epoch {epoch} gives {now!r}",
                "Epochs after the end pass for the last stage: epochs count from 0, so refuse "
                "epoch >= total_epochs.",
            )
        return RIGHT

    def fresh(self) -> Seen:
        """Whether a caller who changes an answer changes later answers."""
        before = dict(self.at(0))
        given = self.at(0)
        for key in given:
            given[key] = -1
        spoilt = self.at(0) != before
        given.update(before)
        if not spoilt:
            return RIGHT
        return wrong(
            "a change of the result changes the next one",
            "The function hands out its own table: return a copy, dict(...).",
        )


def same(came: Sequence, should: Sequence) -> bool:
    """Whether two lists of numbers agree."""
    return len(came) == len(should) and all(
        math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9) for a, b in zip(came, should, strict=True)
    )


def few(numbers: Sequence) -> str:
    return ", ".join(f"{n:.4g}" for n in numbers[:6]) + (", ..." if len(numbers) > 6 else "")


def compare(came: list, should: list) -> Seen:
    """Compare one setting, stage by stage."""
    if same(came, should):
        return RIGHT
    words = f"{few(came)} where {few(should)} are right"
    if came == should[::-1]:
        return wrong(words, "It runs backwards: the first stage has the last one's value.")
    if len(set(came)) == 1:
        return wrong(words, "It is the same in every stage: does it depend on the stage?")
    if came[:-1] == should[1:]:
        return wrong(words, "It comes one stage too early.")
    if came[1:] == should[:-1]:
        return wrong(words, "It comes one stage too late.")
    ratios = {round(a / b, 6) for a, b in zip(came, should, strict=True) if b}
    if len(ratios) == 1 and all(a == 0 for a, b in zip(came, should, strict=True) if not b):
        return wrong(words, f"It is {ratios.pop():g} times what it should be: another unit.")
    return wrong(words, "A value is another: compare your table with the task's.")
