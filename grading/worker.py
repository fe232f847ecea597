"""A server, seen from the runner."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from .limits import kill_below

ROOT = Path(__file__).resolve().parents[1]
READY = 300.0  # seconds for the first import of everything, on a cold disk
GRACE = 20.0  # seconds beyond its limit in which a server has to answer
PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "MODARCH_DATA")
THREADS = ("OMP", "OPENBLAS", "MKL", "NUMEXPR")


class ServerError(Exception):
    """A server does not start; the message says what to do."""


def environment(scratch: Path) -> dict[str, str]:
    """A server's, and so a student's: nothing of the caller's but where programs and data are."""
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return {
        **kept,
        **{f"{library}_NUM_THREADS": "1" for library in THREADS},
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONWARNINGS": "ignore",
        "MPLBACKEND": "Agg",
        "HF_HUB_OFFLINE": "1",
        "MODARCH_PROFILE": "laptop",
        "MODARCH_PROGRESS": "0",
    }


class Stopped(Exception):
    """The crew was stopped while a job was running."""


class Crew:
    """The servers that run now."""

    def __init__(self) -> None:
        self.pids: set[int] = set()
        self.lock = threading.RLock()
        self.stopped = False

    def stop(self) -> None:
        """End all servers and everything below them."""
        with self.lock:
            self.stopped = True
            for pid in self.pids:
                os.kill(pid, signal.SIGKILL)
            self.pids.clear()
            kill_below()


class Worker:
    """Runs one job at a time, and starts a new server when one was lost.

    Args:
        crew: this process's.
        imports: for each exercise the text of its imports.
        scratch: a folder for the servers.

    Raises:
        ServerError: the first server does not start.
        Stopped: by :meth:`Crew.stop`, from every method.
    """

    def __init__(self, crew: Crew, imports: dict[str, str], scratch: Path):
        self.crew, self.imports, self.scratch = crew, imports, scratch
        self._start()

    def _start(self) -> None:
        command = [sys.executable, "-P", "-m", f"{__package__}.server"]
        with self.crew.lock:
            if self.crew.stopped:
                raise Stopped
            self.server = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                cwd=self.scratch,
                env=environment(self.scratch),
                start_new_session=True,  # an interrupt is the runner's to answer
            )
            self.crew.pids.add(self.server.pid)
        self._waiting = b""
        self._send({"imports": self.imports})
        if self._receive(READY) != {"ready": True}:
            self.close()
            raise ServerError(
                "The grading process does not start; what it said stands above. Try the import "
                "cells of the exercises in this environment."
            )

    def grade(self, job: dict) -> dict | None:
        """Return the outcome of a job, or None if it cost the server its life."""
        self._send(job)
        answer = self._receive(job["limits"]["seconds"] + GRACE)
        if answer is None:
            self.close()
            self._start()
        return answer

    def close(self) -> None:
        """End the server and everything below it."""
        with self.crew.lock:
            if self.crew.stopped:
                raise Stopped
            self.crew.pids.remove(self.server.pid)
            self.server.kill()
            self.server.wait()
            kill_below(keep=self.crew.pids)
        for pipe in (self.server.stdin, self.server.stdout):
            with contextlib.suppress(BrokenPipeError):  # a job that was not read
                pipe.close()

    def _send(self, message: dict) -> None:
        try:
            self.server.stdin.write(json.dumps(message).encode() + b"\n")
            self.server.stdin.flush()
        except BrokenPipeError:  # the answer will be missing
            return

    def _receive(self, seconds: float) -> dict | None:
        """The next line; None if the server is gone, late, or says what it should not."""
        until = time.monotonic() + seconds
        pipe = self.server.stdout.fileno()
        while b"\n" not in self._waiting:
            ready, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
            data = os.read(pipe, 65536) if ready else b""
            if not data:
                return None
            self._waiting += data
        line, _, self._waiting = self._waiting.partition(b"\n")
        try:
            return json.loads(line)
        except ValueError:
            return None
