"""Turns over every kind of store; and between processes that race, die and stand still."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from fleet.clock import SystemClock
from fleet.errors import TurnTaken
from infra.sandbox.objectstore import SeaweedServer
from repository.held_turn import HeldTurn
from repository.repository import Repository
from repository.store_clock import ask_store_time
from repository.stores.filesystem import FilesystemStore
from repository.stores.interface import Store
from repository.stores.s3 import S3Store
from repository.stores.s3_client import S3Connection, connect
from repository.turns import Turns, TurnTerms, turn
from tests.unit.repository.sealed_backups import TickingClock, file_keyring

every_store = pytest.mark.parametrize(
    "store",
    ["memory", "filesystem", *(pytest.param(kind, marks=pytest.mark.s3) for kind in ("s3", "oss"))],
    indirect=True,
)
TERMS = TurnTerms("shard", "s1")
RACES = 20


def over(store: Store) -> Repository:
    """Turns need no key and no description."""
    return Repository(store, None, None)  # type: ignore[arg-type]


@every_store
def test_a_turn_is_had_by_one_and_released(store: Store, tmp_path: Path) -> None:
    repository = Repository.create(store, file_keyring(tmp_path), TickingClock())
    with turn(repository, TERMS) as held:
        held.check()
        with pytest.raises(TurnTaken, match="shard s1 is taken by"), turn(repository, TERMS):
            pytest.fail("two at once")
        assert held.renew()
        (seen,) = Turns(repository).in_force(ask_store_time(store).now, "shard")
        assert (seen.token, seen.terms) == (held.token, TERMS)
        assert [info.key for info in store.list("turns/")] == ["turns/shard/s1/00000001"]
    assert Turns(repository).in_force(ask_store_time(store).now) == ()
    with turn(repository, TERMS) as held:
        held.check()
    assert [info.key for info in store.list("turns/")] == ["turns/shard/s1/00000004"]


@every_store
def test_a_turn_that_nobody_renews_is_free_when_its_time_is_over(store: Store) -> None:
    gone = HeldTurn(over(store), TERMS, SystemClock(), ttl_seconds=1)
    assert gone.take() is None
    began = time.monotonic()
    with turn(over(store), TERMS, wait_seconds=30) as held:
        assert time.monotonic() - began > 1
        with pytest.raises(TurnTaken):
            gone.check()
        held.check()


@pytest.fixture(params=["filesystem", pytest.param("s3", marks=pytest.mark.s3)])
def opened(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> Callable[[], Store]:
    """How a process opens one and the same store."""
    if request.param == "filesystem":
        return OpenFolder(tmp_path / "repository")
    seaweed: SeaweedServer = request.getfixturevalue("seaweed")
    connection = S3Connection(
        endpoint=seaweed.endpoint, access_key=seaweed.access_key, secret_key=seaweed.secret_key
    )
    return OpenBucket(connection, request.getfixturevalue("plain_bucket"), prefix)


class OpenFolder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self) -> Store:
        return FilesystemStore(self._folder)


class OpenBucket:
    def __init__(self, connection: S3Connection, bucket: str, prefix: str) -> None:
        self._connection, self._place = connection, (bucket, prefix)

    def __call__(self) -> Store:
        return S3Store(connect(self._connection), *self._place)


def race(opened: Callable[[], Store], pipe: Connection) -> None:
    """For each name: try to get its turn, tell whether it was got, let go when told to."""
    repository = over(opened())
    pipe.send("ready")
    while name := pipe.recv():
        held = HeldTurn(repository, TurnTerms("shard", name), SystemClock())
        got = held.take() is None
        if got:
            held.check()
        pipe.send(got)
        pipe.recv()
        held.release()
        pipe.send("released")


class Racer:
    """Another process, and the way to talk to it."""

    def __init__(self, context: ForkServerContext, opened: Callable[[], Store]) -> None:
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=race, args=(opened, theirs))
        self.process.start()
        theirs.close()
        assert self.hear() == "ready"

    def hear(self) -> object:
        assert self.pipe.poll(60)
        return self.pipe.recv()

    def end(self) -> None:
        if self.process.is_alive():
            os.kill(self.process.pid or 0, signal.SIGCONT)
            self.process.kill()
        self.process.join(10)
        self.pipe.close()


@pytest.fixture
def context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    return context


def test_of_two_processes_that_race_exactly_one_gets_it_each_time(
    opened: Callable[[], Store], context: ForkServerContext
) -> None:
    racers = [Racer(context, opened) for _ in range(2)]
    try:
        for number in range(RACES):
            # Some for the first time, some after the turns of others.
            for racer in racers:
                racer.pipe.send(f"s{number % 7}")
            assert sorted(racer.hear() for racer in racers) == [False, True]  # type: ignore[type-var]
            for racer in racers:
                racer.pipe.send("let go")
            assert [racer.hear() for racer in racers] == ["released"] * 2
    finally:
        for racer in racers:
            racer.end()


def test_who_is_killed_lets_go_at_once_on_its_own_machine(
    opened: Callable[[], Store], context: ForkServerContext
) -> None:
    racer = Racer(context, opened)
    try:
        racer.pipe.send("s1")
        assert racer.hear() is True
        repository = over(opened())
        with pytest.raises(TurnTaken, match=f":{racer.process.pid} since"), turn(repository, TERMS):
            pytest.fail("two at once")
        os.kill(racer.process.pid or 0, signal.SIGSTOP)
        with pytest.raises(TurnTaken), turn(repository, TERMS):
            pytest.fail("one that stands still lives")
        racer.process.kill()
        racer.process.join(10)
        began = time.monotonic()
        with turn(repository, TERMS) as held:
            held.check()
        assert time.monotonic() - began < 20
    finally:
        racer.end()
