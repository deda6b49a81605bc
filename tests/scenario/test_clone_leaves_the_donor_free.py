"""However a clone ends, the donor is free for the next one at once, and the error says what happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fleet.blocks import Stage
from fleet.clock import SystemClock
from fleet.errors import Cancelled, CloneInterrupted, DonorBusy, ServerRefused
from infra.sandbox.scratch import ScratchServer
from tests.clones import Forgetting
from tests.scenario.copies import (
    Proxy,
    Stages,
    allow_plain,
    assert_free,
    big_table,
    change_pages,
    client_of,
    connector,
    sessions_left,
)
from wire.clone.client import CloneClient, CloneOptions
from wire.clone.messages import Command, Plain, encode_request
from wire.packet import frame
from wire.session import Session, open_session

pytestmark = pytest.mark.mysql

STAGES = (Stage.FILE, Stage.PAGE, Stage.REDO)


class BrokenSinkError(Exception):
    pass


def make_page_copies(scratch: ScratchServer) -> Forgetting:
    """A sink that lets rows change while files are copied, so that the PAGE stage has pages."""

    class Changing(Forgetting):
        def before_ack(self, stage: Stage) -> None:
            super().before_ack(stage)
            if stage is Stage.FILE:
                change_pages(scratch)

    return Changing()


@pytest.mark.parametrize("stage", STAGES)
def test_cancel_frees_the_donor_in_every_stage(scratch_server: ScratchServer, stage: Stage) -> None:
    big_table(scratch_server, rows=50_000)
    client = client_of(scratch_server, CloneOptions(rate_bytes_per_second=60_000_000))
    cancelled_at: list[float] = []

    def cancel() -> None:
        cancelled_at.append(time.monotonic())
        client.cancel()

    sink = Stages(stage, cancel)
    changing = make_page_copies(scratch_server)
    sink.before_ack = changing.before_ack  # type: ignore[method-assign]
    with pytest.raises(Cancelled):
        client.run(sink)
    assert time.monotonic() - cancelled_at[0] < 1.0
    assert sessions_left(scratch_server) == 0
    assert_free(scratch_server)


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("method", ["put", "before_ack", "stage_started"])
def test_an_error_of_the_sink_is_raised_and_frees_the_donor(
    scratch_server: ScratchServer, stage: Stage, method: str
) -> None:
    big_table(scratch_server, rows=5_000)

    class Sink(Forgetting):
        def put(self, block: object, stream: int) -> None:
            super().put(block, stream)  # type: ignore[arg-type]
            self._fail("put", block.stage)  # type: ignore[attr-defined]

        def before_ack(self, stage: Stage) -> None:
            self._fail("before_ack", stage)
            if stage is Stage.FILE:
                change_pages(scratch_server)

        def stage_started(self, stage: Stage, estimate_bytes: int) -> None:
            self._fail("stage_started", stage)

        def _fail(self, here: str, current: Stage) -> None:
            if here == method and current is stage:
                raise BrokenSinkError

    with pytest.raises(BrokenSinkError):
        client_of(scratch_server).run(Sink())
    assert sessions_left(scratch_server) == 0
    assert_free(scratch_server)


def test_a_second_clone_is_told_to_wait_and_does_not_disturb_the_first(
    scratch_server: ScratchServer,
) -> None:
    big_table(scratch_server, rows=20_000)
    errors: list[DonorBusy] = []

    def second() -> None:
        with pytest.raises(DonorBusy) as busy:
            client_of(scratch_server).run(Forgetting())
        errors.append(busy.value)

    outcome = client_of(scratch_server).run(Stages(Stage.FILE, second, nth=5))
    assert outcome.resumes == 0
    assert errors[0].retryable and errors[0].hint


def test_a_recipient_that_is_killed_leaves_a_donor_that_serves_the_next(
    scratch_server: ScratchServer, tmp_path: Path
) -> None:
    big_table(scratch_server, rows=50_000)
    password = tmp_path / "password"
    password.write_text(scratch_server.accounts.backup.password)
    password.chmod(0o600)
    script = f"""
import os, signal
from fleet.clock import SystemClock
from fleet.model import Account, Secret, Server
from wire.clone.client import CloneClient, CloneOptions
from wire.clone.messages import Command, Plain, encode_request
from wire.packet import frame
from wire.session import open_session
server = Server.model_validate_json({scratch_server.server.model_dump_json()!r})
account = Account(user="backstay", password=Secret(file={str(password)!r}))
class Sink:
    left = 8
    def put(self, block, stream):
        self.left -= 1
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
    def stage_started(self, stage, estimate_bytes): pass
    def before_ack(self, stage): pass
    def has_room(self): return True
connect = lambda: open_session(server, account, connect_timeout=5, read_timeout=30)
CloneClient(connect, CloneOptions(), SystemClock()).run(Sink())
"""
    ended = subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[2], check=False)
    assert ended.returncode == -signal.SIGKILL
    # One session may be left: the donor waits for its recipient to come back, until another one comes.
    assert sessions_left(scratch_server) <= 1
    assert_free(scratch_server, within_seconds=6)


@pytest.mark.parametrize("stage", STAGES)
def test_a_donor_that_is_killed_is_an_interrupted_clone_within_seconds(
    scratch_server: ScratchServer, stage: Stage
) -> None:
    big_table(scratch_server, rows=20_000)

    def kill() -> None:
        scratch_server.kill()
        time.sleep(1)  # so that the break is noticed while the sink still has the block in its hands

    sink = Stages(stage, kill)
    sink.before_ack = make_page_copies(scratch_server).before_ack  # type: ignore[method-assign]
    began = time.monotonic()
    with pytest.raises(CloneInterrupted) as interrupted:
        client_of(scratch_server).run(sink)
    assert interrupted.value.retryable
    assert time.monotonic() - began < 20
    scratch_server.start()
    assert_free(scratch_server)


def test_a_killed_session_at_the_donor_is_an_interrupted_clone(scratch_server: ScratchServer) -> None:
    big_table(scratch_server, rows=20_000)

    def kill() -> None:
        rows = scratch_server.query("SHOW PROCESSLIST")
        scratch_server.query(f"KILL {min(row['Id'] for row in rows if row['Command'].lower() == 'clone')}")

    with pytest.raises(CloneInterrupted):
        client_of(scratch_server).run(Stages(Stage.FILE, kill, nth=5))
    assert_free(scratch_server)


def test_ddl_that_may_abort_the_clone_does_so(scratch_server: ScratchServer) -> None:
    big_table(scratch_server, rows=20_000)
    ddl: list[threading.Thread] = []

    def create() -> None:
        ddl.append(threading.Thread(target=scratch_server.query, args=("CREATE TABLE app.new (id INT)",)))
        ddl[0].start()
        time.sleep(0.3)

    with pytest.raises(CloneInterrupted, match="DDL"):
        client_of(scratch_server, CloneOptions(ddl_timeout_seconds=0)).run(Stages(Stage.FILE, create, nth=5))
    ddl[0].join()
    assert_free(scratch_server)


def test_a_clone_that_dies_before_its_first_data_is_tried_once_more(scratch_server: ScratchServer) -> None:
    plain = allow_plain(scratch_server)
    with Proxy(scratch_server.port) as proxy:
        proxy.cut_before = frame(encode_request(Plain(Command.EXECUTE)))
        sink = Forgetting()
        outcome = client_of(scratch_server, CloneOptions(connections=1), tls=plain, port=proxy.port).run(sink)
        assert proxy.cut_before is None
    assert sink.calls[:2] == ["start FILE", "ack FILE"]
    assert outcome.resumes == 0


def test_a_donor_without_the_privilege_or_the_redo_log_refuses(scratch_server: ScratchServer) -> None:
    scratch_server.query("CREATE USER nobody IDENTIFIED BY 'x'")
    account = scratch_server.backup_account.model_copy(update={"user": "nobody"})
    scratch_server.query("ALTER USER nobody IDENTIFIED BY %s", (scratch_server.accounts.backup.password,))

    def connect() -> Session:
        return open_session(scratch_server.server, account, connect_timeout=5, read_timeout=30)

    with pytest.raises(ServerRefused, match="BACKUP_ADMIN"):
        CloneClient(connect, CloneOptions(), SystemClock()).run(Forgetting())
    scratch_server.query("ALTER INSTANCE DISABLE INNODB REDO_LOG")
    with pytest.raises(ServerRefused, match="redo log"):
        client_of(scratch_server).run(Forgetting())


def test_a_donor_without_the_plugin_refuses(scratch_server: ScratchServer) -> None:
    scratch_server.query("UNINSTALL PLUGIN clone")
    with pytest.raises(ServerRefused) as refused:
        client_of(scratch_server).run(Forgetting())
    assert "INSTALL PLUGIN clone" in (refused.value.hint or "")


def test_no_descriptor_is_left_open(scratch_server: ScratchServer) -> None:
    connect = connector(scratch_server)
    connect().close()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        CloneClient(connect, CloneOptions(connections=3), SystemClock()).run(Forgetting())
    assert len(os.listdir("/proc/self/fd")) <= before
