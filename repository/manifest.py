"""The manifest, which makes a backup exist, and the proof of a restore (FORMAT.md, sections 8 and 9).

Pure: sealing and storing is done elsewhere. Fields that this version does not know are ignored when read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from fleet.errors import FormatUnsupported
from fleet.gtid import GtidSet
from repository import layout
from repository.layout import BackupName
from repository.seal import FORMAT_NUMBER, damaged

INCREMENTAL = "incremental"
REFERRING = "referring"

READ_FEATURES: frozenset[str] = frozenset({INCREMENTAL, REFERRING})
WRITE_FEATURES: frozenset[str] = frozenset()
DELETE_FEATURES: frozenset[str] = frozenset()
"""What this version can do beyond format 1; see ``Needs``."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f\\]")
_LONGEST_PATH = 4096
_NEWER_HINT = "Use a version of this tool that knows it."


# The same names stand in every backup of a shard.
@lru_cache(maxsize=65_536)
def check_path(name: str) -> str:
    """``name``, if it stays inside of any directory it is joined to. Raises ``ValueError``."""
    parts = name.split("/")
    if not name or len(name.encode()) > _LONGEST_PATH or _CONTROL.search(name):
        raise ValueError(f"{name[:200]!r} is not a file name")
    if any(part in {"", ".", ".."} for part in parts):
        raise ValueError(f"{name[:200]!r} could lead out of the data directory")
    if name == "auto.cnf":
        raise ValueError("auto.cnf holds the donor's own uuid and must not be restored")
    return name


def _check_gtid_set(text: str) -> str:
    GtidSet.parse(text)
    return text


def _check_label(text: str) -> str:
    if layout.parse_label(text) is None:
        raise ValueError(f"{text[:80]!r} is not the label of a backup")
    return text


def _check_shard(text: str) -> str:
    if not layout.is_name(text):
        raise ValueError(f"{text[:80]!r} is not the name of a shard")
    return text


def _in_utc(at: datetime) -> datetime:
    return at.astimezone(UTC)


RelativePath = Annotated[str, AfterValidator(check_path)]
Label = Annotated[str, AfterValidator(_check_label)]
GtidText = Annotated[str, AfterValidator(_check_gtid_set)]
UtcTime = Annotated[AwareDatetime, AfterValidator(_in_utc)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class Needs(_Part):
    """Features beyond the format number that a tool must know before it does the named thing."""

    read: tuple[str, ...] = Field(default=(), description="Features needed to read.")
    write: tuple[str, ...] = Field(default=(), description="Features needed to add a backup.")
    delete: tuple[str, ...] = Field(default=(), description="Features needed to delete anything.")


class FileEntry(_Part):
    """One file of the data directory."""

    number: int = Field(ge=0, lt=2**32, description="The number by which index records call the file.")
    name: RelativePath = Field(description="Path below the data directory, with '/'.")
    size: int = Field(ge=0, description="Size in bytes; bytes that no record covers are zeros.")
    space_id: int | None = Field(default=None, ge=0, description="Tablespace id; null if not a tablespace.")
    ordinal: int = Field(default=0, ge=0, description="Position among the files of its tablespace, from 0.")
    page_size: int | None = Field(default=None, ge=1, description="Physical page size in bytes.")


class Donor(_Part):
    """The server that was copied."""

    server_uuid: str = Field(description="Its server_uuid.")
    server_name: str = Field(description="Its name in the fleet's configuration.")
    host: str = Field(description="Host it was reached at.")
    port: int = Field(ge=0, lt=65536, description="Port it was reached at.")
    version: str = Field(description="Its version, as the server says it.")
    compile_machine: str = Field(description="Its version_compile_machine, such as x86_64.")
    compile_os: str = Field(description="Its version_compile_os, such as Linux.")
    started_at: UtcTime | None = Field(default=None, description="When its mysqld was started, by its clock.")


class Settings(_Part):
    """What the restoring server must have in common with the donor."""

    innodb_page_size: int = Field(description="innodb_page_size in bytes.")
    lower_case_table_names: int = Field(ge=0, le=2, description="lower_case_table_names.")
    innodb_data_file_path: str = Field(description="innodb_data_file_path.")
    character_set_server: str = Field(description="character_set_server.")
    collation_server: str = Field(description="collation_server.")
    encrypted: bool = Field(default=False, description="Does the data need a keyring to be opened?")
    plugins: tuple[str, ...] = Field(default=(), description="Plugins that were active on the donor.")
    collations: tuple[str, ...] = Field(default=(), description="Collations that the donor's data uses.")
    variables: dict[str, str] = Field(default={}, description="Other variables that the donor named.")


class Lsn(_Part):
    """Log sequence numbers of the copy, in InnoDB's own count of bytes."""

    start: int = Field(ge=0, description="LSN at which the copied redo begins.")
    checkpoint: int = Field(ge=0, description="LSN of the checkpoint from which recovery starts.")
    end: int = Field(ge=0, description="LSN of the snapshot: recovery ends here.")
    log_uuid: int | None = Field(default=None, ge=0, description="The donor's redo log: its own id.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.start <= self.checkpoint <= self.end:
            raise ValueError(f"LSNs out of order: {self.start}, {self.checkpoint}, {self.end}")
        return self


class GtidBracket(_Part):
    """The backup holds every transaction of ``low``, and none outside of ``high``."""

    low: GtidText = Field(description="gtid_executed at the latest moment known to be before the snapshot.")
    high: GtidText = Field(description="gtid_executed at the first moment known to be after the snapshot.")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not GtidSet.parse(self.low) <= GtidSet.parse(self.high):
            raise ValueError("the GTID set before the snapshot is not part of the one after it")
        return self


class BinlogBracket(_Part):
    """Where the donor's own binary log stood before and after the snapshot. Empty names: it writes none."""

    low_file: str = Field(description="Binlog file before the snapshot.")
    low_position: int = Field(ge=0, description="Position in that file, in bytes.")
    high_file: str = Field(description="Binlog file after the snapshot.")
    high_position: int = Field(ge=0, description="Position in that file, in bytes.")


class Timings(_Part):
    """When it was made and where the time went."""

    started_at: UtcTime = Field(description="When the label was claimed.")
    finished_at: UtcTime = Field(description="When all data was stored, just before the manifest.")
    seconds: dict[str, float] = Field(default={}, description="Wall seconds by stage.")
    cpu_seconds: dict[str, float] = Field(default={}, description="CPU seconds by stage.")


class Sizes(_Part):
    """Sizes in bytes, and counts."""

    files_bytes: int = Field(ge=0, description="Sum of the sizes of all files.")
    received_bytes: int = Field(ge=0, description="Data that arrived from the donor.")
    stored_bytes: int = Field(ge=0, description="All packs and index parts, as stored.")
    packs: int = Field(ge=0, description="Number of packs.")
    records: int = Field(ge=0, description="Number of index records.")
    unchanged_bytes: int = Field(default=0, ge=0, description="Data that arrived and was the base's.")
    skipped_bytes: int = Field(default=0, ge=0, description="Data that the donor was asked not to send.")
    referred_bytes: int = Field(default=0, ge=0, description="Data that lies in packs of other backups.")


class IndexPartRef(_Part):
    """A stored index part of this backup."""

    number: int = Field(ge=0, description="Number of the object.")
    size: int = Field(ge=0, description="Size of the stored object in bytes.")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the stored object, in hex.")
    packs: int = Field(ge=0, description="How many packs the part names.")
    records: int = Field(ge=0, description="How many records the part has.")


class Reference(_Part):
    """Another backup in the same repository whose packs the index names."""

    shard: Annotated[str, AfterValidator(_check_shard)] = Field(description="Its shard.")
    label: Label = Field(description="Its label.")


class Base(_Part):
    """The backup that an incremental continues; of the same shard."""

    label: Label = Field(description="Its label.")
    checkpoint_lsn: int = Field(ge=0, description="Its lsn.checkpoint: pages changed from there on are held.")


class DamagedPage(_Part):
    """A page that had a wrong checksum at the donor."""

    file: RelativePath = Field(description="The tablespace file.")
    page: int = Field(ge=0, description="The page's number in that file.")


class BackupFacts(_Part):
    """What only the one who took the backup knows; the writer adds the rest."""

    files: tuple[FileEntry, ...] = Field(description="The data directory's files after the restore.")
    directories: tuple[RelativePath, ...] = Field(default=(), description="Its directories, empty ones too.")
    donor: Donor = Field(description="The server that was copied.")
    settings: Settings = Field(description="What the restoring server must have in common with it.")
    lsn: Lsn = Field(description="Log sequence numbers of the copy.")
    gtid: GtidBracket = Field(description="GTID sets around the snapshot.")
    binlog: BinlogBracket = Field(description="Binlog positions around the snapshot.")
    refers_to: tuple[Reference, ...] = Field(default=(), description="Backups whose packs are needed too.")
    base: Base | None = Field(default=None, description="What an incremental continues; null otherwise.")
    built_on: Label | None = Field(default=None, description="Label of the backup that a full refers to.")
    consolidates: Label | None = Field(default=None, description="Label of the chain's end it was made of.")
    damaged_pages: tuple[DamagedPage, ...] = Field(
        default=(), description="The first 1,000 pages that were damaged on the donor."
    )

    @model_validator(mode="after")
    def _is_one_tree(self) -> Self:
        names = [*(entry.name for entry in self.files), *self.directories]
        _check_unique("number", [entry.number for entry in self.files])
        _check_unique("name", names)
        # Thousands of files lie in a few folders.
        nearest = {name.rpartition("/")[0] for name in names} - {""}
        folders = {folder for each in nearest for folder in (each, *_parents(each))}
        if both := folders & {entry.name for entry in self.files}:
            raise ValueError(f"{min(both)!r} is a file and a directory")
        return self


class Manifest(BackupFacts):
    """A backup."""

    format: int = Field(default=FORMAT_NUMBER, description="Number of the format.")
    needs: Needs = Field(default=Needs(), description="Features that a tool must know.")
    repository_id: str = Field(description="The repository it belongs to.")
    shard: str = Field(description="The shard that was backed up.")
    label: str = Field(description="UTC time and kind; unique in the shard.")
    kind: str = Field(description="'full' or 'incremental'.")
    created_by: str = Field(description="Name and version of the tool.")
    index: tuple[IndexPartRef, ...] = Field(description="The index parts, by number.")
    timings: Timings = Field(description="When it was made and where the time went.")
    sizes: Sizes = Field(description="Sizes and counts.")

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Self:
        if self.kind not in layout.KINDS:
            raise ValueError(f"{self.kind[:80]!r} is no kind of backup")
        if (self.kind == INCREMENTAL) != (self.base is not None):
            raise ValueError("an incremental has a base, and a full has none")
        if self.kind == INCREMENTAL and (self.built_on or self.consolidates):
            raise ValueError("an incremental is built on its base alone")
        return self

    @property
    def backup(self) -> BackupName:
        return BackupName(self.shard, self.label)

    def foundations(self) -> list[BackupName]:
        """The backups without which this one cannot be restored; what they need in turn is not among them."""
        base = [BackupName(self.shard, self.base.label)] if self.base else []
        return base + [BackupName(each.shard, each.label) for each in self.refers_to]


class SharedEntries:
    """Keeps each file entry once: most are the same in all backups, and ten thousand take ten megabytes."""

    def __init__(self) -> None:
        self._known: dict[FileEntry, FileEntry] = {}

    def share(self, manifest: Manifest) -> Manifest:
        """``manifest`` with the entries that were met before."""
        files = tuple(self._known.setdefault(entry, entry) for entry in manifest.files)
        return manifest.model_copy(update={"files": files})


class ProofCheck(_Part):
    """One thing that was checked on the restored server."""

    name: str = Field(description="What was checked.")
    passed: bool = Field(description="Was it as it should be?")
    detail: str = Field(default="", description="What was found.")


class Proof(_Part):
    """What a proving restore saw."""

    format: int = Field(default=FORMAT_NUMBER, description="Number of the format.")
    needs: Needs = Field(default=Needs(), description="Features that a tool must know.")
    repository_id: str = Field(description="The repository it belongs to.")
    shard: str = Field(description="Shard of the backup that was restored.")
    label: str = Field(description="Label of the backup that was restored.")
    purpose: str = Field(
        default="restore", description="`restore`, or `proof`: made to see whether it can be done."
    )
    proven: bool = Field(description="Did the server start, recover and hold what the manifest promises?")
    gtid_executed: GtidText = Field(
        description="The exact GTID set of the restored server; empty if it never came to that."
    )
    server_version: str = Field(description="Version of the server that started it; empty if none did.")
    checks: tuple[ProofCheck, ...] = Field(default=(), description="What was checked, with the results.")
    seconds: dict[str, float] = Field(default={}, description="Wall seconds by stage.")
    reached_at: UtcTime | None = Field(
        default=None, description="Commit time of the last transaction that was replayed on it."
    )
    rto_seconds: float | None = Field(default=None, description="Wall seconds from its start to proven.")
    rpo_seconds: float | None = Field(
        default=None, description="How old the oldest write may be that the source had then, and it lacks."
    )
    rpo_transactions: int | None = Field(
        default=None, description="What the source had executed at its start, and it lacks."
    )
    finished_at: UtcTime = Field(description="When the last check ended.")
    created_by: str = Field(description="Name and version of the tool.")


Document = TypeVar("Document", bound=BaseModel)


class _Said(BaseModel):
    """What decides whether the rest may be read; any other field is passed over."""

    format: Any = Field(default=None, description="Number of the format.")
    needs: Any = Field(default=None, description="Features that a tool must know.")


def parse_document(model: type[Document], name: str, text: bytes) -> Document:
    """The document ``text`` of the object ``name``.

    Raises ``FormatUnsupported`` for a newer format or an unknown need, ``ObjectDamaged`` if it is malformed.
    """
    try:
        said = _Said.model_validate_json(text)
    except ValidationError as error:
        is_json = error.errors(include_url=False, include_context=False)[0]["type"] != "json_invalid"
        raise damaged(name, "it is not a JSON object" if is_json else "it is not JSON") from error
    check_readable(name, {"format": said.format, "needs": said.needs})
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))
        raise damaged(name, f"{field or 'document'}: {first['msg']}") from error


def check_readable(name: str, raw: dict[str, Any]) -> None:
    """Raise ``FormatUnsupported`` if this version must not read the document ``raw``."""
    number = raw.get("format")
    if number != FORMAT_NUMBER:
        raise FormatUnsupported(
            f"{name} has format {number}, and this version reads {FORMAT_NUMBER}", hint=_NEWER_HINT
        )
    needs = raw.get("needs")
    if isinstance(needs, dict):
        check_needs(name, "read", needs.get("read") or [], READ_FEATURES)


def check_needs(name: str, deed: str, needs: Sequence[Any], known: frozenset[str]) -> None:
    """Raise ``FormatUnsupported`` if ``needs`` has a feature that is not ``known``."""
    if missing := sorted(str(need) for need in needs if need not in known):
        raise FormatUnsupported(
            f"to {deed} under {name}, a tool must know {', '.join(missing)}; this version does not",
            hint=_NEWER_HINT,
        )


def _check_unique(what: str, values: list[Any]) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise ValueError(f"the {what} {twice[0]!r} occurs twice")


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]
