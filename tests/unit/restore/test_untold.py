"""Backups whose GTID set is not that of their data are told by an older one of the same server."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from repository.manifest import GtidBracket, Lsn, Manifest, Sizes, Timings
from restore.untold import untold
from restore.walk import Branch
from tests.unit.restore.made_backups import made_facts
from tests.unit.restore.made_lines import A, B, gtids

AT = datetime(2026, 3, 1, tzinfo=UTC)


def backup(day: int, lsn: int, low: str, high: str = "", *, server: str = B, log: int | None = 7) -> Manifest:
    facts = made_facts({}, low="", high="")
    return Manifest(
        files=(),
        donor=facts.donor.model_copy(update={"server_uuid": server}),
        settings=facts.settings,
        lsn=Lsn(start=1, checkpoint=2, end=lsn, log_uuid=log),
        gtid=GtidBracket(low=str(gtids(low)), high=str(gtids(high or low))),
        binlog=facts.binlog,
        repository_id="r",
        shard="s1",
        label=f"2026030{day}T000000Z-full",
        kind="full",
        created_by="test",
        index=(),
        timings=Timings(started_at=AT, finished_at=AT),
        sizes=Sizes(files_bytes=0, received_bytes=0, stored_bytes=0, packs=0, records=0),
    )


BEFORE = backup(1, 100, "a:1-50", "a:1-60")


@pytest.mark.parametrize("low", ["", "a:61-70", "b:1-3", "a:1-49,a:51-90"])
def test_a_copy_of_a_replica_that_was_reset_is_told(low: str) -> None:
    found = untold([backup(2, 200, low), BEFORE])
    assert set(found) == {"20260302T000000Z-full"}
    assert BEFORE.label in found["20260302T000000Z-full"]


def test_a_server_that_went_on_is_believed() -> None:
    assert not untold([BEFORE, backup(2, 100, "a:1-50"), backup(3, 300, "a:1-90")])


def test_what_the_older_one_may_or_may_not_hold_is_not_asked_for() -> None:
    assert not untold([BEFORE, backup(2, 200, "", "a:1-50")])


def test_a_server_with_other_data_is_believed() -> None:
    assert not untold([BEFORE, backup(2, 200, "", server=A)])
    assert not untold([BEFORE, backup(2, 200, "", log=8)])
    assert not untold([BEFORE, backup(2, 99, "")])
    # Servers before 8.0.30 do not say which redo log they have.
    assert untold([BEFORE, backup(2, 200, "", log=None)])


def test_every_one_after_the_reset_is_told_until_the_server_tells_all_again() -> None:
    found = untold([BEFORE, backup(2, 200, ""), backup(3, 300, "a:61-90"), backup(4, 400, "a:1-90")])
    assert set(found) == {"20260302T000000Z-full", "20260303T000000Z-full"}


def test_a_shard_whose_history_began_anew_is_believed() -> None:
    """Its primary was reset too: the archive has what was before on a branch."""
    assert not untold([BEFORE, backup(2, 200, "a:1-5")], [Branch(1, gtids("a:1-60"))])
    assert untold([BEFORE, backup(2, 200, "a:1-5")], [Branch(1, gtids("a:1-40"))])
