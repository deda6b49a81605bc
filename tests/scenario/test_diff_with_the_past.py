"""A table of a live shard compared with what the repository has of it, and put right by what was written."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pymysql.constants import CLIENT

from fleet.errors import ConfigError, NotFound, ServerRefused, TargetRefused
from fleet.finding import Level
from fleet.model import Account, Accounts, Fleet, Secret
from fleet.table_name import TableName
from infra.sandbox.distribution import MysqlDistribution
from restore.diff import TableDiff, diff_table
from restore.diff_compare import RowExample
from restore.diff_merge import Difference
from restore.diff_source import check_reader
from restore.point import RecoveryTarget
from restore.table_delivery import Wanted, restore_tables
from restore.target import look_at
from tests.scenario.archived_shards import ArchivedShard, archived_shard, create_tables, write
from tests.scenario.fleets import repository_of
from tests.scenario.incrementals import AtStage

pytestmark = pytest.mark.mysql

ORDERS = TableName("app", "orders")
ROWS = "SELECT id, pad FROM app.orders ORDER BY id"


@dataclass
class Damaged:
    """A shard of which rows were damaged by a transaction after the backup, and more was written since."""

    shard: ArchivedShard
    before: RecoveryTarget
    rows_before: list[dict[str, object]]

    def rows(self) -> list[dict[str, object]]:
        return self.shard.primary.query(ROWS)

    def diff(self, directory: Path, **more: object) -> TableDiff:
        return diff_table(
            self.shard.fleet,
            "s1",
            ORDERS,
            self.before,
            repository=self.shard.repository,
            work=directory,
            **more,  # type: ignore[arg-type]
        )

    def without_account(self) -> ArchivedShard:
        accounts = Accounts(backup=self.shard.fleet.accounts.backup)
        fleet = self.shard.fleet.model_copy(update={"accounts": accounts})
        return ArchivedShard(
            self.shard.primary, fleet, self.shard.repository, self.shard.archive, self.shard.archiver
        )


@pytest.fixture(scope="module")
def damaged(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[Damaged]:
    with archived_shard(mysql_distribution, scratch_directory) as shard:
        primary = shard.primary
        accounts = Accounts(backup=primary.backup_account, diff=primary.diff_account)
        shard.fleet = shard.fleet.model_copy(update={"accounts": accounts})
        create_tables(primary, ("orders", "items"))
        shard.back_up()
        write(primary, "orders", 10)
        before = primary.query(ROWS)
        primary.query("UPDATE app.orders SET pad = 'gone wrong' WHERE id <= 2")
        wrong = primary.query("SELECT @@global.gtid_executed AS gtids")[0]["gtids"]
        write(primary, "items", 5)
        primary.query("DELETE FROM app.orders WHERE id = 25")
        primary.query("INSERT INTO app.orders (pad) VALUES ('meanwhile')")
        primary.query("ALTER TABLE app.orders ADD note INT")
        primary.query("GRANT SELECT ON app.orders TO 'backstay_diff'@'%'")
        shard.archiver.run()
        last = int(str(wrong).rpartition("-")[2])
        (update,) = [each for each in shard.transactions() if each.gtid.number == last]
        yield Damaged(shard, RecoveryTarget.before(update.gtid), before)


def test_a_damaged_table_is_told_row_by_row_and_put_right_by_what_was_written(
    damaged: Damaged, tmp_path: Path
) -> None:
    script = tmp_path / "undo.sql"
    found = damaged.diff(tmp_path, sql=script)
    compared = found.compared
    assert damaged.rows() != damaged.rows_before
    assert (compared.past_rows, compared.live_rows) == (30, 30)
    assert (compared.missing, compared.added, compared.changed) == (1, 1, 2)
    assert [(change.name, change.past) for change in compared.definition] == [("note", None)]
    assert found.server == "scratch"
    kinds = [Difference.CHANGED, Difference.CHANGED, Difference.MISSING, Difference.ADDED]
    assert [row.kind for row in compared.examples] == kinds
    first: RowExample = compared.examples[0]
    assert first.live is not None and first.past is not None
    assert (first.live["pad"], len(str(first.past["pad"]))) == ("gone wrong", 200)
    text = script.read_text()
    assert f"-- The past: gtid_executed {found.gtid_executed}" in text
    assert f"-- The live table: gtid_executed {compared.moment.low.one_line()};" in text
    assert [path.name for path in tmp_path.iterdir()] == ["undo.sql"]
    client = damaged.shard.primary.connect(client_flag=CLIENT.MULTI_STATEMENTS)
    with closing(client), client.cursor() as cursor:
        cursor.execute(text)
        while cursor.nextset():
            pass
    assert damaged.rows() == damaged.rows_before


def test_check_tells_of_an_account_that_cannot_log_in(damaged: Damaged, tmp_path: Path) -> None:
    assert check_reader(damaged.shard.fleet, "s1") == ()
    assert check_reader(damaged.without_account().fleet, "s1") == ()
    wrong = tmp_path / "password"
    wrong.write_text("not it")
    wrong.chmod(0o600)
    user = damaged.shard.primary.diff_account.user
    accounts = Accounts(
        backup=damaged.shard.fleet.accounts.backup, diff=Account(user=user, password=Secret(file=wrong))
    )
    (finding,) = check_reader(damaged.shard.fleet.model_copy(update={"accounts": accounts}), "s1")
    assert finding.level is Level.WARN
    assert finding.message.startswith("accounts.diff: cannot log in to scratch")


def test_what_stands_in_the_way_is_told_before_anything_is_fetched(damaged: Damaged, tmp_path: Path) -> None:
    shard, now = damaged.shard, RecoveryTarget.at_time(datetime.now(UTC))
    with pytest.raises(ConfigError, match=r"accounts\.diff") as raised:
        diff_table(damaged.without_account().fleet, "s1", ORDERS, now, repository=shard.repository)
    assert "accounts.sql" in str(raised.value.hint)
    items = TableName("app", "items")
    with pytest.raises(NotFound, match="backstay_diff may not read it") as hidden:
        diff_table(shard.fleet, "s1", items, now, repository=shard.repository)
    assert "GRANT SELECT ON `app`.`items` TO 'backstay_diff'@'%';" in str(hidden.value.hint)
    with pytest.raises(NotFound, match="no server of shard s1 is called"):
        diff_table(shard.fleet, "s1", ORDERS, now, repository=shard.repository, server="other")
    there = tmp_path / "undo.sql"
    there.touch()
    with pytest.raises(TargetRefused, match="is there already"):
        diff_table(shard.fleet, "s1", ORDERS, now, repository=shard.repository, sql=there)
    shard.primary.query("SET GLOBAL read_only = ON")
    try:
        with pytest.raises(ServerRefused, match="no server of shard s1 takes writes"):
            diff_table(shard.fleet, "s1", ORDERS, now, repository=shard.repository)
    finally:
        shard.primary.query("SET GLOBAL read_only = OFF")


STAGES = ("recover", "replay", "hand over")


def die_with_the_tables(fleet: Fleet, to: RecoveryTarget, stage: str, directory: Path, sql: Path) -> None:
    """In a process of its own: bring a table back, and be killed at ``stage``."""
    restore_tables(
        fleet,
        "s1",
        [ORDERS],
        to,
        directory,
        wanted=Wanted(sql=sql),
        repository=repository_of(fleet),
        progress=AtStage(stage, lambda: os.kill(os.getpid(), signal.SIGKILL)),
    )


def die_comparing(fleet: Fleet, to: RecoveryTarget, work: Path, sql: Path) -> None:
    """In a process of its own: compare a table with its past, and be killed while rows are compared."""
    progress = AtStage("compare", lambda: os.kill(os.getpid(), signal.SIGKILL))
    diff_table(
        fleet, "s1", ORDERS, to, repository=repository_of(fleet), work=work, sql=sql, progress=progress
    )


def run_to_its_death(target: Callable[..., None], args: tuple[object, ...], place: Path) -> None:
    """Return when the process was killed, and the server that it had started has gone after it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    child = context.Process(target=target, args=args)
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL, args
    deadline = time.monotonic() + 30
    while any(look_at(data).locked_by is not None for data in place.glob("**/data")):
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.slow
def test_whenever_it_is_killed_the_same_command_brings_the_table_and_compares_it(
    damaged: Damaged, tmp_path: Path
) -> None:
    fleet, to = damaged.shard.fleet, damaged.before
    there, sql = tmp_path / "there", tmp_path / "orders.sql"
    for stage in STAGES:
        run_to_its_death(die_with_the_tables, (fleet, to, stage, there, sql), there)
        assert not sql.exists()
    result = restore_tables(
        fleet, "s1", [ORDERS], to, there, wanted=Wanted(sql=sql), repository=damaged.shard.repository
    )
    assert sql.exists()
    assert all(check.passed for check in result.checks)
    assert not there.exists()

    work, undo = tmp_path / "work", tmp_path / "undo.sql"
    work.mkdir()
    run_to_its_death(die_comparing, (fleet, to, work, undo), work)
    assert not undo.exists()
    assert damaged.diff(work, sql=undo).compared.past_rows == len(damaged.rows_before)
