"""MBConv against Fused-MBConv over width and resolution, and what depthwise kernels cost.

Not resumable, as it takes minutes. The map is one CPU thread's; another machine's differs, which
chapter 03_efficientnetv2 shows by measuring a part of it live.

The map is measured twice, with squeeze-and-excitation in MBConv, as in the paper, and without.
Measured in memory that the process keeps (:func:`block_costs.keep_memory`). One row is measured
with a larger batch as well, before and after asking for that: the difference is not arithmetic.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict

from modarch_utils import records
from modarch_utils.studies import block_costs
from modarch_utils.studies.block_costs import Cell, Kernel

REPEATS = 15
LARGE_REPEATS = 7
LARGE_SIDE = 28


def _rounded(result: Cell | Kernel) -> dict:
    return {k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(result).items()}


def rows(kind: str, cells: Iterator[Cell]) -> list[dict]:
    """The record's rows of some cells."""
    found = []
    started = time.process_time()
    for cell in cells:
        seconds = round(time.process_time() - started, 1)
        found.append({"kind": kind, **_rounded(cell), "seconds": seconds})
        print(found[-1], flush=True)
        started = time.process_time()
    return found


def large_batch() -> Iterator[Cell]:
    """One row of the map, with more images in a step."""
    return block_costs.grid(
        sides=(LARGE_SIDE,), numbers=block_costs.MANY_NUMBERS, repeats=LARGE_REPEATS
    )


def kernels() -> list[dict]:
    """The record's rows of the convolutions."""
    started = time.process_time()
    found = block_costs.kernels(repeats=REPEATS)
    share = (time.process_time() - started) / len(found)
    rows = [{"kind": "kernel", **_rounded(kernel)} for kernel in found]
    for row in rows:
        row["step_s"] = row["seconds"]  # a record's "seconds" is what measuring took
        row["seconds"] = round(share, 2)
    return rows


def main() -> None:
    """Measure everything and write the record."""
    results = rows("fresh", large_batch())
    kept = block_costs.keep_memory()
    results += rows("cell", block_costs.grid(repeats=REPEATS))
    results += rows("without_se", block_costs.grid(repeats=REPEATS, se=0.0))
    results += rows("kept", large_batch())
    results += kernels()
    settings = {
        "device": "cpu",
        "threads": 1,
        "memory_kept": kept,
        "widths": block_costs.WIDTHS,
        "sides": block_costs.SIDES,
        "expand": block_costs.EXPAND,
        "se": block_costs.SE,
        "numbers": block_costs.NUMBERS["cpu"],
        "many_numbers": block_costs.MANY_NUMBERS,
        "large_side": LARGE_SIDE,
        "largest": block_costs.LARGEST,
        "repeats": REPEATS,
        "large_repeats": LARGE_REPEATS,
    }
    print(records.save("fused_map", settings=settings, results=results))


if __name__ == "__main__":
    main()
