"""What preflight finds on real servers."""

import os
from pathlib import Path
from shutil import rmtree
from tempfile import gettempdir

import pytest

from backup.plan import Candidate
from backup.preflight import check_shard, inspect_server
from fleet.clock import SystemClock
from fleet.errors import ServerRefused, ServerUnreachable
from fleet.finding import Level, failures
from fleet.model import BackupConfig, Fleet
from infra.sandbox.scratch import ScratchServer
from tests.scenario.fleets import fleet_of

pytestmark = pytest.mark.mysql

OUTSIDE = Path(gettempdir()) / f"backstay-outside-{os.getpid()}"


def look(scratch: ScratchServer, **policy: object) -> Candidate:
    return inspect_server(
        scratch.server, scratch.backup_account, BackupConfig.model_validate(policy), SystemClock()
    )


def only_failure(candidate: Candidate) -> str:
    (found,) = failures(candidate.findings)
    assert found.hint
    return found.message


def test_a_documented_account_on_a_documented_server_is_fit(scratch_server: ScratchServer) -> None:
    candidate = look(scratch_server)
    assert candidate.is_fit, candidate
    assert [finding.level for finding in candidate.findings] == [Level.OK]
    assert not candidate.is_replica


def test_what_is_missing_is_named_one_by_one(scratch_server: ScratchServer) -> None:
    scratch_server.query("CREATE DATABASE app")
    scratch_server.query("CREATE TABLE app.old (a INT) ENGINE = MyISAM")
    assert "app.old" in only_failure(look(scratch_server))
    allowed = look(scratch_server, allow_lost_tables=("app.old",))
    assert allowed.is_fit
    assert allowed.findings[-1].level is Level.WARN
    scratch_server.query("DROP TABLE app.old")

    scratch_server.query("SET GLOBAL max_allowed_packet = 1048576")
    assert "max_allowed_packet is 1048576" in only_failure(look(scratch_server))
    scratch_server.query("SET GLOBAL max_allowed_packet = 67108864")

    scratch_server.query("ALTER INSTANCE DISABLE INNODB REDO_LOG")
    assert "redo logging is disabled" in only_failure(look(scratch_server))
    scratch_server.query("ALTER INSTANCE ENABLE INNODB REDO_LOG")

    scratch_server.query("UNINSTALL PLUGIN clone")
    assert "clone plugin is not active" in only_failure(look(scratch_server))


def test_a_missing_privilege_is_named(scratch_server: ScratchServer) -> None:
    scratch_server.query(f"REVOKE BACKUP_ADMIN ON *.* FROM '{scratch_server.backup_account.user}'@'%'")
    assert "BACKUP_ADMIN" in only_failure(look(scratch_server))


@pytest.mark.parametrize("scratch_server", [{"innodb_directories": str(OUTSIDE)}], indirect=True)
def test_a_tablespace_outside_of_the_data_directory_is_refused_unless_mapped(
    scratch_server: ScratchServer,
) -> None:
    OUTSIDE.mkdir()
    try:
        scratch_server.query("CREATE DATABASE app")
        scratch_server.query(f"CREATE TABLE app.far (a INT PRIMARY KEY) DATA DIRECTORY = '{OUTSIDE}'")
        assert str(OUTSIDE) in only_failure(look(scratch_server))
        assert look(scratch_server, external_tablespaces="into-datadir").is_fit
    finally:
        rmtree(OUTSIDE)


def test_a_stopped_server_and_a_wrong_password_are_different_errors(scratch_server: ScratchServer) -> None:
    user = scratch_server.backup_account.user
    scratch_server.query(f"ALTER USER '{user}'@'%' IDENTIFIED BY 'another'")
    assert isinstance(look(scratch_server).error, ServerRefused)
    scratch_server.stop()
    assert isinstance(look(scratch_server).error, ServerUnreachable)


def test_a_server_without_gtids_is_refused_with_the_reason(scratch_server: ScratchServer) -> None:
    scratch_server.query("SET GLOBAL gtid_mode = ON_PERMISSIVE")
    candidate = look(scratch_server)
    assert candidate.error is not None
    assert "gtid_mode = ON_PERMISSIVE" in candidate.error.message


def test_checking_a_shard_names_the_donor_it_would_take(scratch_server: ScratchServer) -> None:
    fleet: Fleet = fleet_of(scratch_server, backup={"donor": "primary"})
    findings = check_shard(fleet, "s1", clock=SystemClock())
    assert findings[0].level is Level.OK
    assert scratch_server.server.name in findings[0].message
    refused = check_shard(fleet_of(scratch_server, backup={"donor": "replica"}), "s1", clock=SystemClock())
    assert refused[0].level is Level.FAIL
