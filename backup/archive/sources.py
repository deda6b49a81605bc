"""Whom to archive from, and whether a new epoch begins there. Pure: facts in, decisions out.

The servers are asked, the config's roles are only a hint. A wrong choice costs more than a late one: it
opens an epoch and calls good transactions a branch. So a server is taken for the primary only if it stands
alone: none of its receivers runs or tries to. Of several that take writes, one that lacks archived
transactions never wins over one that has them all, and where nothing tells them apart none is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from fleet.errors import ServerRefused, ServerUnreachable, ToolError
from fleet.figures import plural
from fleet.gtid import GtidSet
from fleet.model import Server
from fleet.skew import Skew

Receiving = Literal["yes", "connecting", "no"]


@dataclass(frozen=True, slots=True)
class Link:
    """One replication channel of a server: whom it receives from, and whether it does."""

    source_uuid: str
    receiving: Receiving
    applying: bool
    lag_seconds: int | None


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What a server said of itself. ``executed`` and ``purged`` are its GTID sets; ``clock``: how far its
    clock is off this machine's.
    """

    server: Server
    uuid: str
    version: str
    is_writable: bool
    has_binlog: bool
    links: tuple[Link, ...]
    executed: GtidSet
    purged: GtidSet
    clock: Skew | None = None

    @property
    def name(self) -> str:
        return self.server.name

    @property
    def is_replica(self) -> bool:
        """It receives from another server, or tries to."""
        return any(link.receiving != "no" for link in self.links)

    def has_written(self, archived: GtidSet) -> bool:
        """It wrote transactions of its own that nobody has archived."""
        own = GtidSet(origin for origin in self.executed if origin.uuid == self.uuid)
        return not own <= archived


@dataclass(frozen=True, slots=True)
class Unseen:
    """A server that could not be asked."""

    server: Server
    error: ToolError


@dataclass(frozen=True, slots=True)
class Standing:
    """What the archive knows already: whose line is written, and the transactions that it holds.

    ``branches``: transactions that the line left behind.
    """

    line_uuid: str
    archived: GtidSet
    branches: GtidSet = field(default_factory=GtidSet)


@dataclass(frozen=True, slots=True)
class SourceChoice:
    """The server to follow, whose line its transactions belong to, and why it is this one.

    ``line_uuid`` is the primary's: the source's own, or that of the server which a replica receives from.
    """

    source: SourceFacts
    line_uuid: str
    line_name: str
    reason: str


@dataclass(frozen=True, slots=True)
class EpochChange:
    """Why an epoch must be opened, and what becomes of the transactions archived so far."""

    reason: Literal["first", "promotion", "restore", "diverged"]
    inherited: GtidSet
    branch: GtidSet
    skipped: GtidSet


def choose_source(
    shard: str,
    seen: Sequence[SourceFacts],
    unseen: Sequence[Unseen],
    *,
    prefer: Literal["primary", "replica"],
    standing: Standing | None,
) -> SourceChoice:
    """Whom to follow. Raises ``ServerUnreachable`` (retryable) when no server can be taken for the primary,
    or when several take writes and nothing tells which of them is the one.

    With ``prefer`` replica: the replica with the least lag, or the primary while no replica is fit.
    """
    best = _best_primary(shard, seen, standing)
    if prefer == "replica":
        wrong = {facts.uuid for facts in writers(seen) if facts is not best}
        fit = [facts for facts in seen if _is_fit_replica(facts) and facts.links[0].source_uuid not in wrong]
        if fit:
            replica = min(fit, key=_by_lag)
            line, why = replica.links[0].source_uuid, f"{replica.name}: a replica, {_lag(replica)}"
            return SourceChoice(replica, line, _name_of(line, seen), why)
    if best is None:
        raise _no_primary(shard, seen, unseen)
    if not best.has_binlog:
        raise ServerRefused(
            f"server {best.name} is the primary of shard {shard} and writes no binlog",
            hint="Remove skip-log-bin from its configuration; without a binlog there is nothing to archive.",
        )
    return SourceChoice(best, best.uuid, best.name, f"{best.name}: {_why_primary(best, seen, standing)}")


def writers(seen: Sequence[SourceFacts]) -> list[SourceFacts]:
    """Servers that take writes and receive from nobody. A healthy shard has one."""
    return [facts for facts in seen if facts.is_writable and not facts.is_replica]


def all_take_writes(facts: Sequence[SourceFacts]) -> str:
    """``s1-a and s1-b both take writes``, for two or more."""
    *names, last = (one.name for one in facts)
    return f"{', '.join(names)} and {last} {'both' if len(names) == 1 else 'all'} take writes"


def decide_epoch(
    standing: Standing | None, choice: SourceChoice, *, restored: bool, skipped: GtidSet
) -> EpochChange | None:
    """What the chosen source means for the line; None: it goes on.

    ``restored``: this source is known as a server that was restored from the archive; ``skipped`` is what
    that restore left out. That a source of the same line lost something cannot be seen here, but only in
    its binlogs: a commit that waits for its acknowledgement is in the archive before it is in the source's
    GTID set. See ``diverged``.
    """
    if standing is None:
        return EpochChange("first", GtidSet(), GtidSet(), GtidSet())
    if standing.line_uuid == choice.line_uuid:
        return None
    executed = choice.source.executed
    reason = "restore" if restored else "promotion"
    return EpochChange(
        reason,
        inherited=standing.archived & executed,
        branch=standing.archived - executed,
        skipped=skipped if restored else GtidSet(),
    )


def diverged(archived: GtidSet, previous: GtidSet) -> EpochChange:
    """The source is no longer what it was: RESET BINARY LOGS, or a crash that took the end of its log.

    ``previous``: the transactions before the first of its files that the archive does not hold. Only these
    are the same ones as before; later numbers may have been given a second time.
    """
    return EpochChange("diverged", archived & previous, archived - previous, GtidSet())


def _is_fit_replica(facts: SourceFacts) -> bool:
    return (
        facts.has_binlog and bool(facts.links) and facts.is_replica and all(x.applying for x in facts.links)
    )


def _by_lag(facts: SourceFacts) -> tuple[int, str]:
    return max((link.lag_seconds or 0 for link in facts.links), default=0), facts.name


def _may_be_primary(facts: SourceFacts, seen: Sequence[SourceFacts], standing: Standing | None) -> bool:
    if facts.is_replica:
        return _is_in_a_ring(facts, seen, standing)
    is_followed = _followers(facts, seen) > 0
    if standing is None:
        return (facts.is_writable and not facts.links) or is_followed or len(seen) == 1
    if standing.line_uuid == facts.uuid:
        return True
    if standing.archived and not standing.archived & facts.executed:
        # A server that somebody has just set up, and that holds nothing yet.
        return False
    if facts.links:
        # Replication was only stopped: for maintenance, or for a promotion that is not finished yet.
        return facts.is_writable and (is_followed or facts.has_written(standing.archived))
    return facts.is_writable


def _is_in_a_ring(facts: SourceFacts, seen: Sequence[SourceFacts], standing: Standing | None) -> bool:
    """Servers that replicate from each other: all are writable replicas, so the hint decides."""
    if not facts.is_writable or not _followers(facts, seen):
        return False
    if any(not other.is_replica and other.is_writable for other in seen):
        return False
    sources = {link.source_uuid for link in facts.links}
    if not any(other.uuid in sources and other.is_writable for other in seen):
        return False
    return facts.server.role == "primary" or (standing is not None and standing.line_uuid == facts.uuid)


def _best_primary(shard: str, seen: Sequence[SourceFacts], standing: Standing | None) -> SourceFacts | None:
    ranked = sorted(
        (
            (_primary_rank(facts, seen, standing), facts)
            for facts in seen
            if _may_be_primary(facts, seen, standing)
        ),
        key=lambda ranking: (ranking[0], ranking[1].name),
    )
    if not ranked:
        return None
    best_rank, best = ranked[-1]
    equals = [facts for rank, facts in ranked if rank == best_rank]
    if len(equals) > 1 and best.is_writable:
        raise ServerUnreachable(
            f"{all_take_writes(equals)}, and nothing tells which of them is the primary of shard {shard}",
            hint="Make all but one read-only (SET GLOBAL super_read_only = ON). The archiver asks again.",
        )
    return best


def _primary_rank(
    facts: SourceFacts, seen: Sequence[SourceFacts], standing: Standing | None
) -> tuple[bool, bool, bool, int, bool, int]:
    """What the archive holds comes before what others say: a wrong line is worse than a lonely primary.

    The role is only asked before anything is archived: a failover does not change the configuration.
    """
    followers = _followers(facts, seen)
    if standing is None:
        return facts.is_writable, True, True, followers, facts.server.role == "primary", 0
    lacking = _lacking(facts, standing).count()
    left_behind = facts.executed & (standing.branches - standing.archived)
    is_of_the_line = standing.line_uuid == facts.uuid
    return facts.is_writable, not lacking, not left_behind, followers, is_of_the_line, -lacking


def _lacking(facts: SourceFacts, standing: Standing) -> GtidSet:
    return standing.archived - facts.executed


def _followers(facts: SourceFacts, seen: Sequence[SourceFacts]) -> int:
    """How many of the shard's servers receive from this one now."""
    return sum(
        any(link.source_uuid == facts.uuid and link.receiving == "yes" for link in other.links)
        for other in seen
        if other is not facts
    )


def _why_primary(facts: SourceFacts, seen: Sequence[SourceFacts], standing: Standing | None) -> str:
    followers = _followers(facts, seen)
    parts = ["the primary" if facts.is_writable else "the primary, read-only now"]
    if followers:
        parts.append(f"{followers} of {len(seen) - 1} others replicate from it")
    if standing is not None and standing.line_uuid == facts.uuid:
        parts.append("the archive's line is its")
    elif standing is not None and (lacking := _lacking(facts, standing).count()):
        parts.append(f"it lacks {plural(lacking, 'archived transaction')}")
    return ", ".join(parts)


def _no_primary(shard: str, seen: Sequence[SourceFacts], unseen: Sequence[Unseen]) -> ToolError:
    if len(unseen) == 1 and not seen:
        return unseen[0].error
    reasons = [f"{one.server.name}: {one.error.message}" for one in unseen]
    for facts in seen:
        kind = "a replica" if facts.is_replica else "replication stopped" if facts.links else "read-only"
        reasons.append(f"{facts.name}: {kind}")
    return ServerUnreachable(
        f"no server of shard {shard} can be taken for its primary ({'; '.join(reasons)})",
        hint="The archiver asks again until one of them is promoted or answers.",
    )


def _name_of(uuid: str, seen: Sequence[SourceFacts]) -> str:
    return next((facts.name for facts in seen if facts.uuid == uuid), "")


def _lag(facts: SourceFacts) -> str:
    lags = [link.lag_seconds for link in facts.links if link.lag_seconds is not None]
    return f"{max(lags)} s behind" if lags else "lag unknown"
