"""From whom to copy, and what to build on: asked anew for each try of a backup."""

from __future__ import annotations

from dataclasses import dataclass

from backup.order import BackupKind, Order
from backup.plan import DonorChoice, choose_donor
from backup.preflight import inspect_server, inspect_shard
from fleet.errors import NotFound


@dataclass(frozen=True, slots=True)
class Decision:
    """The donor, the kind that the backup becomes, and why it is not what was asked for."""

    donor: DonorChoice
    kind: BackupKind
    became_full_because: str | None = None


def decide(order: Order, *, no_base_because: str | None = None) -> Decision:
    """Ask the servers of the shard, and choose. Raises as ``choose_donor``, and ``NotFound``."""
    donor = _choose(order)
    if order.kind == "full":
        return Decision(donor, "full")
    return Decision(donor, "full", no_base_because or f"shard {order.shard.name} has no backup to build on")


def _choose(order: Order) -> DonorChoice:
    fleet, shard = order.fleet, order.shard
    if order.donor is None:
        return choose_donor(shard.name, inspect_shard(fleet, shard, order.clock), fleet.backup)
    server = next((server for server in shard.servers if server.name == order.donor), None)
    if server is None:
        names = ", ".join(server.name for server in shard.servers)
        raise NotFound(f"shard {shard.name} has no server {order.donor}", hint=f"It has {names}.")
    policy = fleet.backup.model_copy(update={"donors": (order.donor,)})
    candidate = inspect_server(server, fleet.accounts.backup, fleet.backup, order.clock)
    return choose_donor(shard.name, [candidate], policy)
