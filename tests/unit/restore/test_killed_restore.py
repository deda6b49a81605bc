"""A process that restores a chain, killed by SIGKILL in the middle of fetching, again and again."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from repository.stores.filesystem import FilesystemStore
from restore.journal import JOURNAL_NAME
from restore.target import look_at
from tests.unit.restore.made_backups import PAGE, made_repository
from tests.unit.restore.made_chains import MadeServer, made_chain
from tests.unit.restore.restoring import content

PROGRAM = """
import sys, time
from pathlib import Path
from fleet.clock import SystemClock
from repository.catalog import Catalog
from repository.chain import read_chain
from repository.keys import FileSource, Keyring
from repository.reader import BackupReader
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from restore.datadir import open_journal
from restore.fetch import fetch
from restore.plan import plan_restore
from restore.target import look_at
from fleet.progress import Silent

class Slow:
    def __init__(self, store):
        self.store = store
    def __getattr__(self, name):
        return getattr(self.store, name)
    def get_range(self, *where):
        time.sleep(0.02)
        return self.store.get_range(*where)

store, key, target = map(Path, sys.argv[1:4])
repository = Repository.open(Slow(FilesystemStore(store)), Keyring([FileSource("k1", key)]))
manifest = Catalog(repository).manifest("s1")
plan = plan_restore(read_chain(Catalog(repository), manifest), look_at(target), None)
journal = open_journal(plan)
print("fetching", flush=True)
fetch(plan, BackupReader(repository, manifest), journal, threads=2, progress=Silent(), clock=SystemClock(),
      batch_bytes=40000)
"""


def test_after_every_kill_it_goes_on_and_the_end_is_byte_for_byte_right(tmp_path: Path) -> None:
    server = MadeServer(11, pages=80)
    store = FilesystemStore(tmp_path / "store")
    repository = made_repository(store, key=tmp_path / "key")
    made_chain(repository, server, 4)
    target = tmp_path / "data"
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        tmp_path / "store",
        tmp_path / "key",
        target,
        Path(__file__).parent,
    ]
    chance = random.Random(5)
    kills = 0
    progress: list[int] = []
    while True:
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"fetching\n"
            time.sleep(chance.uniform(0.02, 0.3))
            process.kill()
            if process.wait() == 0:
                break
        kills += 1
        assert kills < 100
        journal = look_at(target).journal
        assert journal is not None
        progress.append(len(journal.done))
        assert not (target / "ibdata1").exists() or journal.fetched
        if journal.fetched:
            break
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    assert kills >= 3
    assert progress == sorted(progress)
    assert (target / JOURNAL_NAME).exists()
    assert content(target) == server.content()
    assert sum(map(len, server.content().values())) > 200 * PAGE
