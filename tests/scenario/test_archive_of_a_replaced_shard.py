"""One shard of two is taken over by another archiver: the other goes on, and the one is taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from backup.archive import again
from infra.sandbox.scratch import ScratchServer
from repository.archive.archive import ShardArchive
from tests.scenario.archiving import Archiver, archive_fleet, prepare_table, wait_archived, wait_until, write
from tests.scenario.fleets import repository_of

pytestmark = [pytest.mark.mysql, pytest.mark.slow]


def test_a_shard_that_was_taken_over_is_taken_back_while_the_other_goes_on(
    scratch_server: ScratchServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(again, "REPLACED_SECONDS", 2.0)
    one = archive_fleet(scratch_server, tmp_path)
    # Two shards of one server: to an archiver that is all the same.
    twin = one.shards[0].model_copy(update={"name": "s2"})
    both = one.model_copy(update={"shards": [*one.shards, twin]})
    elsewhere = one.archive.model_copy(update={"spool_directory": tmp_path / "elsewhere"})
    repository = repository_of(both)
    first, second = (ShardArchive(repository, name) for name in ("s1", "s2"))
    server = scratch_server
    prepare_table(server)
    with Archiver(both, repository, keep_trying=True) as archiver:
        wait_archived(first, server)
        wait_archived(second, server)
        taker = both.model_copy(update={"archive": elsewhere, "shards": [twin]})
        with Archiver(taker, repository) as other:
            assert archiver.wait_for("replaced").shard == "s2"
            write(server, "meanwhile")
            wait_archived(first, server)
            assert "replaced" in archiver.kinds()
            # It takes its shard back, and the other gives way.
            assert other.wait_end() is not None
        write(server, "afterwards")
        wait_archived(second, server)
        wait_until(
            lambda: [news.shard for news in archiver.news if news.kind == "following"].count("s2") >= 2,
            lambda: f"s2 is followed again: {archiver.news}",
        )
