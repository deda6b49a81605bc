"""``backstay restore``: bring a shard back, to a backup or to a point, and prove what it holds."""

from __future__ import annotations

import typer

from cli.backups import Label, OneShard
from cli.points import BeforeGtid, Latest, SkipGtid, To, ToGtids, recovery_target
from cli.restores import restore_all_shards, restore_one_backup, restore_one_to_point
from cli.restoring import AtOnce, Check, Delta, DryRun, Every, Into, Left, Restoring, Yes
from cli.table_restores import Export, Sql, Tables, check_without_tables, restore_some_tables
from fleet.errors import UsageError
from repository.catalog import LATEST
from restore.full import Leave


def restore(
    context: typer.Context,
    shard: OneShard = None,
    *,
    into: Into,
    to: To = None,
    before_gtid: BeforeGtid = None,
    to_gtids: ToGtids = None,
    latest: Latest = False,
    skip_gtid: SkipGtid = None,
    table: Tables = None,
    export: Export = None,
    sql: Sql = None,
    every: Every = False,
    at_once: AtOnce = 2,
    label: Label = LATEST,
    delta: Delta = False,
    check: Check = None,
    leave: Left = Leave.STOPPED,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Restore a shard into a directory, and prove it.

    Pages of a backup are fetched straight into place, and a private server (own socket, no network,
    read-only) recovers them. With a point, transactions of the archive are replayed on it, up to exactly
    there. Then its GTID set is compared with the plan's, tables are checked, and the directory is ready to
    join replication. With --table only what these tables need is fetched and replayed, and they are handed
    over by themselves.
    """
    target = recovery_target(
        to=to, before_gtid=before_gtid, to_gtids=to_gtids, latest=latest, skip_gtid=skip_gtid
    )
    if every == (shard is not None):
        fact = "a shard is named, and --all is given" if every else "no shard is named"
        raise UsageError(fact, hint="Name a shard, or give --all.")
    wish = Restoring(into=into, label=label, delta=delta, check=check, leave=leave, dry_run=dry_run, yes=yes)
    if table and shard is not None:
        restore_some_tables(context, shard, table, target, wish, export=export, sql=sql)
        return
    check_without_tables(table, export, sql)
    if shard is None:
        if target is None or delta or label != LATEST:
            raise UsageError(
                "--all needs a moment that all shards share, and an empty directory for each",
                hint="Give --to TIME or --latest, and neither --backup nor --delta.",
            )
        restore_all_shards(context, target, wish, at_once=at_once)
    elif target is None:
        restore_one_backup(context, shard, wish)
    else:
        restore_one_to_point(context, shard, target, wish)
