"""The image is not built here; all of its file that can be tried without building is."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import tomllib
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

import pytest

from fleet.service_config import ServiceConfig
from flows.service.web import answer
from tests.unit.infra.command_lines import refusal_of
from tests.unit.infra.unit_files import INFRA

ROOT = INFRA.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
ROOMS = set(PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
FOLDER = INFRA / "container"


def steps() -> list[tuple[str, str]]:
    """The instructions with their arguments, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (FOLDER / "Containerfile").read_text(), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def arguments(name: str) -> list[str]:
    return [rest for step, rest in steps() if step == name]


def test_all_that_is_copied_exists_and_is_all_that_the_build_needs_and_may_see() -> None:
    copied = {path for rest in arguments("COPY") if "--from" not in rest for path in rest.split()[:-1]}
    assert all((ROOT / path).exists() for path in copied)
    assert copied == ROOMS | {"requirements.lock", "pyproject.toml", PROJECT["project"]["readme"]}
    seen = (FOLDER / "Containerfile.dockerignore").read_text().splitlines()
    assert {line[1:] for line in seen if line.startswith("!")} == copied
    assert [line for line in seen if not line.startswith(("#", "!"))] == [
        "*",
        "**/__pycache__",
        "**/*.key",
        "**/*.pyc",
    ]


def test_everything_that_is_installed_is_in_the_lock_file_with_a_hash() -> None:
    locked = {
        match[1]
        for match in re.finditer(
            r"^([a-z0-9-]+)==\S+.*\\\n +--hash=sha256:",
            (ROOT / "requirements.lock").read_text(),
            re.MULTILINE,
        )
    }
    needed = PROJECT["project"]["dependencies"] + PROJECT["build-system"]["requires"]
    names = {re.split(r"[^a-z0-9-]", each)[0] for each in needed}
    assert names <= locked
    download, install = (rest for rest in arguments("RUN") if "pip" in rest)
    assert "--require-hashes" in download and "--no-index" in install


def test_it_serves_as_nobody_special_and_holds_no_secret() -> None:
    assert arguments("USER") == ["10001"]
    (entry,), (command,) = arguments("ENTRYPOINT"), arguments("CMD")
    assert json.loads(entry) == ["backstay"]
    assert json.loads(command) == ["serve"] and refusal_of(["serve"]) is None
    assert not re.search(
        r"(?i)password|secret|token|access_key", " ".join(arguments("ENV") + arguments("ARG"))
    )


def test_its_health_is_what_the_page_answers(tmp_path: Path) -> None:
    (check,) = arguments("HEALTHCHECK")
    port = ServiceConfig().port
    assert f"http://127.0.0.1:{port}/healthz" in check
    assert arguments("EXPOSE") == [str(port)]
    assert answer("/healthz", None, tmp_path, datetime.now(UTC)).status is HTTPStatus.SERVICE_UNAVAILABLE


@pytest.mark.parametrize("line", arguments("RUN"))
def test_every_step_is_a_script(line: str) -> None:
    assert subprocess.run(["sh", "-n", "-c", line], check=False, timeout=30).returncode == 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_a_server_for_proofs_is_unpacked_if_it_is_the_one_that_was_meant(tmp_path: Path) -> None:
    (tmp_path / "mysql-8.4/bin").mkdir(parents=True)
    (tmp_path / "mysql-8.4/bin/mysqld").write_text("a server")
    tarball = Path(shutil.make_archive(str(tmp_path / "mysql"), "gztar", tmp_path, "mysql-8.4"))
    (line,) = (rest for rest in arguments("RUN") if "MYSQL_TARBALL" in rest)
    there = tmp_path / "opt"
    line = line.replace("/opt/mysql", str(there)).replace("/tmp/mysql.tar", str(tmp_path / "got"))

    def unpacked(checksum: str, source: str) -> int:
        given = {"MYSQL_TARBALL": source, "MYSQL_SHA256": checksum, "PATH": "/usr/bin:/bin"}
        return subprocess.run(
            ["sh", "-c", line], env=given, check=False, capture_output=True, timeout=30
        ).returncode

    assert unpacked("0" * 64, tarball.as_uri()) != 0
    assert not (there / "bin/mysqld").exists()
    assert unpacked("", "") == 0
    assert unpacked(hashlib.sha256(tarball.read_bytes()).hexdigest(), tarball.as_uri()) == 0
    assert (there / "bin/mysqld").read_text() == "a server"
