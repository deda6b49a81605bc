"""What retention has ended: the marks under ``expired/`` (FORMAT.md, section 14, rules 1 and 7).

A mark is sealed under its backup's key. One that does not open is none: who may only put objects must not be
able to have backups deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from fleet.errors import ObjectExists, ToolError
from repository import layout
from repository.askers import Askers
from repository.attached import put_attached, raise_what_passes, read_attached
from repository.layout import BackupName
from repository.repository import Repository, is_there, tool_version
from repository.seal import FORMAT_NUMBER, ObjectKind
from repository.stores.interface import ObjectInfo


class MarkDocument(BaseModel):
    """``expired/<shard>/<label>/mark``: why retention has ended a backup."""

    model_config = ConfigDict(frozen=True)

    format: int = Field(default=FORMAT_NUMBER, description="Number of the format.")
    reason: str = Field(description="Why retention has ended the backup.")
    marked_by: str = Field(description="Name and version of the tool, and on whose behalf it ran.")


class PruningDocument(BaseModel):
    """``pruning``, ``reducing`` and ``reduced`` beside a mark: their times are all that they tell."""

    model_config = ConfigDict(frozen=True)

    format: int = Field(default=FORMAT_NUMBER, description="Number of the format.")


@dataclass(frozen=True, slots=True)
class Mark:
    """Retention has ended ``backup``. ``marked_at``: UTC, by the store's own clock."""

    backup: BackupName
    reason: str
    marked_by: str
    marked_at: datetime


@dataclass(frozen=True, slots=True)
class NoMark:
    """An object that looks like a mark of ``backup`` and is none, and what is wrong with it."""

    backup: BackupName
    problem: str
    put_at: datetime


@dataclass(frozen=True, slots=True)
class MarksSeen:
    """``marks`` are opened and authentic; ``refused`` count for nothing.

    ``left_behind``: marks of backups whose manifest is gone; they say nothing any more.
    """

    marks: Mapping[BackupName, Mark]
    refused: tuple[NoMark, ...]
    left_behind: tuple[BackupName, ...]


class Marks:
    """The marks of a repository. Thread-safe; nothing is cached."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def all(self, shard: str | None = None) -> Mapping[BackupName, Mark]:
        """The marks that are opened and authentic, by backup. Raises what the store raises."""
        return self.survey(shard).marks

    def survey(self, shard: str | None = None) -> MarksSeen:
        """Every object that looks like a mark. Raises what the store raises."""
        marks: dict[BackupName, Mark] = {}
        refused: list[NoMark] = []
        left_behind: list[BackupName] = []
        listed = self._listed(shard, "mark")
        with Askers("marks") as askers:
            looked_at = askers.answers(lambda backup: self._look_at(backup, listed[backup]), listed)
            for backup, found in zip(listed, looked_at, strict=True):
                if isinstance(found, Mark):
                    marks[backup] = found
                elif isinstance(found, NoMark):
                    refused.append(found)
                elif found is not None:
                    left_behind.append(backup)
        return MarksSeen(marks, tuple(refused), tuple(left_behind))

    def teller(self, shard: str) -> Callable[[BackupName], bool]:
        """Tells of a backup of ``shard`` whether it has a mark: one list now, and reads for what is asked of.

        Raises what the store raises, now and when it is asked.
        """
        listed = self._listed(shard, "mark")
        return lambda backup: backup in listed and self.get(backup) is not None

    def get(self, backup: BackupName) -> Mark | None:
        """Its mark, asked for by name, or None; also for one that does not open."""
        try:
            return self._read(backup, self._repository.store.stat(layout.expired_mark(backup)))
        except ToolError as error:
            raise_what_passes(error)
            return None

    def put(self, backup: BackupName, reason: str, *, by: str = "") -> bool:
        """Mark the backup; false if it has a mark. What is there and is no mark makes way for one.

        Raises ``FormatUnsupported``, ``KeyUnusable``, ``ObjectMissing`` without a manifest, and the store's
        errors.
        """
        # Deleting begins with the mark: who must not delete here must not mark either.
        self._repository.check_may("write")
        self._repository.check_may("delete")
        name = layout.expired_mark(backup)
        marked_by = f"{tool_version()} ({by})" if by else tool_version()
        document = MarkDocument(reason=reason, marked_by=marked_by)
        try:
            put_attached(self._repository, backup, name, ObjectKind.MARK, document)
            return True
        except ObjectExists:
            if self.get(backup) is not None:
                return False
        self._repository.store.delete(name)
        with suppress(ObjectExists):
            put_attached(self._repository, backup, name, ObjectKind.MARK, document)
            return True
        return False

    def take_back(self, backup: BackupName) -> None:
        """Delete the mark, and what says that the backup will go; that there is none is fine.

        Raises ``FormatUnsupported``, the store's errors.
        """
        self._repository.check_may("write")
        self._repository.store.delete(layout.expired_mark(backup))
        # Otherwise nothing could be built on it until prune has looked again.
        self._repository.store.delete(layout.pruning_mark(backup))
        self._repository.store.delete(layout.reducing_mark(backup))

    def pruning(self, shard: str | None = None) -> Mapping[BackupName, datetime]:
        """Since when each backup is about to be deleted, by the store's clock."""
        return {backup: info.modified_at for backup, info in self._listed(shard, "pruning").items()}

    def begin_pruning(self, backup: BackupName) -> datetime:
        """Say that the backup is about to be deleted; returns when that was, by the store's clock.

        An older such object is deleted first: its hour may have begun with an attempt that was given up.
        """
        self._repository.check_may("delete")
        store, name = self._repository.store, layout.pruning_mark(backup)
        store.delete(name)
        return self._put_clear(name)

    def reducing(self) -> Mapping[BackupName, datetime]:
        """Since when it is told of each backup that it will shrink to what others refer to."""
        return {backup: info.modified_at for backup, info in self._listed(None, "reducing").items()}

    def reduced(self, shard: str | None = None) -> Mapping[BackupName, datetime]:
        """Since when each backup is said to lack parts, by the store's clock. It lacks none without a mark
        that opens.
        """
        return {backup: info.modified_at for backup, info in self._listed(shard, "reduced").items()}

    def begin_reducing(self, backup: BackupName) -> datetime:
        """Say that the backup will shrink to what others refer to, or that it was looked at; returns when.

        An older such object is deleted first, as with ``begin_pruning``.
        """
        self._repository.check_may("delete")
        name = layout.reducing_mark(backup)
        self._repository.store.delete(name)
        return self._put_clear(name)

    def set_reduced(self, backup: BackupName) -> bool:
        """Say that parts of the backup may be gone from now on, before the first of them goes; false if that
        is said already. It stays said: nobody who dies meanwhile may leave such a backup without it.
        """
        self._repository.check_may("delete")
        try:
            self._repository.store.put(
                layout.reduced_mark(backup), PruningDocument().model_dump_json().encode()
            )
        except ObjectExists:
            return False
        return True

    def unset_reduced(self, backup: BackupName) -> None:
        """Take that back, by who said it and let go of nothing."""
        self._repository.store.delete(layout.reduced_mark(backup))

    def is_reduced(self, backup: BackupName) -> bool:
        """May parts of the backup be gone? Only beside a mark that opens: who may only put must not be able
        to keep a backup from being restored or verified.
        """
        return self.is_said_reduced(backup) and self.get(backup) is not None

    def is_said_reduced(self, backup: BackupName) -> bool:
        """Does somebody say so, whether there is a mark or not?"""
        return is_there(self._repository.store, layout.reduced_mark(backup))

    def _put_clear(self, name: str) -> datetime:
        # Another run may put the same in this moment: it is as young as ours would be.
        with suppress(ObjectExists):
            self._repository.store.put(name, PruningDocument().model_dump_json().encode())
        return self._repository.store.stat(name).modified_at

    def _listed(self, shard: str | None, which: str) -> dict[BackupName, ObjectInfo]:
        """A list that repeats an object changes nothing here."""
        prefix = layout.EXPIRED if shard is None else f"{layout.EXPIRED}{layout.check_name('shard', shard)}/"
        found: dict[BackupName, ObjectInfo] = {}
        for info in self._repository.store.list(prefix):
            parsed = layout.parse_expired(info.key)
            if parsed and parsed[1] == which:
                found[parsed[0]] = info
        return dict(sorted(found.items()))

    def _look_at(self, backup: BackupName, info: ObjectInfo) -> Mark | NoMark | Literal["left behind"] | None:
        """None: it was taken back meanwhile."""
        try:
            return self._read(backup, info)
        except ToolError as error:
            raise_what_passes(error)
            if not is_there(self._repository.store, layout.manifest(backup)):
                return "left behind"
            if not is_there(self._repository.store, info.key):
                return None
            return NoMark(backup, error.message, info.modified_at)

    def _read(self, backup: BackupName, info: ObjectInfo) -> Mark:
        document = read_attached(self._repository, backup, info.key, ObjectKind.MARK, MarkDocument)
        return Mark(backup, document.reason, document.marked_by, info.modified_at)
