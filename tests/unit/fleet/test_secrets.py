"""Secrets: each source, each way it can fail, and that nothing of them is ever shown."""

from __future__ import annotations

import os
import stat
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from fleet.errors import ConfigError, KeyUnusable
from fleet.secrets import LARGEST_SECRET_BYTES, Secret, read_key_file

HIDDEN = "hunter2"


def secret_file(directory: Path, content: bytes, mode: int = 0o600) -> Path:
    path = directory / "secret"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def python(program: str, **settings: Any) -> Secret:
    return Secret.model_validate({"command": [sys.executable, "-c", program], **settings})


@pytest.mark.parametrize(
    ("content", "secret"),
    [(b"x", "x"), (b"x\n", "x"), (b"x\r\n", "x"), (b"x\n\n", "x\n"), (b" x ", " x "), ("ü".encode(), "ü")],
)
def test_a_file_is_read_without_its_last_newline(tmp_path: Path, content: bytes, secret: str) -> None:
    assert Secret(file=secret_file(tmp_path, content)).reveal() == secret


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o640, 0o440])
def test_a_secret_file_may_be_open_to_its_group(tmp_path: Path, mode: int) -> None:
    assert Secret(file=secret_file(tmp_path, b"x", mode)).reveal() == "x"


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o777])
def test_a_secret_file_that_is_open_to_everybody_is_refused(tmp_path: Path, mode: int) -> None:
    path = secret_file(tmp_path, HIDDEN.encode(), mode)
    with pytest.raises(ConfigError, match=f"open to everybody .mode {mode:04o}") as caught:
        Secret(file=path).reveal()
    assert caught.value.hint == f"Close it: chmod o= {path}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"\xff" + HIDDEN.encode(), "is not UTF-8"),
        (b"h" * (LARGEST_SECRET_BYTES + 1), "larger than"),
    ],
)
def test_a_file_without_a_usable_secret_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Secret(file=secret_file(tmp_path, content)).reveal()
    assert HIDDEN not in "".join(traceback.format_exception(caught.value))


def test_a_missing_secret_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere: No such file"):
        Secret(file=tmp_path / "nowhere").reveal()
    with pytest.raises(ConfigError, match="Is a directory"):
        Secret(file=tmp_path).reveal()


def test_an_environment_variable_is_read_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = Secret(env="BACKSTAY_TEST_SECRET")
    monkeypatch.setenv("BACKSTAY_TEST_SECRET", "one\n")
    assert secret.reveal() == "one\n"
    monkeypatch.delenv("BACKSTAY_TEST_SECRET")
    with pytest.raises(ConfigError, match="environment variable BACKSTAY_TEST_SECRET is empty or not set"):
        secret.reveal()


def test_a_command_gives_what_it_prints() -> None:
    assert python("print('a b')").reveal() == "a b"


def test_a_command_that_fails_shows_nothing_of_what_it_wrote(capfd: pytest.CaptureFixture[str]) -> None:
    secret = python(f"import sys; print('{HIDDEN}'); print('{HIDDEN}', file=sys.stderr); sys.exit(3)")
    with pytest.raises(ConfigError, match="ended with status 3") as caught:
        secret.reveal()
    assert HIDDEN not in f"{caught.value.message}{caught.value.hint}"
    assert capfd.readouterr() == ("", "")


def test_a_command_that_takes_too_long_is_ended_with_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    child = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    run_child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    secret = python(
        f"print('{HIDDEN}', flush=True); {run_child}",
        timeout_seconds=1.5,
    )
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"no secret within 1\.5 seconds") as caught:
        secret.reveal()
    assert time.monotonic() - started < 10
    assert HIDDEN not in repr(caught.value.__context__)
    assert is_gone(int(pid_file.read_text()))


def is_gone(pid: int) -> bool:
    """Gone, or a zombie that only waits for its new parent."""
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return True
        if state == "Z":
            return True
        time.sleep(0.02)
    return False


def test_a_command_cannot_wait_for_somebody_to_type() -> None:
    assert python("import sys; print(repr(sys.stdin.read()))").reveal() == "''"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["backstay-no-such-program"], "cannot run backstay-no-such-program for a secret: No such file"),
        (["/"], "cannot run / for a secret"),
        (["true"], "what true printed is empty"),
    ],
)
def test_a_command_without_a_secret_is_named(command: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Secret.model_validate({"command": command}).reveal()


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"env": "A", "file": "b"},
        {"env": "A", "inline": HIDDEN},
        {"env": ""},
        {"command": []},
        {"command": [""]},
        {"command": "echo x"},
        {"env": "A", "timeout_seconds": 3},
        {"command": ["x"], "timeout_seconds": 0},
        {"file": ""},
        {"password": HIDDEN},
        HIDDEN,
        None,
    ],
)
def test_a_secret_has_exactly_one_source(wrong: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        Secret.model_validate(wrong)
    assert HIDDEN not in str(caught.value)


@pytest.mark.parametrize("source", [{"inline": HIDDEN}, {"command": ["echo", HIDDEN]}])
def test_no_print_of_a_secret_shows_it(source: dict[str, Any]) -> None:
    secret = Secret.model_validate(source)
    shown = f"{secret!r} {secret} {secret.describe()} {[secret]}"
    assert HIDDEN not in shown and "(hidden)" in shown
    assert secret.reveal() == HIDDEN


# --- key files


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_file_of_its_owner_alone_is_read_as_it_is(tmp_path: Path, mode: int) -> None:
    assert read_key_file(secret_file(tmp_path, b"\x00key\n", mode)) == b"\x00key\n"


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o620, 0o660, 0o610])
def test_a_key_file_that_is_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = secret_file(tmp_path, b"key", mode)
    with pytest.raises(ConfigError, match=f"mode {mode:04o}") as caught:
        read_key_file(path)
    assert caught.value.hint == f"Close it: chmod 600 {path}"


def test_a_group_may_read_a_key_file_only_if_root_gave_it_to_the_group(tmp_path: Path) -> None:
    path = secret_file(tmp_path, b"key", 0o640)
    if os.geteuid() == 0:
        assert read_key_file(path) == b"key"
        os.chown(path, 65534, 65534)
    with pytest.raises(ConfigError, match="open to others"):
        read_key_file(path)


def test_a_missing_or_empty_key_file_is_an_unusable_key(tmp_path: Path) -> None:
    with pytest.raises(KeyUnusable, match="cannot read"):
        read_key_file(tmp_path / "nowhere")
    with pytest.raises(KeyUnusable, match="is empty"):
        read_key_file(secret_file(tmp_path, b""))
    assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
