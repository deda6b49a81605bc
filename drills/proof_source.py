"""The one question that a proof asks production: what was executed there?"""

from __future__ import annotations

from dataclasses import dataclass

from backup.archive.survey import survey_shard
from fleet.errors import NotFound
from fleet.gtid import GtidSet
from fleet.model import Fleet


@dataclass(frozen=True, slots=True)
class Executed:
    """What the primary had executed; None, with the reason in ``unknown``, if that cannot be told."""

    gtids: GtidSet | None
    unknown: str | None = None


def ask_source(fleet: Fleet, shard: str) -> Executed:
    """Ask the servers of ``shard`` for a few variables. A server that does not answer is no error."""
    try:
        described = fleet.shard(shard)
    except NotFound:
        return Executed(None, f"shard {shard} is not in the configuration")
    survey = survey_shard(described, fleet.accounts.for_archive)
    writable = [each for each in survey.seen if each.is_writable]
    if len(writable) == 1:
        return Executed(writable[0].executed)
    if writable:
        return Executed(None, f"{' and '.join(each.server.name for each in writable)} take writes")
    if survey.unseen:
        told = "; ".join(f"{each.server.name}: {each.error.message}" for each in survey.unseen)
        return Executed(None, f"no primary answers ({told})")
    return Executed(None, "no server takes writes")
