"""The proof of a restore to a point: the server has exactly the planned set, and came to it by replay."""

from __future__ import annotations

from fleet.errors import ProofFailed, TargetRefused
from fleet.gtid import GtidSet
from repository.manifest import ProofCheck
from restore.journal import ReplayBegun
from restore.point import Point
from restore.replay import Replayed
from restore.wording import short


def check_goes_on(exact: GtidSet, begun: ReplayBegun | None, point: Point, directory: object) -> None:
    """Refuse to go on from ``exact`` where that cannot end at ``point``.

    ``begun``: what an earlier run had written into the journal. Raises ``TargetRefused``.
    """
    if beyond := exact - point.gtids:
        raise TargetRefused(
            f"{directory} is beyond the point already: it holds {short(beyond)}",
            hint="Restore into an empty directory, or rewrite this one with --delta.",
        )
    if begun is None:
        return
    skipped = GtidSet.parse(begun.skipped)
    if real := (point.skipped - skipped) & exact:
        raise TargetRefused(
            f"{directory} holds {short(real)} already, which is to be skipped",
            hint="Restore into an empty directory, or rewrite this one with --delta.",
        )
    if empty := (skipped - point.skipped) & exact:
        raise TargetRefused(
            f"{directory} holds an empty transaction for {short(empty)}, which the earlier run skipped",
            hint="Give the same --skip-gtid again, or rewrite the directory with --delta.",
        )


def point_checks(exact: GtidSet, point: Point, replayed: Replayed) -> tuple[ProofCheck, ...]:
    """What is compared once the server is at rest: its set, and what was replayed for it."""
    return _set_check(exact, point.gtids), _replay_check(point, replayed)


def require_all(shard: str, checks: tuple[ProofCheck, ...]) -> None:
    """Raise ``ProofFailed`` with the first check that did not pass."""
    for check in checks:
        if not check.passed:
            raise ProofFailed(
                f"shard {shard} is not where it should be: {check.name}: {check.detail}",
                hint="The files stay, to be looked at. Run it again, or into another directory.",
            )


def _set_check(exact: GtidSet, planned: GtidSet) -> ProofCheck:
    faults: list[str] = []
    if missing := planned - exact:
        faults.append(f"it lacks {short(missing)}")
    if surplus := exact - planned:
        faults.append(f"it has {short(surplus)}, which is beyond the point")
    return ProofCheck(
        name="gtid set", passed=not faults, detail="; ".join(faults) or f"exactly {short(exact)}"
    )


def _replay_check(point: Point, replayed: Replayed) -> ProofCheck:
    # The set alone would not tell a replay from a server that was only told that it had executed all this.
    wanted = (point.gtids - replayed.before - replayed.injected).count()
    enough = replayed.transactions == wanted and replayed.sent >= wanted
    # An earlier run may have put the empty ones in; the result holds them all the same.
    detail = f"{replayed.transactions} transactions replayed, {point.skipped.count()} skipped"
    if not enough:
        detail = f"{replayed.sent} transactions were sent and {replayed.transactions} applied, of {wanted}"
    return ProofCheck(name="replay", passed=enough, detail=detail)
