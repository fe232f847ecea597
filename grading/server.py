"""Imports once, then forks a child for each job: lines of JSON in, lines of JSON out.

First line in: ``{"imports": {exercise: text}}``, answered by ``{"ready": true}``. Each further line
is a job (see ``child.run``), answered by its outcome.
"""

import gc
import json
import os
import secrets
import selectors
import signal
import sys
import time
from dataclasses import dataclass, field

from . import child
from .integrity import Snapshot
from .limits import MEBI, Limits, adopt_orphans, descendants, end_with_parent, held, kill_below

TICK = 0.1  # seconds between two looks at a child
KEPT = 4000  # bytes of the first and of the last output that are kept
VERDICTS = 4 * MEBI  # more than all parts of an exercise can need


@dataclass
class Output:
    """What a child prints: its beginning, its end, and how much it was."""

    head: bytes = b""
    tail: bytes = b""
    size: int = 0

    def add(self, data: bytes) -> None:
        self.size += len(data)
        room = KEPT - len(self.head)
        self.head += data[:room]
        self.tail = (self.tail + data[room:])[-KEPT:]

    @property
    def text(self) -> str:
        gap = b"\n[...]\n" if self.size > len(self.head) + len(self.tail) else b""
        return (self.head + gap + self.tail).decode("utf-8", "replace")


@dataclass
class Watch:
    """A child, seen from its server."""

    limits: Limits
    base: int
    """Bytes that the server itself holds: a fork starts with these, shared."""
    output: Output = field(default_factory=Output)
    verdicts: bytes = b""
    started: float = field(default_factory=time.monotonic)

    def exceeded(self) -> str | None:
        """The limit that is exceeded now, by its field's name."""
        if time.monotonic() - self.started > self.limits.seconds:
            return "seconds"
        if self.output.size > self.limits.output * MEBI:
            return "output"
        running = descendants()
        if len(running) > self.limits.processes:
            return "processes"
        if sum(max(0, held(pid) - self.base) for pid in running) > self.limits.memory * MEBI:
            return "memory"
        return None


def supervise(job: dict, names: dict, before: Snapshot) -> dict:
    """Fork a child for a job, watch it, and return how it ended and what it said."""
    limits, token = Limits(**job["limits"]), secrets.token_hex(16)
    verdicts, verdicts_in = os.pipe()
    output, output_in = os.pipe()
    watch = Watch(limits, held(os.getpid()))
    pid = os.fork()
    if pid == 0:
        child.run(job, names, before, token, verdicts_in, output_in)
    os.close(verdicts_in)
    os.close(output_in)
    over = status = None
    with selectors.DefaultSelector() as selector:
        for pipe in (verdicts, output):
            os.set_blocking(pipe, False)
            selector.register(pipe, selectors.EVENT_READ)
        looked = 0.0
        while status is None and over is None:
            for key, _ in selector.select(TICK):
                if not _read(key.fd, watch, verdicts):
                    selector.unregister(key.fd)  # closed: by the end, or on purpose
            if not selector.get_map():
                time.sleep(TICK)
            ended, code, usage = os.wait4(pid, os.WNOHANG)
            if ended:
                status = code
            elif time.monotonic() - looked > TICK:
                over, looked = watch.exceeded(), time.monotonic()
        if status is None:
            os.killpg(pid, signal.SIGKILL)
            _, status, usage = os.wait4(pid, 0)
        left = len(descendants())
        kill_below()
        for pipe in (verdicts, output):
            while _read(pipe, watch, verdicts):
                pass
            os.close(pipe)
    messages, forged = _messages(watch.verdicts, token)
    return {
        "messages": messages,
        "forged": forged or len(watch.verdicts) > VERDICTS,
        "over": over,
        "code": os.waitstatus_to_exitcode(status),
        "left": left,
        "seconds": round(time.monotonic() - watch.started, 2),
        "cpu": round(usage.ru_utime + usage.ru_stime, 2),
        "output": watch.output.text,
    }


def _read(pipe: int, watch: Watch, verdicts: int) -> bool:
    """Take a piece of what is in a pipe; False at its end, and where nothing waits."""
    try:
        data = os.read(pipe, 65536)
    except BlockingIOError:
        return False
    if pipe != verdicts:
        watch.output.add(data)
    elif len(watch.verdicts) <= VERDICTS:
        watch.verdicts += data
    return bool(data)


def _messages(data: bytes, token: str) -> tuple[list[dict], bool]:
    """The messages that have the token, and whether anything else came."""
    messages, forged = [], False
    for line in data.split(b"\n"):
        if line.startswith(token.encode()):
            try:
                messages.append(json.loads(line[len(token) :]))
            except ValueError:  # cut off in the middle by a kill
                continue
        elif line:
            forged = True
    return messages, forged


def _names(text: str) -> dict:
    """What import statements bind."""
    names: dict = {}
    exec(compile(text, "<imports>", "exec"), names)
    del names["__builtins__"]
    return names


def main() -> None:
    end_with_parent()
    adopt_orphans()
    # Imports may print; the runner reads answers alone.
    answers = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)

    def reply(message: dict) -> None:
        answers.write(json.dumps(message) + "\n")

    import torch

    torch.set_num_threads(1)  # a fork has no other threads
    names = {e: _names(text) for e, text in json.loads(sys.stdin.readline())["imports"].items()}
    # Out of a student's sight; what is used here stays.
    for name in [name for name in sys.modules if name.startswith(__package__)]:
        del sys.modules[name]
    before = Snapshot()
    gc.collect()
    gc.freeze()  # forks then share the pages of what is there
    reply({"ready": True})
    for line in sys.stdin:
        job = json.loads(line)
        reply(supervise(job, names[job["exercise"]], before))


if __name__ == "__main__":
    main()
