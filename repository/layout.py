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
TRIALS = "trials/"

MAX_PACKS = 10**8
MAX_INDEX_PARTS = 10**6

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TIME_FORMAT = "%Y%m%dT%H%M%SZ"
_TIME = r"[0-9]{8}T[0-9]{6}Z"
_LABEL = re.compile(rf"({_TIME})-([a-z]+)")
_KINDS = ("full", "incremental")


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


def check_name(what: str, name: str) -> str:
    """``name``, if it can be part of an object name; ``what`` says whose it is. Raises ``UsageError``."""
    if not _NAME.fullmatch(name):
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
    if kind not in _KINDS:
        raise ValueError(f"no such kind of backup: {kind!r}")
    return f"{format_time(at)}-{kind}"


def parse_label(label: str) -> Label | None:
    """The time and kind in a label, or None if it is none."""
    found = _LABEL.fullmatch(label)
    at = parse_time(found[1]) if found else None
    return Label(at, found[2]) if found and at else None


def keyring_entry(key_id: str) -> str:
    return f"{KEYRING}{check_name('key', key_id)}.json"


def wrapped_key(backup: BackupName, key_id: str) -> str:
    return f"{wrapped_keys(backup)}{check_name('key', key_id)}.json"


def wrapped_keys(backup: BackupName) -> str:
    """The prefix of all wrapped keys of a backup."""
    return f"{KEYS}{_path(backup)}/"


def pack(backup: BackupName, number: int) -> str:
    _check_number("packs", number, MAX_PACKS)
    return f"{DATA}{_path(backup)}/p{number:08d}"


def index_part(backup: BackupName, number: int) -> str:
    _check_number("index parts", number, MAX_INDEX_PARTS)
    return f"{DATA}{_path(backup)}/i{number:06d}"


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


def parse_key_id(key: str) -> str | None:
    """The key id in the name of a wrapped key or of a keyring entry, or None."""
    key_id = key.rpartition("/")[2].removesuffix(".json")
    known = key.startswith((KEYS, KEYRING)) and key.endswith(".json") and _NAME.fullmatch(key_id)
    return key_id if known else None


def _path(backup: BackupName) -> str:
    return f"{check_name('shard', backup.shard)}/{check_name('label', backup.label)}"


def _check_number(what: str, number: int, limit: int) -> None:
    if not 0 <= number < limit:
        raise UsageError(
            f"a backup has at most {limit} {what}, and this would be number {number}",
            hint="Set a larger pack size.",
        )
