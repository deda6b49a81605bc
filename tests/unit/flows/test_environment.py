"""The environment of every process that runs Prefect."""

from __future__ import annotations

from pathlib import Path

import prefect.settings

from fleet.model import Fleet
from flows.environment import environment_of
from tests.unit.flows.scheduled_fleets import described

STATE, CONFIG = Path("/var/lib/backstay"), Path("/etc/backstay/backstay.toml")


def fleet(**scheduler: object) -> Fleet:
    return described(scheduler=scheduler)


def test_what_the_surroundings_say_of_prefect_is_left_out() -> None:
    said = environment_of(
        fleet(), STATE, CONFIG, {"PREFECT_PROFILE": "cloud", "PREFECT_API_KEY": "secret", "PATH": "/bin"}
    )
    assert "PREFECT_PROFILE" not in said
    assert "PREFECT_API_KEY" not in said
    assert said["PATH"] == "/bin"


def test_the_embedded_server_is_on_loopback_below_the_state_and_phones_nobody() -> None:
    said = environment_of(fleet(port=4777), STATE, CONFIG, {})
    assert said["PREFECT_API_URL"] == "http://127.0.0.1:4777/api"
    assert (said["PREFECT_SERVER_API_HOST"], said["PREFECT_SERVER_API_PORT"]) == ("127.0.0.1", "4777")
    assert said["PREFECT_HOME"] == "/var/lib/backstay/prefect"
    assert said["BACKSTAY_CONFIG"] == str(CONFIG)
    assert said["DO_NOT_TRACK"] == "1"
    assert said["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert said["PREFECT_SERVER_EPHEMERAL_ENABLED"] == "false"
    assert said["PREFECT_RUNNER_POLL_FREQUENCY"] == "5"
    assert said["PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE"].endswith(".filesystem")


def test_a_server_of_its_own_is_spoken_to_with_its_credentials() -> None:
    said = environment_of(
        fleet(api_url="https://prefect:4200/api/", api_auth={"command": ["echo", "me:mine"]}),
        STATE,
        CONFIG,
        {},
    )
    assert said["PREFECT_API_URL"] == "https://prefect:4200/api"
    assert said["PREFECT_API_AUTH_STRING"] == "me:mine"
    assert "PREFECT_SERVER_API_HOST" not in said


def test_every_setting_of_prefect_is_one_that_it_knows() -> None:
    """It takes an unknown one in silence."""
    said = environment_of(fleet(), STATE, CONFIG, {})
    told = [name for name in said if name.startswith("PREFECT_")]
    assert [name for name in told if not hasattr(prefect.settings, name)] == []
    assert not hasattr(prefect.settings, "PREFECT_SERVER_NO_SETTING")
