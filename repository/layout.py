"""Every object name of a repository is built and parsed here, and nowhere else (FORMAT.md, section 2)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import NamedTuple

from fleet.errors import UsageError

DESCRIPTION = "backstay.json"
RESCUE_GUIDE = "RESCUE.md"
RESCUE_PROGRAM = "rescue.py"
KEYRING = "keyring/"
KEYS = "keys/"
DATA = "data/"
MANIFESTS = "manifests/"
PROOFS = "proofs/"
HOLDS = "holds/"
EXPIRED = "expired/"
FINDINGS = "findings/"
LEASES = "leases/"
TURNS = "turns/"
TRIALS = "trials/"
ARCHIVE = "archive/"

MAX_PACKS = 10**8
MAX_INDEX_PARTS = 10**6
MAX_EPOCHS = 10**6
MAX_RENEWALS = 10**6
MAX_TURNS = 10**8
MAX_REDUCTIONS = 100
MAX_POSITION = 10**12
"""A position in a binlog file has 12 digits."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
# A shard, or a region and the number of a place in it.
_TURN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,69}")
_TIME_FORMAT = "%Y%m%dT%H%M%SZ"
_TIME = r"[0-9]{8}T[0-9]{6}Z"
_LABEL = re.compile(rf"({_TIME})-([a-z]+)")
KINDS = ("full", "incremental")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_BINLOG = re.compile(r"[A-Za-z0-9._-]{1,190}")
_SEGMENT = re.compile(
    rf"{ARCHIVE}({_NAME.pattern})/([0-9]{{6}})/binlogs/({_UUID.pattern})/"
    rf"({_BINLOG.pattern})\.([0-9a-f]{{8}})/([0-9]{{12}})-([0-9]{{12}})"
)
_EXPIRED = {"mark", "pruning", "reducing", "reduced"}
_LEASE = re.compile(rf"{LEASES}({_NAME.pattern})/([0-9a-f]{{16}})/([0-9]{{6}})")
_TURN = re.compile(rf"{TURNS}({_NAME.pattern})/({_TURN_NAME.pattern})/([0-9]{{8}})")
_PACK = re.compile(r"p[0-9]{8}")
_PART = re.compile(r"i[0-9]{6}")
_FINDING = re.compile(r"(p[0-9]{8}|i[0-9]{6})-[0-9a-f]{8}")
_REMAINDER = re.compile(r"r([0-9]{8})-([0-9]{2})")
_ARCHIVE_KEY = re.compile(rf"{ARCHIVE}({_NAME.pattern})/([0-9]{{6}})/keys/({_NAME.pattern})\.json")
_NOTE = re.compile(rf"{ARCHIVE}{_NAME.pattern}/[0-9]{{6}}/notes/({_TIME})-[0-9a-f]{{8}}")


class BackupName(NamedTuple):
    """What a backup is called: unique in its repository."""

    shard: str
    label: str

    def __str__(self) -> str:
        return f"{self.shard}/{self.label}"


class Label(NamedTuple):
    """A label taken apart. ``at`` is UTC, in whole seconds."""

    at: datetime
    kind: str


class BinlogFile(NamedTuple):
    """One binlog file of one server in one epoch. ``created``: of its format description, Unix seconds."""

    epoch: int
    server_uuid: str
    file: str
    created: int

    def __str__(self) -> str:
        return f"{self.server_uuid}/{self.file}"


class SegmentName(NamedTuple):
    """The bytes ``[start, end)`` of a binlog file."""

    epoch: int
    server_uuid: str
    file: str
    created: int
    start: int
    end: int

    @property
    def binlog(self) -> BinlogFile:
        return BinlogFile(*self[:4])

    @classmethod
    def of(cls, file: BinlogFile, start: int, end: int) -> SegmentName:
        return cls(*file, start, end)


def is_name(text: str) -> bool:
    """Can it be part of an object name?"""
    return bool(_NAME.fullmatch(text))


def check_name(what: str, name: str) -> str:
    """``name``, if it can be part of an object name; ``what`` says whose it is. Raises ``UsageError``."""
    if not is_name(name):
        raise UsageError(
            f"{what} {name[:80]!r} cannot be part of an object name",
            hint="Use 1 to 63 letters, digits, dots, underscores or hyphens, a letter or digit first.",
        )
    return name


def format_time(at: datetime) -> str:
    """``20260301T021500Z``; parts of a second are cut off."""
    return at.astimezone(UTC).strftime(_TIME_FORMAT)


def parse_time(text: str) -> datetime | None:
    """The time that ``format_time`` wrote, or None."""
    if not re.fullmatch(_TIME, text):
        return None
    try:
        return datetime.strptime(text, _TIME_FORMAT).replace(tzinfo=UTC)
    except ValueError:
        return None


def format_label(at: datetime, kind: str) -> str:
    """The label of a backup of ``kind`` (``full``, ``incremental``) that began at ``at``."""
    if kind not in KINDS:
        raise ValueError(f"no such kind of backup: {kind!r}")
    return f"{format_time(at)}-{kind}"


def parse_label(label: str) -> Label | None:
    """The time and kind in a label, or None if it is none."""
    found = _LABEL.fullmatch(label)
    at = parse_time(found[1]) if found else None
    return Label(at, found[2]) if found and at else None


def keyring_entry(key_id: str) -> str:
    return f"{KEYRING}{check_name('key', key_id)}.json"


def retiring_mark(key_id: str) -> str:
    """The object that says that a key is being retired."""
    return f"{KEYRING}{check_name('key', key_id)}.retiring"


def wrapped_key(backup: BackupName, key_id: str) -> str:
    return f"{wrapped_keys(backup)}{check_name('key', key_id)}.json"


def wrapped_keys(backup: BackupName) -> str:
    """The prefix of all wrapped keys of a backup."""
    return f"{KEYS}{_path(backup)}/"


def pack(backup: BackupName, number: int) -> str:
    _check_number("packs", number, MAX_PACKS)
    return f"{DATA}{_path(backup)}/p{number:08d}"


def remainder(backup: BackupName, number: int, reduction: int) -> str:
    """What is left of pack ``number`` after it was reduced ``reduction`` times and once more."""
    _check_number("reductions", reduction, MAX_REDUCTIONS)
    return f"{remainders(backup, number)}{reduction:02d}"


def remainders(backup: BackupName, number: int) -> str:
    """The prefix of all remainders of a pack."""
    _check_number("packs", number, MAX_PACKS)
    return f"{DATA}{_path(backup)}/r{number:08d}-"


def index_part(backup: BackupName, number: int) -> str:
    _check_number("index parts", number, MAX_INDEX_PARTS)
    return f"{DATA}{_path(backup)}/i{number:06d}"


def packs_and_parts(backup: BackupName) -> str:
    """The prefix of all packs and index parts of a backup."""
    return f"{DATA}{_path(backup)}/"


def is_pack(key: str) -> bool:
    """Is this, of the objects below ``packs_and_parts``, a pack?"""
    return bool(_PACK.fullmatch(key.rpartition("/")[2]))


def parse_pack(key: str) -> int | None:
    """Of an object below ``packs_and_parts``: its number, if it is a pack."""
    last = key.rpartition("/")[2]
    return int(last[1:]) if _PACK.fullmatch(last) else None


def parse_remainder(key: str) -> tuple[int, int] | None:
    """Of an object below ``packs_and_parts``: pack and number of the reduction, if it is a remainder."""
    found = _REMAINDER.fullmatch(key.rpartition("/")[2])
    return (int(found[1]), int(found[2])) if found else None


def manifest(backup: BackupName) -> str:
    return f"{MANIFESTS}{_path(backup)}"


def manifests(shard: str | None = None) -> str:
    """The prefix of all manifests, or of those of one shard."""
    return MANIFESTS if shard is None else f"{MANIFESTS}{check_name('shard', shard)}/"


def proof(backup: BackupName, at: datetime) -> str:
    return f"{proofs(backup)}{format_time(at)}"


def proofs(backup: BackupName) -> str:
    """The prefix of all proofs of a backup."""
    return f"{PROOFS}{_path(backup)}/"


def hold(backup: BackupName, token: str) -> str:
    """``token``: 8 hex digits, so that a backup can have several."""
    return f"{holds(backup)}{check_name('hold', token)}"


def holds(backup: BackupName) -> str:
    """The prefix of all holds of a backup."""
    return f"{HOLDS}{_path(backup)}/"


def expired_mark(backup: BackupName) -> str:
    """The object that says that retention has ended the backup."""
    return f"{EXPIRED}{_path(backup)}/mark"


def pruning_mark(backup: BackupName) -> str:
    """The object whose time says since when the backup is about to be deleted."""
    return f"{EXPIRED}{_path(backup)}/pruning"


def reducing_mark(backup: BackupName) -> str:
    """The object whose time says since when it is told that the backup will shrink."""
    return f"{EXPIRED}{_path(backup)}/reducing"


def reduced_mark(backup: BackupName) -> str:
    """The object that says that parts of the backup may be gone; its time: when it was last looked at."""
    return f"{EXPIRED}{_path(backup)}/reduced"


def finding(key: str, token: str) -> str:
    """The object that says that ``key``, a pack or an index part, is damaged; ``token``: 8 hex digits."""
    return f"{FINDINGS}{key.removeprefix(DATA)}-{check_name('finding', token)}"


def findings(backup: BackupName) -> str:
    """The prefix of all findings on objects of a backup."""
    return f"{FINDINGS}{_path(backup)}/"


def lease(shard: str, token: str, number: int) -> str:
    """``token``: 16 hex digits, the lease; ``number`` counts how often it was renewed."""
    _check_number("renewals", number, MAX_RENEWALS)
    return f"{leases(shard)}{check_name('lease', token)}/{number:06d}"


def leases(shard: str | None = None) -> str:
    """The prefix of all leases, or of those of one shard."""
    return LEASES if shard is None else f"{LEASES}{check_name('shard', shard)}/"


def turn(scope: str, name: str, number: int) -> str:
    """One object of a turn; ``number`` counts on from one holder to the next."""
    _check_number("turn", number, MAX_TURNS)
    return f"{turns(scope, name)}{number:08d}"


def turns(scope: str | None = None, name: str | None = None) -> str:
    """Prefix of all turns, of those of one scope, or of one turn."""
    if scope is None:
        return TURNS
    check_name("scope", scope)
    if name is None:
        return f"{TURNS}{scope}/"
    if not _TURN_NAME.fullmatch(name):
        raise UsageError(f"not a name of a turn: {name!r}")
    return f"{TURNS}{scope}/{name}/"


def trial(token: str) -> str:
    """An object that tries the store and is deleted at once."""
    return f"{TRIALS}{check_name('trial', token)}"


def parse_manifest(key: str) -> BackupName | None:
    """Whose manifest this object is, or None if its name is not that of a manifest."""
    parts = key.removeprefix(MANIFESTS).split("/")
    if not key.startswith(MANIFESTS) or len(parts) != 2:
        return None
    known = _NAME.fullmatch(parts[0]) and parse_label(parts[1])
    return BackupName(parts[0], parts[1]) if known else None


def parse_proof(key: str) -> tuple[BackupName, datetime] | None:
    """Whose proof this object is and of when, or None if its name is not that of a proof."""
    name, _, time = key.removeprefix(PROOFS).rpartition("/")
    backup = parse_manifest(MANIFESTS + name) if key.startswith(PROOFS) else None
    at = parse_time(time)
    return (backup, at) if backup and at else None


def parse_hold(key: str) -> tuple[BackupName, str] | None:
    """Whose hold this object is, and its token; None if its name is not that of a hold."""
    return _below_backup(HOLDS, key)


def parse_expired(key: str) -> tuple[BackupName, str] | None:
    """Whose object under ``expired/`` this is, and which; None if its name is not that of one."""
    found = _below_backup(EXPIRED, key)
    return found if found and found[1] in _EXPIRED else None


def parse_finding(key: str) -> tuple[BackupName, str] | None:
    """Of a finding: whose object is damaged, and its name; None if this is the name of no finding."""
    folder, _, last = key.removeprefix(FINDINGS).rpartition("/")
    backup = parse_manifest(MANIFESTS + folder) if key.startswith(FINDINGS) else None
    found = _FINDING.fullmatch(last)
    return (backup, f"{packs_and_parts(backup)}{found[1]}") if backup and found else None


def parse_data(key: str) -> BackupName | None:
    """Whose pack or index part this is; None if it is neither."""
    folder, _, last = key.removeprefix(DATA).rpartition("/")
    backup = parse_manifest(MANIFESTS + folder) if key.startswith(DATA) else None
    return backup if backup and (_PACK.fullmatch(last) or _PART.fullmatch(last)) else None


def parse_lease(key: str) -> tuple[str, str, int] | None:
    """Shard, token and number of renewals of a lease, or None if its name is not that of one."""
    found = _LEASE.fullmatch(key)
    return (found[1], found[2], int(found[3])) if found else None


def parse_turn(key: str) -> tuple[str, str, int] | None:
    """Scope, name and number of an object of a turn; ``None`` if it is none."""
    match = _TURN.fullmatch(key)
    return (match[1], match[2], int(match[3])) if match else None


def parse_key_id(key: str) -> str | None:
    """The key id in the name of a wrapped key or of a keyring entry, or None."""
    key_id = key.rpartition("/")[2].removesuffix(".json")
    known = key.startswith((KEYS, KEYRING, ARCHIVE)) and key.endswith(".json") and _NAME.fullmatch(key_id)
    return key_id if known else None


def parse_wrapped_key(key: str) -> tuple[BackupName, str] | None:
    """Whose wrapped key this object is, and the id of the key that wraps it; None if it is none."""
    folder, key_id = key.removeprefix(KEYS).rpartition("/")[0], parse_key_id(key)
    backup = parse_manifest(MANIFESTS + folder) if key.startswith(KEYS) else None
    return (backup, key_id) if backup and key_id else None


def parse_archive_key(key: str) -> tuple[str, int, str] | None:
    """Shard and number of the epoch whose wrapped key this object is, and the key's id; or None."""
    found = _ARCHIVE_KEY.fullmatch(key)
    return (found[1], int(found[2]), found[3]) if found and int(found[2]) else None


def epoch(shard: str, number: int) -> str:
    """The prefix of everything of one epoch of a shard's archive."""
    if not 1 <= number < MAX_EPOCHS:
        raise UsageError(f"an archive has epochs 1 to {MAX_EPOCHS - 1}, and this would be number {number}")
    return f"{ARCHIVE}{check_name('shard', shard)}/{number:06d}/"


def epoch_label(shard: str, number: int) -> BackupName:
    """What stands for the epoch where a backup's name is bound to its key."""
    return BackupName(shard, f"archive-{number:06d}")


def archive_key(shard: str, number: int, key_id: str) -> str:
    return f"{archive_keys(shard, number)}{check_name('key', key_id)}.json"


def archive_keys(shard: str, number: int) -> str:
    """The prefix of all wrapped keys of an epoch."""
    return f"{epoch(shard, number)}keys/"


def epoch_opened(shard: str, number: int) -> str:
    return f"{epoch(shard, number)}opened"


def archive_note(shard: str, number: int, at: datetime, token: str) -> str:
    """``token``: 8 hex digits, so that notes of one second differ."""
    return f"{archive_notes(shard, number)}{format_time(at)}-{token}"


def archive_notes(shard: str, number: int) -> str:
    return f"{epoch(shard, number)}notes/"


def life(shard: str, number: int, server_uuid: str) -> str:
    return f"{epoch(shard, number)}lives/{_checked_uuid(server_uuid)}"


def binlogs(shard: str, number: int) -> str:
    """The prefix of all segments of an epoch."""
    return f"{epoch(shard, number)}binlogs/"


def binlog(shard: str, file: BinlogFile) -> str:
    """The prefix of all segments of a binlog file. Raises ``UsageError`` for a name that cannot be stored."""
    if not _BINLOG.fullmatch(file.file):
        raise UsageError(
            f"binlog file {file.file[:80]!r} cannot be part of an object name",
            hint="Name the server's binlogs with letters, digits, dots, underscores and hyphens (log_bin).",
        )
    folder = f"{_checked_uuid(file.server_uuid)}/{file.file}.{file.created:08x}"
    return f"{binlogs(shard, file.epoch)}{folder}/"


def binlogs_called(shard: str, epoch: int, server_uuid: str, file: str) -> str:
    """The prefix of all segments of a server's binlog files of this name: a name may be given again."""
    return f"{binlogs(shard, epoch)}{_checked_uuid(server_uuid)}/{file}."


def lives(shard: str, number: int) -> str:
    """The prefix of all restored servers that an epoch knows."""
    return f"{epoch(shard, number)}lives/"


def segment(shard: str, name: SegmentName) -> str:
    if not 0 <= name.start < name.end < MAX_POSITION:
        raise UsageError(f"{name.binlog}: a segment cannot hold the bytes from {name.start} to {name.end}")
    return f"{binlog(shard, name.binlog)}{name.start:012d}-{name.end:012d}"


def parse_segment(key: str) -> SegmentName | None:
    """Which bytes of which binlog file this object holds, or None if its name is not that of a segment."""
    found = _SEGMENT.fullmatch(key)
    if not found or int(found[6]) >= int(found[7]):
        return None
    return SegmentName(int(found[2]), found[3], found[4], int(found[5], 16), int(found[6]), int(found[7]))


def parse_note(key: str) -> datetime | None:
    """When the note was made, or None if this is the name of no note."""
    found = _NOTE.fullmatch(key)
    return parse_time(found[1]) if found else None


def _below_backup(room: str, key: str) -> tuple[BackupName, str] | None:
    folder, _, last = key.removeprefix(room).rpartition("/")
    backup = parse_manifest(MANIFESTS + folder) if key.startswith(room) else None
    return (backup, last) if backup and _NAME.fullmatch(last) else None


def _checked_uuid(server_uuid: str) -> str:
    if not _UUID.fullmatch(server_uuid):
        raise UsageError(f"{server_uuid[:80]!r} is not a server uuid in lower case")
    return server_uuid


def _path(backup: BackupName) -> str:
    return f"{check_name('shard', backup.shard)}/{check_name('label', backup.label)}"


def _check_number(what: str, number: int, limit: int) -> None:
    if not 0 <= number < limit:
        raise UsageError(
            f"a backup has at most {limit} {what}, and this would be number {number}",
            hint="Set a larger pack size.",
        )
