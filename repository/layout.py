"""Every object name of a repository is built and parsed here, and nowhere else (FORMAT.md, section 2)."""

from __future__ import annotations

import re
from datetime import datetime

from fleet.errors import UsageError
from repository.archive_layout import (
    ARCHIVE,
    MAX_EPOCHS,
    MAX_POSITION,
    BinlogFile,
    SegmentName,
    archive_key,
    archive_keys,
    archive_note,
    archive_notes,
    binlog,
    binlogs,
    binlogs_called,
    epoch,
    epoch_label,
    epoch_opened,
    life,
    lives,
    parse_archive_key,
    parse_note,
    parse_segment,
    segment,
)
from repository.names import (
    KINDS,
    NAME,
    TIME,
    BackupName,
    Label,
    check_name,
    format_label,
    format_time,
    is_name,
    parse_label,
    parse_time,
)

__all__ = [
    "ARCHIVE",
    "KINDS",
    "MAX_EPOCHS",
    "MAX_POSITION",
    "BackupName",
    "BinlogFile",
    "Label",
    "SegmentName",
    "archive_key",
    "archive_keys",
    "archive_note",
    "archive_notes",
    "binlog",
    "binlogs",
    "binlogs_called",
    "check_name",
    "epoch",
    "epoch_label",
    "epoch_opened",
    "format_label",
    "format_time",
    "is_name",
    "life",
    "lives",
    "parse_archive_key",
    "parse_label",
    "parse_note",
    "parse_segment",
    "parse_time",
    "segment",
]
"""Names of an archive are made in ``archive_layout``, parts of names in ``names``; all are asked for here."""

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
OUTCOMES = "outcomes/"
WINDOWS = "windows/"
TRIALS = "trials/"

MAX_PACKS = 10**8
MAX_INDEX_PARTS = 10**6
MAX_RENEWALS = 10**6
MAX_TURNS = 10**8
MAX_REDUCTIONS = 100

# A shard, or a region and the number of a place in it.
_TURN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,69}")
_EXPIRED = {"mark", "pruning", "reducing", "reduced"}
_LEASE = re.compile(rf"{LEASES}({NAME.pattern})/([0-9a-f]{{16}})/([0-9]{{6}})")
_TURN = re.compile(rf"{TURNS}({NAME.pattern})/({_TURN_NAME.pattern})/([0-9]{{8}})")
_OUTCOME = re.compile(
    rf"{OUTCOMES}({NAME.pattern})/({NAME.pattern})/({NAME.pattern})/({TIME})-([0-9a-f]{{16}})"
)
_WINDOW = re.compile(rf"{WINDOWS}{NAME.pattern}/([0-9]{{12}})")
_PACK = re.compile(r"p[0-9]{8}")
_PART = re.compile(r"i[0-9]{6}")
_FINDING = re.compile(r"(p[0-9]{8}|i[0-9]{6})-[0-9a-f]{8}")
_REMAINDER = re.compile(r"r([0-9]{8})-([0-9]{2})")


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


def outcome(scope: str, name: str, duty: str, at: datetime, token: str) -> str:
    """How a run of ``duty`` ended; ``token``: 16 hex digits, the run."""
    folder = "/".join((check_name("scope", scope), check_name("name", name), check_name("duty", duty)))
    return f"{OUTCOMES}{folder}/{format_time(at)}-{check_name('outcome', token)}"


def windows(shard: str) -> str:
    """The prefix of what tells the recovery windows of a shard."""
    return f"{WINDOWS}{check_name('shard', shard)}/"


def window(shard: str, seconds: int) -> str:
    """Says that retention goes by a recovery window of so many seconds."""
    return f"{windows(shard)}{seconds:012}"


def trial(token: str) -> str:
    """An object that tries the store and is deleted at once."""
    return f"{TRIALS}{check_name('trial', token)}"


def parse_manifest(key: str) -> BackupName | None:
    """Whose manifest this object is, or None if its name is not that of a manifest."""
    parts = key.removeprefix(MANIFESTS).split("/")
    if not key.startswith(MANIFESTS) or len(parts) != 2:
        return None
    known = NAME.fullmatch(parts[0]) and parse_label(parts[1])
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


def parse_outcome(key: str) -> tuple[str, str, str, str] | None:
    """Scope, name, duty and token of an outcome, or None if its name is not that of one."""
    match = _OUTCOME.fullmatch(key)
    return (match[1], match[2], match[3], match[5]) if match else None


def parse_window(key: str) -> int | None:
    """How many seconds the window is long that is told of, or None if its name tells of none."""
    found = _WINDOW.fullmatch(key)
    return int(found[1]) if found else None


def parse_key_id(key: str) -> str | None:
    """The key id in the name of a wrapped key or of a keyring entry, or None."""
    key_id = key.rpartition("/")[2].removesuffix(".json")
    known = key.startswith((KEYS, KEYRING, ARCHIVE)) and key.endswith(".json") and NAME.fullmatch(key_id)
    return key_id if known else None


def parse_wrapped_key(key: str) -> tuple[BackupName, str] | None:
    """Whose wrapped key this object is, and the id of the key that wraps it; None if it is none."""
    folder, key_id = key.removeprefix(KEYS).rpartition("/")[0], parse_key_id(key)
    backup = parse_manifest(MANIFESTS + folder) if key.startswith(KEYS) else None
    return (backup, key_id) if backup and key_id else None


def _below_backup(room: str, key: str) -> tuple[BackupName, str] | None:
    folder, _, last = key.removeprefix(room).rpartition("/")
    backup = parse_manifest(MANIFESTS + folder) if key.startswith(room) else None
    return (backup, last) if backup and NAME.fullmatch(last) else None


def _path(backup: BackupName) -> str:
    return f"{check_name('shard', backup.shard)}/{check_name('label', backup.label)}"


def _check_number(what: str, number: int, limit: int) -> None:
    if not 0 <= number < limit:
        raise UsageError(
            f"a backup has at most {limit} {what}, and this would be number {number}",
            hint="Set a larger pack size.",
        )
