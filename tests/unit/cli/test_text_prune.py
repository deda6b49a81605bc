"""What prune's texts say of backups that shrink: no more than is known."""

from __future__ import annotations

from datetime import UTC, datetime

from rich.console import Console

import cli.text_prune  # noqa: F401 # pyright: ignore[reportUnusedImport] - it registers the texts
from backup.prune_plan import BackupKept, BackupReducing, PrunePlan, PruneResult, Reduced
from cli.render import render_text

NOW = datetime(2026, 3, 31, tzinfo=UTC)


def told(result: object) -> str:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(render_text(result))
    return capture.get()


def test_of_what_shrinks_the_least_is_told_before_and_all_afterwards() -> None:
    plan = PrunePlan(
        now=NOW,
        window_start=NOW,
        pause_seconds=3600.0,
        backups=(),
        reducing=(BackupReducing("s1", "20260101T000000Z-full", 5, 1, "reduce", NOW),),
        marked=(BackupKept("s1", "20260101T000000Z-full", 5, 3, NOW, ("needed by s1/x",)),),
        kept_backups=2,
        kept_bytes=10,
        left_bytes=8,
        unreadable=(),
        forged=(),
        leftovers=(),
        binlogs=(),
        archives=(),
        leases=0,
        trials=0,
        refused=None,
    )
    assert "Kept: 2 backups of 8 B; before some were reduced it was 10 B." in told(plan)
    assert "3 B of 5 B" in told(plan)
    assert "Free now: at least 0 B." in told(plan)
    result = PruneResult(
        backups=(),
        reduced=(Reduced("s1", "a", 3, 2, 4), Reduced("s1", "b", 3, 0, 0)),
        leftovers=(),
        begun=(),
        binlog_files=0,
        objects=0,
        freed_bytes=4,
        marked=plan.marked,
        archives=(),
        spared=(),
        locked=(),
        next_at=None,
        next_bytes=0,
        seconds=1.0,
    )
    assert "Shrunk: 2 packs of 1 backup, 4 B of these bytes." in told(result)
    assert "Nothing was to be gained by shrinking s1/b." in told(result)
