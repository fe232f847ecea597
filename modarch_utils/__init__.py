"""Helpers of the course *Modern Deep Learning Architectures*.

Every room is imported by its own name, for example ``from modarch_utils import plots`` or
``from modarch_utils.models.convnext import ConvNeXt``; importing the package alone loads nothing
heavy. It only leaves one core to the rest of the machine, unless ``OMP_NUM_THREADS`` is set.
"""

import os
import sys

__version__ = "0.1.0"
QUOTA = "/sys/fs/cgroup/cpu.max"  # Linux's processor time for this container, of each period


def _leave_a_core_free(quota: str = QUOTA) -> None:
    """Torch's threads wait for each other: one that shares its core holds up all of them.

    With as many threads as cores, a single busy program beside a chapter makes it several times
    slower. One thread fewer than cores costs little, and keeps its pace.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return
    threads = max(1, _cores(quota) - 1)
    # Read when torch is loaded, and by processes begun here.
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)


def _cores(quota: str) -> int:
    """How many cores this process may keep busy: a container may own few of the machine's."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux alone has it
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    try:
        with open(quota, encoding="ascii") as file:
            microseconds, period = map(int, file.read().split())
    except (OSError, ValueError):  # no such file, or "max": no limit
        return cores
    return min(cores, microseconds // period)


_leave_a_core_free()
