"""``backstay config``."""

from __future__ import annotations

import tomllib
from pathlib import Path

from door import Backstay


def test_check_says_what_the_configuration_holds(backstay: Backstay, home: Path) -> None:
    answer = backstay("config", "check")
    assert answer.exit_code == 0
    assert answer.out.partition("\n\n")[0] == (
        "fleet       shop\n"
        "servers     3 servers in 2 shards\n"
        f"repository  file://{home}/repository\n"
        "keys        k1"
    )


def test_check_says_the_same_to_programs(backstay: Backstay, home: Path) -> None:
    told = backstay("config", "check", "--json").json
    del told["schedule"]
    assert told == {
        "fleet": "shop",
        "shards": 2,
        "servers": 3,
        "repository": f"file://{home}/repository",
        "keys": ["k1"],
    }


def test_check_shows_what_each_cron_line_asks_for_next(backstay: Backstay, home: Path) -> None:
    with (home / "backstay.toml").open("a") as file:
        file.write("""
[schedule]
full_cron = "30 0 1 1 *"
incremental_cron = "0 5 * * 1"
timezone = "Asia/Kolkata"
stagger_minutes = 10
""")
    told = backstay("config", "check", "--json").json["schedule"]
    shards = dict.fromkeys(each["shard"] for each in told)
    assert [(each["shard"], each["kind"]) for each in told] == [
        *((shard, kind) for shard in shards if shard for kind in ("full", "incremental")),
        (None, "retention"),
        (None, "verify"),
        (None, "proof"),
    ]
    first, second = told[0], told[2]
    assert (first["cron"], first["timezone"]) == ("30 0 1 1 *", "Asia/Kolkata")
    assert second["cron"] == "35 0 1 1 *"
    assert [each["local"][4:] for each in first["next"]] == ["-01-01T00:30:00+05:30"] * 3
    assert [each["at"][4:] for each in first["next"]] == ["-12-31T19:00:00Z"] * 3
    text = backstay("config", "check").out
    year = first["next"][0]["local"][:4]
    assert f"{year}-01-01 00:30 +0530" in text
    assert f"{int(year) - 1}-12-31 19:00" in text


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
