"""A machine that stood still in the middle of a login: whoever tries again gets in."""

from __future__ import annotations

import socket
import time

import pytest

from fleet.errors import ServerUnreachable
from infra.sandbox.scratch import ScratchServer
from tests.scenario.copies import Proxy, allow_plain
from wire.session import open_session

pytestmark = [pytest.mark.mysql, pytest.mark.slow]

TIMEOUT_SECONDS = 2
"""The least that a server takes."""


class PausingProxy(Proxy):
    """Holds back the client's message of that number for longer than the server waits."""

    def __init__(self, target_port: int, number: int) -> None:
        self._left = number
        super().__init__(target_port)

    def _pump(
        self, source: socket.socket, target: socket.socket, pair: tuple[socket.socket, socket.socket]
    ) -> None:
        if source is pair[1]:
            super()._pump(source, target, pair)
            return
        try:
            while data := source.recv(64 * 1024):
                self._left -= 1
                if self._left == 0:
                    time.sleep(TIMEOUT_SECONDS * 2)
                target.sendall(data)
        except OSError:
            self._break(pair)


@pytest.mark.parametrize("scratch_server", [{"connect_timeout": TIMEOUT_SECONDS}], indirect=True)
def test_a_login_that_the_server_gave_up_on_is_worth_trying_again(scratch_server: ScratchServer) -> None:
    """In the TLS handshake, and at each of the messages of a login in plain."""
    encrypted, account = scratch_server.server, scratch_server.backup_account
    plain = encrypted.model_copy(update={"tls": allow_plain(scratch_server)})
    for server, number in ((encrypted, 1), (plain, 1), (plain, 2), (plain, 3)):
        # Who logged in before is known from then on, and asked for less.
        scratch_server.query("FLUSH PRIVILEGES")
        with PausingProxy(server.port, number) as proxy:
            there = server.model_copy(update={"port": proxy.port})
            with pytest.raises(ServerUnreachable, match="broke off in the middle") as raised:
                open_session(there, account, connect_timeout=20, read_timeout=20)
            assert raised.value.retryable
            assert "connect_timeout" in (raised.value.hint or "")
            open_session(there, account, connect_timeout=20, read_timeout=20).close()
