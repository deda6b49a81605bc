"""The algebra of a line against the plainest reading of FORMAT.md, section 10, rules 6 and 7."""

from __future__ import annotations

from datetime import UTC, datetime

from archived_binlogs import CREATED, OTHER, SOURCE, facts
from hypothesis import given
from hypothesis import strategies as st
from sealed_backups import TickingClock, ToldStore
from test_compose import made_file

from fleet.gtid import GtidSet, Interval, Origin
from repository.archive.archive import ShardArchive
from repository.archive.cover import Part, SegmentRef
from repository.archive.ledger import Epoch
from repository.archive.reckoning import FoundFile, FoundPart, reckon
from repository.archive.segment import SegmentHeader
from repository.keys import Keyring
from repository.layout import BinlogFile, SegmentName
from repository.repository import Repository
from repository.stores.memory import MemoryStore

SOME = st.sets(st.integers(1, 25), max_size=12)
FEW = st.sets(st.integers(1, 25), max_size=3)
FILES = st.lists(st.tuples(SOME, st.lists(SOME, max_size=3)), max_size=3)


def gtids(numbers: set[int]) -> GtidSet:
    return GtidSet([Origin(SOURCE, "", tuple(Interval(each, each) for each in numbers))] if numbers else [])


def numbers(found: GtidSet) -> set[int]:
    return {n for origin in found for first, last in origin.intervals for n in range(first, last + 1)}


def an_epoch(number: int, inherited: set[int], skipped: set[int]) -> Epoch:
    return Epoch(
        epoch=number,
        parent=number - 1 or None,
        reason="promotion",
        server_uuid=SOURCE,
        server_name="s1-a",
        opened_at=datetime(2026, 3, 1, tzinfo=UTC),
        inherited=gtids(inherited).one_line(),
        branch="",
        skipped=gtids(skipped).one_line(),
    )


def a_file(epoch: int, place: int, previous: set[int], parts: list[set[int]]) -> FoundFile:
    name = BinlogFile(epoch, (SOURCE, OTHER)[place % 2], f"binlog.{place:06d}", CREATED + place)
    made: list[FoundPart] = []
    for at, own in enumerate(parts):
        segment = SegmentRef(SegmentName.of(name, 100 * at, 100 * at + 100), 1)
        header = SegmentHeader(
            **name._asdict(),
            start=100 * at,
            end=100 * at + 100,
            closed=None,
            previous_gtids=gtids(previous).one_line(),
            gtids_before=gtids(previous.union(*parts[:at])).one_line(),
            gtids=gtids(own).one_line(),
            transactions=len(own),
            first_at_us=None,
            last_at_us=None,
            whole_until=None,
            index_frames=1,
            index_bytes=1,
            data_frames=1,
            sha256="0" * 64,
        )
        made.append(FoundPart(Part(segment, *segment.name[4:]), header, gtids(own), 0, gtids(set())))
    return FoundFile(name, tuple(made))


@given(st.lists(st.tuples(SOME, FEW, FILES), min_size=1, max_size=4))
def test_a_line_is_what_the_rules_say(
    chain: list[tuple[set[int], set[int], list[tuple[set[int], list[set[int]]]]]],
) -> None:
    epochs, files = [], []
    line: set[int] = set()
    archived: dict[int, set[int]] = {}
    for number, (inherited, skipped, made) in enumerate(chain, start=1):
        epochs.append(an_epoch(number, inherited, skipped))
        files += [
            a_file(number, place, previous, parts) for place, (previous, parts) in enumerate(made) if parts
        ]
        archived[number] = {each for previous, parts in made for part in parts for each in part}
        line = archived[number] | ((line & inherited) - skipped)
    found = reckon(epochs, files)
    assert numbers(found.gtids) == line
    # Each transaction is given by one part alone.
    given_out = [each for part in found.parts for each in numbers(part.wanted)]
    assert sorted(given_out) == sorted(line)
    all_skipped = {each for _, skipped, _ in chain for each in skipped}
    assert numbers(found.skipped) == all_skipped - line
    known = line | numbers(found.first_gtids) | numbers(found.skipped)
    missing = [each for gap in found.gaps for each in numbers(gap.missing)]
    assert len(missing) == len(set(missing)) and not set(missing) & known
    # Of the newest epoch everything counts, so whatever its files say is executed is known or missing.
    for file in files:
        if file.name.epoch == len(chain):
            assert numbers(file.previous_gtids) <= known | set(missing)
    off = {each for branch in found.branches for each in numbers(branch.gtids)}
    assert off == {each for own in archived.values() for each in own} - known


def test_header_and_index_take_one_read_of_the_front(store: MemoryStore, keyring: Keyring) -> None:
    class Counted(ToldStore):
        calls: list[str] = []  # noqa: RUF012 - there is but one

        def before(self, operation: str, key: str) -> None:
            self.calls.append(operation)

    counted = Counted(store)
    archive = ShardArchive(Repository.create(store, keyring, TickingClock()), "s1", level=1)
    archive.open_epoch(facts(), TickingClock())
    made = made_file()
    made.put(archive, [0, len(made.data)])
    reader = ShardArchive(Repository.open(counted, keyring), "s1")
    (ref,) = reader.file(made.name).segments
    reader.header(ref)
    for read in (reader.header, reader.index):
        Counted.calls.clear()
        read(ref)
        assert Counted.calls == ["get_range"]
