"""The network breaks in every stage, at any block: the clone goes on where it was, and the copy is exact."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest

from fleet.blocks import Block, Stage
from fleet.errors import CloneInterrupted
from infra.sandbox.distribution import MysqlDistribution
from infra.sandbox.load import Load
from infra.sandbox.load import connector as load_connector
from infra.sandbox.scratch import ScratchServer
from tests.clones import Keeping
from tests.scenario.copies import Proxy, Stages, assert_exact, assert_free, big_table, client_of, started
from wire.clone.client import CloneOptions

pytestmark = [pytest.mark.mysql, pytest.mark.slow]

CHANCES = {Stage.FILE: 0.02, Stage.PAGE: 0.05, Stage.REDO: 0.1}
MOST_CUTS = 4  # in each stage: some, and then an end


@pytest.mark.parametrize(("connections", "seed"), [(1, 1), (2, 2), (3, 3)])
def test_a_clone_that_is_cut_again_and_again_is_exact(
    scratch_server: ScratchServer,
    mysql_distribution: MysqlDistribution,
    tmp_path: Path,
    connections: int,
    seed: int,
) -> None:
    """No byte is lost and none comes twice in one stage: ``lay_out`` checks it."""
    big_table(scratch_server, rows=60_000)
    dice = random.Random(seed)
    with Proxy(scratch_server.port) as proxy:

        class Sink(Keeping):
            cuts: dict[Stage, int] = dict.fromkeys(Stage, 0)

            def put(self, block: Block, stream: int) -> None:
                stage = block.stage
                self._perhaps_cut(stage)
                super().put(block, stream)
                self._perhaps_cut(stage)

            def before_ack(self, stage: Stage) -> None:
                super().before_ack(stage)
                time.sleep(0.3)
                self._perhaps_cut(stage)

            def _perhaps_cut(self, stage: Stage) -> None:
                forced = self.cuts[stage] == 0 and self.calls and self.calls[-1] == f"start {stage.name}"
                if forced or (dice.random() < CHANCES[stage] and self.cuts[stage] < MOST_CUTS):
                    self.cuts[stage] += 1
                    proxy.cut()

        sink = Sink(tmp_path / "data")
        connect = load_connector(scratch_server, scratch_server.accounts.application)
        with Load(connect, tmp_path / "ledger", ddl_every_seconds=0.05):
            time.sleep(0.5)
            options = CloneOptions(connections=connections)
            outcome = client_of(scratch_server, options, port=proxy.port).run(sink)
    assert all(sink.cuts.values()), sink.cuts
    assert outcome.resumes >= 3
    sink.lay_out(outcome)
    with started(tmp_path, mysql_distribution) as copy:
        assert_exact(copy, scratch_server)


def test_a_network_that_stays_away_ends_the_clone_in_time(scratch_server: ScratchServer) -> None:
    big_table(scratch_server, rows=20_000)
    with Proxy(scratch_server.port) as proxy:

        def unplug() -> None:
            proxy.refusing = True
            proxy.cut()

        began = time.monotonic()
        with pytest.raises(CloneInterrupted) as interrupted:
            options = CloneOptions(resume_wait_seconds=2)
            client_of(scratch_server, options, port=proxy.port).run(Stages(Stage.FILE, unplug, nth=5))
        assert interrupted.value.retryable
        assert time.monotonic() - began < 8
    assert_free(scratch_server, within_seconds=6)


def test_a_donor_that_does_not_wait_ends_the_clone(scratch_server: ScratchServer) -> None:
    """``clone_donor_timeout_after_network_failure = 0``: the donor drops the snapshot at once."""
    big_table(scratch_server, rows=20_000)
    scratch_server.query("SET GLOBAL clone_donor_timeout_after_network_failure = 0")
    with Proxy(scratch_server.port) as proxy, pytest.raises(CloneInterrupted):
        client_of(scratch_server, port=proxy.port).run(Stages(Stage.FILE, proxy.cut, nth=5))
    assert_free(scratch_server)
