"""The fleet's model: what is taken, what is refused, and that refusals say why."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fleet.config import schema
from fleet.errors import NotFound
from fleet.mistakes import explain
from fleet.model import BackupConfig, Fleet, KeyConfig, RepositoryConfig, Schedule, Server, Targets, Tls


def server(name: str, **settings: Any) -> dict[str, Any]:
    return {"name": name, "host": f"{name}.example.net", "region": "east", **settings}


SMALL: dict[str, Any] = {
    "name": "users",
    "regions": ["east", "west"],
    "shards": [
        {"name": "shard_0", "servers": [server("a", role="primary"), server("b", region="west")]},
        {"name": "shard_1", "servers": [server("c", role="primary"), server("d")]},
    ],
    "accounts": {"backup": {"user": "backstay", "password": {"env": "PASSWORD"}}},
    "repository": {"url": "file:///srv/backups"},
    "keys": [{"id": "k1", "provider": "file", "file": "/etc/key"}],
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """SMALL with the value at ``path`` (such as ``shards.0.name``) replaced; None removes it."""
    document = deepcopy(SMALL)
    inner: Any = document
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    for part in parents:
        inner = inner[part] if isinstance(part, int) else inner.setdefault(part, {})
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return document


def mistakes_of(document: dict[str, Any]) -> list[str]:
    with pytest.raises(ValidationError) as caught:
        Fleet.model_validate(document)
    return explain(caught.value)


def test_a_small_fleet_gets_the_promises_of_the_strategy_by_default() -> None:
    fleet = Fleet.model_validate(SMALL)
    assert fleet.targets == Targets(
        rto_seconds=3600, rpo_seconds=900, failover_rto_seconds=300, failover_rpo_seconds=60
    )
    assert (fleet.schedule.full_cron, fleet.schedule.incremental_cron) == ("0 2 * * *", "0 */6 * * *")
    assert (fleet.retention.days, fleet.retention.minimum_fulls) == (30, 2)
    assert fleet.shards[0].servers[0].tls == Tls(mode="required")
    assert fleet.shards[0].servers[0].port == 3306
    assert fleet.backup.donor == "replica"
    assert fleet.repository.pack_size_bytes == 16 * 1024 * 1024


def test_a_fleet_cannot_be_changed() -> None:
    fleet = Fleet.model_validate(SMALL)
    with pytest.raises(ValidationError, match="frozen"):
        fleet.name = "other"  # pyright: ignore[reportAttributeAccessIssue]
    assert hash(fleet) == hash(Fleet.model_validate(SMALL))


def test_a_shard_and_a_server_are_found_by_name() -> None:
    fleet = Fleet.model_validate(SMALL)
    assert fleet.shard("shard_1").server("d").host == "d.example.net"
    with pytest.raises(NotFound, match="no shard of fleet users is called 'shard-1'") as caught:
        fleet.shard("shard-1")
    assert caught.value.hint == "Did you mean shard_1?"
    with pytest.raises(NotFound, match="no server of shard shard_0 is called 'zz'") as caught:
        fleet.shard("shard_0").server("zz")
    assert caught.value.hint == "There are: a, b."


@pytest.mark.parametrize(
    ("path", "value", "mistake"),
    [
        ("regions", ["east", "west", "East"], "regions[2]: region 'East' is there already, at regions[0]"),
        ("regions", [], "regions: must not be empty"),
        ("shards", [], "shards: must not be empty"),
        ("shards.0.servers", [], "shards[0].servers: must not be empty"),
        ("keys", [], "keys: must not be empty"),
        ("accounts", None, "accounts: is missing"),
        ("shards.0.name", None, "shards[0].name: is missing"),
        ("shards.1.name", "SHARD_0", "shards[1].name: shard 'SHARD_0' is there already, at shards[0].name"),
        (
            "shards.1.servers.0.name",
            "a",
            "shards[1].servers[0].name: server 'a' is there already, at shards[0].servers[0].name",
        ),
        (
            "shards.1.servers.0.host",
            "a.example.net",
            "shards[1].servers[0]: address 'a.example.net:3306' is there already, at shards[0].servers[0]",
        ),
        ("shards.0.servers.1.role", "primary", "shards[0]: has more than one primary: a, b"),
        (
            "shards.0.servers.1.role",
            "master",
            "shards[0].servers[1].role: must be 'primary' or 'replica', is 'master'",
        ),
        (
            "shards.0.servers.1.region",
            "wset",
            "shards[0].servers[1].region: 'wset' is not one of regions, the nearest known is 'west'",
        ),
        ("shards.0.servers.0.port", "3306", "shards[0].servers[0].port: must be a whole number, is '3306'"),
        ("shards.0.servers.0.port", 65536, "shards[0].servers[0].port: must be at most 65535, is 65536"),
        ("shards.0.servers.0.port", True, "shards[0].servers[0].port: must be a whole number, is true"),
        ("backup.donors", ["a", "c", "x9"], "backup.donors[2]: 'x9' is no server"),
        (
            "backup.donors",
            ["a", "c", "a"],
            "backup.donors[2]: donor 'a' is there already, at backup.donors[0]",
        ),
        (
            "backup.donors",
            ["a"],
            "backup.donors: names no server of shard shard_1, which could so never be backed up",
        ),
        ("backup.retries", 2.5, "backup.retries: must be a whole number, is 2.5"),
        ("backup.retries", 11, "backup.retries: must be at most 10, is 11"),
        ("backup.stall_seconds", 0, "backup.stall_seconds: must be greater than 0, is 0"),
        (
            "backup.max_replica_lag_seconds",
            float("nan"),
            "backup.max_replica_lag_seconds: must be a finite number, is nan",
        ),
        (
            "backup.allow_lost_tables",
            ["sessions"],
            "backup.allow_lost_tables: 'sessions' is not of the form db.table",
        ),
        ("backup.allow_lost_tables", "a.b", "backup.allow_lost_tables: must be a list, is 'a.b'"),
        (
            "schedule.full_cron",
            "0 25 * * *",
            "schedule.full_cron: '0 25 * * *' hour 25 is not between 0 and 23",
        ),
        ("retention.days", 0, "retention.days: must be greater than 0, is 0"),
        ("allow_inline_secrets", "yes", "allow_inline_secrets: must be true or false, is 'yes'"),
        ("accounts.backup", "root", "accounts.backup: must be a table, is 'root'"),
        ("accounts.backup.user", "", "accounts.backup.user: must not be empty"),
        ("shards.0", 7, "shards[0]: must be a table, is 7"),
    ],
)
def test_a_mistake_is_named_with_its_key_and_its_reason(path: str, value: Any, mistake: str) -> None:
    assert mistakes_of(changed(path, value)) == [mistake]


def test_two_servers_may_share_a_host_if_their_ports_differ() -> None:
    document = changed("shards.0.servers.1.host", "a.example.net")
    document["shards"][0]["servers"][1]["port"] = 3307
    assert Fleet.model_validate(document).shards[0].servers[1].port == 3307


@pytest.mark.parametrize("name", ["a b", "", "-a", ".", "..", "a/b", "ä", "a" * 64, "a\n", "a:b"])
def test_a_name_that_could_not_be_part_of_an_object_name_is_refused(name: str) -> None:
    (mistake,) = mistakes_of(changed("shards.0.name", name))
    assert mistake.startswith("shards[0].name: ") and "is no name" in mistake


@pytest.mark.parametrize(
    "host", ["db", "db-1.example.net", "db_1", "10.0.0.1", "::1", "fe80::1", "db.example.net."]
)
def test_host_names_and_addresses_are_taken(host: str) -> None:
    assert Server(name="a", host=host, region="r").host == host


@pytest.mark.parametrize(
    "host",
    ["", " ", "db 1", "db:3306", "mysql://db", "user@db", "db/x", "[::1]", "a..b", "-db", "db\n", "a" * 300],
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(ValidationError, match="neither a host name nor an IP address"):
        Server(name="a", host=host, region="r")


def test_a_port_in_the_host_is_sent_to_its_place() -> None:
    assert mistakes_of(changed("shards.0.servers.0.host", "db:3306"))[0].endswith(
        "; the port belongs into port"
    )


@pytest.mark.parametrize(
    ("tls", "reason"),
    [
        ({"cert": "/c"}, "needs cert and key together"),
        ({"key": "/k"}, "needs cert and key together"),
        ({"mode": "off", "ca": "/ca"}, 'has certificates, but mode = "off"'),
        ({"mode": "off", "cert": "/c", "key": "/k"}, 'has certificates, but mode = "off"'),
        ({"ca": "/ca"}, 'has a ca, but mode = "required" does not look at it'),
        ({"mode": "verify_ca"}, "must be 'required', 'verify-ca'"),
    ],
)
def test_tls_settings_that_contradict_each_other_are_refused(tls: dict[str, str], reason: str) -> None:
    (mistake,) = mistakes_of(changed("shards.0.servers.0.tls", tls))
    assert mistake.startswith("shards[0].servers[0].tls") and reason in mistake


@pytest.mark.parametrize(
    ("url", "scheme", "bucket", "prefix"),
    [
        ("s3://backups", "s3", "backups", ""),
        ("s3://backups/", "s3", "backups", ""),
        ("s3://my.backups-1/mysql/fleet_1", "s3", "my.backups-1", "mysql/fleet_1"),
        ("s3://backups/mysql/", "s3", "backups", "mysql"),
        ("oss://backups/x", "oss", "backups", "x"),
    ],
)
def test_a_bucket_url_is_taken_apart(url: str, scheme: str, bucket: str, prefix: str) -> None:
    repository = RepositoryConfig(url=url, region="r")
    assert (repository.scheme, repository.bucket, repository.prefix) == (scheme, bucket, prefix)


def test_a_file_url_is_an_absolute_path() -> None:
    repository = RepositoryConfig(url="file:///srv/my backups")
    assert (repository.scheme, repository.path) == ("file", Path("/srv/my backups"))


@pytest.mark.parametrize(
    ("repository", "reason"),
    [
        ({"url": "/srv/backups"}, "is no URL"),
        ({"url": "file://srv/backups"}, "is not absolute"),
        ({"url": "file:///srv/../etc"}, "has a '..'"),
        ({"url": "s4://bucket"}, "has the unknown scheme 's4', the nearest known is 's3'"),
        ({"url": "http://bucket"}, "has the unknown scheme 'http'"),
        ({"url": "s3://"}, "names the bucket ''"),
        ({"url": "s3://Bucket"}, "names the bucket 'Bucket'"),
        ({"url": "s3://ab"}, "names the bucket 'ab'"),
        ({"url": "s3://bucket/a b"}, "has the prefix 'a b'"),
        ({"url": "s3://bucket/a//b"}, "has the prefix 'a//b'"),
        ({"url": "s3://bucket/../b"}, "has the prefix '../b'"),
        ({"url": "s3://bucket/x?y=1"}, "has the prefix 'x?y=1'"),
        ({"url": "s3://bucket", "access_key": {"env": "A"}}, "needs access_key and secret_key together"),
        ({"url": "s3://bucket", "endpoint": "s3.example.net"}, "is not https://host[:port]"),
        ({"url": "s3://bucket", "endpoint": "https://s3.example.net/bucket"}, "is not https://host[:port]"),
        ({"url": "s3://bucket", "endpoint": "https://s3.example.net:0"}, "is not https://host[:port]"),
        ({"url": "s3://bucket", "endpoint": "ftp://s3.example.net"}, "is not https://host[:port]"),
        ({"url": "file:///srv", "region": "x"}, "has region, which means nothing to a file:// repository"),
        ({"url": "oss://bucket"}, "needs endpoint or region"),
        (
            {"url": "oss://bucket", "region": "x", "addressing": "path"},
            "OSS takes virtual-hosted requests only",
        ),
        ({"url": "file:///srv", "compression_level": 20}, "compression_level: must be at most 19, is 20"),
        ({"url": "file:///srv", "pack_size_bytes": 1024}, "pack_size_bytes: must be at least 1048576"),
    ],
)
def test_a_repository_that_cannot_be_is_refused(repository: dict[str, Any], reason: str) -> None:
    (mistake,) = mistakes_of(changed("repository", repository))
    assert mistake.startswith("repository") and reason in mistake


@pytest.mark.parametrize(
    "repository",
    [
        {"url": "s3://key:hunter2@bucket"},
        {"url": "key:hunter2@bucket"},
        {"url": "s3://bucket", "endpoint": "https://key:hunter2@s3.example.net"},
        {
            "url": "s3://bucket",
            "access_key": "hunter2",
            "secret_key": {"inline": "hunter2", "env": "hunter2x"},
        },
        {"url": "s3://bucket", "access_key": {"hunter2": "hunter2"}, "secret_key": ["hunter2"]},
        {"url": "s3://bucket", "access_key": {"inline": 7}, "secret_key": {"file": ["hunter2"]}},
    ],
)
def test_credentials_in_the_wrong_place_are_not_repeated(repository: dict[str, Any]) -> None:
    text = "\n".join(mistakes_of(changed("repository", repository)))
    # A key that was mistyped is shown; a value is not.
    assert "hunter2" not in text.replace("access_key.hunter2: unknown key", "")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ({"provider": "file"}, "has provider 'file' and needs file"),
        ({"provider": "passphrase"}, "has provider 'passphrase' and needs passphrase"),
        ({"provider": "aws-kms"}, "has provider 'aws-kms' and needs kms_key"),
        (
            {"provider": "file", "file": "/k", "kms_key": "x"},
            "has provider 'file', which has no use for kms_key",
        ),
        ({"provider": "x25519"}, "has provider 'x25519' and needs public_key or private_key"),
        (
            {"provider": "x25519", "public_key": "/k", "file": "/k"},
            "has provider 'x25519', which has no use for file",
        ),
        ({"provider": "kms"}, "must be 'file', 'passphrase', 'aws-kms' or 'x25519', is 'kms'"),
    ],
)
def test_a_key_has_what_its_provider_needs_and_nothing_else(key: dict[str, Any], reason: str) -> None:
    (mistake,) = mistakes_of(changed("keys", [{"id": "k", **key}]))
    assert mistake.startswith("keys[0]") and reason in mistake


def test_two_keys_of_one_id_are_refused() -> None:
    key = {"id": "k", "provider": "aws-kms", "kms_key": "alias/x"}
    assert mistakes_of(changed("keys", [key, key])) == ["keys[1].id: key 'k' is there already, at keys[0].id"]
    assert KeyConfig.model_validate(key).kms_key == "alias/x"


def test_inline_secrets_are_refused_unless_the_fleet_allows_them() -> None:
    document = changed("accounts.backup.password", {"inline": "hunter2"})
    document["keys"] = [{"id": "k", "provider": "passphrase", "passphrase": {"inline": "hunter2"}}]
    reason = "has its secret in the file, and allow_inline_secrets is not true"
    assert mistakes_of(document) == [f"accounts.backup.password: {reason}", f"keys[0].passphrase: {reason}"]
    document["allow_inline_secrets"] = True
    fleet = Fleet.model_validate(document)
    assert fleet.accounts.backup.password.reveal() == "hunter2"
    assert "hunter2" not in repr(fleet) + str(fleet)


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"])
def test_a_known_time_zone_is_taken(name: str) -> None:
    assert Schedule(timezone=name).timezone == name


@pytest.mark.parametrize("name", ["", "Europe", "Europe/Nowhere", "../etc/passwd", "/etc/localtime", "a\0b"])
def test_an_unknown_time_zone_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="no known time zone"):
        Schedule(timezone=name)


@pytest.mark.parametrize(
    ("name", "near"),
    [("Berlin", ", the nearest known is 'Europe/Berlin'"), ("Mars/Olympus", "")],
)
def test_of_time_zones_only_one_that_is_near_is_suggested(name: str, near: str) -> None:
    with pytest.raises(ValidationError, match=re.escape(f"is no known time zone{near} [")):
        Schedule(timezone=name)


def test_utc_needs_no_time_zone_database(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_database(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr("fleet.policy.ZoneInfo", no_database)
    assert Schedule().timezone == Schedule(timezone="UTC").timezone == "UTC"


def test_several_contradictions_are_reported_at_once() -> None:
    document = changed("shards.0.servers.0.region", "north")
    document["shards"][1]["servers"][1]["region"] = "south"
    document["keys"].append(document["keys"][0])
    assert len(mistakes_of(document)) == 3


def test_settings_made_in_memory_keep_relative_paths() -> None:
    assert BackupConfig(spool_directory=Path("spool")).spool_directory == Path("spool")


def test_every_setting_is_described() -> None:
    def undescribed(node: Any, path: str) -> Iterator[str]:
        for name, setting in node.get("properties", {}).items():
            if not setting.get("description"):
                yield f"{path}.{name}"
        for name, definition in node.get("$defs", {}).items():
            yield from undescribed(definition, name)

    assert list(undescribed(schema(), "Fleet")) == []
