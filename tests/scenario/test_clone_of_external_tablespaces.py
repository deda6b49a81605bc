"""Files that the donor keeps outside of its data directory: refused, or found again inside of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet.blocks import Stage
from fleet.errors import ServerUnsupported
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.scratch import ScratchServer, start_scratch_server
from tests.clones import Forgetting, Keeping
from tests.scenario.copies import assert_exact, client_of, connector, started
from wire import admin
from wire.clone.client import CloneOptions

pytestmark = pytest.mark.mysql


@pytest.fixture
def outside(scratch_directory: Path) -> Path:
    return Path(tempfile.mkdtemp(prefix="o", dir=scratch_directory))


@pytest.fixture
def donor(
    mysql_distribution: MysqlDistribution, scratch_directory: Path, outside: Path
) -> Iterator[ScratchServer]:
    folder = Path(tempfile.mkdtemp(prefix="x", dir=scratch_directory))
    options = {"innodb-directories": str(outside)}
    server = start_scratch_server(folder, mysql_distribution, options=options, owner=scratch_directory)
    server.query("CREATE DATABASE app")
    server.query(f"CREATE TABLE app.far (id INT PRIMARY KEY, v VARCHAR(200)) DATA DIRECTORY = '{outside}'")
    server.query("INSERT INTO app.far VALUES (1, 'one'), (2, 'two'), (3, 'three')")
    server.query(
        "CREATE TABLE app.parts (id INT PRIMARY KEY) PARTITION BY HASH (id)"
        f" (PARTITION p0 DATA DIRECTORY = '{outside}', PARTITION p1)"
    )
    server.query("INSERT INTO app.parts SELECT id FROM app.far")
    server.query(f"CREATE TABLESPACE distant ADD DATAFILE '{outside}/distant.ibd'")
    server.query("CREATE TABLE app.shared (id INT PRIMARY KEY, v VARCHAR(200)) TABLESPACE distant")
    server.query("INSERT INTO app.shared SELECT * FROM app.far")
    yield server
    server.remove()


def test_an_external_file_is_refused_by_name_before_any_data(donor: ScratchServer, outside: Path) -> None:
    session = connector(donor)()
    found = [file.path for file in admin.external_tablespaces(session)]
    session.close()
    assert found == [f"{outside}/app/far.ibd", f"{outside}/app/parts#p#p0.ibd", f"{outside}/distant.ibd"]
    sink = Forgetting()
    with pytest.raises(ServerUnsupported, match=str(outside)) as refused:
        client_of(donor).run(sink)
    assert "external_tablespaces" in (refused.value.hint or "")
    assert sink.bytes == 0


def test_external_files_are_mapped_to_where_a_server_finds_them(
    donor: ScratchServer, outside: Path, mysql_distribution: MysqlDistribution, tmp_path: Path
) -> None:
    class Sink(Keeping):
        def before_ack(self, stage: Stage) -> None:
            super().before_ack(stage)
            if stage is not Stage.REDO:
                name = f"app.new_{stage.name.lower()}"
                donor.query(f"CREATE TABLE {name} (id INT PRIMARY KEY) DATA DIRECTORY = '{outside}'")
                donor.query(f"INSERT INTO {name} SELECT id FROM app.far")
                donor.query("UPDATE app.shared SET v = CONCAT(v, '!')")

    sink = Sink(tmp_path / "data")
    outcome = client_of(donor, CloneOptions(external_tablespaces="into-datadir")).run(sink)
    names = {file.name for file in outcome.files}
    assert {"app/far.ibd", "app/parts#p#p0.ibd", "distant.ibd", "app/new_page.ibd"} <= names
    sink.lay_out(outcome)
    with started(tmp_path, mysql_distribution) as copy:
        assert_exact(copy, donor)
        copy.query("INSERT INTO app.shared VALUES (9, 'nine')")
        copy.query("ALTER TABLE app.far ENGINE = InnoDB")
        copy.stop()
        copy.start()
        paths = copy.query("SELECT path AS p FROM information_schema.innodb_datafiles WHERE path LIKE '/%'")
        assert not paths
        assert copy.query("SELECT COUNT(*) AS n FROM app.shared")[0]["n"] == 4
