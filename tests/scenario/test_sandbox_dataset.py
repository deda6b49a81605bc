"""The data set holds what real schemas hold, and its checksums tell equal servers from different ones."""

from __future__ import annotations

import pytest

from infra.sandbox.dataset import SCHEMAS, checksums, create_dataset, drop_dataset
from infra.sandbox.fleet import SandboxFleet

KINDS = {
    "partitions": "partitions WHERE partition_name IS NOT NULL AND table_schema",
    "foreign keys": "referential_constraints WHERE constraint_schema",
    "generated columns": "columns WHERE extra LIKE '%GENERATED' AND table_schema",
    "full-text": "statistics WHERE index_type = 'FULLTEXT' AND table_schema",
    "spatial": "statistics WHERE index_type = 'SPATIAL' AND table_schema",
    "compressed": "tables WHERE row_format = 'Compressed' AND table_schema",
    "page compression": "tables WHERE create_options LIKE '%COMPRESSION=%' AND table_schema",
    "views": "views WHERE table_schema",
    "triggers": "triggers WHERE trigger_schema",
    "routines": "routines WHERE routine_schema",
    "events": "events WHERE event_schema",
}


@pytest.mark.mysql
@pytest.mark.s3
def test_the_dataset_replicates_and_checksums_agree(sandbox: SandboxFleet) -> None:
    (shard,) = sandbox.shards
    primary = shard.primary.connect()
    replica = shard.replicas[0].connect()
    try:
        create_dataset(primary, 5)
        shard.wait_caught_up()
        there = checksums(primary)
        assert None not in there.values()
        assert {name.split(".")[0] for name in there} == {"shop", "analytics", "media", "bulk", "odd-names"}
        # Asked twice, since one kind of table answers CHECKSUM TABLE with another number every time.
        assert checksums(primary) == checksums(replica) == there
        with primary.cursor() as cursor:
            cursor.execute("UPDATE shop.users SET profile = JSON_SET(profile, '$.age', 99) WHERE id = 17")
            cursor.execute("DELETE FROM analytics.test_results ORDER BY id LIMIT 1")
        shard.wait_caught_up()
        changed = checksums(replica)
        assert {name for name in there if changed[name] != there[name]} == {
            "shop.users",
            "analytics.test_results",
        }
    finally:
        drop_dataset(primary)
        primary.close()
        replica.close()


@pytest.mark.mysql
@pytest.mark.s3
def test_the_dataset_has_every_kind_of_object(sandbox: SandboxFleet) -> None:
    primary = sandbox.shards[0].primary
    connection = primary.connect()
    try:
        create_dataset(connection, 1)
        schemas = ", ".join(f"'{schema}'" for schema in SCHEMAS)
        for what, query in KINDS.items():
            assert primary.query(f"SELECT 1 FROM information_schema.{query} IN ({schemas})"), what
        spaces = {
            row["name"] for row in primary.query("SELECT name FROM information_schema.innodb_tablespaces")
        }
        assert {"shop_general", "dataset_undo"} <= spaces
    finally:
        drop_dataset(connection)
        connection.close()
