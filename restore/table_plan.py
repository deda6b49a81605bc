"""The plan of bringing single tables to a point: which backup, which of its files, which transactions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from fleet.errors import ObjectDamaged, ObjectMissing, TargetRefused, TargetUnreachable, UsageError
from fleet.figures import plural, size
from fleet.gtid import GtidSet
from fleet.model import Fleet
from fleet.table_name import TableName
from repository.archive.beyond import HeldBeyond
from repository.catalog import LATEST
from repository.chain import Chain
from repository.repository import Repository
from restore.archived import ArchivedLine
from restore.choice import Choice
from restore.journal import JOURNAL_NAME, is_held
from restore.plan import RestorePlan, plan_restore
from restore.point import Point, RecoveryTarget, resolve
from restore.point_plan import Stretch
from restore.point_planning import base_for, beyond_the_archive, check_room
from restore.program import find_mysqld, read_version
from restore.sparing import look_sparing
from restore.table_files import Share, files_named, files_of_spaces, reduced
from restore.table_history import TableHistory
from restore.table_log import TableLog
from restore.table_needs import AS_SQL, Dictionary, Needs
from restore.target import TargetFacts, locked_by
from restore.version import MysqlVersion
from restore.wording import moment_text, short
from wire.dictionary import ForeignKey, InnodbTable

MARKER_NAME = "backstay-tables.txt"
"""Says that a directory is ours: what is in ``DATA_NAME`` may go."""
DATA_NAME = "data"
_FOLDS_CASE = 1


@dataclass(frozen=True)
class TablePlan:
    """``asked`` tables to a point, in ``directory``. ``base`` brings the part of the backup that they need.

    ``also`` are tables that are followed though nobody asked for them, ``spaces`` tablespaces that the
    dictionary named, ``placed`` what it said of where tables lie; nothing until a server has looked.
    ``portable``: the files will be exported. ``beyond``: a newer backup with transactions that the archive,
    to whose end this goes, has not reached. Nothing here changes; ``widened`` makes another plan.
    """

    asked: tuple[TableName, ...]
    target: RecoveryTarget
    point: Point
    directory: Path
    choice: Choice
    line: ArchivedLine
    log: TableLog
    version: MysqlVersion
    free_bytes: int
    spared_bytes: int = 0
    also: frozenset[TableName] = frozenset()
    spaces: frozenset[int] = frozenset()
    placed: tuple[InnodbTable, ...] | None = None
    portable: bool = False
    beyond: HeldBeyond | None = None

    @property
    def shard(self) -> str:
        return self.choice.chain.newest.shard

    @property
    def label(self) -> str:
        """The backup that it begins with."""
        return self.choice.chain.newest.label

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.directory / DATA_NAME

    @property
    def folds(self) -> bool:
        """Does the server take names for equal that differ in case alone?"""
        return self.choice.chain.newest.settings.lower_case_table_names >= _FOLDS_CASE

    @cached_property
    def history(self) -> TableHistory:
        return TableHistory(self.asked, self.log.statements, self.log.read, also=self.also, folds=self.folds)

    @cached_property
    def served(self) -> GtidSet:
        """The transactions that matter: those of followed tables, and DDL that concerns them."""
        history = self.history
        found = self.log.touching(lambda name: history.key(name) in history.names)
        for deed in history.deeds:
            found = found | deed.transaction.gtid.as_set()
        return found

    @cached_property
    def stretch(self) -> Stretch:
        """The part of the archive that holds them."""
        return self.line.stretch(GtidSet(), self.served)

    @property
    def followed(self) -> tuple[TableName, ...]:
        """All tables that transactions are applied to."""
        return tuple(sorted(TableName(*name.split(".", 1)) for name in self.history.names))

    @cached_property
    def base(self) -> RestorePlan:
        """How the files come into place: always from nothing, since they are few."""
        chain, _ = self._reduced
        facts = TargetFacts(self.data, free_bytes=self.free_bytes, spared_bytes=self.spared_bytes)
        return plan_restore(chain, facts, self.version, to_point=True, passed_over=self.choice.passed_over)

    @property
    def share(self) -> Share:
        """What part of the backup that is."""
        return self._reduced[1]

    @cached_property
    def _reduced(self) -> tuple[Chain, Share]:
        newest = self.choice.chain.newest
        numbers = files_named(newest, self.followed, folds=self.folds) | files_of_spaces(newest, self.spaces)
        return reduced(self.choice.chain, numbers)

    def needs(self, dictionary: Dictionary) -> Needs:
        """What the followed tables need, with the foreign keys that they are given on the way."""
        child = self.asked[0]
        keys = [
            ForeignKey(child, TableName(*each.table.split(".", 1)), each.cascades)
            for each in self.history.parents
        ]
        whole = replace(dictionary, keys=(*dictionary.keys, *keys), placed=self.placed)
        return Needs(whole, self.history.names, self.history.key, folds=self.folds)

    def check_portable(self) -> None:
        """Raise ``UsageError`` for a table that cannot be exported, as far as that is known by now: it was
        there and has no file. Only the dictionary knows of full-text indexes.
        """
        if self.without_file:
            raise UsageError(
                f"backup {self.shard}/{self.label} has no file of {self.without_file[0]} to export: it lies "
                "in a tablespace with others, or is not there",
                hint=AS_SQL,
            )

    def check_there(self) -> None:
        """Raise ``TargetUnreachable`` for a table that was dropped before the backup, as far as the archive
        goes back.
        """
        if not self.without_file:
            return
        before = self.point.gtids & GtidSet.parse(self.choice.chain.newest.gtid.high)
        try:
            log = TableLog(self.line.line, before, replayed=False)
            history = TableHistory(self.without_file, log.statements, log.read, folds=self.folds)
        except (ObjectMissing, ObjectDamaged):
            # The restore needs none of these: what is lost there must not stop it.
            return
        history.check_there()

    @cached_property
    def without_file(self) -> tuple[TableName, ...]:
        """The tables that have no file in the backup, and that no statement of the range touches."""
        newest = self.choice.chain.newest
        touched = {self.history.key(name) for deed in self.history.deeds for name in deed.ddl.touched}
        return tuple(
            table
            for table in self.asked
            if self.history.key(str(table)) not in touched
            and not files_named(newest, [table], folds=self.folds)
        )

    def steps(self) -> tuple[str, ...]:
        """The plan as sentences, in the order of doing."""
        return tuple(self._steps())

    def _steps(self) -> Iterable[str]:
        names = ", ".join(map(str, self.asked))
        yield from (f"pass over {each.label}: {each.problem}" for each in self.choice.passed_over)
        yield f"take backup {self.shard}/{self.label}, and of it the files of {names}"
        others = [str(each) for each in self.followed if each not in self.asked]
        if others:
            yield f"follow {', '.join(others)} too: statements on the way need them"
        share = self.share
        yield (
            f"fetch about {size(share.stored_bytes)} from the store, in place {size(share.table_bytes)} of "
            f"tables and {size(share.system_bytes)} of the system, undo and redo; the whole shard has "
            f"{size(share.all_bytes)}"
        )
        yield (
            f"start MySQL {self.version} on it, privately, let it recover without the other tables, and ask "
            "it for what else these need: partitions, shared tablespaces, parents of keys that cascade"
        )
        yield self._replay_step()
        if self.point.stop is not None:
            at = moment_text(self.point.stop.committed_at_us)
            yield f"stop before {self.point.stop.gtid} of {at}"
        else:
            yield "go on to the end of the archive"
        if self.point.skipped:
            yield f"leave out {short(self.point.skipped)}"
        yield "bring no views, routines, events or triggers, and check no foreign key to a table left out"
        yield f"prove that it stands at {short(self.point.gtids)}, and check each table"

    def _replay_step(self) -> str:
        stretch, served = self.stretch, self.served.count()
        if not served:
            return "replay nothing: no transaction after the backup concerns them"
        return (
            f"replay {plural(served, 'transaction')} that concern them, of {self.log.count:,}: in "
            f"{plural(stretch.segments, 'segment')}, {size(stretch.stored_bytes)} from the store"
        )


def plan_tables(
    fleet: Fleet,
    shard: str,
    tables: Sequence[TableName],
    target: RecoveryTarget,
    directory: Path,
    *,
    repository: Repository,
    label: str = LATEST,
) -> TablePlan:
    """What ``bring_tables`` would do now. Touches nothing; raises what it would before the first byte.

    Raises ``TargetUnreachable`` for a point that has not all of ``tables`` any more, with the last that has,
    and what planning a restore to a point raises.
    """
    facts = look_sparing(fleet, directory)
    check_directory(facts)
    line = ArchivedLine.read(repository, shard)
    point = resolve(line, target)
    choice = base_for(repository, line, point, label)
    manifest = choice.chain.newest
    folds = manifest.settings.lower_case_table_names >= _FOLDS_CASE
    asked = [table.lowered if folds else table for table in tables]
    wanted = point.gtids - GtidSet.parse(manifest.gtid.low) - point.skipped
    plan = TablePlan(
        asked=tuple(dict.fromkeys(asked)),
        target=target,
        point=point,
        directory=facts.path,
        choice=choice,
        line=line,
        log=TableLog(line.line, wanted),
        version=read_version(find_mysqld(fleet.restore.mysqld)),
        free_bytes=facts.free_bytes,
        spared_bytes=facts.spared_bytes,
        beyond=beyond_the_archive(repository, line, point, target, behind=manifest.label),
    )
    plan.history.check()
    plan.check_there()
    check_room(plan.base, plan.stretch)
    return plan


def check_directory(facts: TargetFacts) -> None:
    """Raise ``TargetRefused`` for a directory that holds anything but what an earlier run left in it."""
    data = facts.path / DATA_NAME
    if is_held(data / JOURNAL_NAME) or (data.is_dir() and locked_by(data) is not None):
        raise TargetRefused(
            f"{facts.path} is in use by another restore, or by the server that one left running",
            hint="Stop that first, or name another directory.",
        )
    foreign = sorted({name.partition("/")[0] for name in (*facts.files, *facts.directories, *facts.links)})
    ours = {MARKER_NAME, DATA_NAME} if MARKER_NAME in facts.files else set[str]()
    if set(foreign) - ours or facts.data_directory_above is not None or facts.locked_by is not None:
        raise TargetRefused(
            f"{facts.path} is not empty: it holds {', '.join(foreign[:5]) or 'a data directory'}",
            hint="Name a directory that is empty or not there yet.",
        )


def widened(plan: TablePlan, needs: Needs) -> TablePlan | None:
    """The plan with what the dictionary showed to be missing; None if nothing is.

    Raises ``TargetUnreachable`` for a table of which the backup has no file: its tablespace was discarded.
    """
    newest = plan.choice.chain.newest
    there = {entry.space_id for entry in newest.files}
    if lost := needs.spaces - there:
        names = ", ".join(map(str, plan.followed))
        raise TargetUnreachable(
            f"backup {plan.shard}/{plan.label} has no file of {plural(len(lost), 'tablespace')} of {names}",
            hint="Their tablespaces were discarded when it was taken. Name another backup.",
        )
    fetched = {entry.space_id for entry in plan.base.manifest.files}
    if needs.spaces <= fetched and not needs.parents:
        return None
    parents = frozenset(each.lowered if plan.folds else each for each in needs.parents)
    return replace(plan, also=plan.also | parents, spaces=plan.spaces | needs.spaces)
