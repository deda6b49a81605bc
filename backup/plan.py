"""Which server of a shard to copy from, and why. Pure: facts in, a choice with its reasons out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleet.errors import ServerRefused, ServerUnreachable, ToolError
from fleet.finding import Finding, failures
from fleet.gtid import GtidSet
from fleet.model import BackupConfig, Server


@dataclass(frozen=True, slots=True)
class Candidate:
    """What was seen of one server. ``lag_seconds`` is ``None`` where it is not known, or on a primary.

    ``executed`` is its GTID set, ``lsn`` where its data stands; ``None`` where it was not asked.
    """

    server: Server
    is_replica: bool
    lag_seconds: float | None
    findings: tuple[Finding, ...]
    error: ToolError | None = None
    server_uuid: str | None = None
    redo_log_uuid: int | None = None
    executed: GtidSet | None = None
    lsn: int | None = None

    @property
    def is_fit(self) -> bool:
        """Nothing that was found stops a clone from this server."""
        return self.error is None and not failures(self.findings)


@dataclass(frozen=True, slots=True)
class DonorChoice:
    """The server to copy from, the reason in one sentence, and why the others were passed over."""

    candidate: Candidate
    reason: str
    passed_over: tuple[str, ...]

    @property
    def server(self) -> Server:
        return self.candidate.server


def choose_donor(shard: str, candidates: Sequence[Candidate], policy: BackupConfig) -> DonorChoice:
    """The fittest candidate under ``policy``: the first of ``fit_donors``, which see."""
    return fit_donors(shard, candidates, policy)[0]


def fit_donors(shard: str, candidates: Sequence[Candidate], policy: BackupConfig) -> tuple[DonorChoice, ...]:
    """All candidates that may be copied from under ``policy``, the fittest first; at least one.

    Servers named in ``policy.donors`` come in that order; then replicas by lag; the primary only if the
    policy says so. Raises the one error that stopped all, or ``ServerRefused`` with the reason of each.
    """
    allowed = [candidate for candidate in candidates if _is_allowed(candidate, policy)]
    fit = sorted((candidate for candidate in allowed if candidate.is_fit), key=lambda c: _rank(c, policy))
    if not fit:
        raise _nobody(shard, candidates, policy)
    # Those that are fit too need no reason, so all choices pass over the same ones.
    passed_over = tuple(reason for candidate in candidates if (reason := why_not(candidate, policy)))
    return tuple(DonorChoice(candidate, _why(candidate, policy), passed_over) for candidate in fit)


def _is_allowed(candidate: Candidate, policy: BackupConfig) -> bool:
    if candidate.error is not None:
        return False
    if policy.donors:
        return candidate.server.name in policy.donors
    if policy.donor == "replica":
        return candidate.is_replica
    if policy.donor == "primary":
        return not candidate.is_replica
    return True


def _rank(candidate: Candidate, policy: BackupConfig) -> tuple[int, int, float, str]:
    preference = policy.donors.index(candidate.server.name) if policy.donors else 0
    lag = candidate.lag_seconds if candidate.lag_seconds is not None else 0.0
    # Whole seconds: two replicas that both keep up are equal, and the name decides, the same each night.
    return (preference, 0 if candidate.is_replica else 1, round(lag), candidate.server.name)


def _why(candidate: Candidate, policy: BackupConfig) -> str:
    name = candidate.server.name
    if policy.donors:
        return f"{name}: named as donor"
    if not candidate.is_replica:
        return f"{name}: the primary, as backup.donor allows"
    lag = "unknown" if candidate.lag_seconds is None else f"{candidate.lag_seconds:.0f} s"
    return f"{name}: a replica that is fit, lag {lag}"


def why_not(candidate: Candidate, policy: BackupConfig) -> str:
    """Why ``candidate`` is passed over; empty if only another one is fitter."""
    name = candidate.server.name
    if candidate.error is not None:
        return f"{name}: {candidate.error.message}"
    refused = failures(candidate.findings)
    if refused:
        return f"{name}: {refused[0].message}"
    if not _is_allowed(candidate, policy):
        place = "not named as donor" if policy.donors else f"backup.donor is {policy.donor!r}"
        return f"{name}: {'a replica' if candidate.is_replica else 'the primary'}, and {place}"
    return ""


def _nobody(shard: str, candidates: Sequence[Candidate], policy: BackupConfig) -> ToolError:
    considered = [candidate for candidate in candidates if _is_allowed(candidate, policy)]
    alone = considered[0] if len(considered) == 1 else None
    errors = [candidate.error for candidate in candidates if candidate.error is not None]
    if len(errors) == len(candidates) == 1:
        return errors[0]
    if errors and all(isinstance(error, ServerUnreachable) for error in errors) and not considered:
        names = ", ".join(candidate.server.name for candidate in candidates if candidate.error is not None)
        return ServerUnreachable(
            f"no server that shard {shard} may be copied from answers: {names}",
            hint="Are they running, and reachable from this host? `backstay check` asks each of them.",
        )
    if alone is not None and (refused := failures(alone.findings)):
        error = ServerRefused(f"{refused[0].subject}: {refused[0].message}", hint=refused[0].hint)
    else:
        reasons = "; ".join(reason for c in candidates if (reason := why_not(c, policy)))
        error = ServerRefused(
            f"no server of shard {shard} can be copied from: {reasons}",
            hint="Put right what is said of one of them, or widen backup.donor.",
        )
    # With a server that only could not be reached, a later try may find it.
    error.retryable = any(found.retryable for found in errors)
    return error
