"""``backstay restore --table``: what its options ask for, and what is told of plan and result."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from door import Backstay

from cli.render import show_text
from cli.text_point import Neighbour
from cli.text_tables import TablesPlanned
from repository.archive.beyond import HeldBeyond
from repository.manifest import ProofCheck
from restore.full import LeftServer
from restore.table_delivery import DeliveredTable, TablesResult

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
BEYOND = HeldBeyond("20260302T021500Z-full", 5, f"{UUID}:78-82")
LABEL = "20260301T021500Z-full"
TABLE = ["--table", "shop.orders"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["s1", *TABLE, "--sql", "t.sql"], "--table needs a point to bring the table to"),
        (["s1", *TABLE, "--latest"], "nothing says how the tables are to be handed over"),
        (["s1", "--table", "orders", "--latest", "--sql", "t.sql"], "'orders' is no table's name"),
        (["s1", *TABLE, "--latest", "--sql", "t.sql", "--delta"], "--table begins with an empty directory"),
        (["s1", "--latest", "--export", "out"], "--export and --sql hand over single tables"),
        (["--all", *TABLE, "--latest", "--sql", "t.sql"], "--table is of one shard, and --all is given"),
    ],
)
def test_options_that_make_no_sense_are_a_usage_error(
    backstay: Backstay, home: Path, options: list[str], said: str
) -> None:
    answer = backstay("restore", "--into", "work", *options)
    assert answer.exit_code == 2
    assert said in answer.err.splitlines()[0]
    assert not (home / "work").exists()


def test_the_plan_tells_what_is_fetched_and_where_it_stops(capsys: pytest.CaptureFixture[str]) -> None:
    last = Neighbour("in", f"{UUID}:77", "2026-03-01T02:15:00.123456Z", ("insert",), ("shop.orders",), "")
    planned = TablesPlanned(
        shard="s1",
        label=LABEL,
        target=Path("/srv/work"),
        to="2026-03-01 02:15:00.200000 UTC",
        tables=("shop.orders",),
        followed=("shop.orders", "shop._orders_new"),
        steps=("take it", "bring it"),
        stop_before=None,
        gtids=f"{UUID}:1-77",
        skipped="",
        neighbours=(last,),
        transactions=3,
        of_transactions=70,
        segments=1,
        archive_bytes=1,
        fetch_bytes=2,
        table_bytes=3,
        system_bytes=4,
        shard_bytes=5,
        needed_bytes=6,
        free_bytes=7,
        links=(),
        passed_over=(),
    )
    show_text(planned)
    text = capsys.readouterr().out
    assert text.startswith("The plan for shop.orders of shard s1, 2026-03-01 02:15:00.200000 UTC\n")
    assert " 1.  take it\n 2.  bring it\n" in text
    assert f"in  {UUID}:77" in text
    assert "does not reach" not in text
    show_text(replace(planned, beyond=BEYOND))
    told = " ".join(capsys.readouterr().out.split())
    assert f"{BEYOND.told}: {BEYOND.gtids}. They are not in these tables" in told
    assert f"backstay restore s1 --backup {BEYOND.label} --into DIR" in told


def test_the_result_tells_what_was_handed_over_and_what_was_not_checked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    orders = DeliveredTable(
        "shop.orders", 1234, Path("/srv/o.sql"), Path("/srv/out/shop.orders"), ("orders.ibd",), 1_000_000
    )
    result = TablesResult(
        shard="s1",
        label=LABEL,
        target=Path("/srv/work"),
        asked="2026-03-01 02:15:00.200000 UTC",
        tables=(orders,),
        reached_at=datetime(2026, 3, 1, 2, 15, 0, 123_456, tzinfo=UTC),
        stopped_before=f"{UUID}:78",
        skipped="",
        server_version="9.7.4",
        gtid_executed=f"{UUID}:1-77",
        followed=("shop.orders",),
        unchecked=("shop.customers",),
        transactions=3,
        read_bytes=2_000_000,
        log_bytes=1,
        system_bytes=2,
        table_bytes=3,
        shard_bytes=2_000_000_000,
        checks=(ProofCheck(name="table shop.orders", passed=True, detail="CHECK TABLE: OK"),),
        seconds=4.0,
        stage_seconds={"fetch": 1.0},
        left=LeftServer(Path("/run/m.sock"), 4711, Path("/run/m.log")),
        next_steps=("mysql recovered < /srv/o.sql",),
    )
    show_text(result)
    text = capsys.readouterr().out
    assert f"restored        shop.orders of s1, from backup {LABEL}\n" in text
    assert "as SQL          /srv/o.sql, 1,234 rows\n" in text
    assert "exported        /srv/out/shop.orders, 1.00 MB\n" in text
    assert "foreign keys to shop.customers, which were left out\n" in text
    assert "2.00 MB from the store; the shard has 2.00 GB of files\n" in text
    assert "runs on as process 4711, read-only" in text
    assert "ok  table shop.orders" in text
    assert "does not reach" not in text
    show_text(replace(result, beyond=BEYOND))
    assert f"warn  shard s1  {BEYOND.label} holds 5 transactions" in capsys.readouterr().out
