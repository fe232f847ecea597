"""Jobs of a recipe: kept when finished, in the jobs' order, the same on a cluster."""

import os
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from distributed import LocalCluster
from joblib import parallel_config

from recipes import jobs


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def square(n: int, log: Path) -> dict:
    """A job that leaves a trace of every time it runs."""
    with log.open("a", encoding="utf-8") as file:
        file.write(f"{n}\n")
    return {"square": n * n, "threads": torch.get_num_threads()}


def fatal(n: int, log: Path) -> dict:
    """As :func:`square`, but the first process to run number 2 dies of it."""
    begun = log.with_name("begun")
    if n == 2 and not begun.exists():
        begun.touch()
        os._exit(1)
    return square(n, log)


def near(peak: float, lr: float, seed: int) -> dict:
    """A job that is best at one learning rate."""
    return {"val": -abs(peak - lr)}


def test_jobs_run_once_and_again_under_other_settings(place):
    log = place / "log"
    function, todo = partial(square, log=log), [{"n": n} for n in (3, 2)]
    assert jobs.run("squares", function, todo[:1], {"epochs": 1})[0]["square"] == 9
    results = jobs.run("squares", function, todo, {"epochs": 1})
    assert [r["square"] for r in results] == [9, 4]  # in the jobs' order
    assert {r["threads"] for r in results} == {1}
    assert log.read_text("utf-8") == "3\n2\n"  # the finished one was not run again
    jobs.run("squares", function, todo[:1], {"epochs": 2})
    assert log.read_text("utf-8") == "3\n2\n3\n"


@pytest.fixture
def cluster():
    made = partial(LocalCluster, n_workers=2, processes=True, dashboard_address=None)
    clusters = []

    def open_(threads: int) -> str:
        clusters.append(made(threads_per_worker=threads))
        return clusters[-1].scheduler_address

    yield open_
    for each in clusters:
        each.close()


def test_a_cluster_that_loses_a_worker_gives_what_one_process_gives(place, cluster):
    todo = [{"n": n} for n in range(6)]
    with jobs.workers(cluster(threads=1)):
        found = jobs.run("cluster", partial(fatal, log=place / "log"), todo, {})
    assert (place / "begun").exists()
    with parallel_config("sequential"):
        expected = jobs.run("serial", partial(square, log=place / "other"), todo, {})
    assert [r | {"seconds": 0} for r in found] == [r | {"seconds": 0} for r in expected]
    kept = [
        sorted(file.name for file in Path("runs").glob(f"{n}/*/*")) for n in ("cluster", "serial")
    ]
    assert kept[0] == kept[1] and len(kept[0]) == 6


def test_workers_with_threads_are_refused(cluster):
    with pytest.raises(ValueError, match="--nthreads 1"), jobs.workers(cluster(threads=2)):
        pass


def test_the_command_line_names_the_cluster(place, monkeypatch, capsys):
    module = place / "some_recipe.py"
    module.write_text('"""Of nothing."""\n\n\ndef main():\n    print(__name__)\n', "utf-8")
    monkeypatch.syspath_prepend(place)
    monkeypatch.setattr(sys, "argv", ["some_recipe"])
    jobs.start("some_recipe")
    assert capsys.readouterr().out == "some_recipe\n"
    monkeypatch.setattr(sys, "argv", ["some_recipe", "--cluster", "tcp://127.0.0.1:9"])
    monkeypatch.setattr("distributed.Client", lambda address: pytest.fail(address))
    with pytest.raises(pytest.fail.Exception, match="tcp://127.0.0.1:9"):
        jobs.start("some_recipe")


def test_search_goes_on_until_the_best_rate_is_inside_of_its_grid():
    cases = [{"peak": 0.05}, {"peak": 0.2}, {"peak": 0.8}]
    results, chosen = jobs.search("peaks", near, cases, lambda case: (0.1, 0.2, 0.4), (0, 1, 2), {})
    assert [case["lr"] for case in chosen] == [0.05, 0.2, 0.8]
    tried = [{r["lr"] for r in results if case.items() <= r.items()} for case in cases]
    assert tried == [{0.025, 0.05, 0.1, 0.2, 0.4}, {0.1, 0.2, 0.4}, {0.1, 0.2, 0.4, 0.8, 1.6}]
    assert all(r["lr"] == r["peak"] for r in results if r["seed"] > 0)
    assert len(results) == 5 + 3 + 5 + 3 * 2


def test_of_equal_rates_one_inside_is_taken():
    assert jobs.interior_best({0.1: 1.0, 0.2: 1.0, 0.4: 0.5}) == 0.2


def test_a_rate_that_is_never_large_enough_is_refused():
    with pytest.raises(RuntimeError, match="the best rate is 13.0, still at the edge"):
        jobs.search("far", near, [{"peak": 1e9}], lambda case: (0.1, 0.2), (0,), {})
