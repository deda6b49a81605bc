"""A table of a live shard compared with what the repository has of it, and put right by what was written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pymysql.constants import CLIENT

from fleet.errors import ConfigError, NotFound, ServerRefused, TargetRefused
from fleet.finding import Level
from fleet.model import Account, Accounts, Secret
from fleet.table_name import TableName
from infra.sandbox.distribution import MysqlDistribution
from restore.diff import TableDiff, diff_table
from restore.diff_compare import RowExample
from restore.diff_merge import Difference
from restore.diff_source import check_reader
from restore.point import RecoveryTarget
from tests.scenario.archived_shards import ArchivedShard, archived_shard, create_tables, write

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
