"""What is finished, on disk, so that an interrupted run continues where it stopped."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from .folder import Submission
from .verdict import Part, Verdict

TRIES = 2


class Store:
    """A folder with a file for each verdict.

    Args:
        folder: made if it is missing.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """Hold the folder for this process; False if another has it."""
        import fcntl  # Windows lacks it

        with (self.folder / ".lock").open("wb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def _file(self, submission: Submission, suffix: str) -> Path:
        # A hash: students choose these names.
        name = "\0".join((submission.student, submission.exercise, str(submission.path)))
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:24]
        return self.folder / f"{digest}{suffix}"

    def get(self, submission: Submission, key: str) -> Verdict | None:
        """The finished verdict, if it was reached with the same `key`."""
        try:
            kept = json.loads(self._file(submission, ".json").read_text("utf-8"))
        except (OSError, ValueError):
            return None
        if kept.pop("key") != key:
            return None
        parts = tuple(Part(**part) for part in kept.pop("parts"))
        return Verdict(parts=parts, notes=tuple(kept.pop("notes")), **kept)

    def put(self, submission: Submission, key: str, verdict: Verdict) -> None:
        """Keep a verdict, whole or not at all."""
        file = self._file(submission, ".json")
        part = file.with_suffix(".part")
        part.write_text(json.dumps({"key": key, **asdict(verdict)}), "utf-8")
        part.replace(file)
        self.forget(submission)

    def begin(self, submission: Submission, key: str) -> bool:
        """Note that a submission is about to run; False if that ended the runner before, twice."""
        file = self._file(submission, ".begun")
        tries = file.read_text("utf-8").splitlines().count(key) if file.exists() else 0
        if tries >= TRIES:
            return False
        with file.open("a", encoding="utf-8") as begun:
            begun.write(f"{key}\n")
        return True

    def forget(self, submission: Submission) -> None:
        """Take back :meth:`begin`: it ended well, or was stopped on purpose."""
        self._file(submission, ".begun").unlink(missing_ok=True)


def key(*parts: bytes) -> str:
    """A hash of all that a verdict depends on."""
    total = hashlib.sha256()
    for part in parts:
        total.update(hashlib.sha256(part).digest())
    return total.hexdigest()
