"""Prune and the binlog archive: what leads to promised points stays, and what is left is a prefix."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backup.expire import Expiry, expire, plan_expire
from backup.prune import Prepared, prepare_prune, prune
from backup.prune_plan import PruneResult
from fleet.errors import RetentionRefused, StoreUnreachable
from fleet.gtid import GtidSet
from fleet.moments import microseconds
from fleet.policy import Retention
from fleet.transaction import Gtid, Kind, Transaction
from repository import layout
from repository.archive.archive import ShardArchive
from repository.archive.ledger import EpochFacts
from repository.archive.line import Line
from repository.archive.segment import MAGIC, SegmentDraft
from repository.archive.window import Base, recoverable
from repository.damage_notes import DamageNotes
from repository.holds import Holds
from repository.keys import Keyring
from repository.layout import BinlogFile
from repository.leases import HeldLease, LeaseTerms
from repository.manifest import GtidBracket, Manifest
from repository.marks import Marks
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from repository.windows import windows_of
from restore.promised import plan_promised
from tests.unit.repository.sealed_backups import (
    TickingClock,
    ToldStore,
    begin,
    facts,
    file_keyring,
    fill,
    names,
    sample,
)

SOURCE = "aaaaaaaa-0000-4000-8000-000000000001"
BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
pytestmark = pytest.mark.usefixtures("policy_agrees")

POLICY = Retention(days=3.0, grace_hours=24.0, minimum_fulls=1)
DAYS, A_DAY = 8, 10


class SetClock:
    """The time is set by hand; every look is a millisecond later."""

    def __init__(self) -> None:
        self.at = BEGAN

    def now(self) -> datetime:
        self.at += timedelta(milliseconds=1)
        return self.at

    def monotonic(self) -> float:
        return self.at.timestamp()

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def store(clock: SetClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def repository(store: MemoryStore, tmp_path: Path, clock: SetClock) -> Repository:
    keyring: Keyring = file_keyring(tmp_path)
    return Repository.create(store, keyring, clock)


@pytest.fixture
def fulls(repository: Repository, clock: SetClock) -> list[Manifest]:
    """A full at each day's noon; a binlog file of three segments each day, a transaction every 2.4 hours."""
    archive = ShardArchive(repository, "s1", level=1)
    none = GtidSet()
    archive.open_epoch(EpochFacts("first", SOURCE, "s1-a", none, None, none, none), clock)
    taken: list[Manifest] = []
    for day in range(DAYS):
        first = day * A_DAY + 1
        _put_file(archive, day, first)
        clock.at = BEGAN + timedelta(days=day, hours=12)
        taken.append(_take(repository, clock, first + 4))
    clock.at = BEGAN + timedelta(days=DAYS)
    return taken


def _put_file(archive: ShardArchive, day: int, first: int) -> None:
    file = BinlogFile(1, SOURCE, f"binlog.{day + 1:06d}", int((BEGAN + timedelta(days=day)).timestamp()))
    previous = _executed(first - 1)
    at = 0
    for piece, last in ((0, 3), (1, 6), (2, A_DAY)):
        begin_at = (0, 3, 6)[piece]
        data = MAGIC if piece == 0 else b""
        made: list[Transaction] = []
        for number in range(first + begin_at, first + last):
            committed = BEGAN + timedelta(days=day, hours=2.4 * (number - first))
            body = bytes([number % 256]) * 60
            made.append(
                Transaction(
                    gtid=Gtid.parse(f"{SOURCE}:{number}"),
                    committed_at_us=microseconds(committed),
                    start=at + len(data),
                    length=len(body),
                    kinds=Kind.INSERT,
                    tables=("shop.orders",),
                    statement="",
                )
            )
            data += body
        closed = "rotate" if last == A_DAY else None
        before = _executed(first + begin_at - 1)
        archive.put(archive.seal(SegmentDraft(file, at, data, closed, previous, before, made)))
        at += len(data)


def _executed(last: int) -> GtidSet:
    return GtidSet.parse(f"{SOURCE}:1-{last}") if last else GtidSet()


def _take(repository: Repository, clock: SetClock, last: int) -> Manifest:
    made = sample(last, pages=4)
    ticking: TickingClock = clock  # type: ignore[assignment] # pyright: ignore[reportAssignmentType]
    with begin(repository, ticking) as writer:
        fill(writer, made)
        gtid = GtidBracket(low=str(_executed(last)), high=str(_executed(last)))
        return writer.complete(facts(made.files, gtid=gtid))


def plan(repository: Repository, clock: SetClock) -> Prepared:
    return prepare_prune(repository, POLICY, clock=clock, plan_points=plan_promised)


def run(repository: Repository, clock: SetClock) -> PruneResult:
    return prune(repository, plan(repository, clock), clock=clock)


def mark(repository: Repository, clock: SetClock, fulls: list[Manifest], *, hours: float = 25.0) -> None:
    for each in fulls:
        Marks(repository).put(each.backup, "too old")
    clock.sleep(hours * 3600)


def files(store: MemoryStore) -> list[int]:
    """Numbers of the binlog files of which something is there."""
    found = {layout.parse_segment(name) for name in names(store, layout.ARCHIVE)}
    return sorted({int(each.file[-6:]) for each in found if each})


def at(repository: Repository, store: object) -> Repository:
    return Repository(store, repository.description, repository.keys)  # pyright: ignore[reportArgumentType]


def test_binlogs_go_up_to_the_backup_that_leads_into_the_window(
    repository: Repository, store: MemoryStore, clock: SetClock, fulls: list[Manifest]
) -> None:
    # It is day 9 at one o'clock: the window begins on day 6, and the full of day 5 leads into it.
    mark(repository, clock, fulls[:5])
    told = plan(repository, clock).plan
    assert told.archives[0].before == told.archives[0].after
    assert told.archives[0].before[0].first_at == told.window_start
    assert [each.file[-6:] for each in told.binlogs] == [f"{n:06d}" for n in range(1, 6)]
    result = run(repository, clock)
    assert (result.binlog_files, files(store)) == (5, [6, 7, 8])
    line = Line.of(ShardArchive(repository, "s1"))
    assert not line.gaps
    assert recoverable(line, [Base.of(fulls[5])])


def test_a_backup_whose_end_can_still_be_taken_back_keeps_its_binlogs(
    repository: Repository, store: MemoryStore, clock: SetClock, fulls: list[Manifest]
) -> None:
    clock.sleep(25 * 3600)
    # Not even marked: somebody may have typed 3 for 30.
    assert run(repository, clock).binlog_files == 0
    mark(repository, clock, fulls[:5], hours=23)
    assert run(repository, clock).binlog_files == 0
    assert files(store) == [1, 2, 3, 4, 5, 6, 7, 8]
    clock.sleep(2 * 3600)
    assert run(repository, clock).binlog_files > 0


def test_what_is_kept_by_count_alone_keeps_no_binlogs_and_what_is_held_does(
    repository: Repository, store: MemoryStore, clock: SetClock, fulls: list[Manifest]
) -> None:
    policy = POLICY.model_copy(update={"keep_weekly": 5, "keep_monthly": 5})
    mark(repository, clock, fulls[1:5])
    hold = Holds(repository)
    hold.place(fulls[3].backup, "an audit", clock.now() + timedelta(days=9), now=clock.now(), by="ann")
    prepared = prepare_prune(repository, policy, clock=clock, plan_points=plan_promised)
    told = prepared.plan.archives[0]
    assert told.kept_for == f"s1/{fulls[3].label}"
    assert [each.file[-6:] for each in prepared.plan.binlogs] == ["000001", "000002", "000003"]
    prune(repository, prepared, clock=clock)
    assert recoverable(Line.of(ShardArchive(repository, "s1")), [Base.of(fulls[3])])
    hold.release(fulls[3].backup)
    prepared = prepare_prune(repository, policy, clock=clock, plan_points=plan_promised)
    prune(repository, prepared, clock=clock)
    assert files(store) == [6, 7, 8]


def test_a_standby_keeps_what_it_has_not_applied(
    repository: Repository, store: MemoryStore, clock: SetClock, fulls: list[Manifest]
) -> None:
    mark(repository, clock, fulls[:5])
    prepared = plan(repository, clock)
    # One that starts between the plan and the deed counts as well.
    lease = HeldLease(repository, LeaseTerms("s1", "standby", (), _executed(25)), clock)
    assert lease.take()
    assert prune(repository, prepared, clock=clock).binlog_files == 0
    assert run(repository, clock).binlog_files == 2
    lease.release()
    assert run(repository, clock).binlog_files == 3
    assert files(store) == [6, 7, 8]


def test_a_mark_on_what_leads_to_the_window_is_refused(
    repository: Repository, store: MemoryStore, clock: SetClock, fulls: list[Manifest]
) -> None:
    before = names(store, layout.ARCHIVE)
    mark(repository, clock, fulls[:7])
    prepared = plan(repository, clock)
    assert prepared.plan.archives[0].before != prepared.plan.archives[0].after
    with pytest.raises(RetentionRefused, match="the recovery window would change from 2026-03-07"):
        prune(repository, prepared, clock=clock)
    assert names(store, layout.ARCHIVE) == before
    assert prepared.plan.refused is not None


class Killed(ToldStore):
    """Every delete from number ``at`` on fails, but those by which the time is asked."""

    def __init__(self, inner: MemoryStore, at: int) -> None:
        super().__init__(inner)
        self.left = at

    def before(self, operation: str, key: str) -> None:
        if operation == "delete" and not key.startswith(layout.TRIALS):
            self.left -= 1
            if self.left < 0:
                raise StoreUnreachable(f"{operation} {key}: the store is gone")


def test_a_prune_that_is_killed_leaves_a_prefix_of_each_file_and_the_window_as_it_was(
    repository: Repository, store: MemoryStore, clock: SetClock, fulls: list[Manifest]
) -> None:
    mark(repository, clock, fulls[:5])
    step, done = 0, False
    while not done:
        left = MemoryStore(clock)
        left._objects = dict(store._objects)  # pyright: ignore[reportPrivateUsage]
        try:
            run(at(repository, Killed(left, step)), clock)
            done = True
        except StoreUnreachable:
            step += 1
        again = at(repository, left)
        archive = ShardArchive(again, "s1")
        for file in archive.files(1):
            assert file.parts[0].first == 0
            assert not file.holes
        line = Line.of(archive)
        assert recoverable(line, [Base.of(each) for each in fulls[5:]])[0].last_at == BEGAN + timedelta(
            days=DAYS - 1, hours=2.4 * 9
        )
        run(again, clock)
        assert files(left) == [6, 7, 8]
    # Five begin their hour, and fifteen segments go.
    assert step == 20


def test_the_newest_file_stays_in_a_shard_that_nobody_writes_to(
    repository: Repository, store: MemoryStore, clock: SetClock, fulls: list[Manifest]
) -> None:
    clock.sleep(90 * 86400)
    last = _take(repository, clock, DAYS * A_DAY)
    mark(repository, clock, fulls, hours=24 * 20)
    run(repository, clock)
    assert files(store) == [8]
    clock.sleep(4000)
    assert len(run(repository, clock).backups) == len(fulls)
    assert recoverable(Line.of(ShardArchive(repository, "s1")), [Base.of(last)])


def test_binlogs_stay_for_an_undamaged_backup_behind_a_damaged_one(
    repository: Repository, store: MemoryStore, clock: SetClock, fulls: list[Manifest]
) -> None:
    # The full of day 5 leads into the window, and so does that of day 4, which is kept by count alone.
    policy = POLICY.model_copy(update={"minimum_fulls": 4})
    mark(repository, clock, fulls[:4])

    def going() -> list[str]:
        prepared = prepare_prune(repository, policy, clock=clock, plan_points=plan_promised)
        return [each.file[-6:] for each in prepared.plan.binlogs]

    assert going() == [f"{n:06d}" for n in range(1, 6)]
    DamageNotes(repository).put(layout.pack(fulls[5].backup, 0), "frame 0 does not unseal")
    assert going() == [f"{n:06d}" for n in range(1, 5)]
    prune(repository, prepare_prune(repository, policy, clock=clock, plan_points=plan_promised), clock=clock)
    assert recoverable(Line.of(ShardArchive(repository, "s1")), [Base.of(fulls[4])])


LONG = Retention(days=30.0, grace_hours=72.0, keep_daily=30)
SHORT = LONG.model_copy(update={"days": 3.0})


def end(
    repository: Repository, clock: SetClock, policy: Retention, *, may_shrink: bool = True
) -> tuple[Expiry, PruneResult]:
    ended = expire(repository, plan_expire(repository, policy, clock=clock, may_shrink=may_shrink))
    prepared = prepare_prune(repository, policy, clock=clock, plan_points=plan_promised)
    return ended, prune(repository, prepared, clock=clock)


def days_told(repository: Repository) -> list[float]:
    return sorted(each / timedelta(days=1) for each in windows_of(repository, "s1"))


def test_binlogs_between_two_windows_stay_until_the_grace_time_is_over(
    repository: Repository, store: MemoryStore, clock: SetClock, fulls: list[Manifest]
) -> None:
    end(repository, clock, LONG)
    every = [1, 2, 3, 4, 5, 6, 7, 8]
    # Days and weeks keep the backups: nothing expires that would keep the binlogs between them.
    ended, pruned = end(repository, clock, SHORT)
    assert ended.shards[0].refused is None and not ended.shards[0].expires
    assert pruned.archives[0].kept_for == (
        "the window from 2026-02-07 00:00:00 on, which was promised before"
    )
    clock.sleep(71 * 3600)
    end(repository, clock, SHORT)
    assert files(store) == every and days_told(repository) == [3.0, 30.0]
    clock.sleep(2 * 3600)
    end(repository, clock, SHORT)
    # It is day 12: the window begins on day 9, and its grace time on day 6.
    assert files(store) == [6, 7, 8]
    assert days_told(repository) == [3.0]


def test_a_window_that_was_corrected_in_time_lost_nothing_and_the_next_mistake_has_its_own_grace_time(
    repository: Repository, store: MemoryStore, clock: SetClock, fulls: list[Manifest]
) -> None:
    end(repository, clock, LONG)
    for _ in range(3):
        end(repository, clock, SHORT)
        clock.sleep(48 * 3600)
        end(repository, clock, LONG)
        assert days_told(repository) == [30.0]
    assert files(store) == [1, 2, 3, 4, 5, 6, 7, 8]
    line = Line.of(ShardArchive(repository, "s1"))
    assert recoverable(line, [Base.of(fulls[0])])[0].first_at < BEGAN + timedelta(days=1)


def test_a_window_that_shrinks_to_less_than_half_is_asked_about_though_no_backup_expires(
    repository: Repository, store: MemoryStore, clock: SetClock, fulls: list[Manifest]
) -> None:
    end(repository, clock, LONG)
    for _ in range(3):
        ended, _ = end(repository, clock, SHORT, may_shrink=False)
        refused = ended.shards[0].refused
        assert refused and "would shrink from 30 days: is retention.days = 3 what" in refused.message
        clock.sleep(73 * 3600)
    # As long as nobody has said yes no grace time begins.
    assert files(store) == [1, 2, 3, 4, 5, 6, 7, 8] and days_told(repository) == [30.0]
    half = LONG.model_copy(update={"days": 15.0})
    assert end(repository, clock, half, may_shrink=False)[0].shards[0].refused is None
    end(repository, clock, SHORT)
    assert end(repository, clock, SHORT, may_shrink=False)[0].shards[0].refused is None


def test_no_binlog_goes_before_the_grace_time_behind_the_window_is_over(
    repository: Repository, store: MemoryStore, clock: SetClock, fulls: list[Manifest]
) -> None:
    # It is day 10 at one in the afternoon: the window begins on day 7, and its grace time on day 5. All that
    # the file of day 5 holds is in the first full that is left.
    policy = POLICY.model_copy(update={"grace_hours": 60.0})
    mark(repository, clock, fulls[:6], hours=61)
    prepared = prepare_prune(repository, policy, clock=clock, plan_points=plan_promised)
    prune(repository, prepared, clock=clock)
    assert files(store) == [6, 7, 8]


def test_the_backup_that_leads_to_the_window_before_leads_there_until_the_grace_time_is_over(
    repository: Repository, store: MemoryStore, clock: SetClock, fulls: list[Manifest]
) -> None:
    days = {"grace_hours": 0.5, "keep_daily": 30}
    end(repository, clock, POLICY.model_copy(update={"days": 4.97} | days))
    assert files(store) == [3, 4, 5, 6, 7, 8]
    # Most of day 3 was promised until now, and the full of day 2 leads to its first half.
    shrunk = POLICY.model_copy(update={"days": 2.0} | days)
    end(repository, clock, shrunk)
    assert files(store) == [3, 4, 5, 6, 7, 8]
    clock.sleep(3700)
    end(repository, clock, shrunk)
    assert files(store) == [6, 7, 8]
