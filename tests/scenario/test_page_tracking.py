"""What a real server tells of its changed pages, and to whom."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path

import pytest

from backup.tracking import check_tracking, switch_tracking_on
from fleet.errors import ServerRefused
from fleet.finding import Finding, Level
from infra.sandbox.scratch import ScratchServer
from tests.scenario.copies import big_table, change_pages, connector
from tests.scenario.fleets import fleet_of
from wire.admin import log_status
from wire.clone.pages import lsns
from wire.page_tracking import changed_pages, may_read_list, switch_on, tracking_status

pytestmark = pytest.mark.mysql


def test_the_list_has_every_changed_page_also_after_a_restart(scratch_server: ScratchServer) -> None:
    """The account gets what it needs one by one; what is missing is named each time."""
    server = scratch_server
    server.query("GRANT INSERT ON mysql.component TO 'backstay'@'%'")
    with closing(connector(server)()) as session:
        assert not tracking_status(session).component
        assert "not installed" in refusal(server)
        start = switch_on(session).start_lsn
        assert start is not None and switch_on(session) == tracking_status(session)
    assert "lacks FILE, SYSTEM_VARIABLES_ADMIN" in refusal(server)
    server.query("GRANT FILE, SYSTEM_VARIABLES_ADMIN ON *.* TO 'backstay'@'%'")
    big_table(server, rows=20_000)
    change_pages(server)
    wait_for_checkpoint(server, start)
    assert_all_listed(server, start)
    with closing(connector(server)()) as session, pytest.raises(ServerRefused, match="which is after"):
        changed_pages(session, start - 1)

    server.query("UPDATE app.items SET n = n + 1 WHERE id % 7 = 0")
    # After a crash the list lacks pages that were written just before it.
    server.stop()
    server.start()
    server.query("SET GLOBAL innodb_max_dirty_pages_pct = 0")
    change_pages(server, rows=10)
    assert_all_listed(server, start)

    server.query("SET GLOBAL max_allowed_packet = 4096")
    assert "larger than max_allowed_packet = 4096?" in refusal(server)
    assert list((server.datadir / "#meb").iterdir()) == [], "a list is removed when it was read"


def test_a_list_that_a_crash_left_is_removed_by_the_next(scratch_server: ScratchServer) -> None:
    server = scratch_server
    trackable(server)
    with closing(connector(server)()) as session:
        start = switch_on(session).start_lsn
        assert start is not None
        big_table(server, rows=1000)
        change_pages(server)
        wait_for_checkpoint(server, start)
        left = server.datadir / "#meb" / "7065001.idx"
        left.parent.mkdir(exist_ok=True)
        left.write_bytes(b"no list")
        assert len(changed_pages(session, start)) > 0
        assert not left.exists()
        (left / "not empty").mkdir(parents=True)
        with pytest.raises(ServerRefused, match=r"did not write #meb/7065001.idx"):
            changed_pages(session, start)


def test_check_tells_of_page_tracking_and_fix_switches_it_on(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fleet = fleet_of(scratch_server, folder=tmp_path)
    assert only(check_tracking(fleet, fleet.shards[0].name)).level is Level.OK
    refused = only(switch_tracking_on(fleet, fleet.shards[0].name))
    assert refused.level is Level.WARN and "INSERT command denied" in refused.message
    assert refused.hint is not None and "INSTALL COMPONENT" in refused.hint

    scratch_server.query("GRANT INSERT ON mysql.component TO 'backstay'@'%'")
    done = only(switch_tracking_on(fleet, fleet.shards[0].name))
    assert done.level is Level.OK
    assert "is on, since LSN" in done.message and "lacks FILE" in done.message
    scratch_server.query("GRANT FILE, SYSTEM_VARIABLES_ADMIN ON *.* TO 'backstay'@'%'")
    assert only(check_tracking(fleet, fleet.shards[0].name)).hint is None

    silent = fleet.model_copy(update={"backup": fleet.backup.model_copy(update={"donor_saving": "off"})})
    assert check_tracking(silent, fleet.shards[0].name) == ()


def only(findings: tuple[Finding, ...]) -> Finding:
    (finding,) = findings
    return finding


def trackable(server: ScratchServer) -> None:
    server.query("INSTALL COMPONENT 'file://component_mysqlbackup'")
    server.query("GRANT FILE, SYSTEM_VARIABLES_ADMIN ON *.* TO 'backstay'@'%'")


def refusal(server: ScratchServer) -> str:
    with closing(connector(server)()) as session:
        since = tracking_status(session).start_lsn or 1
        with pytest.raises(ServerRefused) as refused:
            changed_pages(session, since)
        assert refused.value.hint
        return refused.value.message


def wait_for_checkpoint(server: ScratchServer, after: int) -> None:
    deadline = time.monotonic() + 30
    with closing(connector(server)()) as session:
        while log_status(session).lsn_checkpoint <= after:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def assert_all_listed(server: ScratchServer, since: int) -> None:
    """Every page of a tablespace file whose LSN is newer is in a list of later."""
    spaces = server.query("SELECT space, name FROM information_schema.innodb_tablespaces")
    ids = {row["name"]: row["space"] for row in spaces}
    changed: set[tuple[int, int]] = set()
    for name, path in (
        ("app/items", "app/items.ibd"),
        ("mysql", "mysql.ibd"),
        ("innodb_undo_001", "undo_001"),
    ):
        found = lsns(memoryview((server.datadir / path).read_bytes()), 16384)
        changed.update((ids[name], number) for number, lsn in enumerate(found) if lsn >= since)
    with closing(connector(server)()) as session:
        assert may_read_list(session)
        pages = changed_pages(session, since)
    assert len(changed) > 100
    assert not [place for place in sorted(changed) if not pages.has_any(place[0], place[1], place[1])]
