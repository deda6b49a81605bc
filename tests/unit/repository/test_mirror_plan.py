"""What is to be copied to a mirror, and in which order: pure, so every case is a few lines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fleet.gtid import GtidSet
from fleet.policy import Retention
from repository.archive.cover import SegmentRef, cover
from repository.catalog import BackupSummary
from repository.layout import BackupName, BinlogFile, SegmentName, format_label
from repository.mirror.plan import missing_segments, to_copy, wanted
from repository.outlines import Outline

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
POLICY = Retention(days=7.0, minimum_fulls=1)
FILE = BinlogFile(1, "aaaaaaaa-0000-4000-8000-000000000001", "binlog.000001", 1)


def outline(days_ago: float, *needs: Outline, kind: str = "full", shard: str = "s1") -> Outline:
    at = NOW - timedelta(days=days_ago)
    base = needs[0].summary.label if kind == "incremental" else None
    summary = BackupSummary(
        shard, format_label(at, kind), kind, at, at, False, 1, 1, 1, "d", "9.7", "", base=base
    )
    return Outline(summary, 1, None, [each.name for each in needs], GtidSet(), GtidSet())


def known(*outlines: Outline) -> dict[BackupName, Outline]:
    return {each.name: each for each in outlines}


def copies(have: dict[BackupName, Outline], *there: Outline, going: tuple[Outline, ...] = ()) -> list[str]:
    found = to_copy(
        have,
        here=have.keys(),
        there={each.name for each in there},
        going={each.name for each in going},
        policy=POLICY,
        now=NOW,
    )
    return [name.label for name in found]


def labels(*outlines: Outline) -> list[str]:
    return [each.summary.label for each in outlines]


def test_backups_go_from_the_oldest_to_the_newest() -> None:
    first, second, third = outline(3), outline(2), outline(1)
    assert copies(known(third, first, second)) == labels(first, second, third)
    assert copies(known(third, first, second), first) == labels(second, third)


def test_what_a_backup_needs_goes_before_it_whatever_their_labels_say() -> None:
    later = outline(1)
    earlier = outline(2, later)
    assert copies(known(earlier, later)) == labels(later, earlier)


def test_what_a_kept_backup_needs_is_copied_though_the_policy_would_not_keep_it() -> None:
    old = outline(30)
    referring = outline(1, old)
    assert copies(known(old, outline(29), outline(20), referring)) == [
        *labels(old),
        *labels(outline(20)),
        *labels(referring),
    ]


def test_what_the_policy_does_not_keep_is_not_copied() -> None:
    assert copies(known(outline(30), outline(20), outline(1))) == labels(outline(20), outline(1))


def test_a_backup_without_what_it_needs_stays_behind_with_all_that_need_it() -> None:
    lost = outline(3)
    link = outline(2, lost, kind="incremental")
    newest = outline(1, link, kind="incremental")
    assert copies(known(link, newest)) == []
    whole = outline(1.5)
    assert copies(known(link, newest, whole)) == labels(whole)


def test_a_chain_that_goes_round_in_a_circle_does_not_hang() -> None:
    first, second = outline(2), outline(1)
    first.needs.append(second.name)
    second.needs.append(first.name)
    assert sorted(copies(known(first, second))) == sorted(labels(first, second))


def test_a_chain_of_a_thousand_links_is_no_recursion() -> None:
    links = [outline(6)]
    for number in range(1000):
        links.append(outline(6 - (number + 1) / 300, links[-1], kind="incremental"))
    assert wanted(known(*links), POLICY, NOW) == tuple(each.name for each in links)


def test_what_the_mirror_is_pruning_waits() -> None:
    first, second = outline(2), outline(1)
    assert copies(known(first, second), going=(first,)) == labels(second)


def refs(*spans: tuple[int, int]) -> list[SegmentRef]:
    return [SegmentRef(SegmentName.of(FILE, *span), 10) for span in spans]


def missing(
    here: list[SegmentRef], there: list[SegmentRef], *damaged: tuple[int, int]
) -> list[tuple[int, int]]:
    names = [ref.name for ref in refs(*damaged)]
    found = missing_segments(cover(FILE, here), cover(FILE, there), names)
    return [(each.start, each.end) for each in found]


def test_segments_come_from_the_start_of_the_file_on() -> None:
    here = refs((20, 30), (0, 10), (10, 20))
    assert missing(here, []) == [(0, 10), (10, 20), (20, 30)]
    assert missing(here, refs((0, 10))) == [(10, 20), (20, 30)]
    assert missing(here, here) == []


def test_of_composed_segments_the_whole_is_copied_and_not_its_pieces() -> None:
    assert missing(refs((0, 10), (10, 20), (0, 20), (20, 30)), []) == [(0, 20), (20, 30)]
    assert missing(refs((0, 20)), refs((0, 10), (10, 20))) == [(0, 20)]


def test_nothing_comes_behind_a_hole() -> None:
    assert missing(refs((0, 10), (20, 30)), []) == [(0, 10)]
    assert missing(refs((0, 10), (20, 30)), refs((0, 10), (10, 20))) == [(20, 30)]


def test_a_damaged_segment_is_passed_over_where_others_hold_its_bytes() -> None:
    here = refs((0, 10), (10, 20), (0, 20), (20, 30))
    assert missing(here, [], (0, 20)) == [(0, 10), (10, 20), (20, 30)]
    assert missing(here, [], (0, 20), (10, 20)) == [(0, 10)]
