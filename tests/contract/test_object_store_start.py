"""The sandbox's object store: one that dies at its start is launched again, and not for ever."""

import socket
from pathlib import Path

import pytest

from fleet.errors import SandboxFailed
from infra.sandbox import processes
from infra.sandbox.objectstore import SeaweedServer

pytestmark = pytest.mark.s3


def test_a_store_that_dies_at_its_start_is_launched_again(scratch_directory: Path) -> None:
    store = SeaweedServer(scratch_directory / "dies-once", owner=scratch_directory)
    first = store.launch()
    processes.kill(first)
    store.wait_ready()
    assert store.is_running()
    assert store.process != first
    store.remove()


def test_a_store_that_dies_each_time_is_told_with_its_last_words(scratch_directory: Path) -> None:
    store = SeaweedServer(scratch_directory / "dies-always", owner=scratch_directory)
    with socket.socket() as taken:
        # Connections of an ended server, waiting to be forgotten, are no hindrance to either.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(("127.0.0.1", store.port))
        taken.listen()
        store.launch()
        with pytest.raises(SandboxFailed, match="died at its start"):
            store.wait_ready(timeout_seconds=60)
    store.remove()
