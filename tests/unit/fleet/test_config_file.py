"""backstay.toml: found, read, refused with file and key, shown without secrets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from fleet.config import PLACES, effective, find, load, schema
from fleet.errors import ConfigError
from fleet.model import BackupConfig, Fleet, RestoreConfig, Retention, Schedule, Targets

EXAMPLE = Path(__file__).parents[3] / "infra" / "examples" / "backstay.toml"

SMALL = """\
name = "users"
regions = ["east"]

[accounts.backup]
user = "backstay"
password = { file = "password" }

[repository]
url = "file:///srv/backups"

[[keys]]
id = "k1"
provider = "file"
file = "keys/k1"

[[shards]]
name = "shard_0"

[[shards.servers]]
name = "a"
host = "a.example.net"
region = "east"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "fleet.toml"
    path.write_text(SMALL)
    return path


def refused(path: Path, text: str) -> ConfigError:
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    # Pydantic's error holds the values, secrets among them; it must not travel along.
    assert not isinstance(caught.value.__context__, ValidationError)
    return caught.value


# --- found


def test_the_argument_comes_before_the_environment(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKSTAY_CONFIG", "/nowhere.toml")
    assert load(config).name == "users"


def test_the_environment_comes_before_the_usual_places(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKSTAY_CONFIG", str(config))
    monkeypatch.chdir(config.parent)
    (config.parent / "backstay.toml").write_text("not even toml")
    assert load().name == "users"


def test_the_working_directory_comes_before_etc(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BACKSTAY_CONFIG", raising=False)
    monkeypatch.chdir(config.parent)
    config.rename("backstay.toml")
    assert load().name == "users"
    assert [str(place) for place in PLACES] == ["backstay.toml", "/etc/backstay/backstay.toml"]


def test_a_file_that_was_named_is_not_replaced_by_another(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(config.parent)
    config.rename("backstay.toml")
    with pytest.raises(ConfigError, match=r"there is no config file other\.toml$") as caught:
        load(Path("other.toml"))
    assert "backstay sandbox up" in str(caught.value.hint) and "backstay config schema" in str(
        caught.value.hint
    )
    monkeypatch.setenv("BACKSTAY_CONFIG", "other.toml")
    with pytest.raises(ConfigError, match=r"other\.toml, which BACKSTAY_CONFIG names$"):
        load()


def test_all_places_are_named_when_there_is_no_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BACKSTAY_CONFIG", raising=False)
    with pytest.raises(ConfigError, match=r"neither .*here nor .*there"):
        find(places=[tmp_path / "here", tmp_path / "there"])


def test_a_directory_is_no_config_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read the config file .*: Is a directory"):
        load(tmp_path)


# --- read


def test_relative_paths_are_relative_to_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = SMALL + '[backup]\nspool_directory = "/var/tmp"\n'
    text = text.replace('{ file = "password" }', '{ command = ["./fetch", "./x"] }')
    config.write_text(text + '[restore]\nmysqld = "~/bin/mysqld"\n')
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.chdir("/")
    fleet = load(config)
    assert fleet.keys[0].file == config.parent / "keys" / "k1"
    assert fleet.accounts.backup.password.command == (str(config.parent / "fetch"), "./x")
    assert fleet.backup.spool_directory == Path("/var/tmp")
    assert fleet.restore.mysqld == Path("/home/someone/bin/mysqld")


def test_a_secret_beside_the_file_is_found_from_anywhere(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (config.parent / "password").write_text("hunter2\n")
    (config.parent / "password").chmod(0o600)
    monkeypatch.chdir("/")
    assert load(config).accounts.backup.password.reveal() == "hunter2"


def test_a_syntax_error_is_named_with_its_line(config: Path) -> None:
    error = refused(config, 'name = "users"\nregions = [east]\n')
    assert error.message == f"{config}, line 2, column 12: invalid value"
    error = refused(config, 'name = "users\n')
    assert error.message.startswith(f"{config}, line 1, column 14: ")


def test_a_file_that_is_not_utf_8_is_refused(config: Path) -> None:
    config.write_bytes(b'name = "\xff"\n')
    with pytest.raises(ConfigError, match="not UTF-8 text, byte 8 is wrong"):
        load(config)


# --- refused


def test_an_unknown_key_is_named_with_file_path_and_nearest_key(config: Path) -> None:
    error = refused(config, SMALL + "prot = 3306\n")
    assert error.message == (f"{config}: shards[0].servers[0].prot: unknown key, the nearest known is 'port'")
    assert error.hint == "`backstay config schema` describes every key."


def test_an_unknown_key_unlike_any_other_is_answered_with_all_of_them(config: Path) -> None:
    error = refused(config, SMALL + "[retention]\nxyz = 3\n")
    assert error.message.endswith(
        "retention.xyz: unknown key, known are days, minimum_fulls, keep_daily, keep_weekly, keep_monthly, "
        "grace_hours, repack_below"
    )


def test_a_key_of_the_top_below_a_table_is_sent_to_its_place(config: Path) -> None:
    error = refused(config, SMALL + "allow_inline_secrets = true\n")
    assert error.message.endswith(
        "shards[0].servers[0].allow_inline_secrets: "
        "unknown key; it belongs to the top of the file, above the first [header]"
    )


def test_an_unknown_key_with_blanks_is_quoted(config: Path) -> None:
    assert (
        'retention."keep days": unknown key'
        in refused(config, SMALL + '[retention]\n"keep days" = 3\n').message
    )


def test_all_mistakes_of_a_file_are_reported_together(config: Path) -> None:
    text = (
        SMALL.replace('name = "users"\n', "").replace('"a.example.net"', '"a b"') + "[retention]\ndays = 0\n"
    )
    error = refused(config, text)
    assert error.message.splitlines() == [
        f"{config}: 3 mistakes",
        "  name: is missing",
        "  shards[0].servers[0].host: 'a b' is neither a host name nor an IP address",
        "  retention.days: must be greater than 0, is 0",
    ]


def test_a_flood_of_mistakes_is_cut_and_counted(config: Path) -> None:
    lines = refused(
        config, SMALL + "[retention]\n" + "".join(f"unknown_{n} = 1\n" for n in range(40))
    ).message.splitlines()
    assert lines[0].endswith("40 mistakes") and lines[-1] == "  and 15 more" and len(lines) == 27


def test_no_mistake_repeats_a_secret(config: Path) -> None:
    for wrong in (
        '"hunter2"',
        '{ inline = "hunter2" }',
        '{ inlin = "hunter2" }',
        '["hunter2"]',
        '{ env = "hunter2", file = "hunter2" }',
    ):
        error = refused(config, SMALL.replace('{ file = "password" }', wrong))
        assert "accounts.backup.password" in error.message
        assert "hunter2" not in error.message


def test_inline_secrets_in_a_file_that_all_can_read_are_refused(config: Path) -> None:
    text = "allow_inline_secrets = true\n" + SMALL.replace('{ file = "password" }', '{ inline = "hunter2" }')
    config.chmod(0o644)
    error = refused(config, text)
    assert error.message == f"{config} holds secrets and is open to everybody (mode 0644)"
    assert error.hint == f"Close it: chmod o= {config}"
    config.chmod(0o640)
    assert load(config).accounts.backup.password.reveal() == "hunter2"


# --- shown


def test_the_effective_config_has_every_setting_and_no_secret(config: Path) -> None:
    config.write_text(
        "allow_inline_secrets = true\n" + SMALL.replace('{ file = "password" }', '{ inline = "hunter2" }')
    )
    config.chmod(0o600)
    fleet = load(config)
    shown = effective(fleet)
    assert "hunter2" not in json.dumps(shown)
    assert shown["accounts"]["backup"]["password"] == {"inline": "(hidden)"}
    assert shown["targets"]["rto_seconds"] == 3600
    assert shown["keys"][0]["file"] == str(config.parent / "keys" / "k1")
    assert shown["parallelism"]["compress_threads"] == fleet.parallelism.compress_threads
    assert set(shown) == set(Fleet.model_fields)


def test_the_schema_describes_the_file() -> None:
    described = schema()
    assert described["title"] == "backstay.toml"
    assert described["additionalProperties"] is False
    assert {"name", "regions", "shards", "accounts", "repository", "keys"} == set(described["required"])
    assert described["$defs"]["Secret"]["oneOf"][0] == {"required": ["file"]}
    json.dumps(described)


# --- the example


def test_the_example_is_a_fleet_of_two_regions_and_two_shards_of_three() -> None:
    fleet = load(EXAMPLE)
    assert len(fleet.regions) == 2
    assert [len(shard.servers) for shard in fleet.shards] == [3, 3]
    assert fleet.repository.scheme == "s3"
    for shard in fleet.shards:
        assert [server.role for server in shard.servers] == ["primary", "replica", "replica"]
        assert {server.region for server in shard.servers} == set(fleet.regions)
        assert all(server.tls.mode == "verify-identity" for server in shard.servers)


def test_what_the_example_shows_as_defaults_are_the_defaults() -> None:
    fleet = load(EXAMPLE)
    assert fleet.targets == Targets()
    assert fleet.schedule == Schedule()
    assert fleet.retention == Retention()
    assert fleet.restore == RestoreConfig()
    assert fleet.backup == BackupConfig(spool_directory=Path("/var/tmp"))


def test_every_setting_is_in_the_example_at_least_as_a_comment() -> None:
    text = EXAMPLE.read_text()
    exempt = {"allow_inline_secrets", "socket", "cert", "key", "inline", "kms_key"}
    missing = {
        name
        for definition in [schema(), *schema()["$defs"].values()]
        for name in definition["properties"]
        if name not in exempt and name not in text
    }
    assert missing == set()
