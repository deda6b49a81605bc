"""The store stands still for a minute while a backup runs and people work on the donor.

A recipient that stops reading makes a RENAME of the table in flight wait with dictionary locks in its hands,
and then everybody waits. So it must never stop: memory, then the spool, then it lets go and comes back.
"""

import threading
import time
from pathlib import Path

import pytest

from backup.full import take_full_backup
from fleet.model import Fleet
from infra.sandbox.objectstore import SeaweedServer
from infra.sandbox.scratch import ScratchServer
from repository.catalog import Catalog
from repository.verify import verify_backup
from tests.scenario.fleets import bucket_section, fill, fleet_of, repository_of, wait_free

pytestmark = [pytest.mark.mysql, pytest.mark.s3, pytest.mark.slow]

MIB = 1024 * 1024
FROZEN_SECONDS = 60.0
LONGEST_STATEMENT_SECONDS = 5.0
MOVE_BACK = "RENAME TABLE app.moved TO app.items"


def s3_fleet(scratch: ScratchServer, seaweed: SeaweedServer, folder: Path, **backup: object) -> Fleet:
    """A fleet that keeps its backups in a bucket of its own, in small packs."""
    repository = bucket_section(seaweed, "frozen", folder) | {"pack_size_bytes": MIB}
    return fleet_of(scratch, folder=folder, repository=repository, backup={"donor": "primary", **backup})


class Clients:
    """One renames the big table to and fro, one updates another; each statement is timed, in seconds."""

    def __init__(self, scratch: ScratchServer) -> None:
        self._scratch = scratch
        self._stop = threading.Event()
        self.slowest: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.errors: list[BaseException] = []
        self._threads = [threading.Thread(target=self._rename), threading.Thread(target=self._update)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=120)

    def _rename(self) -> None:
        self._repeat(
            "rename", ["RENAME TABLE app.items TO app.moved", "RENAME TABLE app.moved TO app.items"], 0.5
        )

    def _update(self) -> None:
        # Without the table in the cache a statement must open it, which is where a frozen donor would hang.
        self._repeat("update", ["FLUSH LOCAL TABLES app.other", "UPDATE app.other SET n = n + 1"], 0.05)

    def _repeat(self, kind: str, statements: list[str], pause: float) -> None:
        connection = self._scratch.connect(database="app")
        try:
            with connection.cursor() as cursor:
                while not self._stop.is_set():
                    for statement in statements:
                        began = time.monotonic()
                        cursor.execute(statement)
                        spent = time.monotonic() - began
                        self.slowest[kind] = max(self.slowest.get(kind, 0), spent)
                        self.counts[kind] = self.counts.get(kind, 0) + 1
                    self._stop.wait(pause)
        except BaseException as error:
            self.errors.append(error)
        finally:
            connection.close()


class FreezeOnce:
    """Freezes the store when the first data arrived, and thaws it a minute later."""

    def __init__(self, seaweed: SeaweedServer) -> None:
        self._seaweed = seaweed
        self._begun = False
        self.thaw = threading.Timer(FROZEN_SECONDS, seaweed.thaw)

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        pass

    def advance(self, count_bytes: int) -> None:
        if not self._begun:
            self._begun = True
            self._seaweed.freeze()
            self.thaw.start()

    def note(self, text: str) -> None:
        pass


@pytest.mark.timeout(280)
def test_a_frozen_store_never_freezes_the_donor(
    scratch_server: ScratchServer, seaweed: SeaweedServer, tmp_path: Path
) -> None:
    fill(scratch_server, 150_000)
    scratch_server.query("CREATE TABLE app.other (id INT PRIMARY KEY, n INT)")
    scratch_server.query("INSERT INTO app.other VALUES (1, 0)")
    fleet = s3_fleet(
        scratch_server, seaweed, tmp_path, memory_queue_bytes=8 * MIB, spool_max_bytes=24 * MIB, retries=2
    )
    repository = repository_of(fleet)
    freezing = FreezeOnce(seaweed)
    try:
        with Clients(scratch_server) as clients:
            result = take_full_backup(fleet, "s1", repository=repository, progress=freezing)
    finally:
        freezing.thaw.cancel()
        seaweed.thaw()
    assert not clients.errors
    assert result.seconds > FROZEN_SECONDS * 0.8 or result.interruptions
    assert result.resumes > 0 or result.interruptions
    assert clients.counts["rename"] > 50 and clients.counts["update"] > 200
    assert max(clients.slowest.values()) < LONGEST_STATEMENT_SECONDS, clients.slowest
    assert verify_backup(repository, Catalog(repository).manifest("s1")).is_sound
    wait_free(scratch_server)
