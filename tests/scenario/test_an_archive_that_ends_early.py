"""An archive that ends before the newest backup: who goes to its end is told what is not there."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet.gtid import GtidSet
from fleet.model import Accounts
from fleet.table_name import TableName
from infra.sandbox.distribution import MysqlDistribution
from repository.archive.beyond import HeldBeyond
from restore.diff import diff_table
from restore.point import RecoveryTarget
from restore.standby import StandbyStatus, run_standby
from restore.standby_status import status
from restore.table_delivery import Wanted, restore_tables
from restore.table_plan import plan_tables
from tests.archives import executed
from tests.scenario.archived_shards import ArchivedShard, archived_shard, create_tables, write

pytestmark = pytest.mark.mysql

ITEMS = TableName("app", "items")


@dataclass
class Story:
    """Five transactions are in the newest backup, and not in the archive."""

    shard: ArchivedShard
    beyond: HeldBeyond
    archived: GtidSet


@pytest.fixture(scope="module")
def story(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[Story]:
    with archived_shard(mysql_distribution, scratch_directory) as shard:
        accounts = Accounts(backup=shard.primary.backup_account, diff=shard.primary.diff_account)
        shard.fleet = shard.fleet.model_copy(update={"accounts": accounts})
        create_tables(shard.primary, ["items"], rows=3)
        shard.primary.query("GRANT SELECT ON app.items TO 'backstay_diff'@'%'")
        shard.back_up()
        write(shard.primary, "items", 2)
        shard.archiver.run()
        archived = executed(shard.primary)
        write(shard.primary, "items", 5)
        more = executed(shard.primary) - archived
        yield Story(shard, HeldBeyond(shard.back_up(), 5, more.one_line()), archived)


def test_tables_that_are_brought_to_the_end_of_the_archive_lack_what_a_backup_has(
    story: Story, tmp_path: Path
) -> None:
    fleet, repository = story.shard.fleet, story.shard.repository
    exactly = RecoveryTarget.exactly(story.archived)
    assert plan_tables(fleet, "s1", [ITEMS], exactly, tmp_path / "a", repository=repository).beyond is None
    result = restore_tables(
        fleet,
        "s1",
        [ITEMS],
        RecoveryTarget.latest(),
        tmp_path / "b",
        wanted=Wanted(sql=tmp_path / "items.sql"),
        repository=repository,
    )
    assert result.beyond == story.beyond
    assert result.tables[0].rows == 5


def test_a_comparison_with_the_end_of_the_archive_says_what_the_past_lacks(
    story: Story, tmp_path: Path
) -> None:
    found = diff_table(
        story.shard.fleet,
        "s1",
        ITEMS,
        RecoveryTarget.latest(),
        repository=story.shard.repository,
        work=tmp_path,
        sql=tmp_path / "undo.sql",
    )
    assert found.beyond == story.beyond
    assert found.compared.added == 5
    assert f"-- Careful: {story.beyond.told}" in (tmp_path / "undo.sql").read_text()


# Last: it archives the rest.
def test_a_standby_says_so_until_the_archive_has_it(story: Story, tmp_path: Path) -> None:
    shard, cancelled = story.shard, threading.Event()
    seen: list[HeldBeyond | None] = []
    deadline = time.monotonic() + 60

    def look(now: StandbyStatus) -> None:
        if now.lag_transactions == 0 and now.beyond is not None and not seen:
            seen.extend([now.beyond, status(tmp_path).beyond])
            shard.archiver.run()
        if (seen and now.beyond is None) or time.monotonic() > deadline:
            cancelled.set()

    last = run_standby(
        shard.fleet, "s1", tmp_path, repository=shard.repository, on_status=look, cancelled=cancelled
    )
    assert seen == [story.beyond, story.beyond]
    assert last.beyond is None
