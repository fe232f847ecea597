"""What is kept between runs."""

from pathlib import Path

import pytest

from grading.folder import Submission
from grading.store import Store, key
from grading.verdict import Part, Verdict

ADA = Submission("ada", "ex1", Path("/x/ada/ex1.ipynb"))
BO = Submission("bo", "ex1", Path("/x/bo/ex1.ipynb"))
RESULT = Verdict("graded", "All of it ran.", (Part("a", 1.5, 2.0, "text"),), ("look",), "out", 0.5)


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "results")


def test_what_is_put_comes_back(store):
    assert store.get(ADA, "k") is None
    store.put(ADA, "k", RESULT)
    assert store.get(ADA, "k") == RESULT and RESULT.points == 1.5
    assert store.get(BO, "k") is None
    assert store.get(ADA, "another key") is None, "something that it depends on has changed"


def test_a_file_cut_short_counts_as_none(store):
    store.put(ADA, "k", RESULT)
    file = next(store.folder.glob("*.json"))
    file.write_text(file.read_text("utf-8")[:-10], "utf-8")
    assert store.get(ADA, "k") is None


def test_what_ends_the_runner_twice_is_not_begun_again(store):
    assert store.begin(ADA, "k") and store.begin(ADA, "k")
    assert not store.begin(ADA, "k")
    assert store.begin(BO, "k") and store.begin(ADA, "another key")


@pytest.mark.parametrize("end", [lambda s: s.put(ADA, "k", RESULT), lambda s: s.forget(ADA)])
def test_an_end_takes_the_beginning_back(store, end):
    for _ in range(5):
        assert store.begin(ADA, "k")
        end(store)


def test_one_run_at_a_time(store):
    with store.locked() as mine:
        assert mine
        with Store(store.folder).locked() as also_mine:
            assert not also_mine
    with store.locked() as mine:
        assert mine


def test_the_key_depends_on_every_part():
    keys = {key(b"a", b"b"), key(b"ab"), key(b"a", b"c"), key(b"b", b"a"), key(b"a", b"b", b"")}
    assert len(keys) == 5


def test_names_that_no_file_system_knows(store):
    odd = Submission("a\udcff/../..", "ex1", Path("/x/a"))
    store.put(odd, "k", RESULT)
    assert store.get(odd, "k") == RESULT
