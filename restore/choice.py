"""Which backup a restore takes: the one that is named, or the newest, with all its links.

An older one would bring an older state: it is never taken in place of one that is not whole. A restore to a
point passes over bases that are lost or damaged, since another one leads to the same point; it is told in the
plan and in the result. A key that is missing can be put right: an older backup must not hide that.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from fleet.errors import KeyUnusable, ObjectDamaged, ObjectMissing, TargetRefused, ToolError
from repository import layout
from repository.catalog import LATEST, Catalog, Survey
from repository.chain import Chain, read_chain
from repository.findings import Findings, RecordedFinding
from repository.layout import BackupName
from repository.manifest import Manifest
from repository.marks import Marks
from repository.met_damage import MetDamage, WatchedReader, write_down
from repository.repository import Repository
from repository.seal import damaged
from restore.target import TargetFacts

LOST = (ObjectMissing, ObjectDamaged)
"""What makes a backup one that cannot be restored, for good."""


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A newer backup that was not taken, though nobody named another one, and what is wrong with it."""

    label: str
    problem: str


@dataclass(frozen=True)
class Choice:
    """A backup with its chain, and the newer ones that could not be taken."""

    chain: Chain
    passed_over: tuple[PassedOver, ...] = ()


def choose_for(repository: Repository, shard: str, label: str, facts: TargetFacts, *, delta: bool) -> Choice:
    """``choose_chain`` or ``choose_fetched``, for a restore into a directory that was looked at."""
    label = label_for(repository, shard, label, facts, delta=delta)
    in_place = is_in_place(repository, shard, label, facts, delta=delta)
    return (choose_fetched if in_place else choose_chain)(repository, shard, label)


def choose_fetched(repository: Repository, shard: str, label: str) -> Choice:
    """A backup that is in place: its base is not asked for. A standby may outlive the chain it began with.

    Raises as ``Catalog.manifest``.
    """
    return Choice(Chain((Catalog(repository).manifest(shard, label),)))


def label_for(repository: Repository, shard: str, label: str, facts: TargetFacts, *, delta: bool) -> str:
    """The backup to take: where a restore was begun and no other is named, the one it was begun with.

    Otherwise a newer backup would come between a restore that was killed and the same command given again.
    With one that was found damaged since a restore goes on if it is named, or if the newest is no better.
    Raises ``TargetRefused``; with ``delta`` another one is taken.
    """
    journal = facts.journal
    if journal is None or (delta and journal.fetched):
        return label
    begun_repository, begun_shard, begun_label = journal.header[:3]
    if (begun_repository, begun_shard) != (repository.repository_id, shard):
        return label
    begun = BackupName(shard, begun_label)
    harm = None if journal.fetched or label == begun_label else _harm_to_begun(repository, begun, label)
    if harm is not None and not delta:
        rewrite = "; --delta rewrites it with another backup" if facts.is_data_directory else ""
        raise TargetRefused(
            f"{facts.path} holds a restore of {begun} that was not finished, and {harm.short}",
            hint=f"Empty the directory, or name another one{rewrite}.",
        )
    return begun_label if label == LATEST and harm is None else label


def _harm_to_begun(repository: Repository, begun: BackupName, label: str) -> RecordedFinding | None:
    """What was found damaged of it; None also where the newest would be taken instead, and is no better."""
    harms = Findings(repository).harms(begun.shard)
    if begun not in harms or label != LATEST:
        return harms.get(begun)
    newest = Catalog(repository).name(begun.shard)
    return None if newest in harms else harms[begun]


def is_in_place(repository: Repository, shard: str, label: str, facts: TargetFacts, *, delta: bool) -> bool:
    """Does the directory hold all of that backup, so that nothing of it is fetched?"""
    journal = facts.journal
    begun = (repository.repository_id, shard, label)
    return journal is not None and journal.fetched and not delta and journal.header[:3] == begun


def choose_chain(repository: Repository, shard: str, label: str = LATEST) -> Choice:
    """The backup ``label`` of ``shard``, or the newest: never an older one in its place.

    Raises ``NotFound``; ``ObjectMissing`` and ``ObjectDamaged`` if it is not whole; ``KeyUnusable``,
    ``FormatUnsupported``. The message names what is wrong, the hint the newest backup that can be taken
    without it.
    """
    catalog = Catalog(repository)
    backup = catalog.name(shard, label)
    with pointing_elsewhere(repository, shard, backup.label):
        return Choice(whole_chain(repository, catalog.read_manifest(backup)))


def whole_chain(repository: Repository, manifest: Manifest) -> Chain:
    """The chain of ``manifest``, if keys, manifests and index parts of all it rests on are there, and no link
    was reduced to what others refer to.

    Raises ``ObjectMissing``, ``ObjectDamaged``, ``KeyUnusable``, ``FormatUnsupported`` and what the store
    raises. Packs are not looked at.
    """
    chain = read_chain(Catalog(repository), manifest)
    marks = Marks(repository)
    for link in chain.links:
        if marks.is_reduced(link.backup):
            raise ObjectMissing(
                f"{link.backup} has expired, and only what other backups refer to is left of it"
            )
        for part in link.index:
            name = layout.index_part(link.backup, part.number)
            size = repository.store.stat(name).size
            if size != part.size:
                raise damaged(name, f"it has {size} bytes, and the manifest says {part.size}")
    for backup in sorted(rests_on(chain)):
        repository.backup_key(backup)
    return chain


def rests_on(chain: Chain) -> frozenset[BackupName]:
    """Every backup of which the chain may fetch something, itself included."""
    referred = {BackupName(each.shard, each.label) for link in chain.links for each in link.refers_to}
    return frozenset(referred | {link.backup for link in chain.links})


@contextmanager
def pointing_elsewhere(
    repository: Repository,
    shard: str,
    label: str,
    chain: Chain | None = None,
    reader: WatchedReader | None = None,
) -> Generator[None]:
    """Say what to do about a backup of which something is missing, damaged or sealed with another key.

    ``chain`` is that of ``label`` where it is known: then the link that is wrong is named too. What the
    ``reader`` met is written down where it is certain.
    """
    try:
        yield
    except (*LOST, KeyUnusable) as error:
        wrong = _wrong_link(chain, error) if chain else None
        met = reader.met.values() if reader else ()
        noted = write_down(repository, met, harmed=BackupName(shard, label), by="a restore")
        other = _newest_without(repository, shard, wrong.label if wrong else label, error)
        told = _told(error, BackupName(shard, label), wrong)
        raise type(error)(told, hint=_way_out(shard, other, error, noted)) from error


def unreadable_after(survey: Survey, label: str, *, before: datetime | None) -> Iterator[PassedOver]:
    """The backups newer than ``label`` that are lost, of those that began ``before`` that moment.

    Raises what else keeps one of them from being read.
    """
    for one in survey.unreadable:
        found = layout.parse_label(one.label)
        if one.label <= label or (before and found and found.at >= before):
            continue
        if not isinstance(one.error, LOST):
            raise type(one.error)(
                f"backup {one.shard}/{one.label} cannot be read: {one.error.message}",
                hint=f"{one.error.hint or ''} To go without it, name another: --backup {label}.".strip(),
            ) from one.error
        yield PassedOver(one.label, one.error.message)


def _newest_without(repository: Repository, shard: str, wrong: str, error: ToolError) -> str | None:
    """The newest backup that is whole and does not rest on ``wrong``; None also where that cannot be told.

    One that retention has ended is better than none, and one that was found damaged is the last.
    """
    try:
        ended = Marks(repository).all(shard)
        damaged = {label for each in Findings(repository).all(shard) for label in each.labels}
        newest_first = reversed(Catalog(repository).manifests(shard))
        for manifest in sorted(newest_first, key=lambda each: (each.label in damaged, each.backup in ended)):
            if manifest.label == wrong:
                continue
            try:
                chain = whole_chain(repository, manifest)
            except (*LOST, KeyUnusable):
                continue
            if BackupName(shard, wrong) not in rests_on(chain):
                return manifest.label
    except ToolError as second:
        # The first error is the one to be told.
        error.add_note(f"while looking for another backup: {second.message}")
    return None


def _wrong_link(chain: Chain, error: ToolError) -> BackupName | None:
    """The backup whose object the error tells of."""
    return next((each for each in sorted(rests_on(chain)) if f"/{each.label}/" in error.message), None)


def _told(error: ToolError, backup: BackupName, wrong: BackupName | None) -> str:
    """With the backup that was to be restored, where the message does not name it."""
    if str(backup) in error.message or wrong == backup:
        return error.message
    return f"{error.message}; {backup} rests on {wrong.label if wrong else 'it'}"


def _way_out(shard: str, other: str | None, error: ToolError, noted: MetDamage) -> str:
    if isinstance(error, KeyUnusable):
        told = error.hint or "Give the key that was used then."
        return f"{told} The newest backup that can be read without it: --backup {other}." if other else told
    if other is None:
        told = (
            f"`backstay verify {shard} --all` tells which backups are sound; without one, put that object "
            "back from another copy of the repository."
        )
    else:
        told = (
            f"The newest backup that is whole without it is {other}: restore that into an empty directory "
            f"with --backup {other}, or put that object back from another copy of the repository. "
            f"`backstay verify {shard} --all` tells which are sound."
        )
    if noted.whole and not noted.certain:
        return (
            "Read again it was whole: run the same once more, it goes on where it was. "
            f"If that ends alike, it was stored so. {told}"
        )
    return f"{told} {_told_of_findings(shard, noted)}".rstrip()


def _told_of_findings(shard: str, noted: MetDamage) -> str:
    """Whether somebody will build on it, and what to do about that."""
    anew = f"`backstay backup full {shard} --stored`"
    if noted.unrecorded:
        return (
            f"That it is damaged could not be written down ({noted.unrecorded}): "
            f"so that none is built on it, take the next backup with {anew}."
        )
    if not noted.certain:
        return ""
    return (
        "That it is damaged is written down, and nothing more is built on it; a full that needs none of it: "
        f"{anew}, to be restored into an empty directory."
    )
