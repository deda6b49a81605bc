"""What a restore will do, decided before anything is touched. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path

from fleet.errors import DiskFull, TargetRefused
from repository.chain import Chain
from repository.manifest import FileEntry, Manifest
from restore.choice import PassedOver
from restore.journal import JOURNAL_NAME, RestoreHeader
from restore.target import PARKED_SUFFIX, SYSTEM_TABLESPACE, FoundFile, TargetFacts
from restore.version import MysqlVersion, check_can_start

# What a mysqld that somebody started on a half restore leaves behind before it gives up for want of ibdata1.
_LEFT_BY_A_START = frozenset({"auto.cnf", "#clone/#status_recovery"})
_NAMES_IN_A_STEP = 5
# The journal, directories, and what mysqld itself makes at its first start: doublewrite files, temporary
# tablespaces.
_SERVER_FILES_BYTES = 128 << 20


class Mode(StrEnum):
    """How the data comes into place.

    ``EMPTY``: all of it, into an empty directory. ``RESUME``: what a restore that ended early left to do.
    ``DELTA``: over an existing data directory, what differs. ``PROVE``: all of it is in place already.
    """

    EMPTY = "empty"
    RESUME = "resume"
    DELTA = "delta"
    PROVE = "prove"


@dataclass(frozen=True)
class RestorePlan:
    """One restore. Sizes in bytes; names are relative to ``target``.

    ``fresh`` are the numbers of the files that begin empty, ``compared`` those of files that are there and
    are compared page by page. ``trusted`` are the files whose journaled data is believed when a restore goes
    on. ``passed_over`` are newer backups that were not taken though nobody named one.
    """

    chain: Chain
    target: TargetFacts
    mode: Mode
    server_version: MysqlVersion | None
    fresh: frozenset[int]
    compared: frozenset[int]
    trusted: frozenset[int]
    remove_files: tuple[str, ...]
    remove_directories: tuple[str, ...]
    needed_bytes: int
    passed_over: tuple[PassedOver, ...] = ()

    @property
    def manifest(self) -> Manifest:
        """The backup that is restored: the newest link, whose facts are those of the whole."""
        return self.chain.newest

    @property
    def directory(self) -> Path:
        return self.target.path

    @cached_property
    def files(self) -> Mapping[int, FileEntry]:
        """The backup's files by number."""
        return {entry.number: entry for entry in self.manifest.files}

    @property
    def distrusted(self) -> frozenset[int]:
        """The files that a journal may tell of, but is not believed about."""
        return frozenset(self.files) - self.trusted

    def file(self, number: int) -> FileEntry:
        """The file of that number, which the manifest must have."""
        return self.files[number]

    @property
    def goes_on(self) -> bool:
        """Does it continue what a journal tells of?"""
        return self.mode in {Mode.RESUME, Mode.PROVE}

    @property
    def header(self) -> RestoreHeader:
        """What the journal says of this restore."""
        manifest = self.manifest
        journal = self.target.journal
        delta = journal.header.delta if self.goes_on and journal else self.mode is Mode.DELTA
        return RestoreHeader(manifest.repository_id, manifest.shard, manifest.label, delta)

    @property
    def total_bytes(self) -> int:
        """The sizes of all files."""
        return sum(entry.size for entry in self.manifest.files)

    @property
    def stored_bytes(self) -> int:
        """The most that is fetched: what all links take in the store, and the data that they refer to."""
        return sum(link.sizes.stored_bytes + link.sizes.referred_bytes for link in self.chain.links)

    @property
    def most_bytes(self) -> int:
        """The most data that comes into place."""
        held = sum(link.sizes.received_bytes + link.sizes.referred_bytes for link in self.chain.links)
        return min(held, self.total_bytes) if self.rests_on_others else held

    @property
    def rests_on_others(self) -> bool:
        """Is anything fetched from other backups?"""
        return len(self.chain.links) > 1 or bool(self.manifest.refers_to)

    def steps(self) -> tuple[str, ...]:
        """The plan as sentences, in the order of doing."""
        manifest = self.manifest
        told = [f"pass over {each.label}: {each.problem}" for each in self.passed_over]
        told.append(f"take backup {manifest.backup} of MySQL {manifest.donor.version}{self._links_told()}")
        if self.mode is Mode.PROVE:
            told.append(f"its {len(manifest.files)} files are in place in {self.directory} already")
        else:
            told += self._steps_of_fetching()
        if manifest.settings.encrypted:
            told.append(
                "the data is encrypted: the mysqld must have a keyring, which need not be the donor's"
            )
        server = f"MySQL {self.server_version}" if self.server_version else "a MySQL of the same series"
        told.append(f"start {server} on it, privately, and let it recover")
        told.append(f"compare its GTID set with the backup's: at least {_short_set(manifest.gtid.low)}")
        return tuple(told)

    def _links_told(self) -> str:
        links, referred = self.chain.links, len(self.manifest.refers_to)
        if len(links) > 1:
            return f": a chain of {len(links)} links, back to {links[-1].label}"
        return f": it refers to {referred} other backup{'s' * (referred > 1)}" if referred else ""

    def _steps_of_fetching(self) -> list[str]:
        told: list[str] = []
        if self.mode is Mode.RESUME:
            told.append(f"go on in {self.directory} where an earlier restore of it ended")
        if self.remove_files:
            names = _listed(self.remove_files)
            told.append(f"remove {len(self.remove_files)} files that are not in the backup: {names}")
        if self.compared:
            told.append(f"compare {len(self.compared)} files page by page, and rewrite what differs")
        most = "at most " if self.compared or self.goes_on or self.rests_on_others else ""
        stored = sum(link.sizes.stored_bytes for link in self.chain.links)
        referred = sum(link.sizes.referred_bytes for link in self.chain.links)
        # What it takes in the packs of others, no manifest tells: mostly it is much less than the data.
        others = f" and what {_size(referred)} of data take in other backups" if referred else ""
        told.append(f"fetch {most}{_size(stored)}{others} from the store, in place {_size(self.total_bytes)}")
        told.append(f"use {_size(self.needed_bytes)} of the disk, where {self.target.free_told}")
        return told


def plan_restore(
    chain: Chain,
    target: TargetFacts,
    server_version: MysqlVersion | None,
    *,
    delta: bool = False,
    to_point: bool = False,
    passed_over: tuple[PassedOver, ...] = (),
) -> RestorePlan:
    """Decide how to bring ``chain`` into ``target``; ``server_version`` None leaves the version unchecked.

    ``to_point``: transactions will be replayed on it, or have been by an earlier run of the same restore.
    ``passed_over``: what was not taken instead of it.
    Raises ``VersionMismatch`` for a mysqld that cannot start the data, ``TargetRefused`` for a directory
    that is in use, or holds something else and ``delta`` was not asked for, ``DiskFull`` when the data does
    not fit.
    """
    manifest = chain.newest
    if server_version is not None:
        check_can_start(server_version, MysqlVersion.parse(manifest.donor.version))
    _check_names(manifest)
    _check_unused(target)
    mode = _mode(manifest, target, delta=delta)
    if mode is Mode.PROVE and not to_point:
        _check_is_the_backup(target)
    if target.links and mode is not Mode.PROVE:
        raise TargetRefused(
            f"{target.path} holds symbolic links: {_listed(target.links)}",
            hint="Restores do not follow them; remove them, or restore into an empty directory.",
        )
    fresh, compared, trusted = _sort_files(manifest, target, mode)
    extras = _extras(manifest, target) if mode in {Mode.DELTA, Mode.RESUME} else ((), ())
    if mode is Mode.RESUME and not (delta or (target.journal and target.journal.header.delta)):
        _check_extras_are_ours(target, extras[0])
    plan = RestorePlan(
        chain=chain,
        target=target,
        mode=mode,
        server_version=server_version,
        fresh=fresh,
        compared=compared,
        trusted=trusted,
        remove_files=extras[0],
        remove_directories=extras[1],
        needed_bytes=_needed_bytes(manifest, target, extras[0]) if mode is not Mode.PROVE else 0,
        passed_over=passed_over,
    )
    _check_room(plan)
    return plan


def parked_name(entry: FileEntry) -> str:
    """The name of a file while the restore runs: a system tablespace is parked under another one.

    Without it no mysqld starts on the half-filled directory: it looks for ibdata1 before it touches anything.
    """
    return entry.name + PARKED_SUFFIX if _is_parked(entry) else entry.name


def parked_files(files: Iterable[FileEntry]) -> tuple[FileEntry, ...]:
    """The files that ``parked_name`` renames."""
    return tuple(entry for entry in files if _is_parked(entry))


def _is_parked(entry: FileEntry) -> bool:
    return entry.space_id == 0 or entry.name == SYSTEM_TABLESPACE


def _check_names(manifest: Manifest) -> None:
    for entry in manifest.files:
        if entry.name == JOURNAL_NAME or entry.name.endswith(PARKED_SUFFIX):
            raise TargetRefused(
                f"the backup holds a file {entry.name!r}, a name that restores use themselves",
                hint="Restore it with rescue.py of the repository.",
            )


def _check_unused(target: TargetFacts) -> None:
    if target.locked_by is not None:
        process = f"process {target.locked_by}" if target.locked_by else "another process"
        raise TargetRefused(
            f"{target.path} is the data directory of a running server ({process})",
            hint="Stop that server first, or restore elsewhere.",
        )
    if target.data_directory_above is not None:
        raise TargetRefused(
            f"{target.path} lies inside the data directory {target.data_directory_above}",
            hint="Restore beside it: a directory inside of it would pass for a schema.",
        )


def _check_room(plan: RestorePlan) -> None:
    if plan.needed_bytes > plan.target.room_bytes:
        raise DiskFull(
            f"{plan.directory}: {_size(plan.needed_bytes)} are needed, {plan.target.free_told}",
            hint="Free some space or restore to a larger disk.",
        )


def _mode(manifest: Manifest, target: TargetFacts, *, delta: bool) -> Mode:
    journal = target.journal
    if journal is not None:
        begun = journal.header[:3]
        if begun == (manifest.repository_id, manifest.shard, manifest.label) and not (
            delta and journal.fetched
        ):
            return Mode.PROVE if journal.fetched else Mode.RESUME
        if not delta:
            raise TargetRefused(
                f"{target.path} holds a restore of {begun[1]}/{begun[2]} that was not finished",
                hint=f"Finish it with --backup {begun[2]}, empty the directory, or rewrite it with --delta.",
            )
    if target.is_empty:
        return Mode.EMPTY
    if not delta:
        raise TargetRefused(
            f"{target.path} is not empty: it holds {_listed(_first_names(target))}",
            hint="Name an empty directory; --delta rewrites an existing data directory.",
        )
    _check_is_a_data_directory(target)
    return Mode.DELTA


def _check_is_the_backup(target: TargetFacts) -> None:
    replay = target.journal.replay if target.journal else None
    if replay is not None:
        what = "a standby" if replay.standby else "a restore to a point"
        raise TargetRefused(
            f"{target.path} holds {what}, and is no longer the backup alone",
            hint="Go on with the command that it was begun with, or rewrite the directory with --delta.",
        )


def _check_is_a_data_directory(target: TargetFacts) -> None:
    # --delta removes whatever is not in the backup: it must never be let loose on somebody's home.
    if not target.is_data_directory:
        raise TargetRefused(
            f"{target.path} is not a data directory of MySQL: ibdata1 or mysql.ibd is not in it",
            hint="--delta rewrites an existing data directory; for a new one name an empty directory.",
        )


def _sort_files(
    manifest: Manifest, target: TargetFacts, mode: Mode
) -> tuple[frozenset[int], frozenset[int], frozenset[int]]:
    """Numbers of the files that begin empty, that are compared, and whose journal is believed."""
    if mode is Mode.PROVE:
        return frozenset(), frozenset(), frozenset(entry.number for entry in manifest.files)
    if mode is Mode.EMPTY:
        return frozenset(entry.number for entry in manifest.files), frozenset(), frozenset()
    journal = target.journal
    going_on = mode is Mode.RESUME and journal is not None
    inodes = journal.inodes if going_on and journal else {}
    delta = journal.header.delta if going_on and journal else True
    fresh: set[int] = set()
    compared: set[int] = set()
    trusted: set[int] = set()
    for entry in manifest.files:
        found = _found(target, entry)
        believed = entry.number not in (journal.distrusted if journal else ())
        if found and believed and found.size == entry.size and inodes.get(entry.number) == found.inode:
            trusted.add(entry.number)
        if found and _is_comparable(entry, found) and delta:
            compared.add(entry.number)
        elif entry.number not in trusted:
            fresh.add(entry.number)
    return frozenset(fresh), frozenset(compared), frozenset(trusted)


def _is_comparable(entry: FileEntry, found: FoundFile) -> bool:
    # A second hard link is somebody's copy of the file, and writing into one would change both. What is no
    # tablespace (redo, the buffer pool's list) is never the same twice.
    return entry.space_id is not None and found.links == 1


def _found(target: TargetFacts, entry: FileEntry) -> FoundFile | None:
    return target.files.get(parked_name(entry)) or target.files.get(entry.name)


def _extras(manifest: Manifest, target: TargetFacts) -> tuple[tuple[str, ...], tuple[str, ...]]:
    kept = {name for entry in manifest.files for name in (entry.name, parked_name(entry))}
    folders = set(manifest.directories)
    for entry in manifest.files:
        parts = entry.name.split("/")[:-1]
        folders.update("/".join(parts[: count + 1]) for count in range(len(parts)))
    files = sorted(name for name in target.files if name not in kept or name in folders)
    # A folder goes after the folders in it.
    directories = sorted((name for name in target.directories if name not in folders), reverse=True)
    return tuple(files), tuple(directories)


def _check_extras_are_ours(target: TargetFacts, extras: tuple[str, ...]) -> None:
    foreign = [name for name in extras if name not in _LEFT_BY_A_START]
    if foreign:
        raise TargetRefused(
            f"{target.path} holds files that are not the restore's: {_listed(foreign)}",
            hint="Move them away and run it again, or use --delta over a whole data directory.",
        )


def _needed_bytes(manifest: Manifest, target: TargetFacts, removed: tuple[str, ...]) -> int:
    needed = _SERVER_FILES_BYTES
    for entry in manifest.files:
        found = _found(target, entry)
        needed += max(entry.size - (found.allocated if found else 0), 0)
    return max(needed - sum(target.files[name].allocated for name in removed), 0)


def _first_names(target: TargetFacts) -> list[str]:
    return sorted([*target.files, *target.directories, *target.links])


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    first = ", ".join(shown[:_NAMES_IN_A_STEP])
    return first if len(shown) <= _NAMES_IN_A_STEP else f"{first} and {len(shown) - _NAMES_IN_A_STEP} more"


def _size(size_bytes: int) -> str:
    amount = float(size_bytes)
    for unit in ("bytes", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.3g} {unit}" if unit != "bytes" else f"{size_bytes} bytes"
        amount /= 1000
    return f"{amount:.3g} TB"


def _short_set(text: str) -> str:
    joined = "".join(text.split())
    return joined if len(joined) <= 120 else f"{joined[:120]}..."
