"""From whom to copy, and what to build on: asked anew for each try of a backup."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, replace

from backup.foundation import Foundation, find_foundation, full_backups_that_refer
from backup.guards import refusal_before
from backup.order import BackupKind, Order
from backup.plan import DonorChoice, fit_donors
from backup.preflight import inspect_server, inspect_shard
from backup.saving import why_not_asked
from fleet.errors import NotFound
from fleet.figures import plural
from repository.chain import Chain
from wire import admin
from wire.session import Session


@dataclass(frozen=True, slots=True)
class Decision:
    """The donor and the kind that the backup becomes; ``chain`` is what it builds on, by its newest link.

    ``became_full_because`` says why it does not become what was asked for. ``why_not_saved``: why the donor
    will not be asked to leave out what did not change; ``None`` if it will.
    """

    donor: DonorChoice
    kind: BackupKind
    chain: Chain | None = None
    became_full_because: str | None = None
    why_not_saved: str | None = None

    @property
    def base(self) -> str | None:
        """The label of what an incremental continues."""
        return self.chain.newest.label if self.chain and self.kind == "incremental" else None

    @property
    def built_on(self) -> str | None:
        """The label of what a full refers to."""
        return self.chain.newest.label if self.chain and self.kind == "full" else None

    @property
    def saving(self) -> str:
        """What the plan says of the donor's page tracking."""
        if self.chain is None:
            return ""
        return self.why_not_saved or "the donor is asked to leave out what did not change"


def decide(order: Order, *, no_base_because: str | None = None) -> Decision:
    """Ask the servers of the shard and the repository, and choose.

    With ``no_base_because`` nothing is built on. Raises as ``fit_donors`` does, ``NotFound``, and what
    servers and store raise.
    """
    donors = _donors(order)
    if no_base_because is not None or (order.kind == "full" and order.full == "stored"):
        return Decision(donors[0], "full", became_full_because=no_base_because)
    if why := order.repository.keys.why_nothing_opens():
        return Decision(donors[0], "full", became_full_because=why)
    found = find_foundation(order.repository, order.shard.name, donors)
    if isinstance(found, str):
        return Decision(donors[0], "full", became_full_because=found)
    with closing(order.connect(found.donor)) as session:
        server, log = admin.server_facts(session), admin.log_status(session)
        reason = refusal_before(found.chain.newest, server, log)
        why_not_saved = _why_not_saved(order, found, session)
    if reason is not None:
        return Decision(donors[0], "full", became_full_because=reason)
    kind = order.kind
    if kind == "incremental" and (reason := _too_long(found.chain, order.policy.max_chain)):
        kind = "full"
    if kind == "full":
        rebase = _too_many(order) if order.full == "referring" else None
        if order.full == "stored" or rebase is not None:
            return Decision(donors[0], "full", became_full_because=reason or rebase)
    return Decision(_because_of(found), kind, found.chain, reason, why_not_saved)


def _donors(order: Order) -> tuple[DonorChoice, ...]:
    fleet, shard = order.fleet, order.shard
    if order.donor is None:
        candidates = inspect_shard(fleet, shard, order.clock, repository=order.repository)
        return fit_donors(shard.name, candidates, fleet.backup)
    server = next((server for server in shard.servers if server.name == order.donor), None)
    if server is None:
        names = ", ".join(server.name for server in shard.servers)
        raise NotFound(f"shard {shard.name} has no server {order.donor}", hint=f"It has {names}.")
    policy = fleet.backup.model_copy(update={"donors": (order.donor,)})
    candidate = inspect_server(server, fleet.accounts.backup, fleet.backup, order.clock)
    if candidate.is_replica and candidate.is_fit:
        # Whether its GTID set may be believed, the others tell.
        candidates = inspect_shard(fleet, shard, order.clock, repository=order.repository)
        candidate = next(each for each in candidates if each.server is server)
    return fit_donors(shard.name, [candidate], policy)


def _because_of(found: Foundation) -> DonorChoice:
    reason = f"{found.donor.reason}; the base came from it too"
    if found.instead_of is not None:
        reason += f", and is not the newest: {found.instead_of}"
    return replace(found.donor, reason=reason)


def _why_not_saved(order: Order, found: Foundation, session: Session) -> str | None:
    if order.policy.donor_saving == "off":
        return "backup.donor_saving is off"
    return why_not_asked(session, found.chain.newest)


def _too_long(chain: Chain, most: int) -> str | None:
    count = len(chain.links) - 1
    if count < most:
        return None
    return (
        f"{chain.newest.label} ends a chain of {plural(count, 'incremental')}, and backup.max_chain is {most}"
    )


def _too_many(order: Order) -> str | None:
    every = order.policy.rebase_every
    count = full_backups_that_refer(order.repository, order.shard.name)
    if count + 1 < every:
        return None
    return f"the last {plural(count, 'full')} refer to others, and backup.rebase_every is {every}"
