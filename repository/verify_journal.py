"""The journal of a verification: what was found sound, so that one that was killed goes on where it was.

A file of JSON documents, one a line:

    {"backstay_verify": 1, "repository_id": ..., "scope": ..., "begun_at": ...}
    {"group": "data/s1/<label>/i000003", "object": "data/s1/<label>/p00000017", "figures": [...]}
    {"group": "data/s1/<label>/i000003", "figures": [...], "gtids": ""}        all of the group was sound

Only what was sound is noted: what was not is read again. A line is written as soon as its object was read:
a kill costs the objects that were just being read. What it leaves of the last line, and all behind a line
that says nothing, is cut off. One process at a time keeps the journal; a second one does without.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, cast

from fleet.clock import Clock
from fleet.file_lock import lock_soon
from repository.verify_tally import Tally

_FORMAT = 1
_OLDEST = timedelta(days=30)
"""What was read longer ago proves little."""
_FIGURES = len(Tally().figures())


class Noted(NamedTuple):
    """What is known of a group that was sound. ``gtids``: of a binlog file, its transactions."""

    tally: Tally
    gtids: str


class Known(NamedTuple):
    """What earlier runs found sound, and is not read again."""

    objects: int
    stored_bytes: int


@dataclass
class _State:
    begun_at: datetime
    groups: dict[str, Noted] = field(default_factory=dict[str, Noted])
    objects: dict[str, dict[str, Tally]] = field(default_factory=dict[str, dict[str, Tally]])
    good_bytes: int = 0


class VerifyJournal:
    """What earlier runs of the same verification found sound. Thread-safe.

    Memory: a line for each group (an index part, a binlog file), and for each object of the groups at work.
    """

    def __init__(self, path: Path | None, state: _State, descriptor: int) -> None:
        self.begun_at = state.begun_at
        self.goes_on = bool(state.groups or state.objects)
        self._path = path
        self._state = state
        self._descriptor = descriptor
        self._lock = threading.Lock()
        known = [noted.tally for noted in state.groups.values()]
        known += [tally for objects in state.objects.values() for tally in objects.values()]
        self.known = Known(sum(tally.objects for tally in known), sum(tally.stored_bytes for tally in known))

    @classmethod
    def none(cls, clock: Clock) -> VerifyJournal:
        """One that is not kept."""
        return cls(None, _State(clock.now()), -1)

    @classmethod
    def open(
        cls, path: Path, repository_id: str, scope: str, clock: Clock, *, restart: bool = False
    ) -> VerifyJournal:
        """Go on with the journal at ``path`` if it is of this repository and scope; else begin it anew.

        Where it cannot be kept (another process has it, the directory cannot be written), it is not.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return cls.none(clock)
        is_ours = False
        with suppress(OSError):
            is_ours = lock_soon(descriptor, clock)
        if not is_ours:
            os.close(descriptor)
            return cls.none(clock)
        with open(descriptor, "rb", closefd=False) as lines:
            state = None if restart else _read(lines, repository_id, scope)
        if state is None or not clock.now() - _OLDEST <= state.begun_at <= clock.now():
            state = _State(clock.now())
        os.ftruncate(descriptor, state.good_bytes)
        os.lseek(descriptor, 0, os.SEEK_END)
        journal = cls(path, state, descriptor)
        if not state.good_bytes:
            head = {"backstay_verify": _FORMAT, "repository_id": repository_id, "scope": scope}
            journal._write(json.dumps(head | {"begun_at": state.begun_at.isoformat()}))
        return journal

    @property
    def is_kept(self) -> bool:
        """Would a run after a kill go on?"""
        return self._descriptor >= 0

    def group(self, group: str) -> Noted | None:
        """What is known of the whole group, if it was sound."""
        return self._state.groups.get(group)

    def object(self, group: str, name: str) -> Tally | None:
        """What is known of one object of a group that was not read to its end."""
        return self._state.objects.get(group, {}).get(name)

    def note_object(self, group: str, name: str, tally: Tally) -> None:
        """The object is sound."""
        self._note({"group": group, "object": name, "figures": tally.figures()})

    def note_group(self, group: str, tally: Tally, gtids: str = "") -> None:
        """All of the group is sound; its objects need not be told apart any more."""
        with self._lock:
            self._state.objects.pop(group, None)
        self._note({"group": group, "figures": tally.figures(), "gtids": gtids})

    def close(self, *, finished: bool) -> None:
        """The run is over; if it came to its end, nothing is left to go on with."""
        with self._lock:
            if self._descriptor < 0:
                return
            if finished and self._path is not None:
                self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
            self._descriptor = -1

    def _note(self, entry: dict[str, Any]) -> None:
        with self._lock:
            if self._descriptor >= 0:
                self._write(json.dumps(entry))

    def _write(self, line: str) -> None:
        """A disk that is full costs the journal, not the verification."""
        try:
            with open(self._descriptor, "ab", closefd=False) as out:
                out.write(f"{line}\n".encode())
        except OSError:
            os.close(self._descriptor)
            self._descriptor = -1


def _read(lines: Iterator[bytes], repository_id: str, scope: str) -> _State | None:
    """What a journal says, up to its first line that says nothing; None if it is another one's."""
    state: _State | None = None
    for line in lines:
        entry = _entry(line)
        if entry is None:
            break
        if state is None:
            wanted = (_FORMAT, repository_id, scope)
            if (entry.get("backstay_verify"), entry.get("repository_id"), entry.get("scope")) != wanted:
                return None
            begun_at = _moment(entry.get("begun_at"))
            if begun_at is None:
                return None
            state = _State(begun_at)
        elif not _apply(state, entry):
            break
        state.good_bytes += len(line)
    return state


def _entry(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return cast("dict[str, Any]", found) if isinstance(found, dict) else None


def _moment(text: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return at if at.tzinfo else None


def _apply(state: _State, entry: dict[str, Any]) -> bool:
    group, figures = entry.get("group"), entry.get("figures")
    if not isinstance(group, str) or not isinstance(figures, list):
        return False
    counts = cast("list[Any]", figures)
    if len(counts) != _FIGURES or not all(type(each) is int and each >= 0 for each in counts):
        return False
    tally = Tally.of(counts)
    name, gtids = entry.get("object"), entry.get("gtids", "")
    if isinstance(name, str):
        state.objects.setdefault(group, {})[name] = tally
    elif name is None and isinstance(gtids, str):
        state.objects.pop(group, None)
        state.groups[group] = Noted(tally, gtids)
    else:
        return False
    return True
