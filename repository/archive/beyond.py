"""Which backup knows more than the archive: the archive ends before what the backup holds. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fleet.figures import plural
from fleet.gtid import GtidSet


@dataclass(frozen=True, slots=True)
class HeldBeyond:
    """The newest backup that holds transactions which the archive has not reached.

    ``gtids`` are those transactions, on one line; there are ``transactions`` of them.
    """

    label: str
    transactions: int
    gtids: str

    @property
    def told(self) -> str:
        """``<label> holds 12 transactions that the archive does not reach``."""
        return (
            f"{self.label} holds {plural(self.transactions, 'transaction')} that the archive does not reach"
        )


def held_beyond(
    backups: Iterable[tuple[str, GtidSet]], reached: GtidSet, branches: Iterable[GtidSet] = ()
) -> HeldBeyond | None:
    """``backups`` of one shard: label, and what it surely holds. ``reached``: executed at the archive's end.

    What holds transactions of ``branches`` is of a line that ended, and goes beyond nothing.
    """
    ended = list(branches)
    for label, held in sorted(backups, key=lambda each: each[0], reverse=True):
        if (more := held - reached) and not any(held & branch for branch in ended):
            return HeldBeyond(label, more.count(), more.one_line())
    return None
