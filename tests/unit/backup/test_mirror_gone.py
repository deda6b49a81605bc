"""A mirror that goes away under a run: an unmounted disk leaves an empty folder, which nobody may fill."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backup.mirror.journal import EVERYTHING, Journal
from fleet.errors import RepositoryMissing
from repository import layout
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from tests.unit.backup.mirrored import World, filled


@pytest.fixture
def world(tmp_path: Path) -> World:
    return filled(World.made(tmp_path))


def mirror_of(world: World) -> FilesystemStore:
    """In a folder that is reached by a link: it can be swapped at one stroke."""
    (world.folder / "disk" / "mirror").mkdir(parents=True)
    (world.folder / "mounted").symlink_to(world.folder / "disk")
    return FilesystemStore(world.folder / "mounted" / "mirror")


def mount(world: World, name: str) -> None:
    """Another folder stands in its place."""
    (world.folder / name / "mirror").mkdir(parents=True, exist_ok=True)
    fresh = world.folder / "fresh"
    fresh.symlink_to(world.folder / name)
    fresh.replace(world.folder / "mounted")


def wait_for(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.01)


def test_a_run_stops_when_its_mirror_is_unmounted_and_fills_nothing(world: World) -> None:
    store = mirror_of(world)
    with pytest.raises(AssertionError) as stopped, world.running(mirror=store) as cancelled:
        wait_for(lambda: is_mirrored(world, store))
        mount(world, "empty")
        world.take_full()
        world.archive_file(3)
        wait_for(cancelled.is_set)
    (error,) = stopped.value.args[0]
    assert isinstance(error, RepositoryMissing)
    assert "is gone: its backstay.json is not there any more" in error.message
    assert error.hint is not None and "mounted" in error.hint
    assert list(store.list("")) == []
    assert EVERYTHING in Journal(world.folder / "journal.json").failed()
    # It is there again, and so the next run goes on.
    mount(world, "disk")
    assert len(world.run(mirror=store).backups) == 1


def is_mirrored(world: World, store: FilesystemStore) -> bool:
    """All of it: so nothing is on its way when the folder is swapped."""
    own = ("leases/", "trials/")
    there = {info.key for info in store.list("")}
    return there >= {info.key for info in world.primary.list("") if not info.key.startswith(own)}


def test_another_repository_in_its_place_stops_a_run_too(world: World) -> None:
    store = mirror_of(world)
    another = world.folder / "another" / "mirror"
    another.mkdir(parents=True)
    Repository.create(FilesystemStore(another), world.keyring, world.clock)
    with pytest.raises(AssertionError) as stopped, world.running(mirror=store) as cancelled:
        wait_for(lambda: is_mirrored(world, store))
        mount(world, "another")
        wait_for(cancelled.is_set)
    (error,) = stopped.value.args[0]
    assert isinstance(error, RepositoryMissing)
    assert "is gone: " in error.message and "holds the repository" in error.message
    assert list(store.list(layout.DATA)) == []
