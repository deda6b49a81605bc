"""How scheduled runs ended on this machine: why a backup is missing, when the repository only shows that.

A line of JSON for each run. Whoever dies while writing leaves a torn line, which is passed over; the file
never grows beyond a bound. The truth about backups is the repository alone.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, ValidationError

Outcome: TypeAlias = Literal["done", "failed", "skipped", "cancelled"]

MAX_BYTES = 4 * 1024 * 1024
"""A fleet of 20 shards fills it in a month or more; then the older half goes."""


class RunEnded(BaseModel):
    """One run. ``flow``: ``full``, ``incremental``, ``retention`` ...; ``shard`` is None for a whole fleet.

    ``due_at``: when the schedule wanted it, None for one that was asked for by hand. ``exit_code`` and
    ``message`` are those of the error, or why it was skipped; times are UTC. ``token``: by which the
    repository knows it, too.
    """

    model_config = ConfigDict(frozen=True)

    flow: str
    shard: str | None = None
    due_at: datetime | None = None
    started_at: datetime
    ended_at: datetime
    outcome: Outcome
    exit_code: int = 0
    message: str | None = None
    hint: str | None = None
    label: str | None = None
    token: str | None = None


class RunJournal:
    """The journal in ``path``. Processes and threads may share it. Raises OSError if it cannot be written;
    what cannot be read counts as empty.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes

    def append(self, run: RunEnded) -> None:
        """Write the run down, on the disk for good."""
        line = run.model_dump_json(exclude_none=True).encode() + b"\n"
        with self._locked():
            file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
            try:
                size = os.fstat(file).st_size
                if size and os.pread(file, 1, size - 1) != b"\n":
                    # Who wrote last died at it; its torn line must not take ours with it.
                    line = b"\n" + line
                os.write(file, line)
                os.fsync(file)
            finally:
                os.close(file)
            if size + len(line) > self._max_bytes:
                self._drop_the_older_half()

    def all(self) -> tuple[RunEnded, ...]:
        """Those that are known, in the order in which they ended."""
        try:
            lines = self._path.read_bytes().splitlines()
        except OSError:
            return ()
        return tuple(_read(lines))

    def _drop_the_older_half(self) -> None:
        data = self._path.read_bytes()
        half = data.find(b"\n", len(data) // 2) + 1
        new = self._path.with_name(f"{self._path.name}.new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(data[half:])
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._path)

    @contextmanager
    def _locked(self) -> Generator[None]:
        """One writer at a time. The lock is a file of its own: the journal itself is replaced."""
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self._path.with_name(f"{self._path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)


def _read(lines: Iterable[bytes]) -> Iterable[RunEnded]:
    for line in lines:
        try:
            yield RunEnded.model_validate_json(line)
        except ValidationError:
            continue
