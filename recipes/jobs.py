"""Run many small independent trainings, one on each core, and keep what is finished."""

import hashlib
import json
import multiprocessing
import os
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch


def _run(function: Callable[..., dict], job: dict, file: Path) -> dict:
    # The processor's time: a busy machine does not lengthen it as it does the clock's.
    started = time.process_time()
    result = {**job, **function(**job)}
    result["seconds"] = round(time.process_time() - started, 1)
    part = file.with_suffix(f".{os.getpid()}")
    part.write_text(json.dumps(result), "utf-8")
    part.replace(file)  # whole or not at all
    return result


def run(name: str, function: Callable[..., dict], jobs: list[dict], settings: dict) -> list[dict]:
    """Call ``function(**job)`` for every job and return the results in the jobs' order.

    Each job runs in a process of its own with one torch thread: for networks this small, two
    processes with one thread each do more than one process with two.

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
    todo = [(job, file) for job, file in zip(jobs, files, strict=True) if not file.exists()]
    print(f"{name}: {len(jobs)} runs, {len(jobs) - len(todo)} finished before", flush=True)
    context = multiprocessing.get_context("spawn")
    workers = ProcessPoolExecutor(
        max(1, os.cpu_count() or 1), context, initializer=torch.set_num_threads, initargs=(1,)
    )
    with workers as pool:
        waiting = [pool.submit(_run, function, job, file) for job, file in todo]
        for done, future in enumerate(as_completed(waiting), 1):
            print(f"[{done}/{len(todo)}] {future.result()}", flush=True)
    return [json.loads(file.read_text("utf-8")) for file in files]
