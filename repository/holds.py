"""What keeps a backup until a date, whatever retention says (FORMAT.md, section 14, rule 3)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from fleet.errors import ToolError
from repository import layout
from repository.attached import put_attached, raise_what_passes, read_attached
from repository.layout import BackupName
from repository.manifest import UtcTime
from repository.repository import Repository, is_there
from repository.seal import FORMAT_NUMBER, ObjectKind


class HoldDocument(BaseModel):
    """``holds/<shard>/<label>/<8 hex>``."""

    model_config = ConfigDict(frozen=True)

    format: int = Field(default=FORMAT_NUMBER, description="Number of the format.")
    reason: str = Field(description="Why the backup is held.")
    until: UtcTime = Field(description="In force before this moment.")
    placed_at: UtcTime = Field(description="When it was placed, by the clock of who did.")
    placed_by: str = Field(description="Who placed it.")


@dataclass(frozen=True, slots=True)
class Hold:
    """``backup`` is kept until ``until`` (UTC).

    A hold that cannot be read has no date and no reason, but ``unreadable``: it is in force until released.
    """

    backup: BackupName
    token: str
    reason: str = ""
    until: datetime | None = None
    placed_at: datetime | None = None
    placed_by: str = ""
    unreadable: str | None = None

    def is_in_force(self, now: datetime) -> bool:
        return self.until is None or now < self.until


class Holds:
    """The holds of a repository. Thread-safe; nothing is cached."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def in_force(self, now: datetime, shard: str | None = None) -> tuple[Hold, ...]:
        """By backup, then by end; those that cannot be read too. Raises what the store raises."""
        return tuple(each for each in self.all(shard) if each.is_in_force(now))

    def all(self, shard: str | None = None) -> tuple[Hold, ...]:
        """Ended ones, too."""
        prefix = layout.HOLDS if shard is None else f"{layout.HOLDS}{layout.check_name('shard', shard)}/"
        listed = {layout.parse_hold(info.key) for info in self._repository.store.list(prefix)}
        found = (self._look_at(*name) for name in sorted(filter(None, listed)))
        return tuple(each for each in found if each is not None)

    def place(self, backup: BackupName, reason: str, until: datetime, *, now: datetime, by: str) -> Hold:
        """Keep ``backup`` until ``until``. Raises ``FormatUnsupported``, ``KeyUnusable``, ``ObjectMissing``
        without a manifest, and what the store raises.
        """
        self._repository.check_may("write")
        token = secrets.token_hex(4)
        document = HoldDocument(reason=reason, until=until, placed_at=now, placed_by=by)
        put_attached(self._repository, backup, layout.hold(backup, token), ObjectKind.HOLD, document)
        return Hold(backup, token, reason, document.until, document.placed_at, by)

    def release(self, backup: BackupName) -> tuple[Hold, ...]:
        """End every hold of ``backup``; returns those that there were. Raises as ``place``."""
        self._repository.check_may("write")
        prefix = layout.holds(backup)
        listed = {layout.parse_hold(info.key) for info in self._repository.store.list(prefix)}
        found = [self._look_at(*name) for name in sorted(filter(None, listed))]
        ended = tuple(each for each in found if each is not None)
        for each in ended:
            self._repository.store.delete(layout.hold(backup, each.token))
        return ended

    def _look_at(self, backup: BackupName, token: str) -> Hold | None:
        """None if it was released meanwhile."""
        name = layout.hold(backup, token)
        try:
            read = read_attached(self._repository, backup, name, ObjectKind.HOLD, HoldDocument)
        except ToolError as error:
            raise_what_passes(error)
            return Hold(backup, token, unreadable=error.message) if self._is_there(name) else None
        return Hold(backup, token, read.reason, read.until, read.placed_at, read.placed_by)

    def _is_there(self, name: str) -> bool:
        return is_there(self._repository.store, name)
