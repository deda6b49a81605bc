"""The load accounts for every transaction: what is there, what is there by half, what is lost."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from infra.sandbox.ddl import DDL_KINDS
from infra.sandbox.ledger import LoadCheck, check_load
from infra.sandbox.load import Load, connector
from infra.sandbox.scratch import ScratchServer

pytestmark = pytest.mark.mysql


def make_load(server: ScratchServer, directory: Path, **settings: float) -> Load:
    return Load(connector(server, server.accounts.application), directory, accounts=200, **settings)


def check(server: ScratchServer, directory: Path) -> LoadCheck:
    connection = server.connect()
    try:
        return check_load(connection, directory)
    finally:
        connection.close()


def test_under_every_kind_of_ddl_nothing_is_lost_or_there_by_half(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    load = make_load(scratch_server, tmp_path)
    with load:
        for kind in (*DDL_KINDS, *DDL_KINDS):
            event = load.run_ddl(kind)
            assert (event.kind, event.error) == (kind, None)
        running = check(scratch_server, tmp_path)
        assert running.is_consistent
        assert running.lost == ()
        statistics = load.stop()
    assert len(statistics.ddl) == 2 * len(DDL_KINDS)
    assert statistics.errors == {}
    assert statistics.latency.count == statistics.transactions > 100
    assert 0 < statistics.latency.p50_seconds <= statistics.latency.p99_seconds
    found = check(scratch_server, tmp_path)
    assert (found.is_consistent, found.lost, found.transactions) == (True, (), statistics.transactions)


def test_clients_survive_a_killed_server_and_lose_nothing(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    with make_load(scratch_server, tmp_path, ddl_every_seconds=0.2) as load:
        time.sleep(2)
        scratch_server.kill()
        time.sleep(0.5)
        scratch_server.start()
        load.take_statistics()
        time.sleep(2)
        assert load.take_statistics().transactions > 10
    found = check(scratch_server, tmp_path)
    assert found.is_consistent
    assert found.lost == ()


def test_a_rate_is_kept_and_the_next_load_goes_on(scratch_server: ScratchServer, tmp_path: Path) -> None:
    for already in (0, 1):
        with make_load(scratch_server, tmp_path, rate=40, clients=2) as load:
            time.sleep(3)
            statistics = load.stop()
        assert 90 <= statistics.transactions <= 130
        found = check(scratch_server, tmp_path)
        assert found.is_consistent
        assert found.transactions > already * 180


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        ("UPDATE `load`.accounts_1 SET balance = balance + 1 WHERE id = 7", "unbalanced"),
        ("DELETE FROM `load`.accounts_2 WHERE id = 7", "unbalanced"),
        ("DELETE FROM `load`.ledger WHERE client = 1 AND sequence = 3", "gaps"),
        ("DELETE FROM `load`.ledger WHERE client = 1 ORDER BY sequence DESC LIMIT 1", "lost"),
    ],
)
def test_damage_is_found(scratch_server: ScratchServer, tmp_path: Path, damage: str, expected: str) -> None:
    with make_load(scratch_server, tmp_path, rate=50, clients=1):
        time.sleep(0.5)
    assert check(scratch_server, tmp_path).is_consistent
    scratch_server.query(damage)
    found = check(scratch_server, tmp_path)
    assert getattr(found, expected)
    if expected == "lost":
        assert [one.client for one in found.lost] == [1]
    if expected == "gaps":
        assert [tuple(gap) for gap in found.gaps] == [(1, 3, 3)]
