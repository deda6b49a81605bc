"""What a donor's error means for us: busy, refused, or broken off."""

from __future__ import annotations

from fleet.errors import CloneInterrupted, DonorBusy, ServerRefused, ToolError
from wire.clone.messages import Failed

QUERY_INTERRUPTED = 1317

_TOO_MANY_CLONES = 3634
_INTERNAL = 1815
_IDLE = "abort idle clone"

_NO_PLUGIN = (
    "does not speak the clone protocol",
    "Run there: INSTALL PLUGIN clone SONAME 'mysql_clone.so'",
)
_REFUSALS = {
    1047: _NO_PLUGIN,
    1227: ("does not let the account clone", "infra/examples/accounts.sql grants what a backup needs."),
    1289: _NO_PLUGIN,
    1524: _NO_PLUGIN,
    3872: (
        "sends the keys of its encrypted data over TLS only",
        "Set tls of this server to another mode than off, and do not reach it by a socket.",
    ),
    3983: ("runs without a redo log", "Run there: ALTER INSTANCE ENABLE INNODB REDO_LOG"),
}

NETWORK_ERRORS = {1153, 1155, 1156, 1157, 1158, 1159, 1160, 1161}
"""What another connection of the same clone ran into (ER_NET_...); after these a clone may be resumed."""


class ConnectionCut(CloneInterrupted):
    """The network broke, or we let go: the donor may still hold the snapshot for us to come back."""


def donor_error(failed: Failed, peer: str) -> ToolError:
    """The error to raise for the donor's ERROR response, or for its refusal of a command."""
    number, text = failed.number, f"{failed.text} ({failed.number})"
    if number in NETWORK_ERRORS:
        return ConnectionCut(f"{peer} lost a connection of the clone: {text}")
    if number == _TOO_MANY_CLONES or (number == _INTERNAL and _IDLE in failed.text):
        return DonorBusy(
            f"{peer} already serves another clone: {text}",
            hint="A server serves one clone at a time; try again when it is done, or take another donor.",
        )
    if number in _REFUSALS:
        doing, hint = _REFUSALS[number]
        return ServerRefused(f"{peer} {doing}: {text}", hint=hint)
    return CloneInterrupted(f"{peer} ended the clone: {text}")
