"""What people are told before a restore to a point: the place, and what stands around it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.render import render_json, show_text
from cli.text_point import Neighbour, PointPlanned, neighbours
from fleet.gtid import GtidSet
from fleet.transaction import Gtid, Kind, Transaction
from restore.point import Point

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"
SECOND = 1_000_000


def transaction(number: int, kinds: Kind, *tables: str, statement: str = "") -> Transaction:
    at = 1_772_331_300 * SECOND + number
    return Transaction(Gtid(UUID, "", number), at, 4, 300, kinds, tables, statement)


ORDER = transaction(17, Kind.INSERT | Kind.UPDATE, "shop.orders", "shop.stock")
DROP = transaction(18, Kind.DDL, "shop.orders", statement="DROP TABLE `orders`")
LATER = transaction(19, Kind.DELETE, "shop.stock")
STOPPED = Point(GtidSet.parse(f"{UUID}:1-17"), DROP, (ORDER,), (LATER,))
SKIPPED = Point(GtidSet.parse(f"{UUID}:1-19"), None, (DROP, LATER), (), GtidSet.parse(f"{UUID}:18"), (DROP,))


def planned(point: Point) -> PointPlanned:
    return PointPlanned(
        shard="s1",
        label="20260301T021500Z-full",
        target=Path("/srv/restored"),
        to=f"just before {UUID}:18",
        mode="empty",
        steps=("take backup s1/20260301T021500Z-full", "replay at most 12 transactions"),
        stop_before=str(point.stop_before) if point.stop_before else None,
        gtids=str(point.gtids),
        skipped=str(point.skipped),
        neighbours=tuple(neighbours(point)),
        epoch=1,
        transactions=12,
        segments=3,
        archive_bytes=1,
        log_bytes=2,
        backup_bytes=3,
        needed_bytes=4,
        free_bytes=5,
        estimated_seconds=6.0,
        promised_seconds=7.0,
        remove_files=(),
    )


def test_the_transaction_to_stop_before_stands_between_its_neighbours(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    show_text(planned(STOPPED))
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 80
    assert text.endswith(
        "Around the point:\n"
        "\n"
        f"in    {UUID}:17  2026-03-01 02:15:00.000017\n"
        "      insert, update  shop.orders, shop.stock\n"
        f"stop  {UUID}:18  2026-03-01 02:15:00.000018\n"
        "      ddl  DROP TABLE `orders`\n"
        f"out   {UUID}:19  2026-03-01 02:15:00.000019\n"
        "      delete  shop.stock\n"
    )


def test_what_is_left_out_on_the_way_is_told_once() -> None:
    assert [(one.place, one.gtid) for one in neighbours(SKIPPED)] == [
        ("skipped", f"{UUID}:18"),
        ("in", f"{UUID}:19"),
    ]


def test_programs_are_told_the_moment_as_the_command_line_takes_it() -> None:
    (first, *_rest) = neighbours(STOPPED)
    assert render_json(first) == {
        "place": "in",
        "gtid": f"{UUID}:17",
        "committed_at": "2026-03-01T02:15:00.000017Z",
        "kinds": ["insert", "update"],
        "tables": ["shop.orders", "shop.stock"],
        "statement": "",
    }


def test_a_point_without_archived_transactions_near_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    show_text(planned(Point(GtidSet(), None, (), ())))
    assert capsys.readouterr().out.endswith("No transaction of the archive is near it.\n")


def test_an_empty_transaction_has_a_word_too(capsys: pytest.CaptureFixture[str]) -> None:
    empty = Point(GtidSet(), None, (transaction(3, Kind.EMPTY),), ())
    show_text(planned(empty))
    assert capsys.readouterr().out.endswith("    empty\n")
    assert isinstance(next(neighbours(empty)), Neighbour)
