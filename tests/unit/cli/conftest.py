"""A door to knock at: one command line in, its exit code and both streams out."""

from __future__ import annotations

from pathlib import Path

import pytest
from door import Answer, Backstay

from cli.app import run

CONFIG = """\
name = "shop"
regions = ["eu"]

[[shards]]
name = "s1"
servers = [
  { name = "s1-a", host = "127.0.0.1", port = 3311, region = "eu", role = "primary" },
  { name = "s1-b", host = "127.0.0.1", port = 3312, region = "eu" },
]

[[shards]]
name = "s2"
servers = [{ name = "s2-a", host = "127.0.0.1", port = 3321, region = "eu", role = "primary" }]

[accounts.backup]
user = "backstay"
password = { env = "BACKSTAY_TEST_PASSWORD" }

[repository]
url = "file://REPOSITORY"

[[keys]]
id = "k1"
provider = "file"
file = "k1.key"
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a configuration for two shards; nothing listens at their servers' ports."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("BACKSTAY_CONFIG", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "backstay.toml").write_text(CONFIG.replace("REPOSITORY", str(tmp_path / "repository")))
    return tmp_path


@pytest.fixture
def backstay(home: Path, capsys: pytest.CaptureFixture[str]) -> Backstay:
    def invoke(*arguments: str) -> Answer:
        capsys.readouterr()
        code = run(list(arguments))
        out, err = capsys.readouterr()
        return Answer(code, out, err)

    return invoke
