"""A donor whose data directory was given other data keeps its server_uuid; no chain may go on over that."""

import shutil
from pathlib import Path

import pytest

from backup.full import take_full_backup
from backup.incremental import take_incremental_backup
from infra.sandbox.scratch import ScratchServer
from tests.scenario.fleets import fill, fleet_of, repository_of

pytestmark = pytest.mark.mysql


def test_a_donor_that_was_cloned_anew_is_copied_in_full_and_then_goes_on(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    fill(scratch_server, 2000)
    fleet = fleet_of(scratch_server, folder=tmp_path)
    repository = repository_of(fleet)
    first = take_full_backup(fleet, "s1", repository=repository)
    scratch_server.stop()
    scratch_server.start()
    restarted = take_incremental_backup(fleet, "s1", repository=repository)
    assert (restarted.kind, restarted.base) == ("incremental", first.label)

    replace_data(scratch_server)
    rebuilt = take_incremental_backup(fleet, "s1", repository=repository)
    assert rebuilt.kind == "full"
    assert rebuilt.became_full_because is not None
    assert f"data was replaced since {restarted.label}" in rebuilt.became_full_because
    refers = take_full_backup(fleet, "s1", repository=repository, full="referring")
    assert (refers.kind, refers.built_on) == ("full", rebuilt.label)


def replace_data(server: ScratchServer) -> None:
    """Put a clone in the place of the server's data, as CLONE INSTANCE does, and let it go on from there."""
    copy = server.datadir.with_name("copy")
    server.query("CLONE LOCAL DATA DIRECTORY = %s", (str(copy),))
    # From here on the two are two histories; that of the copy has the higher LSN in the end.
    server.stop()
    shutil.copy(server.datadir / "auto.cnf", copy / "auto.cnf")
    shutil.rmtree(server.datadir)
    copy.rename(server.datadir)
    server.start()
    server.query("UPDATE app.items SET pad = REVERSE(pad)")
