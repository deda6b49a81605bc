"""A donor whose tables, redo and undo are encrypted: the copy opens with a keyring of its own."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.blocks import Stage
from fleet.errors import ServerRefused
from fleet.model import Tls
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from tests.clones import Forgetting, Keeping
from tests.scenario.copies import allow_plain, assert_exact, client_of, connector, started
from wire import admin
from wire.clone.client import CloneOptions

pytestmark = [pytest.mark.mysql, pytest.mark.slow]

KEYRING = "component_keyring_file"


@pytest.fixture
def keyring_distribution(mysql_distribution: MysqlDistribution, scratch_directory: Path) -> MysqlDistribution:
    """The same MySQL, whose servers load the keyring that their data directory names.

    The manifest must lie beside the mysqld that runs, so this one is a copy in a folder of its own.
    """
    wrapper = mysql_distribution.mysqld.read_text(errors="replace")
    root = re.search(r"^R='(.+)'$", wrapper, re.MULTILINE)
    if root is None:
        pytest.skip("a keyring is set up only for the MySQL that the sandbox unpacks")
    folder = Path(tempfile.mkdtemp(prefix="k", dir=scratch_directory))
    binary = folder / "sbin" / "mysqld"
    plugins = folder / "plugin"
    binary.parent.mkdir()
    plugins.mkdir()
    shutil.copy2(Path(root[1]) / "usr" / "sbin" / "mysqld", binary)
    for plugin in (Path(root[1]) / "usr" / "lib" / "mysql" / "plugin").iterdir():
        (plugins / plugin.name).symlink_to(plugin)
    (binary.parent / "mysqld.my").write_text(json.dumps({"read_local_manifest": True}))
    (plugins / f"{KEYRING}.cnf").write_text(json.dumps({"read_local_config": True}))
    mysqld = folder / "mysqld"
    text = wrapper.replace('"$R/usr/sbin/mysqld"', f'"{binary}"')
    mysqld.write_text(text.replace('--plugin-dir="$R/usr/lib/mysql/plugin"', f'--plugin-dir="{plugins}"'))
    mysqld.chmod(0o755)
    return MysqlDistribution(mysqld, mysql_distribution.bin, mysql_distribution.version)


def give_keyring(datadir: Path, file: Path) -> None:
    (datadir / "mysqld.my").write_text(json.dumps({"components": f"file://{KEYRING}"}))
    (datadir / f"{KEYRING}.cnf").write_text(json.dumps({"path": str(file), "read_only": False}))


@pytest.fixture
def donor(keyring_distribution: MysqlDistribution, scratch_directory: Path) -> Iterator[ScratchServer]:
    folder = Path(tempfile.mkdtemp(prefix="e", dir=scratch_directory))
    server = start_scratch_server(folder, keyring_distribution, owner=scratch_directory)
    server.stop()
    give_keyring(server.datadir, folder / "keyring")
    server.start(innodb_undo_log_encrypt="ON", innodb_redo_log_encrypt="ON")
    yield server
    server.remove()


def make_tables(donor: ScratchServer, suffix: str) -> None:
    """An encrypted table of each form, with rows."""
    donor.query(f"CREATE TABLESPACE space_{suffix} ADD DATAFILE 'space_{suffix}.ibd' ENCRYPTION='Y'")
    forms = {
        "plain": "ENCRYPTION='Y'",
        "zip": "ENCRYPTION='Y' ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8",
        "page": "ENCRYPTION='Y' COMPRESSION='zlib'",
        "general": f"TABLESPACE space_{suffix} ENCRYPTION='Y'",
    }
    for name, form in forms.items():
        table = f"app.{name}_{suffix}"
        donor.query(f"CREATE TABLE {table} (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(200)) {form}")
        donor.query(f"INSERT INTO {table} (v) VALUES (REPEAT('x', 150)), (REPEAT('y', 150))")
        for _ in range(9):
            donor.query(f"INSERT INTO {table} (v) SELECT v FROM {table}")


def test_encrypted_data_opens_with_a_new_keyring(
    donor: ScratchServer, keyring_distribution: MysqlDistribution, tmp_path: Path
) -> None:
    donor.query("CREATE DATABASE app")
    make_tables(donor, "old")
    donor.query("CREATE TABLE app.clear (id INT PRIMARY KEY)")
    donor.query("INSERT INTO app.clear VALUES (1), (2)")
    donor.query("CREATE TABLESPACE opened ADD DATAFILE 'opened.ibd'")
    donor.query("CREATE TABLE app.in_opened (id INT PRIMARY KEY, v VARCHAR(200)) TABLESPACE opened")
    donor.query("INSERT INTO app.in_opened SELECT id, v FROM app.plain_old")

    class Sink(Keeping):
        """New encrypted files while the copy runs, and a table and a tablespace that become encrypted."""

        def before_ack(self, stage: Stage) -> None:
            super().before_ack(stage)
            if stage is Stage.REDO:
                return
            make_tables(donor, stage.name.lower())
            donor.query("UPDATE app.plain_old SET v = CONCAT(v, '!') WHERE id % 7 = 0")
            if stage is Stage.FILE:
                donor.query("ALTER TABLE app.clear ENCRYPTION='Y'")
                donor.query("ALTER TABLESPACE opened ENCRYPTION='Y'")
            else:
                donor.query("ALTER INSTANCE ROTATE INNODB MASTER KEY")

    sink = Sink(tmp_path / "data")
    outcome = client_of(donor, CloneOptions(stall_seconds=20)).run(sink)
    sink.lay_out(outcome)
    give_keyring(tmp_path / "data", tmp_path / "keyring")
    assert not (tmp_path / "keyring").exists()
    with started(tmp_path, keyring_distribution) as copy:
        assert_exact(copy, donor)
        encrypted = (
            "SELECT name FROM information_schema.innodb_tablespaces"
            " WHERE encryption = 'Y' AND name NOT LIKE 'innodb_undo%' ORDER BY 1"
        )
        assert copy.query(encrypted) == donor.query(encrypted)
        assert len(copy.query(encrypted)) > 12
        for row in donor.query(
            "SELECT table_name AS t FROM information_schema.tables WHERE table_schema = 'app'"
        ):
            (checked,) = copy.query(f"CHECK TABLE app.{row['t']}")
            assert checked["Msg_text"] == "OK", checked
        copy.stop()
        copy.start()  # once more: the keys are wrapped by the copy's own master key now
        assert copy.query("SELECT COUNT(*) AS n FROM app.plain_old")[0]["n"] == 1024


def test_keys_are_not_sent_in_clear(donor: ScratchServer) -> None:
    donor.query("CREATE DATABASE app")
    make_tables(donor, "old")
    plain = allow_plain(donor)
    with pytest.raises(ServerRefused, match="TLS") as refused:
        client_of(donor, tls=plain).run(Forgetting())
    assert "tls" in (refused.value.hint or "")
    session = connector(donor, tls=Tls(mode="required"))()
    in_use = admin.encryption_in_use(session)
    session.close()
    assert in_use.redo and in_use.undo and "app/plain_old" in in_use.tablespaces
