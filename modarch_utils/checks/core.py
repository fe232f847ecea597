"""What a check is made of: findings, the table that shows them, and the engine behind them.

:class:`Part` compares a student's function with a reference and, where they differ, with mistakes
that have a name. It looks at what the function does, never at how it is written.
"""

import copy
import html
import linecache
import math
import re
import textwrap
import traceback
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import NamedTuple

import numpy as np
import torch
from IPython.display import HTML
from torch import Tensor

from modarch_utils import tables

SIGNS = {True: "right", False: "WRONG", None: "not yet"}
MARKS = {True: "✓", False: "✗", None: "…"}  # no colours: pages may be light or dark
WIDTH = 96
HERE = str(Path(__file__).parent)
TRY = "Run the line by itself, and print what goes in."
UNREADABLE = "Compare what your code returns with the task: type, keys, shape."


@dataclass(frozen=True)
class Finding:
    """One row: something that was looked at."""

    what: str
    """What was looked at, in a few words."""
    passed: bool | None
    """None: it could not be looked at, because something else comes first."""
    expected: str
    """What a right answer does."""
    came: str = ""
    """What this answer does."""
    likely: str = ""
    """The likely mistake, and where to look."""


@dataclass(frozen=True)
class Report:
    """All findings on one answer, shown as a table."""

    title: str
    """What was checked, for example ``"ConvNeXtBlock"``."""
    findings: tuple[Finding, ...]

    @property
    def passed(self) -> bool:
        """Whether every row is right."""
        return bool(self.findings) and all(f.passed for f in self.findings)

    def points(self, most: float) -> float:
        """Points of `most`: its share of right rows, to a hundredth. All only if all are right."""
        right = sum(f.passed is True for f in self.findings)
        return round(most * right / max(len(self.findings), 1), 2)

    @property
    def verdict(self) -> str:
        """One sentence."""
        wrong = sum(f.passed is False for f in self.findings)
        waiting = sum(f.passed is None for f in self.findings)
        if self.passed:
            return f"{self.title}: all {len(self.findings)} right."
        words = f"{self.title}: {wrong} of {len(self.findings)} wrong"
        return words + (f", {waiting} not looked at yet." if waiting else ".")

    def __str__(self) -> str:
        lines = [self.verdict]
        for f in self.findings:
            if f.passed is None:
                continue
            lines.append(f"{SIGNS[f.passed]:>8}  {f.what}: {f.expected}")
            for name, text in (("came", f.came), ("likely", f.likely)):
                if text and not f.passed:
                    lines += _wrapped(" " * 10 + f"{name}: ", text)
        if later := ", ".join(f.what for f in self.findings if f.passed is None):
            lines += _wrapped(f"{SIGNS[None]:>8}  ", later)
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        rows = []
        for f in self.findings:
            sign = HTML(f"<strong>{MARKS[f.passed]}&nbsp;{SIGNS[f.passed]}</strong>")
            rest = (f.came, f.likely) if not f.passed else ("as expected", "")
            rows.append([sign, *map(_with_code, (f.what, f.expected, *rest))])
        head = ("Verdict", "Looked at", "Expected", "Came", "Likely")
        return f"<p><strong>{_with_code(self.verdict).data}</strong></p>" + tables.table(head, rows)


def _with_code(text: str) -> HTML:
    """Text whose backticks become code."""
    return HTML(re.sub("`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False)))


def _wrapped(start: str, text: str) -> list[str]:
    rest = " " * len(start)
    return textwrap.wrap(text, WIDTH, initial_indent=start, subsequent_indent=rest)


class Unusable(Exception):
    """The student's code raised, or gave something that nothing can be done with.

    Args:
        came: what happened.
        likely: the likely mistake.
    """

    def __init__(self, came: str, likely: str):
        super().__init__(came)
        self.came, self.likely = came, likely


EMPTY = (
    "Replace `raise NotImplementedError()` with your code, then run that cell and this one again."
)


def hints(known: dict[str, str]) -> Callable[..., str]:
    """A hint: the words of the first pattern that an error's message holds, or ""."""
    return lambda message, *_: next(
        (w for sign, w in known.items() if re.search(sign, message)), ""
    )


USUAL = hints(
    {
        r"before Module.__init__\(\) call": "Call `super().__init__()` first in `__init__`.",
        "has no attribute": "Set it in `__init__` first, and look for a typing error in the name.",
        "is not defined": (
            "Define or import it in your cell; look for a typing error in the name."
        ),
        "positional argument|unexpected keyword argument": (
            "Compare the signature with the one in the task."
        ),
        "division by zero": "Look for a divisor that can become 0 at one end of its range.",
        "index out of range": "A list has fewer elements: look at the last position asked for.",
    }
)


def call(
    function: Callable,
    *args,
    hint: Callable[[str], str] = lambda message: "",
    otherwise: str = TRY,
):
    """Call student code.

    Args:
        function: the student's.
        args: for it.
        hint: from an error's message to the likely mistake, or to "".
        otherwise: the likely mistake behind other errors.

    Raises:
        Unusable: whatever it raised, in words.
    """
    try:
        return function(*args)
    except NotImplementedError:
        raise Unusable("nothing yet: this part is still to be written", EMPTY) from None
    except (Exception, SystemExit) as error:
        message = str(error).strip().splitlines()
        first = message[0] if message else ""
        came = f"{type(error).__name__}: {first}" + _place(error)
        raise Unusable(came, hint(first) or USUAL(first) or otherwise) from None


def _place(error: BaseException) -> str:
    """The student's line that raised, as far as it can be told."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if "site-packages" not in frame.filename and not frame.filename.startswith(HERE):
            line = frame.line or linecache.getline(frame.filename, frame.lineno or 0)
            return f" (in the line `{line.strip()}`)" if line.strip() else ""
    return ""


class Seen(NamedTuple):
    """What a look at one thing gave; the fields are those of :class:`Finding`."""

    passed: bool | None
    came: str = ""
    likely: str = ""


RIGHT = Seen(True)
AFTER = Seen(None, "comes after the rows above")


def wrong(came: str, likely: str) -> Seen:
    """A mistake: what came, and what it is likely to be."""
    return Seen(False, came, likely)


class Rows:
    """Collects findings; a row may wait for others.

    Args:
        expected: for each row what a right answer does, in the order in which rows are shown.
    """

    def __init__(self, expected: dict[str, str]):
        self.expected, self.seen = expected, {}

    def add(self, what: str, look: Callable[[], Seen], after: tuple[str, ...] = ()) -> Seen:
        """Look, unless a row in `after` is not right yet."""
        if any(not self.seen[other].passed for other in after):
            seen = AFTER
        else:
            try:
                seen = look()
            except Unusable as problem:
                seen = wrong(problem.came, problem.likely)
            except Exception as error:  # what came back is stranger than any row foresees
                came = f"a result that cannot be read ({type(error).__name__})"
                seen = wrong(came, UNREADABLE)
        self.seen[what] = seen
        return seen

    def report(self, title: str) -> Report:
        """The report; rows that were never added come after the others."""
        findings = []
        for what, expected in self.expected.items():
            passed, came, likely = self.seen.get(what, AFTER)
            findings.append(Finding(what, passed, expected, came, likely))
        return Report(title, tuple(findings))


# Comparing results, and reading them.


def near(a: Tensor, b: Tensor, tolerance: float = 1e-8) -> bool:
    """Whether two tensors agree, relative to their largest number."""
    size = max(a.abs().max().item(), b.abs().max().item())
    return bool((a - b).abs().max() <= tolerance * size)


def agree(came: object, right: object, tolerance: float = 1e-6) -> bool:
    """Whether two results are the same: numbers nearly, tensors relative to their largest number.

    Lists, tuples and dictionaries are compared element by element.
    """
    if isinstance(right, Tensor | np.ndarray):
        if not isinstance(came, Tensor | np.ndarray) or came.shape != right.shape:
            return False
        if _are_words(right):
            return np.array_equal(came, right)
        a, b = (torch.as_tensor(each).detach().cpu().double() for each in (came, right))
        return not a.numel() or near(a, b, tolerance)
    if isinstance(right, dict):
        return (
            isinstance(came, dict)
            and came.keys() == right.keys()
            and all(agree(came[key], right[key], tolerance) for key in right)
        )
    if isinstance(right, list | tuple):
        return (
            isinstance(came, list | tuple)
            and len(came) == len(right)
            and all(agree(a, b, tolerance) for a, b in zip(came, right, strict=True))
        )
    if _is_number(right):
        close = _is_number(came) and math.isclose(came, right, rel_tol=tolerance, abs_tol=1e-9)
        return bool(close)
    return type(came) is type(right) and came == right


def _are_words(array: Tensor | np.ndarray) -> bool:
    return isinstance(array, np.ndarray) and array.dtype.kind == "U"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def kind(result: object) -> str:
    """What a result is, for a message."""
    if isinstance(result, Tensor | np.ndarray):
        return f"shape {tuple(result.shape)}"
    name = type(result).__name__
    return "None" if result is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def few(numbers: Sequence) -> str:
    """The first numbers, for a message."""
    return ", ".join(_say(n) for n in numbers[:6]) + (", ..." if len(numbers) > 6 else "")


def _say(value: object) -> str:
    if isinstance(value, Tensor | np.ndarray) and value.ndim:
        return kind(value)
    if isinstance(value, list | tuple):
        return f"[{few(value)}]"
    number = _is_number(value) or isinstance(value, Tensor | np.ndarray)
    return f"{float(value):.4g}" if number else repr(value)


def difference(came: object, right: object, tolerance: float = 1e-6) -> str:
    """Where two results differ first, in words."""
    if isinstance(right, Tensor | np.ndarray) and right.ndim:
        if getattr(came, "shape", None) == right.shape and not _are_words(right):
            a, b = (torch.as_tensor(each).detach().cpu().double() for each in (came, right))
            place = np.unravel_index(int((a - b).abs().nan_to_num(math.inf).argmax()), a.shape)
            place = tuple(int(n) for n in place)
            return f"{a[place]:.4g} at {list(place)} where {b[place]:.4g} is right"
        return f"{kind(came)} where {kind(right)} is right"
    if isinstance(right, dict) and isinstance(came, dict) and came.keys() == right.keys():
        for key in right:
            if not agree(came[key], right[key], tolerance):
                return f"{key}: " + difference(came[key], right[key], tolerance)
    lists = isinstance(right, list | tuple) and isinstance(came, list | tuple)
    if lists and len(came) == len(right):
        plain = 1 < len(right) <= 6 and all(map(_is_number, [*came, *right]))
        for a, b in zip(came, right, strict=True):
            if not plain and not agree(a, b, tolerance):
                return difference(a, b, tolerance)
    if lists and not right:
        return f"also {few(came)}"
    if lists:
        return f"{few(came)} where {few(right)} are right"
    return f"{_say(came)} where {_say(right)} is right"


def returned(result: object, types: type, likely: str) -> object:
    """The result, if it is of these types.

    Raises:
        Unusable: it is another one; for None, with words about a missing `return`.
    """
    if result is None:
        raise Unusable("None", "A way through the function has no `return`.")
    if not isinstance(result, types) or isinstance(result, bool):
        raise Unusable(kind(result), likely)
    return result


def number(result: object, likely: str = "Return one number.") -> float:
    """The student's number, from Python or NumPy. Raises Unusable for anything else."""
    value = float(returned(result, int | float | np.number, likely))
    if not math.isfinite(value):
        raise Unusable(f"{value}", "A division by 0, or a root of < 0?")
    return value


def tensor(result: object, shape: tuple[int, ...], explain: Callable[[tuple], str]) -> Tensor:
    """The student's tensor, without its graph.

    Args:
        result: what came back.
        shape: what it should have.
        explain: from another shape to the likely mistake.

    Raises:
        Unusable: it is no tensor of this shape with finite numbers.
    """
    likely = "Return one tensor; torch.from_numpy makes one of an array."
    result = returned(result, Tensor, likely)
    if result.shape != shape:
        came = tuple(result.shape)
        raise Unusable(f"shape {came} where {shape} is right", explain(came))
    if not result.isfinite().all():
        raise Unusable("numbers that are NaN or infinite", "A division by 0, or a root of < 0?")
    return result.detach().clone()


# The engine: a function beside its reference, on cases; a difference is looked up among mistakes.

Case = Callable[[], tuple]
"""Makes the arguments of one call, anew each time: no call sees what another has left."""


def given(*args) -> Case:
    """A case of these arguments; each call gets copies of its own."""
    return lambda: copy.deepcopy(args)


class Mutant(NamedTuple):
    """A mistake: the right answer with one thing wrong."""

    says: dict[str, str]
    """From the rows that it makes wrong to the words about it there."""
    make: Callable
    """It does what such an answer does; called as the reference is."""
    came: str = ""
    """What comes of it, in words; "" shows the first number that differs."""


@dataclass(frozen=True, eq=False)
class Look:
    """Rows that are right if a function gives what the reference gives.

    Where it does not, the first mutant that gives the same on all cases is shown, in its rows; the
    others are right. If there is none, the first row is wrong, and the others wait.
    """

    rows: tuple[str, ...]
    """The first one is for a difference that no mutant explains."""
    cases: Sequence[Case]
    otherwise: str
    """Words for such a difference."""
    mutants: tuple[Mutant, ...] = ()
    view: Callable[[list], object] = list
    """From the results on all cases to what these rows compare."""
    same: Callable[[object, object], bool] = agree
    after: tuple[str, ...] = ()
    """Rows that must be right before these are looked at."""
    carries: bool = False
    """Later looks compare with the mutant that was found, so that they do not blame it again."""


Known = dict[str, Callable | tuple[Callable, ...]]
"""From the words about a mistake to the function that makes it, or to several."""


def mutants(row: str, known: Known) -> tuple[Mutant, ...]:
    """The mistakes of one row."""
    return tuple(
        Mutant({row: words}, make)
        for words, some in known.items()
        for make in (some if isinstance(some, tuple) else (some,))
    )


def combined(make: Callable[..., Callable], /, **pieces: tuple[Mutant, ...]) -> tuple[Mutant, ...]:
    """All mistakes in one piece of an answer, then those in two.

    Args:
        make: from pieces to an answer; those that are not given are right.
        pieces: for each piece of `make` its mistakes; what they make is the piece.
    """
    one = [(m.says, {piece: m.make}) for piece, some in pieces.items() for m in some]
    two = [
        (says | more, some | others)
        for (says, some), (more, others) in combinations(one, 2)
        if some.keys().isdisjoint(others)
    ]
    return tuple(Mutant(says, make(**some)) for says, some in one + two)


def each(view: Callable) -> Callable[[list], list]:
    """A view of all results that looks at each one in this way."""
    return lambda results: [*map(view, results)]


def one_row(
    row: str,
    cases: Sequence[Case],
    otherwise: str,
    known: Known | None = None,
    view: Callable[[list], object] = list,
    **options,
) -> Look:
    """A look at one row, with its mistakes; the arguments are the fields of :class:`Look`."""
    return Look((row,), cases, otherwise, mutants(row, known or {}), view, **options)


class Property(NamedTuple):
    """A row about how a function behaves, whatever it gives."""

    row: str
    look: Callable[[Callable], Seen]
    """From the student's function; :func:`keeps_arguments` and others below make one."""
    after: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Part:
    """What a right answer to one part of an exercise must show."""

    title: str
    expected: dict[str, str]
    """For each row what a right answer does, in the order in which rows are shown."""
    reference: Callable
    looks: tuple[Look | Property, ...]
    """In the order in which they are taken. If the first cannot even run, the others wait."""
    read: Callable[[object, tuple], object] = lambda result, args: result
    """From a result, and the arguments after the call, to what is compared; may raise Unusable."""
    hint: Callable[[str, tuple], str] = lambda message, args: ""
    """From an error's message and the arguments to the likely mistake, or to ""."""
    otherwise: str = TRY
    """The likely mistake behind other errors."""
    _known: dict = field(default_factory=dict)

    @property
    def mutants(self) -> list[Mutant]:
        """All mistakes that are known by name."""
        return [m for look in self.looks if isinstance(look, Look) for m in look.mutants]

    @property
    def general(self) -> set[str]:
        """The words that name no mistake."""
        looks = {look.otherwise for look in self.looks if isinstance(look, Look)}
        return looks | {self.otherwise, UNREADABLE}

    def results(self, function: Callable, cases: Sequence[Case]) -> list:
        """What a function gives on each case, as it is read.

        Raises:
            Unusable: it raises an error, or gives something that nothing can be done with.
        """
        found = []
        for case in cases:
            args = case()
            hint = partial(self._hint, args)
            result = call(function, *args, hint=hint, otherwise=self.otherwise)
            found.append(self.read(result, args))
        return found

    def _hint(self, args: tuple, message: str) -> str:
        return self.hint(message, args)

    def known(self, function: Callable, look: Look) -> object:
        """What the reference or a mutant shows; None for a mutant that cannot run."""
        key = id(function), id(look)
        if key not in self._known:
            try:
                self._known[key] = look.view(self.results(function, look.cases))
            except Unusable:
                self._known[key] = None
        return self._known[key]

    def check(self, function: Callable) -> Report:
        """All findings on a student's function."""
        rows, memo, base, carried = Rows(self.expected), {}, self.reference, set()
        for number, look in enumerate(self.looks):
            after = tuple(row for row in look.after if row not in carried)
            if isinstance(look, Property):
                rows.add(look.row, partial(look.look, function), after)
                continue
            found: dict[str, Seen] | None = None

            def blame(look: Look = look, base: Callable = base) -> Seen:
                nonlocal found, mutant
                if id(look.cases) not in memo:
                    memo[id(look.cases)] = self.results(function, look.cases)
                found, mutant = self._blame(look, memo[id(look.cases)], base)
                return found.get(look.rows[0], RIGHT)

            mutant = None
            rows.add(look.rows[0], blame, after)
            if found is None and number == 0:
                break
            for row in look.rows[1:]:
                seen = AFTER if found is None else found.get(row, RIGHT)
                rows.add(row, partial(Seen, *seen))
            if look.carries and mutant:
                base = mutant.make
                carried.update(mutant.says)
        return rows.report(self.title)

    def _blame(
        self, look: Look, results: list, base: Callable
    ) -> tuple[dict[str, Seen], Mutant | None]:
        """The rows that are not right, and the mutant that gives the same."""
        came, right = look.view(results), self.known(base, look)
        if look.same(came, right):
            return {}, None
        words = difference(came, right)
        for mutant in look.mutants:
            theirs = self.known(mutant.make, look)
            if theirs is not None and look.same(came, theirs):
                says = mutant.says.items()
                return {row: wrong(mutant.came or words, likely) for row, likely in says}, mutant
        first = {look.rows[0]: wrong(words, look.otherwise)}
        return dict.fromkeys(look.rows, AFTER) | first, None


class Row(NamedTuple):
    """A row and its mistakes; :func:`part_of_rows` makes a look of it.

    Other rows that these mistakes make wrong look at nothing themselves.
    """

    expected: str
    """What a right answer does."""
    otherwise: str = ""
    """Words for a difference that no mistake explains; "": those of the first mistake."""
    known: Known | tuple[Mutant, ...] = ()
    view: Callable[[list], object] = list
    """From the results on all cases to what is compared."""
    after: tuple[str, ...] = ()
    """Rows that must be right before."""
    same: Callable[[object, object], bool] = agree
    cases: Sequence[Case] = ()
    """Its own, where they are not those of the other rows."""
    look: Callable[[Callable], Seen] | None = None
    """A property, if nothing is compared."""
    carries: bool = False
    """As in :class:`Look`."""


def part_of_rows(
    title: str, rows: dict[str, Row], reference: Callable, cases: Sequence[Case], **options
) -> Part:
    """A part whose rows have each their own mistakes; each row is taken after those it waits for.

    Args:
        title: of the report.
        rows: in the order in which they are shown.
        reference: a right function.
        cases: of all rows that have none of their own.
        options: further fields of :class:`Part`.
    """
    looks, left = [], dict(rows)
    some = {
        n: mutants(n, r.known) if isinstance(r.known, dict) else r.known for n, r in rows.items()
    }
    wrong = {name: dict.fromkeys((name, *(n for m in some[name] for n in m.says))) for name in rows}
    led = {other for name in rows for other in wrong[name] if other != name}
    while left:
        name = next(n for n, row in left.items() if n not in led and not left.keys() & row.after)
        row = left.pop(name)
        if row.look:
            looks.append(Property(name, row.look, row.after))
            continue
        words = row.otherwise or next((m.says[name] for m in some[name]), "")
        shown, how = tuple(wrong[name]), (row.view, row.same, row.after, row.carries)
        looks.append(Look(shown, row.cases or cases, words, some[name], *how))
        for other in shown[1:]:
            left.pop(other)
    expected = {name: row.expected for name, row in rows.items()}
    return Part(title, expected, reference, tuple(looks), **options)


@cache
def _kept() -> TemporaryDirectory:
    return TemporaryDirectory()


def new_folder() -> Path:
    """A new folder, which stays until Python ends."""
    return Path(mkdtemp(dir=_kept().name))


@contextmanager
def seeded(seed: int):
    """torch's random numbers are those of a seed, and the caller's are kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def as_check(
    make: Callable[[int], Part], adapt: Callable[[Callable], Callable] = lambda function: function
) -> Callable[..., Report]:
    """The check of a part: from a student's function, and a seed, to all findings.

    Args:
        make: from a seed to the part; its docstring is the check's. The result has it as `part`.
        adapt: from the student's function to one that takes what the reference takes.
    """

    @cache
    def part(seed: int = 0) -> Part:
        with seeded(seed):
            return make(seed)

    def check(function: Callable, seed: int = 0) -> Report:
        with seeded(seed):
            return part(seed).check(adapt(function))

    check.__name__, check.__doc__, check.part = make.__name__, make.__doc__, part
    return check


# Properties: what a function does beside giving the right result.


def _spoil(result: object) -> None:
    """Change a result in place, as a caller may."""
    if isinstance(result, dict):
        for key in result:
            result[key] = -1
    elif isinstance(result, list):
        result.clear()
    elif isinstance(result, Tensor | np.ndarray):
        result[...] = -1


def keeps_arguments(
    *cases: Case, changed: str, shared: str = "", names: str = "an argument"
) -> Callable[[Callable], Seen]:
    """A property: arguments are as before after the call, and after a change of the result.

    Args:
        cases: what it is tried with.
        changed: words for a function that writes into its arguments.
        shared: words for one whose result is an argument, or a part of one; "" allows that.
        names: what the arguments are, for the message.
    """

    def look(function: Callable) -> Seen:
        for case in cases:
            args, before = case(), case()
            result = call(function, *args)
            if not agree(args, before, 0):
                return wrong(f"{names} has changed after a call", changed)
            if shared:
                _spoil(result)
            if not agree(args, before, 0):
                return wrong(f"the result is {names} itself", shared)
        return RIGHT

    return look


def keeps_no_state(case: Case, likely: str) -> Callable[[Callable], Seen]:
    """A property: a caller who changes a result does not change the next one."""

    def look(function: Callable) -> Seen:
        result = call(function, *case())
        before = copy.deepcopy(result)
        _spoil(result)
        same = agree(call(function, *case()), before)
        if isinstance(result, dict):  # the student's own table, perhaps: as it was
            result.update(before)
        return RIGHT if same else wrong("a change of the result changes the next one", likely)

    return look


def refuses(
    *cases: Case, explain: Callable[[object, tuple], str], error: type[Exception] = ValueError
) -> Callable[[Callable], Seen]:
    """A property: arguments that make no sense raise an error with a sentence.

    Args:
        cases: such arguments; the message quotes the first.
        explain: from what came instead, a result or another error, and the arguments to words.
        error: the one that is asked for.
    """

    def look(function: Callable) -> Seen:
        for case in cases:
            args = case()
            words = few(args[:1])
            try:
                result = function(*args)
            except error:
                continue
            except NotImplementedError:
                raise Unusable("nothing yet", EMPTY) from None
            except Exception as other:
                return wrong(f"{type(other).__name__} for {words}", explain(other, args))
            return wrong(f"{words} gives {result!r}", explain(result, args))
        return RIGHT

    return look


def same_dtype(case: Case, likely: str) -> Callable[[Callable], Seen]:
    """A property: the result has the dtype of the first argument, a tensor."""

    def look(function: Callable) -> Seen:
        first, *rest = case()
        dtype = call(function, first, *rest).dtype
        return RIGHT if dtype == first.dtype else wrong(f"{dtype} from {first.dtype}", likely)

    return look
