"""What a backup can be built on: the shard's newest backup of a server that can be copied from now."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from backup.plan import DonorChoice
from fleet.errors import Cancelled, ToolError
from repository import layout
from repository.catalog import Catalog
from repository.chain import Chain, read_chain
from repository.layout import BackupName
from repository.manifest import Manifest
from repository.repository import Repository


@dataclass(frozen=True, slots=True)
class Foundation:
    """A backup's chain, and the server that both it and the next one are copied from."""

    chain: Chain
    donor: DonorChoice


def find_foundation(repository: Repository, shard: str, donors: Sequence[DonorChoice]) -> Foundation | str:
    """The newest readable backup that was copied from one of ``donors``; or why there is none.

    Raises what a retry can cure.
    """
    catalog = Catalog(repository)
    by_uuid = {choice.candidate.server_uuid: choice for choice in reversed(donors)}
    strangers: list[Manifest] = []
    unreadable: list[str] = []
    for name in _newest_first(repository, shard):
        try:
            manifest = catalog.read_manifest(name)
        except ToolError as error:
            _raise_what_passes(error)
            unreadable.append(f"{name.label} cannot be read: {error.message}")
            continue
        donor = by_uuid.get(manifest.donor.server_uuid)
        if donor is None:
            strangers.append(manifest)
            continue
        try:
            return Foundation(read_chain(catalog, manifest), donor)
        except ToolError as error:
            _raise_what_passes(error)
            return error.message
    return _nothing_found(shard, donors, strangers, unreadable)


def full_backups_that_refer(repository: Repository, shard: str) -> int:
    """How many of the shard's newest full backups refer to others, since the last that stores every page."""
    catalog = Catalog(repository)
    count = 0
    for name in _newest_first(repository, shard):
        label = layout.parse_label(name.label)
        if label is None or label.kind != "full":
            continue
        try:
            manifest = catalog.read_manifest(name)
        except ToolError as error:
            _raise_what_passes(error)
            continue
        # One that was made of a chain counts for nothing: it was not taken, and stands for a link.
        if not manifest.refers_to:
            break
        count += manifest.consolidates is None
    return count


def _newest_first(repository: Repository, shard: str) -> Iterator[BackupName]:
    """By time; of one second a full before an incremental, for its chain is shorter."""
    listed = (layout.parse_manifest(info.key) for info in repository.store.list(layout.manifests(shard)))
    return iter(sorted((name for name in listed if name is not None), key=_age, reverse=True))


def _age(name: BackupName) -> tuple[datetime, bool]:
    label = layout.parse_label(name.label)
    assert label is not None, "the name of a manifest has a label"
    return label.at, label.kind == "full"


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
