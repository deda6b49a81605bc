"""The embedded scheduler's password: who makes it, who is told, who is refused."""

from __future__ import annotations

import stat
from pathlib import Path

from flows.environment import environment_of
from flows.password import FILE, ensure_password
from flows.service.parts import Part, wanted_parts
from tests.unit.flows.scheduled_fleets import described


def scheduler_and_runner(state: Path) -> dict[str, Part]:
    found = wanted_parts(described(), state / "backstay.toml", state, {})
    return {part.name: part for part in found if part.name in ("scheduler", "runner")}


def test_a_password_is_made_once_and_nobody_else_may_read_it(tmp_path: Path) -> None:
    made = ensure_password(tmp_path)
    user, _, password = made.partition(":")
    assert (user, len(password)) == ("backstay", 64)
    assert ensure_password(tmp_path) == made
    assert stat.S_IMODE((tmp_path / FILE).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_the_embedded_server_asks_for_it_and_our_clients_know_it(tmp_path: Path) -> None:
    made = ensure_password(tmp_path)
    said = environment_of(described(scheduler={"port": 4777}), tmp_path, tmp_path / "x", {})
    assert said["PREFECT_SERVER_API_AUTH_STRING"] == said["PREFECT_API_AUTH_STRING"] == made
    origins = said["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"].split(",")
    assert origins == ["http://127.0.0.1:4777", "http://localhost:4777"]


def test_it_is_never_told_to_a_server_of_its_own(tmp_path: Path) -> None:
    ensure_password(tmp_path)
    elsewhere = described(scheduler={"api_url": "https://prefect:4200/api"})
    said = environment_of(elsewhere, tmp_path, tmp_path / "x", {})
    assert not [name for name in said if name.endswith("API_AUTH_STRING")]


def test_with_another_password_server_and_runner_begin_anew(tmp_path: Path) -> None:
    ensure_password(tmp_path)
    before = scheduler_and_runner(tmp_path)
    (tmp_path / FILE).unlink()
    ensure_password(tmp_path)
    after = scheduler_and_runner(tmp_path)
    assert all(after[name].settings != before[name].settings for name in before)
    assert "backstay:" not in repr(after)
