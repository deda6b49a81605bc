"""A login over a Unix socket at which nobody listens, as a server that was killed leaves one behind."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from fleet.model import Account, Server
from fleet.secrets import Secret
from wire.session import ServerGone, open_session

ACCOUNT = Account(user="root", password=Secret(inline=SecretStr("none")))


@pytest.fixture
def left_behind() -> Iterator[Path]:
    # The path of a Unix socket has 107 bytes at most.
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        path = Path(folder) / "mysqld.sock"
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(path))
        yield path


def log_in(path: Path) -> None:
    server = Server(name="a", host="localhost", region="here", socket=path)
    open_session(server, ACCOUNT, connect_timeout=1.0, read_timeout=1.0)


def test_nobody_listens_any_more(left_behind: Path, recwarn: pytest.WarningsRecorder) -> None:
    with pytest.raises(ServerGone, match=r"a \(.*mysqld.sock\).*Connection refused"):
        log_in(left_behind)
    # A socket that was not closed would be told of here, at the latest.
    assert not recwarn.list


def test_the_socket_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ServerGone, match="No such file"):
        log_in(tmp_path / "none.sock")
