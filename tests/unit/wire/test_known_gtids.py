"""A GTID set that grows transaction by transaction, against a plain set of numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleet.gtid import GtidSet, Interval, Origin
from fleet.transaction import Gtid
from wire.binlog.known import GrowingGtids, gtid_key, origin_key

UUIDS = ("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", "11111111-2222-3333-4444-555555555555")
ORIGINS = st.tuples(st.sampled_from(UUIDS), st.sampled_from(("", "tag")))
TRANSACTIONS = st.tuples(ORIGINS, st.integers(1, 30))


@given(st.lists(TRANSACTIONS), st.lists(TRANSACTIONS))
def test_it_holds_what_it_was_made_of_and_what_was_added(
    first: list[tuple[tuple[str, str], int]], added: list[tuple[tuple[str, str], int]]
) -> None:
    start = GtidSet(Origin(uuid, tag, (Interval(n, n),)) for (uuid, tag), n in first)
    growing, plain = GrowingGtids((start,)), set(first)
    for (uuid, tag), number in added:
        assert growing.holds(origin_key(uuid, tag), number) == (((uuid, tag), number) in plain)
        growing.add(origin_key(uuid, tag), number)
        plain.add(((uuid, tag), number))
    for uuid in UUIDS:
        for tag in ("", "tag"):
            for number in range(32):
                assert growing.holds(origin_key(uuid, tag), number) == (((uuid, tag), number) in plain)


def test_a_tag_makes_another_origin() -> None:
    tagged, plain = Gtid(UUIDS[0], "tag", 1), Gtid(UUIDS[0], "", 1)
    growing = GrowingGtids((tagged.as_set(),))
    assert growing.holds(*gtid_key(tagged))
    assert not growing.holds(*gtid_key(plain))
