"""Give each case of a study the better learning rate, then run all its seeds with it."""

from collections.abc import Callable, Sequence

from recipes import jobs


def search(
    name: str,
    function: Callable[..., dict],
    cases: list[dict],
    rates: Callable[[dict], Sequence[float]],
    seeds: Sequence[int],
    settings: dict,
) -> tuple[list[dict], list[dict]]:
    """Run every case with each rate on the first seed, and with the best rate on the others.

    Args:
        name: folder under ``runs/``; see :func:`recipes.jobs.run`.
        function: called with a case's arguments, ``lr`` and ``seed``; its result's ``val`` decides.
        cases: arguments of each case.
        rates: learning rates to try for a case.
        seeds: the first one chooses.
        settings: what all runs share.

    Returns:
        All results, and the cases, each with its chosen ``lr``.
    """
    first = [{**case, "lr": lr, "seed": seeds[0]} for case in cases for lr in rates(case)]
    tried = jobs.run(name, function, first, settings)
    chosen = []
    for case in cases:
        mine = [r for r in tried if case.items() <= r.items()]
        chosen.append({**case, "lr": max(mine, key=lambda r: r["val"])["lr"]})
    return tried + jobs.run(name, function, jobs.grid(chosen, seed=seeds[1:]), settings), chosen
