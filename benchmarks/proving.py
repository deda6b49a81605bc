"""Is what was restored what the donor holds? Table by table, by ``CHECKSUM TABLE`` on both."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.cases import Workplace
from benchmarks.peers import clear
from benchmarks.shelf import Shelf
from infra.sandbox.dataset import checksums
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.ports import free_ports
from infra.sandbox.server import MysqlServer
from repository.catalog import LATEST

Sums = Mapping[str, int | None]


def donorsums_of(place: Workplace) -> Sums:
    """The checksums of all tables of the donor as they are now."""
    return sums_of(place.donor.server)


def differences(
    shelf: Shelf,
    place: Workplace,
    say: Callable[[str], None],
    *,
    label: str = LATEST,
    expected: Sums | None = None,
) -> tuple[str, ...]:
    """Restore a backup of ``shelf`` and compare it with ``expected`` (None: the donor as it is now).

    Every difference in words; why the restore failed, if it did.
    """
    say(f"restoring {label} of {shelf.name}, to compare it with the donor")
    folder = place.scratch("proof")
    clear(folder)
    folder.mkdir()
    name = f"{shelf.name}, {label}"
    try:
        step = shelf.bring(shelf.name, "proof", "restore", "restore", folder / "data", label)
        if step.error:
            return (f"{name}: {step.error}",)
        with running_on(folder, place) as server:
            found = sums_of(server)
        wanted = donorsums_of(place) if expected is None else expected
        return tuple(
            f"{name}: table {table} has checksum {found.get(table)}, not {wanted.get(table)}"
            for table in sorted({*wanted, *found})
            if found.get(table) != wanted.get(table)
        )
    finally:
        clear(folder)


@contextmanager
def running_on(folder: Path, place: Workplace) -> Generator[MysqlServer]:
    """A server on the data directory ``folder/data``."""
    with server_on(folder, place.donor.server.distribution, place.directory) as server:
        yield server


@contextmanager
def server_on(folder: Path, distribution: MysqlDistribution, owner: Path) -> Generator[MysqlServer]:
    """The same, where there is no workplace."""
    (port,) = free_ports(1)
    server = MysqlServer(
        folder, "proof", port, 9, distribution,
        options={"log-bin": None, "skip-log-bin": "ON", "innodb-buffer-pool-size": "256M"},
        owner=owner,
    )  # fmt: skip
    try:
        server.start()
        yield server
    finally:
        server.kill()


def sums_of(server: MysqlServer) -> Sums:
    """The checksums of all its tables."""
    connection = server.connect()
    try:
        return checksums(connection)
    finally:
        connection.close()
