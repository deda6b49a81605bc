"""How runs ended, as the repository tells it: sealed, bounded, and of no weight for any backup."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sealed_backups import TickingClock, ToldStore, names, replace, sample, take

from fleet.errors import StoreUnreachable
from repository import layout
from repository.catalog import Catalog
from repository.key_pair import PairSource, create_pair
from repository.keys import FileSource, Keyring, create_key_file
from repository.outcomes import (
    KEPT,
    MAX_BYTES,
    Envelope,
    Outcome,
    OutcomeDocument,
    Outcomes,
    OutcomesKnown,
    Scope,
    new_token,
)
from repository.repository import Repository
from repository.retirement import retire
from repository.stores.memory import MemoryStore
from repository.stores.opening import LOCKED

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def ended(
    minutes: int = 0, *, scope: Scope = "fleet", name: str = "shop", duty: str = "retention"
) -> Outcome:
    at = NOON + timedelta(minutes=minutes)
    told = OutcomeDocument(
        due_at=at, started_at=at, ended_at=at, outcome="failed", exit_code=46, message="no", host="h1"
    )
    return Outcome(scope, name, duty, new_token(), told)


def put(repository: Repository, *outcomes: Outcome) -> None:
    for each in outcomes:
        Outcomes(repository).put(each)


def test_what_a_run_puts_others_read_word_for_word(repository: Repository) -> None:
    told = [ended(1), ended(2, scope="shard", name="s1", duty="full")]
    put(repository, *reversed(told))
    assert Outcomes(repository).all() == tuple(told)
    assert Outcomes(repository).all(but={told[0].token}) == (told[1],)


def test_nothing_of_a_message_is_in_clear_and_nothing_is_locked(
    repository: Repository, store: MemoryStore
) -> None:
    secretive = ended()
    put(
        repository,
        secretive._replace(told=secretive.told.model_copy(update={"message": "table shop.orders"})),
    )
    (name,) = names(store, layout.OUTCOMES)
    envelope = Envelope.model_validate_json(store.get(name))
    assert name == f"outcomes/fleet/shop/retention/20260301T120000Z-{secretive.token}"
    assert (envelope.key_id, b"shop.orders" in store.get(name)) == ("k1", False)
    assert len(store.get(name)) < 1500
    assert not LOCKED.fullmatch(name)


def test_of_each_duty_the_four_newest_count_however_many_there_are(
    repository: Repository, store: MemoryStore
) -> None:
    retention = [ended(minutes) for minutes in range(9)]
    fulls = [ended(minutes, scope="shard", name=shard, duty="full") for shard in "ab" for minutes in (20, 21)]
    put(repository, *retention, *fulls)
    outcomes = Outcomes(repository)
    kept = sorted([*retention[-KEPT:], *fulls], key=lambda each: (each.told.ended_at, each.name))
    assert sorted(outcomes.all(), key=lambda each: (each.told.ended_at, each.name)) == kept
    assert len(outcomes.left_over()) == len(retention) - KEPT
    assert outcomes.trim() == len(retention) - KEPT
    assert len(names(store, layout.OUTCOMES)) == len(kept)
    assert outcomes.trim() == 0 and len(outcomes.all()) == len(kept)


def test_the_stores_clock_says_which_are_newest(repository: Repository) -> None:
    """A machine whose clock is ahead does not hide what others tell later."""
    early = ended(100_000)
    later = [ended(minutes) for minutes in range(KEPT)]
    put(repository, early, *later)
    assert early not in Outcomes(repository).all()


class Asked(ToldStore):
    """Counts what is read."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self.operations: list[str] = []

    def before(self, operation: str, key: str) -> None:
        if key.startswith(layout.OUTCOMES):
            self.operations.append(operation)


def test_a_run_costs_one_put_and_a_second_look_one_list(
    repository: Repository, store: MemoryStore, keyring: Keyring
) -> None:
    asked = Asked(store)
    there = Repository.open(asked, keyring)
    put(there, ended(1), ended(2))
    assert asked.operations == ["put"] * 2
    known: OutcomesKnown = {}
    assert len(Outcomes(there).all(known=known)) == len(known) == 2
    asked.operations.clear()
    assert len(Outcomes(there).all(known=known)) == 2
    assert asked.operations == ["list"]
    for name in names(store, layout.OUTCOMES):
        store.delete(name)
    assert Outcomes(there).all(known=known) == () and not known


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"nonsense",
        b"x" * (MAX_BYTES + 1),
        b'{"format": 1, "key_id": "k1", "wrapped": "!", "sealed": "!"}',
    ],
)
def test_what_does_not_open_says_nothing(repository: Repository, store: MemoryStore, content: bytes) -> None:
    true = ended()
    put(repository, true)
    store.put(layout.outcome("fleet", "shop", "retention", NOON, "0" * 16), content)
    assert Outcomes(repository).all() == (true,)


def test_one_that_was_changed_moved_or_is_another_repositorys_says_nothing(
    repository: Repository, store: MemoryStore, keyring: Keyring, ticking: TickingClock
) -> None:
    put(repository, ended())
    (name,) = names(store, layout.OUTCOMES)
    content = store.get(name)
    other = MemoryStore()
    Repository.create(other, keyring, ticking)
    other.put(name, content)
    assert Outcomes(Repository.open(other, keyring)).all() == ()
    store.delete(name)
    token = name.rpartition("-")[2]
    store.put(layout.outcome("shard", "s1", "full", NOON, token), content)
    assert Outcomes(repository).all() == ()
    envelope = Envelope.model_validate_json(content)
    replace(store, name, envelope.model_copy(update={"key_id": "other"}).model_dump_json().encode())
    assert Outcomes(repository).all() == ()


def test_a_store_that_is_away_for_a_moment_is_asked_again(
    repository: Repository, store: MemoryStore, keyring: Keyring
) -> None:
    class Away(ToldStore):
        is_away = True

        def before(self, operation: str, key: str) -> None:
            if self.is_away and operation == "get" and key.startswith(layout.OUTCOMES):
                raise StoreUnreachable("no answer")

    told = ended()
    put(repository, told)
    away = Away(store)
    known: OutcomesKnown = {}
    there = Outcomes(Repository.open(away, keyring))
    assert there.all(known=known) == () and not known
    away.is_away = False
    assert there.all(known=known) == (told,)


def test_who_has_the_public_half_alone_tells_and_does_not_read(tmp_path: Path, ticking: TickingClock) -> None:
    create_pair(tmp_path / "p.key", tmp_path / "p.pub")
    store = MemoryStore()
    sealing = Keyring([PairSource("p", tmp_path / "p.pub", None)])
    here = Repository.create(store, sealing, ticking)
    told = ended()
    put(here, told)
    assert Outcomes(here).all() == ()
    there = Repository.open(store, Keyring([PairSource("p", None, tmp_path / "p.key")]))
    assert Outcomes(there).all() == (told,)


def test_an_outcome_keeps_no_key_from_being_retired(
    repository: Repository, store: MemoryStore, tmp_path: Path, ticking: TickingClock
) -> None:
    put(repository, ended())
    create_key_file(tmp_path / "k2.key")
    new, old = FileSource("k2", tmp_path / "k2.key"), FileSource("k1", tmp_path / "k1.key")
    repository.add_key(new, ticking)
    retire(Repository.open(store, Keyring([new, old])), "k1", ticking)
    there = Repository.open(store, Keyring([new]))
    assert Outcomes(there).all() == ()
    told = ended(1)
    put(there, told)
    assert Outcomes(there).all() == (told,)


def test_names_are_those_of_the_format() -> None:
    name = layout.outcome("shard", "s1", "full", NOON, "0123456789abcdef")
    assert name == "outcomes/shard/s1/full/20260301T120000Z-0123456789abcdef"
    assert layout.parse_outcome(name) == ("shard", "s1", "full", "0123456789abcdef")
    for wrong in (name[:-1], name + "0", name.replace("/full", ""), name.replace("outcomes", "turns")):
        assert layout.parse_outcome(wrong) is None


def test_no_outcome_hides_a_backup_or_makes_one_count(
    repository: Repository, store: MemoryStore, ticking: TickingClock
) -> None:
    manifest = take(repository, ticking, sample(pages=4))
    before = Catalog(repository).backups()
    told = ended(scope="shard", name="s1", duty="full")
    put(repository, told._replace(told=told.told.model_copy(update={"label": "20260302T000000Z-full"})))
    store.put(layout.outcome("shard", "s1", "full", NOON, "0" * 16), b"nonsense")
    assert Catalog(repository).backups() == before
    assert [each.label for each in before] == [manifest.label]
