"""Findings, with the backups that suffer from them (FORMAT.md, section 17)."""

from __future__ import annotations

from dataclasses import replace

from repository import layout
from repository.damage_notes import DamageNotes, RecordedFinding
from repository.layout import BackupName
from repository.outlines import Outline, read_outlines
from repository.repository import Repository
from repository.suffering import Footing, sufferers

__all__ = ["Findings", "RecordedFinding"]


class Findings:
    """What is known to be damaged in a repository. Thread-safe; nothing is cached."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def all(self, shard: str | None = None) -> tuple[RecordedFinding, ...]:
        """By object, then by time, each with the labels of the backups that suffer from it.

        With ``shard`` those alone that its objects or its backups have to do with. One list where nothing is
        damaged; else the outlines of all backups are read. Raises what the store raises.
        """
        found = DamageNotes(self._repository).all()
        if not found:
            return ()
        listed = self._repository.store.list(layout.manifests(shard))
        names = {name for info in listed if (name := layout.parse_manifest(info.key))}
        outlines = read_outlines(self._repository, names).backups
        footings = {name: footing_of(outline) for name, outline in outlines.items()}
        told: list[RecordedFinding] = []
        for each in found:
            labels = tuple(name.label for name in sorted(sufferers(each, footings)) if name in names)
            if shard is None or shard == each.shard or labels:
                told.append(replace(each, labels=labels))
        return tuple(told)


def footing_of(outline: Outline) -> Footing:
    base = BackupName(outline.name.shard, outline.base.label) if outline.base else None
    built_on = outline.summary.built_on
    return Footing(base, tuple(outline.needs), BackupName(outline.name.shard, built_on) if built_on else None)
