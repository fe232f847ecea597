"""What a submission may use, and how Linux is told so."""

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

MEBI = 2**20
PATIENCE = 5.0  # seconds for killed processes to be gone
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


@dataclass(frozen=True)
class Limits:
    """For one submission, all of its processes together unless it says otherwise."""

    seconds: int = 600
    """By the clock."""
    cpu: int = 480
    """Seconds of the processor, in each process."""
    memory: int = 2048
    """MiB beyond what the grader's own process takes (0.9 GiB with torch)."""
    output: int = 5
    """MiB of printed output."""
    file: int = 64
    """MiB of each file that is written."""
    processes: int = 32


def apply(limits: Limits) -> None:
    """Set the limits that the kernel keeps, for this process and its children, for good.

    The address space (RLIMIT_AS) is not limited: torch reserves gigabytes that it never touches.
    What counts is private memory (RLIMIT_DATA). The server's look at memory stops most
    submissions earlier, with a clearer cause; this one stops what allocates faster than it looks.
    """
    data = status(os.getpid(), "VmData") + limits.memory * MEBI
    _limit("DATA", data)
    _limit("CPU", limits.cpu, limits.cpu + 2)
    _limit("FSIZE", limits.file * MEBI)
    _limit("CORE", 0)
    # It counts all of the user's threads. The kernel does not keep it for root.
    _limit("NPROC", _threads_of_user() + 8 * limits.processes)


def _limit(name: str, soft: int, hard: int | None = None) -> None:
    import resource  # Windows lacks it

    what = getattr(resource, f"RLIMIT_{name}")
    most = resource.getrlimit(what)[1]
    wanted = [soft, soft if hard is None else hard]
    if most != resource.RLIM_INFINITY:
        wanted = [min(value, most) for value in wanted]
    resource.setrlimit(what, tuple(wanted))


def _threads_of_user() -> int:
    user, threads = os.getuid(), 0
    for folder in _processes():
        try:
            if folder.stat().st_uid == user:
                threads += len(os.listdir(folder / "task"))
        except OSError:  # it has ended, or is not ours to look at
            continue
    return threads


def prctl(option: int, value: int) -> None:
    """Linux's prctl, which Python does not offer.

    Raises:
        OSError: the kernel refused.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def end_with_parent() -> None:
    """Kill this process as soon as its parent ends."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none gets away."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def _processes() -> list[Path]:
    return [Path("/proc", name) for name in os.listdir("/proc") if name.isdigit()]


def status(pid: int, *fields: str) -> int:
    """The sum of some fields of /proc/PID/status in bytes; 0 if the process has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.split(":")[0] in fields)


def held(pid: int) -> int:
    """Bytes of memory that a process shares with no file: its own, and shared between processes."""
    return status(pid, "RssAnon", "RssShmem")


def descendants(keep: Collection[int] = ()) -> list[int]:
    """The processes below this one, parents first, without `keep` and what is below those."""
    children: dict[int, list[int]] = {}
    for folder in _processes():
        try:
            # The name in parentheses may hold anything; state and parent follow it.
            parent = (folder / "stat").read_bytes().rpartition(b")")[2].split()[1]
        except OSError:
            continue
        children.setdefault(int(parent), []).append(int(folder.name))
    found = [pid for pid in children.get(os.getpid(), []) if pid not in keep]
    for pid in found:
        found += children.get(pid, [])
    return found


def kill_below(keep: Collection[int] = ()) -> None:
    """Kill and reap all :func:`descendants`, however they fork. Needs :func:`adopt_orphans`."""
    until = time.monotonic() + PATIENCE
    while (victims := descendants(keep)) and time.monotonic() < until:
        for sign in (signal.SIGSTOP, signal.SIGKILL):  # what is stopped does not fork
            for pid in victims:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, sign)
        for pid in victims:
            with contextlib.suppress(ChildProcessError):  # its own parent is still there
                os.waitpid(pid, os.WNOHANG)
        time.sleep(0.01)
