"""The parts of the sandbox that start no server."""

from __future__ import annotations

import os
import signal
import ssl
import subprocess
import time
from pathlib import Path

import pytest

from fleet.errors import SandboxFailed, UsageError
from infra.sandbox import processes
from infra.sandbox.accounts import PRODUCTION_SQL, optional_grants, statements
from infra.sandbox.certificates import make_certificates
from infra.sandbox.distribution import find_mysql, newest, parse_version
from infra.sandbox.files import LONGEST_SOCKET_PATH, socket_path, write_private
from infra.sandbox.layout import plan_servers
from infra.sandbox.ports import free_ports
from infra.sandbox.processes import Process
from infra.sandbox.state import SandboxState, read_state, write_state
from infra.sandbox.unpacking import mirrors


@pytest.mark.parametrize(
    ("printed", "version"),
    [
        ("/usr/sbin/mysqld  Ver 8.4.6 for Linux on x86_64 (MySQL Community Server - GPL)", "8.4.6"),
        ("/opt/usr/sbin/mysqld  Ver 9.7.4-2 for Linux on x86_64 ((Debian))", "9.7.4"),
        ("mysqld  Ver 26.10.0 for Linux on aarch64", "26.10.0"),
        ("mysqld  Ver 8.0.16 for Linux on x86_64 (MySQL Community Server - GPL)", None),
        ("mysqld  Ver 5.7.44-log for Linux on x86_64", None),
        ("mysqld  Ver 10.11.11-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64", None),
        ("", None),
    ],
)
def test_only_a_mysql_that_can_clone_is_taken(printed: str, version: str | None) -> None:
    assert parse_version(printed) == version


def test_versions_are_compared_as_numbers() -> None:
    folders = [Path(name) for name in ("9.7.4-amd64", "26.10.0-amd64", "9.10.0-amd64")]
    assert newest(folders) == Path("26.10.0-amd64")
    assert newest([]) is None


def test_a_named_mysqld_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SandboxFailed, match="is no file"):
        find_mysql(environ={"BACKSTAY_MYSQLD": str(tmp_path / "mysqld")})
    liar = tmp_path / "mariadbd"
    liar.write_text("#!/bin/sh\necho 'mysqld  Ver 10.11.11-MariaDB'\n")
    liar.chmod(0o755)
    with pytest.raises(SandboxFailed, match=r"no MySQL from 8.0.17 on"):
        find_mysql(environ={"BACKSTAY_MYSQLD": str(liar)})


def test_an_installed_mysql_is_preferred_to_a_download(tmp_path: Path) -> None:
    mysqld = tmp_path / "mysqld"
    mysqld.write_text("#!/bin/sh\necho 'mysqld  Ver 8.4.6 for Linux'\n")
    mysqld.chmod(0o755)
    found = find_mysql(environ={"PATH": str(tmp_path)})
    assert (found.mysqld, found.version, found.version_numbers) == (mysqld, "8.4.6", (8, 4, 6))


def test_the_mirror_is_the_machines_and_security_archives_come_last() -> None:
    printed = """\
'http://mirror.example/debian-security/dists/bookworm-security/InRelease' a_InRelease 0
'https://mirror.example/debian/dists/bookworm/InRelease' b_InRelease 0
'https://mirror.example/debian/dists/bookworm-updates/InRelease' c_InRelease 0
'https://mirror.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' d_Packages 0
"""
    assert mirrors(printed) == ["https://mirror.example/debian", "http://mirror.example/debian-security"]
    assert mirrors("") == []


def test_a_fleet_is_planned_primary_first_with_unique_names_and_ids() -> None:
    servers = plan_servers(shards=3, replicas=3, regions=2)
    assert [server.role for server in servers[:4]] == ["primary", "replica", "replica", "replica"]
    assert [server.region for server in servers[:4]] == ["us-east", "us-east", "us-east", "us-west"]
    assert len({server.name for server in servers}) == len({server.server_id for server in servers}) == 12


def test_one_region_holds_all_and_two_share_two_replicas() -> None:
    assert {server.region for server in plan_servers(shards=1, replicas=2, regions=1)} == {"us-east"}
    pair = plan_servers(shards=1, replicas=1, regions=2)
    assert [server.region for server in pair] == ["us-east", "us-west"]


@pytest.mark.parametrize("numbers", [(0, 2, 1), (1, -1, 1), (1, 2, 0), (1, 2, 3), (99, 2, 1), (1, 0, 2)])
def test_numbers_that_make_no_fleet_are_refused(numbers: tuple[int, int, int]) -> None:
    shards, replicas, regions = numbers
    with pytest.raises(UsageError):
        plan_servers(shards=shards, replicas=replicas, regions=regions)


def test_the_documented_accounts_are_plain_statements_without_a_password() -> None:
    found = statements(PRODUCTION_SQL.read_text())
    assert len([one for one in found if one.startswith("CREATE USER")]) == 4
    assert all(one.startswith(("CREATE USER", "GRANT ")) for one in found)
    assert all("RANDOM PASSWORD REQUIRE SSL" in one for one in found if one.startswith("CREATE"))


def test_the_backup_account_may_read_no_table_of_a_user() -> None:
    grants = [one for one in statements(PRODUCTION_SQL.read_text()) if "TO 'backstay'" in one]
    selects = [one for one in grants if "SELECT" in one]
    assert selects
    assert all(one.startswith("GRANT SELECT ON performance_schema.") for one in selects)
    everywhere = {word for one in grants if "ON *.*" in one for word in one[6 : one.index(" ON")].split(", ")}
    assert everywhere == {"BACKUP_ADMIN", "REPLICATION CLIENT", "PROCESS", "SHOW VIEW"}


def test_the_archive_account_may_replicate_and_only_if_asked_purge() -> None:
    text = PRODUCTION_SQL.read_text()
    grants = [one for one in statements(text) if "TO 'backstay_archive'" in one]
    assert [one[6 : one.index(" ON *.*")] for one in grants] == ["REPLICATION SLAVE", "REPLICATION CLIENT"]
    proposed = [one for one in optional_grants(text) if "TO 'backstay_archive'" in one]
    assert proposed == ["GRANT BINLOG_ADMIN ON *.* TO 'backstay_archive'@'%'"]


def test_the_account_of_diff_may_read_what_its_operator_grants_and_nothing_else() -> None:
    text = PRODUCTION_SQL.read_text()
    assert not [one for one in statements(text) if "TO 'backstay_diff'" in one]
    proposed = [one for one in optional_grants(text) if "TO 'backstay_diff'" in one]
    assert proposed == ["GRANT SELECT ON shop.* TO 'backstay_diff'@'%'"]


def test_ports_lie_below_those_of_outgoing_connections() -> None:
    ports = free_ports(20)
    assert len(set(ports)) == 20
    assert max(ports) < int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    with pytest.raises(SandboxFailed, match="needed 5"):
        free_ports(5, lowest=20_000, highest=20_003)


def test_a_long_directory_gets_a_short_socket_that_stays_the_same(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 90)
    path = socket_path(deep, "mysqld")
    assert len(os.fsencode(path)) <= LONGEST_SOCKET_PATH
    assert path == socket_path(deep, "mysqld") != socket_path(deep, "other")
    assert path.parent.stat().st_mode & 0o077 == 0
    assert socket_path(Path("/tmp/near"), "mysqld") == Path("/tmp/near/mysqld.sock")


def test_a_private_file_is_never_open_to_others(tmp_path: Path) -> None:
    previous = os.umask(0)
    try:
        write_private(tmp_path / "new" / "secret", b"x")
    finally:
        os.umask(previous)
    assert (tmp_path / "new" / "secret").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["secret"]


def test_certificates_are_good_for_a_checked_connection(tmp_path: Path) -> None:
    files = make_certificates(tmp_path)
    assert make_certificates(tmp_path) == files
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files.certificate, files.key)
    client = ssl.create_default_context(cafile=str(files.ca))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="127.0.0.1")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs, ours, theirs):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    assert ours.getpeercert()
    assert files.key.stat().st_mode & 0o777 == 0o600
    assert not [file for file in tmp_path.iterdir() if "ca-key" in file.name]


def test_a_recycled_pid_is_never_signalled(tmp_path: Path) -> None:
    foreign = subprocess.Popen(["/bin/sleep", "1000"])
    try:
        now = processes.identify(foreign.pid)
        assert now is not None
        earlier = now._replace(start_ticks=now.start_ticks - 1)
        last_boot = now._replace(boot_id="00000000-0000-0000-0000-000000000000")
        for stale in (earlier, last_boot):
            assert not processes.is_alive(stale)
            assert not processes.send(stale, signal.SIGKILL)
            assert not processes.send_group(stale, signal.SIGKILL)
            processes.kill(stale)
            processes.end(stale, grace_seconds=1)
        assert processes.is_alive(now)
    finally:
        foreign.kill()
        foreign.wait()
    assert not processes.is_alive(now)


def test_a_process_is_found_by_its_directory_and_by_no_other(tmp_path: Path) -> None:
    owner, other = tmp_path / "a", tmp_path / "ab"
    owner.mkdir()
    process = processes.spawn(["/bin/sleep", "1000"], owner=owner, output=tmp_path / "out", environ={})
    try:
        # The kernel shows the environment of a program a moment after it has begun.
        deadline = time.monotonic() + 10
        while not processes.find_owned(owner) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert processes.find_owned(owner) == processes.find_owned(tmp_path) == [process]
        assert processes.find_owned(other) == []
        assert processes.has_argument(process, "1000")
        assert not processes.has_argument(process, "100")
    finally:
        processes.end(process, grace_seconds=5)
    assert processes.find_owned(owner) == []


def test_a_frozen_process_can_be_ended(tmp_path: Path) -> None:
    process = processes.spawn(["/bin/sleep", "1000"], owner=tmp_path, output=tmp_path / "out", environ={})
    processes.send_group(process, signal.SIGSTOP)
    assert processes.is_alive(process)
    processes.end(process, grace_seconds=5)
    assert not processes.is_alive(process)


def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(SandboxFailed, match="could not start /no/such/program"):
        processes.spawn(["/no/such/program"], owner=tmp_path, output=tmp_path / "out", environ={})


def test_a_state_comes_back_as_it_was_written(tmp_path: Path) -> None:
    process = Process(1, 2, "boot")
    state = SandboxState(
        phase="starting", mysqld=Path("/m"), bin=Path("/b"), version="9.7.4", servers=[], store="s3",
        store_process=process,
    )  # fmt: skip
    write_state(tmp_path, state)
    assert read_state(tmp_path) == state
    assert state.processes(tmp_path) == []
    (tmp_path / "state.json").write_text('{"phase": "up", "shape": "new"}')
    with pytest.raises(SandboxFailed, match="not what this version writes"):
        read_state(tmp_path)
