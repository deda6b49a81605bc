"""A replica whose GTID set does not tell what its data holds is no donor."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from linked_backups import UUID, PassingClock, a_donor, take_full

from backup.plan import Candidate, fit_donors
from backup.standing import Copied, believed, closed_holes, copied_before, holes
from fleet.errors import ServerRefused
from fleet.finding import failures
from fleet.gtid import GtidSet
from fleet.model import BackupConfig, Server
from repository import layout
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from tests.unit.restore.made_backups import made_repository
from tests.unit.restore.made_lines import gtids

OTHER = "4e11fa47-71ca-11e1-9e33-c80aa9429562"
POLICY = BackupConfig.model_validate({"donor": "replica"})


def seen(
    name: str, executed: str, *, role: str = "replica", lsn: int = 200, log: int | None = 7
) -> Candidate:
    server = Server.model_validate({"name": name, "host": "db", "region": "eu", "role": role})
    return Candidate(
        server,
        role == "replica",
        0.0,
        (),
        server_uuid=UUID if name == "b" else OTHER,
        redo_log_uuid=log,
        executed=gtids(executed),
        lsn=lsn,
    )


PRIMARY = seen("a", "a:1-90", role="primary")
BEFORE = Copied("20260301T000000Z-full", UUID, 7, 100, gtids("a:1-50"))


def judged(*candidates: Candidate, before: Copied = BEFORE) -> list[str]:
    """Who is not fit."""
    found = believed(candidates, lambda: [before])
    return [each.server.name for each in found if not each.is_fit]


@pytest.mark.parametrize("executed", ["", "a:51-90", "a:1-49", "b:1-3"])
def test_a_replica_that_was_reset_is_refused_with_a_way_out(executed: str) -> None:
    candidates = believed([PRIMARY, seen("b", executed)], lambda: [BEFORE])
    (failure,) = failures(candidates[1].findings)
    assert BEFORE.label in failure.message and "gtid_purged" in (failure.hint or "")
    with pytest.raises(ServerRefused, match="which its data holds"):
        fit_donors("s1", candidates, POLICY)


def test_another_replica_that_is_fit_is_taken() -> None:
    candidates = believed([PRIMARY, seen("b", ""), seen("c", "a:1-80")], lambda: [BEFORE])
    (choice,) = fit_donors("s1", candidates, POLICY)
    assert choice.server.name == "c"
    assert any(BEFORE.label in reason for reason in choice.passed_over)


def test_a_replica_that_tells_all_or_has_other_data_is_believed() -> None:
    assert judged(PRIMARY, seen("b", "a:1-50")) == []
    assert judged(PRIMARY, seen("b", "", lsn=99)) == []
    assert judged(PRIMARY, seen("b", "", log=8)) == []
    assert judged(PRIMARY, seen("c", "")) == []
    # Servers before 8.0.30 do not say which redo log they have.
    assert judged(PRIMARY, seen("b", "", log=None)) == ["b"]


def test_a_shard_whose_primary_lost_it_too_began_its_history_anew() -> None:
    assert judged(seen("a", "a:1-5", role="primary"), seen("b", "a:1-4")) == []
    assert judged(seen("a", "", role="primary"), seen("b", "")) == []
    # Its own transactions are on the replica alone, and the primary's are still there.
    own = Copied(BEFORE.label, UUID, 7, 100, gtids("a:1-50,b:1-3"))
    assert judged(PRIMARY, seen("b", ""), before=own) == ["b"]


def test_where_no_primary_answers_the_other_replicas_tell() -> None:
    assert judged(seen("b", ""), seen("c", "a:1-70")) == ["b"]
    assert judged(seen("b", "")) == []


def test_backups_are_read_only_to_judge_a_replica() -> None:
    def never() -> Iterator[Copied]:
        raise AssertionError

    assert believed([PRIMARY], never) == (PRIMARY,)


def test_holes_are_what_is_missing_below_the_last_of_an_origin() -> None:
    assert holes(gtids("a:1-10"), gtids("a:1-90,b:1-5")) == GtidSet()
    assert holes(gtids("a:1-10,a:12-20"), gtids("a:1-90")) == gtids("a:11")
    assert holes(gtids("a:61-70"), gtids("a:1-90")) == gtids("a:1-60")
    assert holes(gtids("a:1-10,a:x:5"), gtids("a:1-90,a:x:4-9")) == gtids("a:x:4")
    assert holes(gtids(""), gtids("a:1-90")) == GtidSet()
    assert holes(None, gtids("a:1-90")) == GtidSet()


def test_holes_that_close_are_nothing_and_others_make_a_replica_unfit() -> None:
    clock = PassingClock()
    torn = seen("b", "a:1-10,a:12-20")
    later = iter([gtids("a:1-10,a:12-30"), gtids("a:1-40")])
    assert closed_holes([PRIMARY, torn], lambda _: next(later), clock) == (PRIMARY, torn)
    _, unfit = closed_holes([PRIMARY, torn], lambda _: gtids("a:1-10,a:12-60"), clock)
    (failure,) = failures(unfit.findings)
    assert "has holes" in failure.message and failure.message.endswith(":11") and failure.hint


def test_backups_that_cannot_be_read_say_nothing() -> None:
    store, clock, changing = MemoryStore(), PassingClock(), a_donor(1)
    repository: Repository = made_repository(store)
    assert copied_before(repository, "s1") == ()
    first, second = (take_full(repository, clock, changing) for _ in range(2))
    assert [each.label for each in copied_before(repository, "s1")] == [first.label, second.label]
    store.put(layout.manifest(first.backup), b"nonsense", if_absent=False)
    (left,) = copied_before(repository, "s1")
    assert left == Copied.of(second)
    assert (left.server_uuid, left.lsn) == (UUID, second.lsn.end)
