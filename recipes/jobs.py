"""Run many small independent trainings, one on each core, and keep what is finished.

``python -m recipes.NAME`` takes the cores of this machine. ``--cluster ADDRESS`` sends the same
jobs to a Dask scheduler instead, which may have many machines: ``dask scheduler`` prints its
address, and ``dask worker ADDRESS --nthreads 1 --nworkers -1`` on each machine, in a clone of the
course, gives it one worker for each core.
"""

import argparse
import hashlib
import importlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import torch
from joblib import Parallel, delayed, parallel_config

WIDEST = 8
"""Learning rates that :func:`search` tries for a case at the most."""


def run(name: str, function: Callable[..., dict], jobs: list[dict], settings: dict) -> list[dict]:
    """Call ``function(**job)`` for every job and return the results in the jobs' order.

    Each job runs in a process with one torch thread, where joblib's context says: by default on
    this machine, see :func:`workers`. One whose worker of a cluster died is run again by another.

    Args:
        name: folder under ``runs/`` for the finished jobs; a job found there is not run again.
        function: top-level function that returns a dictionary of plain values.
        jobs: keyword arguments, plain values too.
        settings: what all jobs share. Jobs finished under other settings are not taken over.
    """
    shared = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:10]
    folder = Path("runs") / name / shared
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / ("-".join(str(v) for v in job.values()) + ".json") for job in jobs]
    todo = {i: job for i, job in enumerate(jobs) if not files[i].exists()}
    print(f"{name}: {len(jobs)} runs, {len(jobs) - len(todo)} finished before", flush=True)
    # What is kept is written here: the machines of a cluster need not share a disk.
    pool = Parallel(n_jobs=-1, batch_size=1, return_as="generator_unordered")
    finished = pool(delayed(_run)(i, function, job) for i, job in todo.items())
    for done, (i, result) in enumerate(finished, 1):
        part = files[i].with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(result), "utf-8")
        part.replace(files[i])  # whole or not at all
        print(f"[{done}/{len(todo)}] {result}", flush=True)
    return [json.loads(file.read_text("utf-8")) for file in files]


def grid(cases: list[dict], **values: Iterable) -> list[dict]:
    """Every case with every combination of the values, the last name changing fastest."""
    choices = [dict(zip(values, each, strict=True)) for each in product(*values.values())]
    return [{**case, **choice} for case in cases for choice in choices]


def _run(i: int, function: Callable[..., dict], job: dict) -> tuple[int, dict]:
    # For networks this small, two processes with one thread each do more than one with two.
    torch.set_num_threads(1)
    # The processor's time: a busy machine does not lengthen it as it does the clock's.
    started = time.process_time()
    result = {**job, **function(**job)}
    return i, result | {"seconds": round(time.process_time() - started, 1)}


def search(
    name: str,
    function: Callable[..., dict],
    cases: list[dict],
    rates: Callable[[dict], Sequence[float]],
    seeds: Sequence[int],
    settings: dict,
) -> tuple[list[dict], list[dict]]:
    """Run every case with each learning rate on the first seed, with the best one on the others.

    Where the best rate is the first or last one tried, the grid grows by its own step on that side
    until the best is inside.

    Args:
        name, settings: as for :func:`run`.
        function: called with a case's arguments, ``lr`` and ``seed``; its result's ``val`` decides.
        cases: arguments of each case.
        rates: learning rates to try first for a case, rising, two or more.
        seeds: the first one chooses.

    Returns:
        All results, and the cases, each with its chosen ``lr``.

    Raises:
        RuntimeError: a case whose best rate is still at the edge of :data:`WIDEST` rates.
    """
    grids = [list(rates(case)) for case in cases]
    todo = [{**case, "lr": lr} for case, tried in zip(cases, grids, strict=True) for lr in tried]
    results, chosen = [], []
    while todo:
        results += run(name, function, grid(todo, seed=seeds[:1]), settings)
        todo, chosen = [], []
        for case, tried in zip(cases, grids, strict=True):
            scores = {r["lr"]: r["val"] for r in results if case.items() <= r.items()}
            best = interior_best(scores)
            chosen.append({**case, "lr": best})
            if more := beyond(tried, best):
                tried.append(more)
                todo.append({**case, "lr": more})
    return results + run(name, function, grid(chosen, seed=seeds[1:]), settings), chosen


def interior_best(scores: dict[float, float]) -> float:
    """The rate with the best score; of equal ones, one that is not at the edge."""
    edges = min(scores), max(scores)
    return max(scores, key=lambda rate: (scores[rate], rate not in edges))


def beyond(tried: Sequence[float], best: float) -> float | None:
    """The next rate of a geometric grid where the best one is its first or last; None inside.

    Raises:
        RuntimeError: the grid has :data:`WIDEST` rates already.
    """
    rates = sorted(tried)
    ratio = rates[1] / rates[0]
    if rates[0] < best < rates[-1]:
        return None
    if len(rates) >= WIDEST:
        raise RuntimeError(f"Of {rates} the best rate is {best}, still at the edge.")
    return float(f"{best / ratio if best == rates[0] else best * ratio:.2g}")


@contextmanager
def workers(address: str | None = None) -> Iterator[None]:
    """Where :func:`run` sends its jobs: the Dask scheduler at `address`, or this machine's cores.

    Raises:
        ValueError: a worker of the cluster has several threads.
        OSError: there is no scheduler at the address.
    """
    if address is None:
        yield
        return
    from distributed import Client  # in the extra [cluster] alone

    with Client(address) as client, parallel_config("dask"):
        threads = client.nthreads()
        if several := [worker for worker, n in threads.items() if n > 1]:
            raise ValueError(
                f"The worker {several[0]} has several threads, whose jobs would draw from the same "
                "random numbers: start it with `dask worker ADDRESS --nthreads 1`."
            )
        yield


def start(recipe: str) -> None:
    """Run a recipe's ``main`` as its command line says.

    Args:
        recipe: the module's name. It is imported under that name, so that other processes find in
            it what they are sent; they cannot import what ``python -m`` calls ``__main__``.
    """
    module = importlib.import_module(recipe)
    parser = argparse.ArgumentParser(prog=f"python -m {recipe}", description=module.__doc__)
    parser.add_argument("--cluster", metavar="ADDRESS", help="of a Dask scheduler for the jobs")
    with workers(parser.parse_args().cluster):
        module.main()
