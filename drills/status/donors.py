"""Whether a backup could be taken now, by what the archive's survey of the servers told already. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from backup.archive.sources import SourceFacts
from backup.archive.survey import Survey
from backup.plan import Candidate, choose_donor, why_not
from drills.status.report import Health, Judged
from fleet.errors import ServerUnreachable, ServerUnsupported, ToolError
from fleet.figures import duration
from fleet.finding import Finding, Level
from fleet.model import Fleet, Shard


def judge_donors(fleet: Fleet, shard: Shard, survey: Survey) -> Iterator[Judged]:
    """A finding where the choice that a backup makes finds no server to copy from.

    Fewer things are asked here than before a backup: who passes here may still be refused there. Where no
    server answers at all, what is said of each says enough.
    """
    limit = fleet.backup.max_replica_lag_seconds
    told = {each.name: _seen(each, limit) for each in survey.seen}
    for each in survey.unseen:
        told[each.server.name] = Candidate(
            each.server, each.server.role == "replica", None, (), error=each.error
        )
    candidates = [told[server.name] for server in shard.servers if server.name in told]
    if not survey.seen or not _is_known(fleet, survey):
        return
    try:
        choose_donor(shard.name, candidates, fleet.backup)
    except ToolError:
        reasons = "; ".join(why_not(each, fleet.backup) for each in candidates)
        is_late = not survey.unseen and any(each.findings for each in candidates)
        yield Judged(
            Health.CRITICAL,
            "replication-lag" if is_late else "server-unreachable",
            f"shard {shard.name}",
            f"no backup of {shard.name} can be taken now: {reasons}",
            "Put right what is said of one of them, or widen backup.donor: backstay check",
        )


def _is_known(fleet: Fleet, survey: Survey) -> bool:
    """Who is refused as the account that archives may be let in as the one that takes backups."""
    if fleet.accounts.archive is None:
        return True
    return all(isinstance(each.error, ServerUnreachable | ServerUnsupported) for each in survey.unseen)


def _seen(facts: SourceFacts, limit_seconds: float) -> Candidate:
    lags = [link.lag_seconds for link in facts.links if link.lag_seconds is not None]
    lag = max(lags, default=None)
    problem = None
    if any(link.receiving != "yes" for link in facts.links):
        problem = "the receiver of its replication does not run"
    elif not all(link.applying for link in facts.links):
        problem = "the applier of its replication does not run"
    elif lag is not None and lag > limit_seconds:
        problem = f"it is {duration(lag)} behind, and {duration(limit_seconds)} are allowed"
    findings = (Finding(Level.FAIL, f"server {facts.name}", problem),) if problem else ()
    return Candidate(facts.server, bool(facts.links), lag, findings)
