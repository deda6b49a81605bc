"""What ``backstay expire`` says of a backup that ended, and to which others still refer."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from rich.console import Console

import cli.cmd_expire  # noqa: F401 # pyright: ignore[reportUnusedImport] - it registers the texts
from backup.expire import Ended, Expiry, ShardExpiry
from cli.render import render_text

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
ENDED = Ended(
    label="20260101T000000Z-full",
    kind="full",
    finished_at=NOW - timedelta(days=89),
    stored_bytes=1000,
    reason="89 days old",
    marked_at=NOW - timedelta(hours=1),
    stays_until=NOW + timedelta(hours=23),
)


def told(ended: Ended) -> str:
    shard = ShardExpiry("s1", (), (), (ended,), (), (), None)
    console = Console(width=200)
    with console.capture() as captured:
        console.print(render_text(Expiry(False, NOW, NOW - timedelta(days=30), 24.0, (shard,))))
    (row,) = [line for line in captured.get().splitlines() if line.startswith(ended.label)]
    return row.partition("89 days old; ")[2].strip()


def test_while_it_can_be_taken_back_it_is_told_who_refers_to_it() -> None:
    assert told(ENDED) == "can be taken back until 2026-04-01 11:00:00 UTC"
    referred = replace(ENDED, referred_by=("20260301T000000Z-full",))
    assert told(referred) == f"{told(ENDED)}; referred to by 20260301T000000Z-full"


def test_prune_is_not_said_to_delete_what_others_refer_to() -> None:
    over = replace(ENDED, stays_until=NOW)
    assert told(over) == "the grace time is over, prune may delete it"
    one = replace(over, referred_by=("20260301T000000Z-full",))
    assert told(one) == (
        "the grace time is over, prune may delete what nobody refers to; "
        "referred to by 20260301T000000Z-full"
    )  # fmt: skip


def test_of_many_that_refer_the_newest_is_named() -> None:
    many = replace(ENDED, reduced=True, referred_by=tuple(f"2026030{day}T000000Z-full" for day in (1, 2, 3)))
    assert told(many) == (
        "only what others refer to is left; referred to by 20260303T000000Z-full and 2 older ones"
    )
