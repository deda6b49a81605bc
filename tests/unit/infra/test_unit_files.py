"""The units for systemd: what they start exists, every key is known, none has more rights than it needs."""

from __future__ import annotations

import shlex
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from fleet.errors import ArchiverReplaced
from flows.environment import environment_of
from flows.service.scheduler import SERVER
from tests.unit.flows.scheduled_fleets import described
from tests.unit.infra.command_lines import refusal_of
from tests.unit.infra.unit_files import INFRA, SERVICES, environment_file, settings, values

INSTALLED = "/opt/backstay/.venv/bin"
OURS = [path for path in SERVICES if path.parent.name == "systemd"]
KNOWN = {
    "Unit": "Description Documentation Wants After StartLimitIntervalSec",
    "Service": """User Group EnvironmentFile Environment StateDirectory StateDirectoryMode CacheDirectory
        WorkingDirectory ExecStart ExecStop ExecReload KillMode KillSignal TimeoutStopSec
        OOMPolicy LimitNOFILE MemoryMax Restart RestartSec RestartPreventExitStatus SuccessExitStatus
        NoNewPrivileges
        CapabilityBoundingSet ProtectSystem ReadWritePaths ProtectHome PrivateTmp
        PrivateDevices ProtectKernelTunables ProtectKernelModules ProtectKernelLogs
        ProtectControlGroups ProtectClock ProtectHostname ProtectProc
        RestrictAddressFamilies RestrictNamespaces RestrictRealtime RestrictSUIDSGID
        LockPersonality SystemCallArchitectures UMask""",
    "Install": "WantedBy",
}
HARD = {
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "RestrictNamespaces": "yes",
    "UMask": "0077",
    "Restart": "always",
}


def test_there_is_a_unit_for_each_part_of_a_team() -> None:
    assert {path.name for path in SERVICES} == {
        "backstay.service",
        "backstay-archive@.service",
        "backstay-mirror.service",
        "backstay-worker@.service",
        "prefect-server.service",
    }


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_every_key_is_known_and_set_once_and_the_service_is_hardened(path: Path) -> None:
    for section, pairs in settings(path).items():
        keys = [key for key, _ in pairs]
        assert set(keys) <= set(KNOWN[section].split())
        assert {key for key in keys if keys.count(key) > 1} <= {"EnvironmentFile", "Environment"}
    assert {key: values(path, key) for key in HARD} == {key: [value] for key, value in HARD.items()}
    assert values(path, "User") != ["root"]


@pytest.mark.parametrize("path", SERVICES, ids=lambda path: path.name)
def test_what_a_unit_starts_exists(path: Path) -> None:
    (line,) = values(path, "ExecStart")
    program, *arguments = shlex.split(line)
    folder, _, name = program.rpartition("/")
    assert folder == INSTALLED
    match name, arguments:
        case "backstay", _:
            assert refusal_of([each.replace("%i", "s1") for each in arguments]) is None
        case "python", ["-m", "flows.worker", "/etc/backstay/backstay.toml", "%i", "$QUEUES"]:
            assert find_spec("flows.worker") is not None
            assert "QUEUES=" in values(path, "Environment")
        case "prefect", _:
            assert ("prefect", *arguments) == SERVER
        case _:
            pytest.fail(f"nobody knows {line}")


def test_backups_are_asked_to_let_go_of_their_donor_and_have_a_minute_for_it() -> None:
    """`serve` asks its runs itself; a worker asks nobody, so its unit does."""
    assert {tuple(values(path, "KillMode")) for path in OURS} == {("mixed",)}
    for name in ("backstay.service", "backstay-worker@.service"):
        assert int(values(INFRA / "systemd" / name, "TimeoutStopSec")[0]) > 60


@pytest.fixture
def small_debian(tmp_path: Path) -> str:
    """A PATH of coreutils alone: procps, with kill and pkill, is not on every Debian."""
    for program in ("cat", "sleep"):
        (tmp_path / program).symlink_to(shutil.which(program) or f"/bin/{program}")
    return str(tmp_path)


def test_a_reload_is_a_signal_to_the_service(small_debian: str) -> None:
    (line,) = values(INFRA / "systemd/backstay.service", "ExecReload")
    assert shlex.split(line)[0] == "/bin/sh"
    main = subprocess.Popen(["/bin/sleep", "60"])
    try:
        environ = {"PATH": small_debian, "MAINPID": str(main.pid)}
        subprocess.run(shlex.split(line), env=environ, timeout=30, check=True)
        assert main.wait(30) == -signal.SIGHUP
    finally:
        main.kill()
        main.wait()


def test_the_runs_of_a_worker_are_asked_before_the_worker_is(small_debian: str) -> None:
    (line,) = values(INFRA / "systemd/backstay-worker@.service", "ExecStop")
    # A process that has another one of its own, and both end well when they are asked to.
    asked = "trap 'kill $!; exit 0' TERM; sleep 60 & wait"
    main = subprocess.Popen(
        ["/bin/sh", "-c", '/bin/sh -c "$0" & wait; echo asked', asked], stdout=subprocess.PIPE
    )
    try:
        deadline = time.monotonic() + 30
        while not Path(f"/proc/{main.pid}/task/{main.pid}/children").read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        environ = {"PATH": small_debian, "MAINPID": str(main.pid)}
        subprocess.run(shlex.split(line), env=environ, timeout=30, check=True)
        assert main.communicate(timeout=30) == (b"asked\n", None)
    finally:
        main.kill()


def test_a_command_that_is_stopped_while_it_starts_has_not_failed() -> None:
    commands = [path for path in OURS if "/backstay " in values(path, "ExecStart")[0]]
    assert len(commands) == 3
    stopped = (str(128 + signal.SIGTERM),)
    assert {tuple(values(path, "SuccessExitStatus")) for path in commands} == {stopped}


def test_an_archiver_that_was_replaced_does_not_take_the_shard_back() -> None:
    unit = INFRA / "systemd/backstay-archive@.service"
    assert values(unit, "RestartPreventExitStatus") == [str(ArchiverReplaced.exit_code)]


@pytest.mark.parametrize("path", OURS, ids=lambda path: path.name)
def test_processes_of_others_stay_visible_for_a_turn_is_judged_by_them(path: Path) -> None:
    assert values(path, "ProtectProc") == []
    assert "XDG_STATE_HOME=/var/lib" in values(path, "Environment")[0].split()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_itself_finds_nothing_wrong(tmp_path: Path) -> None:
    copies: list[Path] = []
    for path in SERVICES:
        copy = tmp_path / path.name.replace("@", "@x")
        # It asks whether the programs are there.
        copy.write_text(path.read_text().replace(INSTALLED, str(Path(sys.executable).parent)))
        copies.append(copy)
    command = ["systemd-analyze", "verify", "--man=no", *map(str, copies)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    # An unknown key is told, and is no failure.
    assert (found.returncode, found.stdout + found.stderr) == (0, "")


def test_the_settings_of_a_prefect_server_are_those_of_the_embedded_one() -> None:
    said = environment_of(described(), Path("/state"), Path("/state/backstay.toml"), {})
    # Where it is, is its own; the rest is for clients.
    wanted = {
        name: value
        for name, value in said.items()
        if name == "DO_NOT_TRACK" or name.startswith("PREFECT_SERVER_")
    }
    found = environment_file(INFRA / "prefect/prefect.env")
    assert found.pop("PREFECT_HOME") == "/var/lib/prefect"
    assert wanted.pop("PREFECT_SERVER_UI_STATIC_DIRECTORY") == "/state/prefect/ui"
    assert found.pop("PREFECT_SERVER_UI_STATIC_DIRECTORY") == "/var/lib/prefect/ui"
    url = found.pop("PREFECT_SERVER_DATABASE_CONNECTION_URL")
    assert url.startswith("postgresql+asyncpg://prefect@/prefect?host=/")
    # It has workers to clean up after.
    for name in [name for name in wanted if name.endswith("_LOOP_SECONDS")]:
        del wanted[name]
    # Its user interface may be read from wherever it is published.
    assert wanted.pop("PREFECT_SERVER_CORS_ALLOWED_ORIGINS")
    assert found == wanted
    assert wanted["PREFECT_SERVER_API_HOST"] == "127.0.0.1"
    assert "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED" in wanted


def test_a_prefect_server_does_not_start_without_a_password() -> None:
    unit = INFRA / "prefect/prefect-server.service"
    # A dash in front would make it optional.
    assert values(unit, "EnvironmentFile") == ["/etc/backstay/prefect.env", "/etc/backstay/prefect-auth.env"]
