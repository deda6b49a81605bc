"""Restores of incrementals and of fulls that refer: byte for byte, each page once, whatever interrupts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet.errors import StoreUnreachable
from repository.manifest import Manifest
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from restore.journal import JOURNAL_NAME
from restore.plan import Mode
from tests.unit.restore.made_backups import PAGE, made_repository
from tests.unit.restore.made_chains import MadeServer, made_chain
from tests.unit.restore.restoring import Watcher, carry_out, content, plan


@dataclass(frozen=True)
class Made:
    """A chain of five, oldest first, and what its newest link is."""

    repository: Repository
    links: list[Manifest]
    content: dict[str, bytes]

    @property
    def newest(self) -> Manifest:
        return self.links[-1]


@pytest.fixture(scope="module")
def made() -> Made:
    repository, server = made_repository(), MadeServer(3)
    links = made_chain(repository, server)
    return Made(repository, links, server.content())


@pytest.mark.parametrize("seed", range(8))
def test_every_kind_of_chain_comes_back_byte_for_byte(tmp_path: Path, seed: int) -> None:
    repository, server = made_repository(), MadeServer(seed, pages=30)
    newest = server.full(repository)
    for turn in range(6):
        server.live()
        take = server.referring_full if (turn + seed) % 3 == 0 else server.incremental
        newest = take(repository, newest)
        target = tmp_path / str(turn)
        result = carry_out(repository, newest, target)
        assert content(target) == server.content()
        # Each page is written once.
        assert result.written_bytes <= result.data_bytes <= sum(map(len, server.content().values()))


def test_of_a_chain_nothing_is_fetched_that_a_newer_link_replaced(tmp_path: Path) -> None:
    repository, server = made_repository(), MadeServer(4)
    full = server.full(repository)
    alone = carry_out(repository, full, tmp_path / "full")
    for file in server.files.values():
        file.changed = set(range(len(file.pages)))
    over = server.incremental(repository, full)
    result = carry_out(repository, over, tmp_path / "chain")
    assert content(tmp_path / "chain") == server.content()
    # All frames of the full lie under the incremental's: not one of them is read.
    assert result.read_bytes < alone.read_bytes * 1.1


def test_the_progress_of_a_chain_ends_with_what_was_announced(tmp_path: Path, made: Made) -> None:
    watcher = Watcher()
    result = carry_out(made.repository, made.newest, tmp_path, watcher=watcher)
    assert watcher.total is not None
    assert result.data_bytes <= watcher.done == watcher.total


def test_a_chain_that_lost_the_store_at_any_read_goes_on_where_it_was(tmp_path: Path, made: Made) -> None:
    reads, interrupted = 0, True
    while interrupted:
        target = tmp_path / str(reads)
        try:
            carry_out(made.repository, made.newest, target, reads=reads, threads=2)
            interrupted = False
        except StoreUnreachable:
            assert not (target / "ibdata1").exists()
        carry_out(made.repository, made.newest, target)
        assert content(target) == made.content
        reads += 11
    assert reads > 100


def test_what_was_journaled_of_a_chain_is_not_fetched_again(tmp_path: Path, made: Made) -> None:
    whole = carry_out(made.repository, made.newest, tmp_path / "whole")
    with pytest.raises(StoreUnreachable):
        carry_out(made.repository, made.newest, tmp_path / "half", reads=70, batch_bytes=1, threads=1)
    rest = carry_out(made.repository, made.newest, tmp_path / "half")
    assert rest.journaled_bytes > whole.data_bytes // 5
    assert rest.read_bytes < whole.read_bytes * 4 // 5
    assert rest.data_bytes == whole.data_bytes
    assert content(tmp_path / "half") == made.content


@pytest.mark.parametrize("link", [0, 2, 3])
def test_delta_brings_a_restore_of_an_older_link_to_the_newest(tmp_path: Path, made: Made, link: int) -> None:
    carry_out(made.repository, made.links[link], tmp_path)
    (tmp_path / JOURNAL_NAME).unlink()
    result = carry_out(made.repository, made.newest, tmp_path, delta=True)
    assert content(tmp_path) == made.content
    assert result.equal_bytes > 0
    assert result.written_bytes < result.data_bytes


def test_delta_makes_zeros_of_what_no_link_covers(tmp_path: Path, made: Made) -> None:
    carry_out(made.repository, made.newest, tmp_path)
    (tmp_path / JOURNAL_NAME).unlink()
    orders = tmp_path / "shop/orders.ibd"
    orders.write_bytes(b"\xff" * orders.stat().st_size)
    carry_out(made.repository, made.newest, tmp_path, delta=True)
    assert content(tmp_path) == made.content


def test_a_delta_of_a_chain_that_lost_the_store_at_any_read_goes_on(tmp_path: Path, made: Made) -> None:
    for reads in range(3, 100, 13):
        target = tmp_path / str(reads)
        carry_out(made.repository, made.links[1], target)
        (target / JOURNAL_NAME).unlink()
        with pytest.raises(StoreUnreachable):
            carry_out(made.repository, made.newest, target, delta=True, reads=reads, threads=2)
        assert plan(made.newest, target).mode is Mode.RESUME
        carry_out(made.repository, made.newest, target)
        assert content(target) == made.content


def test_a_file_that_shrank_and_grew_again_has_nothing_of_its_old_pages(tmp_path: Path) -> None:
    repository, server = made_repository(), MadeServer(9)
    links = [server.full(repository)]
    orders = server.files["shop/orders.ibd"]
    cut = orders.pages[:40]
    old, orders.pages = orders.pages, cut
    links.append(server.incremental(repository, links[-1]))
    orders.pages = cut + [bytes(PAGE)] * (len(old) - len(cut))
    links.append(server.incremental(repository, links[-1]))
    carry_out(repository, links[-1], tmp_path)
    assert content(tmp_path) == server.content()


def test_an_index_part_is_not_read_again_for_a_stage_that_it_does_not_have(tmp_path: Path) -> None:
    store = CountingIndex()
    repository, server = made_repository(store), MadeServer(3, pages=200)
    full = server.full(repository)
    carry_out(repository, full, tmp_path)
    assert content(tmp_path) == server.content()
    # Once for each pass that finds something, and once to see that.
    assert len(full.index) > 10
    assert store.reads < 2.4 * len(full.index)


class CountingIndex(MemoryStore):
    """Counts how often an index part is fetched."""

    reads = 0

    def get(self, key: str) -> bytes:
        self.reads += key.startswith("data/")
        return super().get(key)
