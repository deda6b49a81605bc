"""An encrypted donor's backup, restored by a server with a keyring of its own, or with none."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pymysql
import pytest

from backup.full import take_full_backup
from fleet.errors import RecoveryFailed
from fleet.model import Fleet
from infra.sandbox.dataset import checksums
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from repository.repository import Repository
from restore.full import Leave, plan_full_restore, restore_backup
from restore.journal import JOURNAL_NAME
from restore.target import look_at
from tests.scenario.fleets import fleet_of, repository_of

pytestmark = pytest.mark.mysql


def with_keyring(distribution: MysqlDistribution, folder: Path) -> MysqlDistribution:
    """The same MySQL with the file keyring component, which mysqld finds beside its own program."""
    root = distribution.bin.parent
    program, plugins = root / "usr/sbin/mysqld", root / "usr/lib/mysql/plugin"
    loaders = list(root.glob("usr/lib/*/ld-linux-*.so*"))
    if not (program.exists() and (plugins / "component_keyring_file.so").exists() and loaders):
        pytest.skip("an installed MySQL cannot be given a keyring of the test's own")
    for name in ("sbin", "bin", "plugin"):
        (folder / name).mkdir(parents=True)
    shutil.copy(program, folder / "sbin/mysqld")
    for plugin in plugins.iterdir():
        (folder / "plugin" / plugin.name).symlink_to(plugin)
    (folder / "sbin/mysqld.my").write_text(json.dumps({"components": "file://component_keyring_file"}))
    (folder / "plugin/component_keyring_file.cnf").write_text(
        json.dumps({"path": str(folder / "keyring"), "read_only": False})
    )
    wrapper = folder / "bin/mysqld"
    wrapper.write_text(
        f'#!/bin/sh\nexec "{loaders[0]}" --library-path "{loaders[0].parent}" "{folder}/sbin/mysqld" "$@"'
        f' --basedir="{root}/usr" --plugin-dir="{folder}/plugin" --lc-messages-dir="{root}/usr/share/mysql"'
        " --secure-file-priv=\n"
    )
    wrapper.chmod(0o755)
    return MysqlDistribution(wrapper, folder / "bin", distribution.version)


@pytest.fixture
def encrypted(
    mysql_distribution: MysqlDistribution, scratch_directory: Path, tmp_path: Path
) -> Iterator[ScratchServer]:
    folder = scratch_directory / "encrypted"
    folder.mkdir()
    server = start_scratch_server(
        folder, with_keyring(mysql_distribution, tmp_path / "donor"), owner=scratch_directory
    )
    try:
        server.query("SET GLOBAL innodb_undo_log_encrypt = ON")
        server.query("SET GLOBAL innodb_redo_log_encrypt = ON")
        server.query("CREATE DATABASE enc")
        server.query(
            "CREATE TABLE enc.t (id INT AUTO_INCREMENT PRIMARY KEY, s VARCHAR(200)) ENCRYPTION = 'Y'"
        )
        server.query(
            "INSERT INTO enc.t (s) SELECT REPEAT(UUID(), 5) FROM information_schema.columns LIMIT 2000"
        )
        yield server
    finally:
        server.remove()


def test_a_new_keyring_is_enough_and_without_one_the_restore_goes_on_later(
    encrypted: ScratchServer, mysql_distribution: MysqlDistribution, tmp_path: Path
) -> None:
    bare = fleet_of(encrypted, folder=tmp_path, restore={"mysqld": str(mysql_distribution.mysqld)})
    repository = repository_of(bare)
    take_full_backup(bare, "s1", repository=repository)
    target = tmp_path / "data"
    assert any("must have a keyring" in step for step in _steps(bare, repository, target))
    with pytest.raises(RecoveryFailed, match="keyring") as failed:
        restore_backup(bare, "s1", target, repository=repository)
    assert failed.value.hint is not None
    shutil.rmtree(Path(failed.value.hint.rpartition(" ")[2]).parent)
    assert (target / JOURNAL_NAME).exists()

    other = with_keyring(mysql_distribution, tmp_path / "other")
    fleet = fleet_of(encrypted, folder=tmp_path, restore={"mysqld": str(other.mysqld)})
    result = restore_backup(fleet, "s1", target, repository=repository, leave=Leave.RUNNING, check="all")
    assert result.read_bytes == 0
    assert result.left is not None
    try:
        with (
            closing(pymysql.connect(unix_socket=str(result.left.socket), user="root")) as restored,
            closing(encrypted.connect()) as donor,
        ):
            assert checksums(restored) == checksums(donor)
    finally:
        os.kill(result.left.pid, signal.SIGTERM)
        deadline = time.monotonic() + 30
        while look_at(target).locked_by is not None:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        shutil.rmtree(result.left.socket.parent)


def _steps(fleet: Fleet, repository: Repository, target: Path) -> tuple[str, ...]:
    return plan_full_restore(fleet, "s1", target, repository=repository).steps()
