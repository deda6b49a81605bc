"""``backstay config``."""

from __future__ import annotations

import tomllib
from pathlib import Path

from door import Backstay


def test_check_says_what_the_configuration_holds(backstay: Backstay, home: Path) -> None:
    answer = backstay("config", "check")
    assert answer.exit_code == 0
    assert answer.out == (
        "fleet       shop\n"
        "servers     3 servers in 2 shards\n"
        f"repository  file://{home}/repository\n"
        "keys        k1\n"
    )


def test_check_says_the_same_to_programs(backstay: Backstay, home: Path) -> None:
    assert backstay("config", "check", "--json").json == {
        "fleet": "shop",
        "shards": 2,
        "servers": 3,
        "repository": f"file://{home}/repository",
        "keys": ["k1"],
    }


def test_show_prints_toml_that_says_the_same_again(backstay: Backstay, home: Path) -> None:
    first = backstay("config", "show")
    assert tomllib.loads(first.out)["retention"] == {
        "days": 30,
        "minimum_fulls": 2,
        "keep_daily": 0,
        "keep_weekly": 0,
        "keep_monthly": 0,
        "grace_hours": 24,
        "repack_below": 0.5,
    }
    (home / "again.toml").write_text(first.out)
    assert backstay("config", "show", "-c", "again.toml").out == first.out


def test_show_prints_the_same_settings_as_json(backstay: Backstay) -> None:
    settings = backstay("config", "show", "--json").json
    assert settings["accounts"]["backup"]["password"] == {"env": "BACKSTAY_TEST_PASSWORD"}
    assert settings["backup"]["spool_directory"] is None


def test_the_schema_describes_every_setting(backstay: Backstay) -> None:
    schema = backstay("config", "schema").json
    assert schema["title"] == "backstay.toml"
    assert all({"description", "$ref"} & setting.keys() for setting in schema["properties"].values())


def test_a_mistake_names_file_key_and_nearest_known_key(backstay: Backstay, home: Path) -> None:
    text = (home / "backstay.toml").read_text()
    (home / "wrong.toml").write_text(text.replace("[[keys]]", "[retention]\ndys = 7\n\n[[keys]]"))
    answer = backstay("-c", "wrong.toml", "config", "check")
    assert (answer.exit_code, answer.out) == (10, "")
    assert answer.err.startswith(
        "error: wrong.toml: retention.dys: unknown key, the nearest known is 'days'\nhint:"
    )


def test_a_configuration_that_is_not_there_is_an_error_with_a_way_out(backstay: Backstay) -> None:
    answer = backstay("config", "check", "--config", "nowhere.toml", "--json")
    assert answer.exit_code == 10
    assert answer.json["error"]["kind"] == "ConfigError"
    assert "backstay sandbox up" in answer.json["error"]["hint"]
