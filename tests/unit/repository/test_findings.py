"""Damage that was found stays known: what is recorded, whom it concerns, and when it is forgotten."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
from sealed_backups import ToldStore, flipped, names, replace
from test_verification import Watched, full, quick

from drills.reading import page_check
from fleet.errors import StoreDenied, StoreUnreachable
from repository import layout
from repository.findings import Findings, Noted, RecordedFinding
from repository.keys import Keyring
from repository.layout import BackupName
from repository.manifest import Manifest
from repository.marks import Marks
from repository.repository import Repository
from repository.stores.memory import MemoryStore
from repository.suffering import Footing, sufferers
from repository.verification import Verification, verify_chain
from repository.verify import Reading
from tests.unit.restore.made_chains import MadeServer, made_chain

READING = Reading(pages=page_check)


@pytest.fixture
def links(repository: Repository) -> list[Manifest]:
    """A full, two incrementals, a full that refers to them, and an incremental on that: oldest first."""
    server = MadeServer(4, pages=24)
    taken = made_chain(repository, server, 3)
    server.live()
    taken.append(server.referring_full(repository, taken[-1]))
    server.live()
    return [*taken, server.incremental(repository, taken[-1])]


def settle(repository: Repository) -> Noted:
    return Findings(repository).settle(full(repository), READING)


def settle_quickly(repository: Repository) -> Noted:
    return Findings(repository).settle(quick(repository), Reading(), quick=True)


def damage(store: MemoryStore, name: str) -> bytes:
    """Flip a bit in the first frame; returns what was there."""
    kept = store.get(name)
    replace(store, name, flipped(kept, 8 * 90))
    return kept


def packs_of(store: MemoryStore, link: Manifest) -> list[str]:
    return names(store, f"data/s1/{link.label}/p")


def test_an_undamaged_repository_has_no_finding_and_one_list_tells_so(
    repository: Repository, store: MemoryStore, links: list[Manifest]
) -> None:
    assert settle(repository) == Noted()
    assert Findings(repository).all() == ()
    assert not names(store, "findings/")


def test_a_finding_says_which_object_what_is_wrong_and_which_backups_suffer(
    repository: Repository, store: MemoryStore, links: list[Manifest]
) -> None:
    pack = packs_of(store, links[0])[0]
    damage(store, pack)
    found = full(repository)
    noted = Findings(repository).settle(found, READING)
    assert noted == Noted(recorded=(pack,))
    (finding,) = Findings(repository).all("s1")
    problem = next(each.problem for report in found.backups for each in report.damages)
    assert (finding.shard, finding.owner, finding.object, finding.text) == (
        "s1",
        links[0].backup,
        pack,
        problem,
    )
    assert finding.labels == tuple(each.label for each in found.broken)
    assert finding.found_at == store.stat(finding.name).modified_at
    assert finding.name.startswith(f"findings/s1/{links[0].label}/p00000000-")
    assert layout.parse_finding(finding.name) == (links[0].backup, pack)


def test_whom_a_finding_spares_is_what_verify_says_of_every_pack(
    repository: Repository, store: MemoryStore, links: list[Manifest]
) -> None:
    for pack in [name for name in names(store, "data/") if layout.is_pack(name)]:
        kept = damage(store, pack)
        found = full(repository)
        Findings(repository).settle(found, READING)
        (finding,) = Findings(repository).all()
        assert finding.labels == tuple(each.label for each in found.broken), pack
        replace(store, pack, kept)
        assert settle(repository) == Noted(taken_away=(pack,))
        assert not names(store, "findings/")


def test_a_missing_pack_and_a_cut_one_are_found_by_a_list_and_recorded(
    repository: Repository, store: MemoryStore, links: list[Manifest]
) -> None:
    gone, cut = packs_of(store, links[0])[:2]
    store.delete(gone)
    replace(store, cut, store.get(cut)[:-1])
    assert settle_quickly(repository).recorded == (gone, cut)
    assert {each.object for each in Findings(repository).all()} == {gone, cut}


def test_a_damaged_index_part_concerns_who_reads_it_and_nobody_else(
    repository: Repository, store: MemoryStore, links: list[Manifest]
) -> None:
    damage(store, layout.index_part(links[0].backup, 0))
    assert settle(repository).recorded
    (finding,) = Findings(repository).all()
    # The full that refers has an index of its own, and so has what continues it.
    assert finding.labels == tuple(each.label for each in links[:3])


def test_what_a_list_alone_sees_takes_nothing_away_and_nor_does_reading_without_page_checks(
    repository: Repository, store: MemoryStore, links: list[Manifest]
) -> None:
    pack = packs_of(store, links[1])[0]
    kept = damage(store, pack)
    settle(repository)
    replace(store, pack, kept)
    assert settle_quickly(repository) == Noted()
    assert Findings(repository).settle(full(repository), Reading()) == Noted()
    assert settle(repository) == Noted(taken_away=(pack,))


def test_one_that_is_still_damaged_stays_and_is_not_written_twice(
    repository: Repository, store: MemoryStore, links: list[Manifest]
) -> None:
    damage(store, packs_of(store, links[0])[0])
    settle(repository)
    before = names(store, "findings/")
    assert settle(repository).recorded
    assert names(store, "findings/") == before and len(before) == 1


def test_a_verification_of_another_backup_takes_nothing_away(
    repository: Repository, store: MemoryStore, links: list[Manifest]
) -> None:
    pack = packs_of(store, links[4])[0]
    kept = damage(store, pack)
    settle(repository)
    replace(store, pack, kept)
    found = verify_chain(repository, links[2], READING, Watched())
    assert Findings(repository).settle(found, READING) == Noted()
    found = verify_chain(repository, links[4], READING, Watched())
    assert Findings(repository).settle(found, READING) == Noted(taken_away=(pack,))


def test_a_pack_is_not_whole_again_while_no_index_part_can_be_read(
    repository: Repository, store: MemoryStore, links: list[Manifest]
) -> None:
    pack, part = packs_of(store, links[0])[0], layout.index_part(links[0].backup, 0)
    damage(store, pack)
    settle(repository)
    kept = damage(store, part)
    settle(repository)
    assert {each.object for each in Findings(repository).all()} == {pack, part}
    replace(store, part, kept)
    assert settle(repository).taken_away == (part,)
    assert {each.object for each in Findings(repository).all()} == {pack}


def test_a_forged_finding_counts_until_the_object_is_read_whole(
    repository: Repository, store: MemoryStore, links: list[Manifest]
) -> None:
    pack = packs_of(store, links[4])[0]
    store.put(layout.finding(pack, "0" * 8), b"I say that it is damaged")
    (finding,) = Findings(repository).all()
    assert not finding.is_readable and finding.labels == (links[4].label,)
    assert finding.text.startswith("the finding cannot be opened: ")
    assert settle(repository) == Noted(taken_away=(pack,))
    assert Findings(repository).all() == ()


def test_a_forged_finding_keeps_none_from_being_recorded(
    repository: Repository, store: MemoryStore, links: list[Manifest]
) -> None:
    pack = packs_of(store, links[0])[0]
    store.put(layout.finding(pack, "0" * 8), b"squatted")
    damage(store, pack)
    settle(repository)
    (finding,) = Findings(repository).all()
    assert finding.is_readable


def test_a_finding_on_an_object_that_never_was_goes_too(
    repository: Repository, store: MemoryStore, links: list[Manifest]
) -> None:
    store.put(layout.finding(layout.pack(links[0].backup, 99_999_999), "0" * 8), b"nothing")
    assert settle(repository).taken_away
    assert not names(store, "findings/")


def test_a_finding_of_another_object_opens_under_no_other_name(
    repository: Repository, store: MemoryStore, links: list[Manifest]
) -> None:
    one, other = packs_of(store, links[0])[:2]
    damage(store, one)
    settle(repository)
    (name,) = names(store, "findings/")
    store.put(layout.finding(other, "0" * 8), store.get(name))
    told = {each.object: each.is_readable for each in Findings(repository).all()}
    assert told == {one: True, other: False}


def test_what_is_left_of_a_deleted_backup_says_nothing(
    repository: Repository, store: MemoryStore, links: list[Manifest]
) -> None:
    store.put(layout.finding(layout.pack(BackupName("s1", "20200101T000000Z-full"), 0), "0" * 8), b"")
    store.put("findings/s1/what/ever", b"")
    assert Findings(repository).all() == ()
    assert settle(repository) == Noted()


@dataclass
class Refusing(ToldStore):
    """Refuses what ``refuses`` says of an operation and a name."""

    inner: MemoryStore
    refuses: Callable[[str, str], Exception | None]

    def __post_init__(self) -> None:
        ToldStore.__init__(self, self.inner)

    def before(self, operation: str, key: str) -> None:
        if (error := self.refuses(operation, key)) is not None:
            raise error


def refusing(
    store: MemoryStore, keyring: Keyring, refuses: Callable[[str, str], Exception | None]
) -> Repository:
    return Repository.open(Refusing(store, refuses), keyring)  # type: ignore[arg-type]


def test_who_may_not_put_does_without_and_is_told(
    store: MemoryStore, keyring: Keyring, links: list[Manifest]
) -> None:
    damage(store, packs_of(store, links[0])[0])
    reader = refusing(store, keyring, lambda does, _: StoreDenied("may not") if does == "put" else None)
    assert settle(reader) == Noted(incomplete_because="may not")
    assert not names(store, "findings/")


def test_who_may_not_delete_records_all_the_same_and_leaves_the_older_one(
    store: MemoryStore, keyring: Keyring, links: list[Manifest]
) -> None:
    packs = packs_of(store, links[0])[:2]
    store.put(layout.finding(packs[0], "0" * 8), b"squatted")
    kept = [damage(store, pack) for pack in packs]
    writer = refusing(store, keyring, lambda does, _: StoreDenied("may not") if does == "delete" else None)
    assert settle(writer) == Noted(recorded=tuple(packs))
    assert [each.is_readable for each in Findings(writer).all()] == [False, True, True]
    for pack, data in zip(packs, kept, strict=True):
        replace(store, pack, data)
    assert settle(writer) == Noted(incomplete_because="may not")
    assert len(names(store, "findings/")) == 3


@pytest.mark.parametrize("done", range(3))
def test_a_death_between_two_findings_leaves_the_others_and_the_next_run_adds_what_lacks(
    store: MemoryStore, keyring: Keyring, links: list[Manifest], done: int
) -> None:
    packs = packs_of(store, links[0])[:3]
    for pack in packs:
        damage(store, pack)
    count = 0

    def dies(operation: str, key: str) -> Exception | None:
        nonlocal count
        count += operation == "put" and key.startswith("findings/")
        return StoreUnreachable("gone") if count > done else None

    told = settle(refusing(store, keyring, dies))
    assert told.recorded == tuple(packs[:done]) and told.incomplete_because == "gone"
    repository = Repository.open(store, keyring)
    assert [each.object for each in Findings(repository).all()] == packs[:done]
    assert settle(repository).recorded == tuple(packs)
    assert [each.object for each in Findings(repository).all()] == packs


def test_what_is_left_of_a_reduced_backup_is_whole_again_when_all_who_refer_to_it_read_it(
    repository: Repository, store: MemoryStore, links: list[Manifest]
) -> None:
    own = links[0]
    for marked in links[:3]:
        Marks(repository).put(marked.backup, "for the test")
    Marks(repository).set_reduced(own.backup)
    referred = sorted({name for name in packs_of(store, own) if _breaks(repository, store, name, links[3])})
    pack = referred[0]
    kept = damage(store, pack)
    settle(repository)
    (finding,) = Findings(repository).all()
    assert links[3].label in finding.labels
    replace(store, pack, kept)
    found = verify_chain(repository, links[4], READING, Watched())
    assert Findings(repository).settle(found, READING) == Noted(taken_away=(pack,))


def _breaks(repository: Repository, store: MemoryStore, pack: str, link: Manifest) -> bool:
    kept = damage(store, pack)
    found: Verification = full(repository)
    replace(store, pack, kept)
    return link.label in {each.label for each in found.broken}


def test_whom_a_finding_harms_goes_by_what_a_backup_stands_on() -> None:
    full, link, above, referring, later, other, lone, gone = (BackupName("s1", f"b{n}") for n in range(8))
    footings = {
        full: Footing(None, (), None),
        link: Footing(full, (full,), None),
        above: Footing(link, (link,), None),
        referring: Footing(None, (full, link), link),
        later: Footing(referring, (referring,), None),
        # It refers to nothing of the full, whatever it was built on; what this one was built on is pruned.
        other: Footing(None, (link,), link),
        lone: Footing(None, (full,), gone),
    }

    def harmed(name: str, *spared: BackupName) -> set[BackupName]:
        key = f"{layout.packs_and_parts(full)}{name}"
        at = datetime(2026, 3, 1, tzinfo=UTC)
        finding = RecordedFinding(full, key, "", at, "", spared=frozenset(spared))
        return set(sufferers(finding, footings))

    assert harmed("p00000000") == {full, link, above, referring, later, lone}
    assert harmed("i000000") == {full, link, above}
    # What continues a spared one, and what refers to its pages, takes nothing of what is lost.
    assert harmed("p00000000", link) == {full, lone}
    assert harmed("p00000000", above) == {full, link, referring, later, lone}
    assert harmed("p00000000", referring) == {full, link, above, lone}
    assert harmed("p00000000", full) == {lone}
