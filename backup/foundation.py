"""What a backup can be built on: the shard's newest backup of a server that can be copied from now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from backup.plan import DonorChoice
from fleet.errors import Cancelled, ToolError
from repository import layout
from repository.catalog import Catalog
from repository.chain import Chain, read_chain
from repository.damage_notes import DamageNotes
from repository.foundations import check_whole
from repository.layout import BackupName
from repository.manifest import Manifest
from repository.marks import Marks
from repository.repository import Repository
from repository.suffering import harm_to_chain


@dataclass(frozen=True, slots=True)
class Foundation:
    """A backup's chain, and the server that both it and the next one are copied from.

    ``instead_of``: why it is not a newer one, where that is damaged.
    """

    chain: Chain
    donor: DonorChoice
    instead_of: str | None = None


def find_foundation(repository: Repository, shard: str, donors: Sequence[DonorChoice]) -> Foundation | str:
    """The newest readable backup that was copied from one of ``donors``; or why there is none.

    One that retention has ended is passed over: it is about to go. So is one of which an object that it needs
    was found damaged: what is built on it would be damaged too. Raises what a retry can cure.
    """
    catalog = Catalog(repository)
    by_uuid = {choice.candidate.server_uuid: choice for choice in reversed(donors)}
    strangers: list[Manifest] = []
    unreadable: list[str] = []
    has_ended, passed_over = Marks(repository).teller(shard), False
    findings, harm = DamageNotes(repository).all(), None
    for found in _newest_first(repository, catalog, shard):
        if isinstance(found, _Unreadable):
            unreadable.append(found.reason)
            continue
        if has_ended(found.backup):
            passed_over = True
            continue
        donor = by_uuid.get(found.donor.server_uuid)
        if donor is None:
            strangers.append(found)
            continue
        try:
            chain = read_chain(catalog, found)
            harmed = harm_to_chain(chain, findings)
            if harmed is None:
                check_whole(repository, chain)
                return Foundation(chain, donor, harm)
            harm = harm or harmed.short
        except ToolError as error:
            _raise_what_passes(error)
            return harm or error.message
    if harm is not None:
        return harm
    if passed_over and not strangers and not unreadable:
        return f"retention has ended every backup of shard {shard} that one could build on"
    return _nothing_found(shard, donors, strangers, unreadable)


def full_backups_that_refer(repository: Repository, shard: str) -> int:
    """How many of the shard's newest full backups refer to others, since the last that stores every page.

    Those that retention has ended count: their pages are still referred to.
    """
    count = 0
    for found in _newest_first(repository, Catalog(repository), shard):
        if isinstance(found, _Unreadable) or found.kind != "full":
            continue
        # One that was made of a chain counts for nothing: it was not taken, and stands for a link.
        if not found.refers_to:
            break
        count += found.consolidates is None
    return count


@dataclass(frozen=True, slots=True)
class _Unreadable:
    reason: str


def _newest_first(repository: Repository, catalog: Catalog, shard: str) -> Iterator[Manifest | _Unreadable]:
    """By second, then by what they hold; of equal ones a full before the chain that it stands for."""
    listed = (layout.parse_manifest(info.key) for info in repository.store.list(layout.manifests(shard)))
    names = sorted((name for name in listed if name is not None), reverse=True)
    for _, same in groupby(names, key=_second):
        found = [_read(catalog, name) for name in same]
        yield from (each for each in found if isinstance(each, _Unreadable))
        manifests = (each for each in found if isinstance(each, Manifest))
        yield from sorted(manifests, key=lambda each: (each.lsn.end, each.kind == "full"), reverse=True)


def _second(name: BackupName) -> datetime | None:
    label = layout.parse_label(name.label)
    return label.at if label is not None else None


def _read(catalog: Catalog, name: BackupName) -> Manifest | _Unreadable:
    try:
        return catalog.read_manifest(name)
    except ToolError as error:
        _raise_what_passes(error)
        return _Unreadable(f"{name.label} cannot be read: {error.message}")


def _raise_what_passes(error: ToolError) -> None:
    if error.retryable or isinstance(error, Cancelled):
        raise error


def _nothing_found(
    shard: str, donors: Sequence[DonorChoice], strangers: Sequence[Manifest], unreadable: Sequence[str]
) -> str:
    if unreadable:
        return unreadable[0]
    if not strangers:
        return f"shard {shard} has no backup to build on"
    newest = strangers[0]
    names = ", ".join(choice.server.name for choice in donors)
    return (
        f"no backup of shard {shard} was copied from {names}: the newest, {newest.label}, is of "
        f"{newest.donor.server_name} with server_uuid {newest.donor.server_uuid}"
    )
