"""What went wrong last on this machine: written by ``mirror run``, read by ``mirror status``."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from backup.mirror.report import LastError
from fleet.state_place import user_state

EVERYTHING = ""
"""Stands for the shard where something concerns them all."""


class _Entry(BaseModel):
    at: datetime
    kind: str
    message: str


class _Document(BaseModel):
    errors: dict[str, _Entry] = {}
    mirrors: list[str] = []


class Journal:
    """The last error of each shard, and where mirrors are. Thread-safe; a disk that does not take it stops
    nothing.

    Without a ``path`` nothing is written down.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()

    @classmethod
    def of(cls, repository_id: str) -> Journal:
        """That of a repository's mirror, in the user's state directory."""
        return cls(user_state() / "mirror" / f"{repository_id[:16]}.json")

    def record(self, shard: str, error: LastError) -> None:
        """``error`` is the last one of ``shard`` now."""
        with self._lock:
            document = self._read()
            document.errors[shard] = _Entry(at=error.at, kind=error.kind, message=error.message)
            self._write(document)

    def failed(self) -> list[str]:
        """The shards that have a last error."""
        with self._lock:
            return list(self._read().errors)

    def clear(self, shard: str) -> None:
        """What went wrong with ``shard`` is over."""
        with self._lock:
            document = self._read()
            if document.errors.pop(shard, None):
                self._write(document)

    def note_mirror(self, place: str) -> None:
        """There is a mirror at ``place``."""
        with self._lock:
            document = self._read()
            if place not in document.mirrors:
                document.mirrors.append(place)
                self._write(document)

    def has_mirror(self, place: str) -> bool:
        """Was there a mirror at ``place`` once?"""
        with self._lock:
            return place in self._read().mirrors

    def last(self, shard: str) -> LastError | None:
        with self._lock:
            entry = self._read().errors.get(shard)
        return LastError(entry.at, entry.kind, entry.message) if entry else None

    def _write(self, document: _Document) -> None:
        if self._path is None:
            return
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            new = self._path.with_name(f"{self._path.name}.{os.getpid()}")
            new.write_text(document.model_dump_json())
            new.replace(self._path)

    def _read(self) -> _Document:
        if self._path is None:
            return _Document()
        try:
            return _Document.model_validate_json(self._path.read_text())
        except (OSError, ValidationError):
            return _Document()
