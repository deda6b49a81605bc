"""The journal of a restore: what is in place for good, so that a killed restore goes on where it was.

``.backstay-restore.jsonl`` in the target, one JSON document a line:

    {"backstay_restore": 1, "repository_id": ..., "shard": ..., "label": ..., "delta": false}
    {"inodes": {"0": 1234, ...}}                    the files laid out, by number in the manifest
    {"distrusted": [7]}                             files made anew later: what is said of them is void
    {"part": 0, "stage": 2, "packs": [0, 1, 5]}     packs of index part 0 whose data of that stage is in place
    {"fetched": true}                               nothing is left to be fetched
    {"replay": {"skipped": "", "standby": false}}   a server runs on the data, and takes transactions

A line is written after the data it speaks of was synced, and is synced itself. What a kill or a power
failure leaves of the last line is cut off. The file is also the lock that keeps two restores out of one
directory.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

from fleet.blocks import Stage
from fleet.clock import SystemClock
from fleet.errors import TargetRefused
from fleet.file_lock import lock_soon
from restore.files import disk_errors

JOURNAL_NAME = ".backstay-restore.jsonl"
_FORMAT = 1
_INODES_PER_LINE = 10_000


class RestoreHeader(NamedTuple):
    """Which backup is restored, and how."""

    repository_id: str
    shard: str
    label: str
    delta: bool


class PackDone(NamedTuple):
    """A pack (by its position in an index part) whose data of one stage is in place."""

    part: int
    stage: Stage
    pack: int


class ReplayBegun(NamedTuple):
    """Transactions are replayed on the data: it is no longer the backup's.

    ``skipped``: the GTID set of those whose numbers empty ones took. ``standby``: there is no end to it.
    """

    skipped: str
    standby: bool


@dataclass
class JournalState:
    """What a journal says. ``good_bytes`` is the length of its whole lines; what follows is torn."""

    header: RestoreHeader
    inodes: dict[int, int] = field(default_factory=dict[int, int])
    distrusted: set[int] = field(default_factory=set[int])
    done: set[PackDone] = field(default_factory=set[PackDone])
    fetched: bool = False
    replay: ReplayBegun | None = None
    good_bytes: int = 0


def read_journal(path: Path) -> JournalState | None:
    """The journal at ``path``; None when there is none, or none with a whole first line (nothing was done
    yet).
    """
    state: JournalState | None = None
    try:
        with path.open("rb") as lines:
            for line in lines:
                entry = _entry(line)
                if entry is None:
                    break
                if state is None:
                    state = JournalState(_header(path, entry))
                elif not _apply(state, entry):
                    break
                state.good_bytes += len(line)
    except FileNotFoundError:
        return None
    return state


def is_held(path: Path) -> bool:
    """Whether somebody is at work with the journal at ``path``."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


class Journal:
    """The journal while its restore runs. Appending is for one thread at a time."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: Path, header: RestoreHeader, found: JournalState | None, *, go_on: bool) -> Self:
        """Lock the journal that was ``found`` (None: there was none); go on with it, or begin it anew.

        Raises ``TargetRefused`` when another restore runs, or ran since the journal was looked at.
        """
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
        if not (lock_soon(descriptor, SystemClock()) and read_journal(path) == found):
            os.close(descriptor)
            raise TargetRefused(
                f"another restore is at work in {path.parent}", hint="Wait for its end, or stop it."
            )
        journal = cls(path, descriptor)
        os.ftruncate(descriptor, found.good_bytes if found and go_on else 0)
        os.lseek(descriptor, 0, os.SEEK_END)
        if not (found and go_on):
            journal._append([{"backstay_restore": _FORMAT, **header._asdict()}])
        return journal

    def laid_out(self, inodes: Mapping[int, int]) -> None:
        """The files exist in their sizes, as these inodes, by number."""
        items = [(str(number), inode) for number, inode in inodes.items()]
        steps = range(0, len(items), _INODES_PER_LINE)
        self._append([{"inodes": dict(items[at : at + _INODES_PER_LINE])} for at in steps])

    def distrust(self, numbers: Iterable[int]) -> None:
        """What the journal says of these files is void: they are about to be made anew."""
        self._append([{"distrusted": sorted(numbers)}])

    def done(self, packs: Iterable[PackDone]) -> None:
        """The data of these packs is in place and synced."""
        by_place: dict[tuple[int, Stage], list[int]] = {}
        for part, stage, pack in packs:
            by_place.setdefault((part, stage), []).append(pack)
        self._append(
            [
                {"part": part, "stage": int(stage), "packs": numbers}
                for (part, stage), numbers in by_place.items()
            ]
        )

    def fetched(self) -> None:
        """All is in place and synced."""
        self._append([{"fetched": True}])

    def replay(self, begun: ReplayBegun) -> None:
        """From now on the data is no longer the backup's. Said again when more is skipped."""
        self._append([{"replay": begun._asdict()}])

    def close(self) -> None:
        """Let go of it; it stays for the next run. Closing twice is fine."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def remove(self) -> None:
        """The restore is over, and needs no journal any more."""
        with disk_errors(self._path):
            self._path.unlink(missing_ok=True)
        self.close()

    def _append(self, entries: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(entry, separators=(",", ":")) + "\n" for entry in entries).encode()
        view = memoryview(text)
        with disk_errors(self._path):
            while view:
                view = view[os.write(self._descriptor, view) :]
            os.fdatasync(self._descriptor)


def _entry(line: bytes) -> dict[str, Any] | None:
    if not line.endswith(b"\n"):
        return None
    try:
        entry: Any = json.loads(line)
    except ValueError:
        return None
    return cast("dict[str, Any]", entry) if isinstance(entry, dict) else None


def _header(path: Path, entry: dict[str, Any]) -> RestoreHeader:
    if entry.get("backstay_restore") != _FORMAT:
        raise TargetRefused(
            f"{path} is not a journal that this version can read",
            hint="Finish that restore with the version that began it, or restore into an empty directory.",
        )
    return RestoreHeader(
        str(entry.get("repository_id")),
        str(entry.get("shard")),
        str(entry.get("label")),
        bool(entry.get("delta")),
    )


def _apply(state: JournalState, entry: dict[str, Any]) -> bool:
    try:
        if "inodes" in entry:
            state.inodes.update((int(number), int(inode)) for number, inode in entry["inodes"].items())
        elif "distrusted" in entry:
            state.distrusted.update(int(number) for number in entry["distrusted"])
        elif "packs" in entry:
            part, stage = int(entry["part"]), Stage(entry["stage"])
            state.done.update(PackDone(part, stage, int(pack)) for pack in entry["packs"])
        elif "replay" in entry:
            state.replay = ReplayBegun(str(entry["replay"]["skipped"]), bool(entry["replay"]["standby"]))
        else:
            state.fetched = bool(entry["fetched"])
    except (AttributeError, KeyError, TypeError, ValueError):
        return False
    return True
