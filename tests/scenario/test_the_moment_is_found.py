"""A DROP TABLE and a mass DELETE are found in the archive, and shown row by row, with the server gone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fleets import fleet_of, repository_of

from cli.app import run
from infra.sandbox.scratch import ScratchServer
from repository.archive.archive import ShardArchive
from tests.archived_server import archive_binlogs

pytestmark = pytest.mark.mysql

ORDERS = "id INT PRIMARY KEY AUTO_INCREMENT, customer VARCHAR(40), total DECIMAL(10,2), paid_at DATETIME(3)"
CONFIG = """\
name = "test"
regions = ["here"]
[[shards]]
name = "s1"
servers = [{{ name = "gone", host = "127.0.0.1", port = 1, region = "here", role = "primary" }}]
[accounts.backup]
user = "nobody"
password = {{ env = "NOBODY" }}
[repository]
url = "file://{folder}/repository"
[[keys]]
id = "k1"
provider = "file"
file = "{folder}/backstay.key"
"""

BEFORE = (
    "CREATE DATABASE shop",
    f"CREATE TABLE shop.orders ({ORDERS})",
    "INSERT INTO shop.orders (customer, total, paid_at) VALUES ('ann', 1.50, '2026-03-01 02:15:00.123'),"
    " ('ben', NULL, NULL)",
    *["INSERT INTO shop.orders (customer, total) SELECT customer, 7 FROM shop.orders"] * 12,
    "CREATE TABLE shop.stock (id INT PRIMARY KEY)",
    "INSERT INTO shop.stock VALUES (1), (2)",
)
AFTER = (
    "DELETE FROM shop.orders WHERE id > 10",
    "UPDATE shop.orders SET total = 8 WHERE customer = 'ben'",
    "FLUSH BINARY LOGS",
    "DROP TABLE shop.orders",
    "INSERT INTO shop.stock VALUES (3)",
)


class Archived(NamedTuple):
    """``told`` asks a command about the shard; ``deleted``: rows of the mass DELETE."""

    told: Callable[..., dict[str, Any]]
    deleted: int


@pytest.fixture
def archived(
    scratch_server: ScratchServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Archived:
    """What commands answer about a shard whose server worked, was archived, and died."""
    for deed in BEFORE:
        scratch_server.query(deed)
    (counted,) = scratch_server.query("SELECT COUNT(*) AS n FROM shop.orders WHERE id > 10")
    for deed in AFTER:
        scratch_server.query(deed)
    repository = repository_of(fleet_of(scratch_server, folder=tmp_path))
    archive_binlogs(ShardArchive(repository, "s1"), scratch_server, segment_bytes=100_000)
    scratch_server.kill()
    (tmp_path / "backstay.toml").write_text(CONFIG.format(folder=tmp_path))
    monkeypatch.chdir(tmp_path)

    def ask(*arguments: str) -> dict[str, Any]:
        capsys.readouterr()
        assert run([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return Archived(ask, counted["n"])


def test_the_drop_and_the_mass_delete_are_found_and_shown(archived: Archived) -> None:
    told = archived.told
    (drop,) = (
        one
        for one in told("find", "s1", "--table", "shop.orders", "--kind", "ddl")["transactions"]
        if one["statement"].startswith("DROP TABLE")
    )
    assert drop["tables"] == ["shop.orders"]
    (statement,) = told("show", "s1", drop["gtid"])["parts"]
    assert statement["statement"].startswith("DROP TABLE `shop`.`orders`")

    (delete,) = told("find", "s1", "--table", "shop.*", "--kind", "delete", "--bigger-than", "50k")[
        "transactions"
    ]
    assert delete["rows"] == archived.deleted > 5000
    shown = told("show", "s1", delete["gtid"], "--limit", "7")
    (part,) = shown["parts"]
    assert (part["kind"], part["count"], part["key"]) == ("delete", delete["rows"], ["id"])
    assert len(part["rows"]) == 7
    assert part["rows"][0] == {
        "before": {
            "id": part["rows"][0]["before"]["id"],
            "customer": "ann",
            "total": "7.00",
            "paid_at": None,
        },
        "after": None,
    }
    assert shown["counts"] == [{"kind": "delete", "table": "shop.orders", "rows": delete["rows"]}]

    between = told("find", "s1", "--between", delete["committed_at"], drop["committed_at"])["transactions"]
    assert [one["kinds"] for one in between] == [["delete"], ["update"], ["ddl"]]
    (first, *_) = told("find", "s1", "--text", "ann", "--limit", "100")["transactions"]
    rows = told("show", "s1", first["gtid"])["parts"][0]["rows"]
    assert rows[0]["after"] == {
        "id": 1,
        "customer": "ann",
        "total": "1.50",
        "paid_at": "2026-03-01 02:15:00.123",
    }
