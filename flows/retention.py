"""The flow ``retention``: backups end by the policy, and what was ended is deleted after its grace time."""

from __future__ import annotations

import threading

from prefect import flow
from prefect.client.schemas.objects import State

from backup.expire import Expiry, expire, plan_expire, refusal_of
from backup.prune import prepare_prune, prune
from backup.prune_plan import PruneResult
from fleet import figures
from fleet.clock import SystemClock
from fleet.model import Fleet
from fleet.progress import Progress
from flows.opening import open_repository
from flows.recorded import Done, recorded
from flows.running import carry_out
from flows.telling import Teller, show_table
from restore.promised import plan_promised

BY = "backstay retention"
"""Who put a mark, as it is written into it."""


@flow(name="retention", flow_run_name="retention", retries=0, persist_result=False)
def retention() -> State[None]:
    """Mark, then delete. Never tried again by itself: who deletes looks anew, at the next time."""
    return recorded("retention", None, _work)


def _work(fleet: Fleet) -> Done:
    repository = open_repository(fleet)
    clock = SystemClock()

    def story(progress: Progress, cancelled: threading.Event) -> tuple[Expiry, PruneResult | None]:
        progress.stage("expire")
        ended = expire(repository, plan_expire(repository, fleet.retention), by=BY, cancelled=cancelled)
        progress.stage("plan of what is deleted")
        prepared = prepare_prune(
            repository,
            fleet.retention,
            (),
            archived=[shard.name for shard in fleet.shards],
            plan_points=plan_promised,
        )
        if prepared.refusal is not None:
            raise prepared.refusal
        if prepared.plan.is_idle:
            return ended, None
        return ended, prune(repository, prepared, progress=progress, cancelled=cancelled)

    ended, pruned = carry_out(story, clock, tell=Teller("retention", clock))
    show_table("retention", _facts(ended, pruned))
    # One shard that is refused does not keep the others from theirs; but somebody has to look at it.
    if refusal := refusal_of(ended):
        raise refusal
    return Done(_in_one_line(ended, pruned))


def _in_one_line(ended: Expiry, pruned: PruneResult | None) -> str:
    expired = figures.plural(sum(len(shard.expires) for shard in ended.shards), "backup")
    if pruned is None:
        return f"{expired} expired, nothing to delete"
    deleted = figures.plural(len(pruned.backups), "backup")
    return f"{expired} expired, {deleted} deleted, {figures.size(pruned.freed_bytes)} free"


def _facts(ended: Expiry, pruned: PruneResult | None) -> list[tuple[str, str]]:
    facts = [("Window from", f"{figures.moment(ended.window_from)} UTC")]
    for shard in ended.shards:
        told = f"{len(shard.kept):,} stay, {len(shard.expires):,} expire, {len(shard.expired):,} did before"
        facts.append((f"Shard {shard.shard}", f"refused: {shard.refused.message}" if shard.refused else told))
    if pruned is not None:
        facts += [
            ("Backups deleted", ", ".join(pruned.backups)),
            ("Binlog files deleted", f"{pruned.binlog_files:,}"),
            ("Objects deleted", f"{pruned.objects:,}"),
            ("Freed", figures.size(pruned.freed_bytes)),
        ]
    return facts
