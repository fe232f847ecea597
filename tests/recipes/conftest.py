"""A place of its own for all that a recipe reads and writes."""

import pytest
import torch
from joblib import parallel_config

from modarch_utils import records, zoo


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Empty folders for runs, cache, weights and records; jobs run in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODARCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(zoo, "WEIGHTS", tmp_path / "weights")
    monkeypatch.setattr(records, "FOLDER", tmp_path)
    threads = torch.get_num_threads()
    with parallel_config("sequential"):
        yield tmp_path
    torch.set_num_threads(threads)  # a recipe sets them for a process of its own
