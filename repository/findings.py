"""Findings, with the backups that suffer from them; and what a verification makes of them (FORMAT.md, 17)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fleet.errors import Cancelled, ToolError
from repository import layout
from repository.catalog import Catalog
from repository.damage_notes import DamageNotes, RecordedFinding
from repository.layout import BackupName
from repository.marks import Marks
from repository.outlines import Outline, read_outlines
from repository.repository import Repository
from repository.suffering import Footing, harm_to, resting_on, sufferers
from repository.verification import Verification
from repository.verify import Reading, verify_backup
from repository.verify_tally import DAMAGE, Damage, each_once

__all__ = ["Findings", "Noted", "RecordedFinding"]


@dataclass(frozen=True, slots=True)
class Noted:
    """What a verification has written down, by object: ``recorded`` are damaged, and nothing is built on them
    any more; ``taken_away`` were, and are whole again. ``incomplete_because``: what kept it from the rest.
    """

    recorded: tuple[str, ...] = ()
    taken_away: tuple[str, ...] = ()
    incomplete_because: str | None = None


class Findings:
    """What is known to be damaged in a repository. Thread-safe; nothing is cached."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._notes = DamageNotes(repository)

    def all(self, shard: str | None = None) -> tuple[RecordedFinding, ...]:
        """By object, then by time, each with the labels of the backups that suffer from it.

        With ``shard`` those alone that its objects or its backups have to do with. One list where nothing is
        damaged; else the outlines of all backups are read. Raises what the store raises.
        """
        found = self._notes.all()
        if not found:
            return ()
        footings = self._footings(shard)
        told: list[RecordedFinding] = []
        for each in found:
            harmed = sorted(sufferers(each, footings))
            labels = tuple(name.label for name in harmed if shard in {None, name.shard})
            if shard is None or shard == each.shard or labels:
                told.append(replace(each, labels=labels))
        return tuple(told)

    def harmed(self, outlines: Mapping[BackupName, Outline]) -> dict[BackupName, RecordedFinding]:
        """Of these backups those that suffer, each with the first finding of which. Raises as ``all``."""
        found = self._notes.all()
        return _harms({name: footing_of(outline) for name, outline in outlines.items()}, found)

    def harms(self, shard: str | None = None) -> dict[BackupName, RecordedFinding]:
        """Of all backups, or those of a shard, those that suffer, each with the first finding of which.

        One list where nothing is damaged. Raises as ``all``.
        """
        found = self._notes.all()
        harms = _harms(self._footings(shard), found) if found else {}
        return {name: harm for name, harm in harms.items() if shard in {None, name.shard}}

    def _footings(self, shard: str | None) -> dict[BackupName, Footing]:
        """Of the backups of the shard that can be read, and of all that these need."""
        listed = self._repository.store.list(layout.manifests(shard))
        names = {name for info in listed if (name := layout.parse_manifest(info.key))}
        outlines = read_outlines(self._repository, names).backups
        return {name: footing_of(outline) for name, outline in outlines.items()}

    def settle(self, found: Verification, reading: Reading, *, quick: bool = False, by: str = "") -> Noted:
        """Record what ``found`` is damaged, and take away what is whole again when it is read once more.

        What was not read, or without its pages' checksums, is not taken away. Who may not put does without,
        and is told; so is who is not answered. Raises ``Cancelled``.
        """
        recorded: list[str] = []
        gone: list[str] = []
        try:
            damages, standing = _of_data(found), self._notes.all()
            if not damages and not standing:
                return Noted()
            for damage in damages:
                if self._record(found, damage, standing, by):
                    recorded.append(damage.name)
            if not quick and reading.pages is not None:
                doubtful = [each for each in standing if each.object not in set(recorded)]
                for each in self._whole_again(found, doubtful, reading):
                    self._notes.take_away(each)
                    gone.append(each.object)
        except Cancelled:
            raise
        except ToolError as error:
            return Noted(tuple(recorded), tuple(dict.fromkeys(gone)), error.message)
        return Noted(tuple(recorded), tuple(dict.fromkeys(gone)))

    def _record(
        self, found: Verification, damage: Damage, standing: Iterable[RecordedFinding], by: str
    ) -> bool:
        """False where there is no manifest any more, or none that can be read: that is seen anyway."""
        self._repository.check_may("write")
        broken = {each.backup for each in found.broken}
        try:
            spared = resting_on(damage.name, found.footings) - broken
            self._notes.put(damage.name, damage.problem, spared, before=standing, by=by)
        except DAMAGE:
            return False
        return True

    def _whole_again(
        self, found: Verification, doubtful: Iterable[RecordedFinding], reading: Reading
    ) -> Iterator[RecordedFinding]:
        """Of objects of backups that were read: those that are whole if they are read alone."""
        read = {report.backup for report in found.backups if not report.pruned}
        by_owner: dict[BackupName, list[RecordedFinding]] = {}
        for each in doubtful:
            by_owner.setdefault(each.owner, []).append(each)
        for owner, findings in by_owner.items():
            readers = {owner}
            if Marks(self._repository).is_reduced(owner):
                # What is left of it is read by those who refer to it.
                footings = self._footings(None)
                readers = {name for name in footings if _refers(footings[name], owner)}
            if not readers or not readers <= read:
                continue
            whole = {each.object for each in findings}
            for name in sorted(readers):
                whole &= self._read_again(name, whole, reading)
            yield from (each for each in findings if each.object in whole)

    def _read_again(self, backup: BackupName, objects: set[str], reading: Reading) -> set[str]:
        """Which of ``objects`` are whole, as a verification of the backup sees them."""
        try:
            manifest = Catalog(self._repository).read_manifest(backup)
        except DAMAGE:
            return set()
        alone = Reading(reading.threads, reading.pages, only=frozenset(objects), clock=reading.clock)
        report = verify_backup(self._repository, manifest, reading=alone)
        damaged = {damage.name for damage in report.damages}
        parts = {layout.index_part(backup, part.number) for part in manifest.index}
        if report.pruned:
            return set()
        # Without an index part nobody knows which packs there are.
        return (objects & parts if parts & damaged else objects) - damaged


def _of_data(found: Verification) -> tuple[Damage, ...]:
    """Packs and index parts: all else that is damaged is seen by whoever reads it."""
    damages = (damage for report in found.backups for damage in report.damages)
    return each_once(each for each in damages if layout.parse_data(each.name))


def _harms(
    footings: Mapping[BackupName, Footing], findings: Sequence[RecordedFinding]
) -> dict[BackupName, RecordedFinding]:
    harms = ((name, harm_to(name, footings, findings)) for name in sorted(footings) if findings)
    return {name: harm for name, harm in harms if harm is not None}


def _refers(footing: Footing, owner: BackupName) -> bool:
    return footing.base is None and owner in footing.needs


def footing_of(outline: Outline) -> Footing:
    base = BackupName(outline.name.shard, outline.base.label) if outline.base else None
    built_on = outline.summary.built_on
    return Footing(base, tuple(outline.needs), BackupName(outline.name.shard, built_on) if built_on else None)
