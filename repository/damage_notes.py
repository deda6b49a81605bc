"""What was found to be damaged: the objects under ``findings/`` (FORMAT.md, section 17).

One that cannot be opened counts like the others: at worst it costs a backup that stores every page.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from fleet.errors import ObjectLocked, StoreDenied, ToolError
from repository import layout
from repository.attached import put_attached, raise_what_passes, read_attached
from repository.layout import BackupName
from repository.repository import Repository, is_there, tool_version
from repository.seal import FORMAT_NUMBER, ObjectKind
from repository.stores.interface import ObjectInfo

_READERS = 8
_MOST_TEXT = 500
_BEHALF = re.compile(r" \((.+)\)$")


class FindingDocument(BaseModel):
    """``findings/<shard>/<label>/<object>-<8 hex>``: what is wrong with a pack or an index part."""

    model_config = ConfigDict(frozen=True)

    format: int = Field(default=FORMAT_NUMBER, description="Number of the format.")
    problem: str = Field(description="What is wrong with the object.")
    spared: tuple[tuple[str, str], ...] = Field(
        default=(),
        description="Backups (shard, label) that rest on its backup, and need nothing that is lost.",
    )
    found_by: str = Field(description="Name and version of the tool, and on whose behalf it ran.")


@dataclass(frozen=True, slots=True)
class RecordedFinding:
    """``object``, a pack or index part of ``owner``, was found damaged or missing; ``text`` says how.

    ``found_at``: UTC, by the store's own clock. ``labels``: the backups of the shard that need it, oldest
    first, as far as they were asked for. ``spared`` rest on it and need nothing of what is lost. A finding
    that cannot be opened says so in ``text``, and spares none. ``name``: its own object.
    """

    owner: BackupName
    object: str
    text: str
    found_at: datetime
    name: str
    labels: tuple[str, ...] = ()
    found_by: str = ""
    spared: frozenset[BackupName] = frozenset()
    is_readable: bool = True

    @property
    def shard(self) -> str:
        return self.owner.shard

    @property
    def finder(self) -> str:
        """On whose behalf it was looked at."""
        behalf = _BEHALF.search(self.found_by)
        return behalf[1] if behalf else "verify"

    @property
    def short(self) -> str:
        """In one line, for those whose plans it changes."""
        last = self.object.rpartition("/")[2]
        what = f"pack {last}" if layout.is_pack(self.object) else f"index part {last}"
        return f"{self.finder} found {what} of {self.owner.label} damaged on {self.found_at:%Y-%m-%d}"


class DamageNotes:
    """The findings of a repository as they are stored. Thread-safe; nothing is cached."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def all(self, owner: BackupName | None = None) -> tuple[RecordedFinding, ...]:
        """By object, then by time: of every shard, for a backup may refer to another one's. Without labels.

        Costs one list where nothing is damaged. Raises what the store raises.
        """
        prefix = layout.FINDINGS if owner is None else layout.findings(owner)
        listed = {info.key: info for info in self._repository.store.list(prefix)}
        names = {key: parsed for key in sorted(listed) if (parsed := layout.parse_finding(key))}
        if not names:
            return ()
        with ThreadPoolExecutor(_READERS, thread_name_prefix="findings") as readers:
            found = readers.map(self._look_at, names.values(), [listed[key] for key in names])
            kept = [each for each in found if each is not None]
        return tuple(sorted(kept, key=lambda each: (each.object, each.found_at, each.name)))

    def put(
        self,
        key: str,
        problem: str,
        spared: Iterable[BackupName] = (),
        *,
        before: Iterable[RecordedFinding] = (),
        by: str = "",
    ) -> bool:
        """Say that the object ``key`` is damaged; false if that is said already, word for word.

        What was said ``before`` of it goes once the new finding is there, where this account may delete.
        Raises ``FormatUnsupported``, ``KeyUnusable``, ``ObjectMissing`` without a manifest, and the store's
        errors.
        """
        self._repository.check_may("write")
        owner = layout.parse_data(key)
        assert owner is not None, key
        found_by = f"{tool_version()} ({by})" if by else tool_version()
        document = FindingDocument(
            problem=problem[:_MOST_TEXT],
            spared=tuple((each.shard, each.label) for each in sorted(set(spared))),
            found_by=found_by,
        )
        older = [each for each in before if each.object == key]
        same = [each for each in older if _says(each, document)]
        if not same:
            name = layout.finding(key, secrets.token_hex(4))
            put_attached(self._repository, owner, name, ObjectKind.FINDING, document)
        for each in older:
            if each not in same[:1]:
                # It says too much at worst, and goes with the next verification that may delete.
                with suppress(StoreDenied, ObjectLocked):
                    self.take_away(each)
        return not same

    def take_away(self, finding: RecordedFinding) -> None:
        """Raises what the store raises; that it is gone already is fine."""
        self._repository.check_may("write")
        self._repository.store.delete(finding.name)

    def _look_at(self, named: tuple[BackupName, str], info: ObjectInfo) -> RecordedFinding | None:
        """None if it was taken away meanwhile, or its backup is gone."""
        owner, key = named
        try:
            read = read_attached(self._repository, owner, info.key, ObjectKind.FINDING, FindingDocument)
        except ToolError as error:
            raise_what_passes(error)
            store = self._repository.store
            if not is_there(store, layout.manifest(owner)) or not is_there(store, info.key):
                return None
            text = f"the finding cannot be opened: {error.message}"
            return RecordedFinding(owner, key, text, info.modified_at, info.key, is_readable=False)
        spared = frozenset(BackupName(*each) for each in read.spared)
        return RecordedFinding(
            owner, key, read.problem, info.modified_at, info.key, found_by=read.found_by, spared=spared
        )


def _says(finding: RecordedFinding, document: FindingDocument) -> bool:
    spared = frozenset(BackupName(*each) for each in document.spared)
    return finding.is_readable and (finding.text, finding.spared) == (document.problem, spared)
