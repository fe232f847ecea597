"""Importing the package leaves one core to the rest of the machine."""

import os
import subprocess
import sys

import pytest


def printed(code: str, cores: int, **environment: str) -> int:
    """What a fresh Python prints that sees so many cores."""
    kept = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    code = f"import os; os.sched_getaffinity = lambda _: set(range({cores})); {code}"
    result = subprocess.run(
        [sys.executable, "-c", code], env=kept | environment, capture_output=True, encoding="utf-8"
    )
    assert result.returncode == 0, result.stderr
    return int(result.stdout)


ASKED = "import modarch_utils; print(os.environ['OMP_NUM_THREADS'])"


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (8, 7)])
def test_one_core_stays_free(cores, threads):
    assert printed(ASKED, cores) == threads


@pytest.mark.parametrize(
    ("quota", "threads"), [("max 100000", 7), ("400000 100000", 3), ("150000 100000", 1)]
)
def test_a_containers_share_is_heeded(quota, threads, tmp_path):
    (tmp_path / "cpu.max").write_text(f"{quota}\n", "ascii")
    again = f"modarch_utils._leave_a_core_free({str(tmp_path / 'cpu.max')!r})"
    code = f"import modarch_utils; del os.environ['OMP_NUM_THREADS']; {again}"
    assert printed(f"{code}; {ASKED}", cores=8) == threads


def test_one_core_stays_free_where_torch_was_imported_first():
    code = "import torch; torch.set_num_threads(2); import modarch_utils"
    assert printed(f"{code}; print(torch.get_num_threads())", cores=2) == 1


def test_who_sets_the_number_is_heeded():
    assert printed(ASKED, cores=8, OMP_NUM_THREADS="2") == 2
