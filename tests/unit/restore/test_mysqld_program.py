"""Finding the mysqld of this machine, and its command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.errors import VersionMismatch
from fleet.finding import Level
from restore.program import DataShape, check_mysqld, find_mysqld, read_version, server_options


def a_program(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_the_configured_mysqld_goes_before_the_environment_and_that_before_the_path(tmp_path: Path) -> None:
    configured, named, on_path = (
        a_program(tmp_path / place / "mysqld", "exit 0") for place in ("a", "b", "c")
    )
    environment = {"BACKSTAY_MYSQLD": str(named), "PATH": str(on_path.parent)}
    assert find_mysqld(configured, environment) == configured
    assert find_mysqld(None, environment) == named
    assert find_mysqld(None, {"PATH": str(on_path.parent)}) == on_path


def test_a_named_mysqld_that_cannot_be_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VersionMismatch, match="is not a program that can be run"):
        find_mysqld(tmp_path / "nothing", {})
    with pytest.raises(VersionMismatch, match="is not a program that can be run"):
        find_mysqld(tmp_path, {})


def test_the_version_is_what_the_program_says(tmp_path: Path) -> None:
    mysqld = a_program(
        tmp_path / "mysqld", 'echo "$0  Ver 26.10.1 for Linux on x86_64 (MySQL Community Server - GPL)"'
    )
    assert str(read_version(mysqld)) == "26.10.1"


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ('echo "mysqld  Ver 10.11.6-MariaDB for debian-linux-gnu"', "is a MariaDB"),
        ("echo hello", "does not tell its version: it says 'hello'"),
        ("exit 1", "does not tell its version: it says 'nothing'"),
    ],
)
def test_a_program_that_is_no_mysqld_is_refused(tmp_path: Path, body: str, complaint: str) -> None:
    with pytest.raises(VersionMismatch, match=complaint):
        read_version(a_program(tmp_path / "mysqld", body))


def test_a_host_without_a_mysqld_can_take_backups_but_one_that_is_named_must_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mysqld = a_program(tmp_path / "mysqld", "echo mysqld  Ver 9.7.4 for Linux on x86_64")
    assert check_mysqld(mysqld).message == f"{mysqld}, MySQL 9.7.4"
    assert check_mysqld(tmp_path / "nothing").level is Level.FAIL
    monkeypatch.setenv("BACKSTAY_MYSQLD", str(tmp_path / "nothing"))
    assert check_mysqld(None).level is Level.WARN


def test_a_system_tablespace_that_the_donor_kept_elsewhere_is_looked_for_in_the_data_directory() -> None:
    shape = DataShape(data_file_path="/ssd/ibdata1:12M;../x/ibdata2:50M:autoextend:max:1G")
    assert shape.data_file_path == "ibdata1:12M;ibdata2:50M:autoextend:max:1G"
    assert DataShape(data_file_path="ibdata1:12M:autoextend").data_file_path == "ibdata1:12M:autoextend"


def test_the_command_line_keeps_the_server_private_and_in_shape() -> None:
    shape = DataShape(
        page_size_bytes=8192, lower_case_table_names=1, data_file_path="ibdata1:12M;ibdata2:12M:autoextend"
    )
    options = server_options(Path("/data"), Path("/run/x"), shape, buffer_pool_bytes=1 << 27, as_root=True)
    assert options[0] == "--no-defaults"
    for wanted in (
        "--datadir=/data",
        "--socket=/run/x/mysqld.sock",
        "--skip-networking",
        "--super-read-only=ON",
        "--event-scheduler=DISABLED",
        "--skip-log-bin",
        "--innodb-page-size=8192",
        "--lower-case-table-names=1",
        "--innodb-data-file-path=ibdata1:12M;ibdata2:12M:autoextend",
        "--user=root",
    ):
        assert wanted in options
    assert "--user=root" not in server_options(
        Path("/data"), Path("/run/x"), DataShape(), buffer_pool_bytes=1, as_root=False
    )
