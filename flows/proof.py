"""The flow ``proof``: the shard whose proof is oldest is restored, replayed to now, checked, and deleted."""

from __future__ import annotations

import threading

from prefect import flow
from prefect.client.schemas.objects import State

from drills.proof import ProofResult, prove
from drills.status.places import proof_directory
from fleet import figures
from fleet.clock import SystemClock
from fleet.model import Fleet
from fleet.progress import Progress
from flows.opening import open_repository
from flows.recorded import Done, recorded
from flows.running import carry_out
from flows.telling import Teller, show_table


@flow(name="proof", flow_run_name="proof", retries=0, persist_result=False)
def proof() -> State[None]:
    """Restore and measure. A shard that is not proven makes the run fail; it is not tried again by itself."""
    return recorded("proof", None, _work)


def _work(fleet: Fleet) -> Done:
    repository = open_repository(fleet)
    clock = SystemClock()

    def story(progress: Progress, cancelled: threading.Event) -> ProofResult:
        directory = proof_directory(fleet)
        return prove(
            fleet, None, repository=repository, directory=directory, progress=progress, cancelled=cancelled
        )

    result = carry_out(story, clock, tell=Teller("proof", clock))
    show_table("proof", _facts(result))
    if failure := result.failure():
        raise failure
    took = figures.duration(result.rto_seconds or result.seconds)
    return Done(f"{result.shard}/{result.label} is proven: restored in {took}{_lost(result)}", result.label)


def _lost(result: ProofResult) -> str:
    return "" if result.rpo_seconds is None else f", {figures.duration(result.rpo_seconds)} lost at most"


def _facts(result: ProofResult) -> list[tuple[str, str]]:
    rpo = "" if result.rpo_seconds is None else figures.duration(result.rpo_seconds)
    return [
        ("Backup", f"{result.shard}/{result.label}"),
        ("Proven", "yes" if result.proven else f"no: {result.problem}"),
        ("Restored in", "" if result.rto_seconds is None else figures.duration(result.rto_seconds)),
        ("Asked for (RTO)", figures.duration(result.rto_target_seconds)),
        ("Lost at most", rpo or (result.rpo_unknown or "")),
        ("Asked for (RPO)", figures.duration(result.rpo_target_seconds)),
        ("Reached", f"{figures.moment(result.reached_at)} UTC" if result.reached_at else ""),
        ("Transactions replayed", f"{result.transactions:,}"),
    ]
