"""Exercise 3: mistakes in one or two pieces of an answer."""

from collections.abc import Callable
from itertools import combinations

from modarch_utils.checks.core import Known, Mutant, mutants


def combined(make: Callable[..., Callable], **pieces: tuple[str, Known]) -> tuple[Mutant, ...]:
    """All mistakes in one piece of an answer, then those in two, each in its row.

    Args:
        make: from pieces to an answer; those that are not given are right.
        pieces: for each piece of `make` its row, and from words to the piece that is wrong.
    """
    slips = [
        (mutant.says, {piece: mutant.make})
        for piece, (row, known) in pieces.items()
        for mutant in mutants(row, known)
    ]
    one = [Mutant(says, make(**piece)) for says, piece in slips]
    two = [
        Mutant(says | more, make(**piece, **other))
        for (says, piece), (more, other) in combinations(slips, 2)
        if piece.keys().isdisjoint(other)
    ]
    return (*one, *two)
