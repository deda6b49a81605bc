"""Rotation and retirement: every step may be the last one, and nothing is ever lost."""

from __future__ import annotations

import base64
import threading
from contextlib import suppress
from copy import copy
from pathlib import Path

import pytest
from sealed_backups import (
    UUID,
    DyingStore,
    TickingClock,
    ToldStore,
    file_keyring,
    names,
    replace,
    restored,
    sample,
    take,
)

from fleet.errors import (
    Cancelled,
    CheckFailed,
    KeyUnusable,
    NotFound,
    ObjectExists,
    StoreUnreachable,
    ToolError,
    UsageError,
)
from fleet.gtid import GtidSet
from repository import layout
from repository.archive.archive import ShardArchive
from repository.archive.ledger import EpochFacts
from repository.catalog import Catalog
from repository.introduction import Introduced, introduce_key
from repository.key_pair import PairSource, create_pair
from repository.key_survey import survey_keys
from repository.keys import Binding, FileSource, Keyring, KeySource, WrappedKey, create_key_file
from repository.layout import BackupName
from repository.manifest import Manifest
from repository.repository import Repository
from repository.retirement import Retired, plan_retirement, retire
from repository.rotation import Rotated, plan_rotation, rotate
from repository.stores.interface import Store
from repository.stores.memory import MemoryStore

SAMPLE = sample(pages=4)
NOTHING = GtidSet.parse("")
FIRST = EpochFacts("first", UUID, "s1-a", NOTHING, None, NOTHING, NOTHING)


class Place:
    """A repository whose backups and epochs are wrapped by the key ``old``; ``new`` is known as well."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = TickingClock()
        self.store = MemoryStore()
        self.old, self.new = self.source("old"), self.source("new")
        repository = Repository.create(self.store, Keyring([self.old, self.new]), self.clock)
        self.manifests = [take(repository, self.clock, SAMPLE, shard=shard) for shard in ("s1", "s1", "s2")]
        ShardArchive(repository, "s1", level=1).open_epoch(FIRST, self.clock)
        # A shard without a backup, which only its name leads to.
        ShardArchive(repository, "s3", level=1).open_epoch(FIRST, self.clock)

    def copy(self) -> Place:
        """Another one that holds the same."""
        made = copy(self)
        made.store = MemoryStore()
        for name in names(self.store):
            made.store.put(name, self.store.get(name))
        return made

    def source(self, key_id: str) -> FileSource:
        path = self.folder / f"{key_id}.key"
        if not path.exists():
            create_key_file(path)
        return FileSource(key_id, path)

    def open(self, *sources: KeySource, store: Store | None = None) -> Repository:
        return Repository.open(store or self.store, Keyring(sources))

    def rotate(self, *sources: KeySource, store: Store | None = None) -> Rotated:
        repository = self.open(*(sources or (self.new, self.old)), store=store)
        return rotate(repository, plan_rotation(repository))

    def retire(self, store: Store | None = None, key_id: str = "old") -> Retired:
        return retire(self.open(self.new, self.old, store=store), key_id, self.clock)

    def opens(self, *sources: KeySource) -> int:
        """How many backups and epochs come back whole by these keys alone."""
        repository, count = self.open(*sources), 0
        for manifest in self.manifests:
            try:
                assert (
                    restored(repository, Catalog(repository).read_manifest(manifest.backup))
                    == SAMPLE.content()
                )
                count += 1
            except KeyUnusable:
                continue
        for shard in ("s1", "s3"):
            try:
                count += ShardArchive(repository, shard).epoch(1).epoch
            except KeyUnusable:
                continue
        return count

    def wrapped_by(self, key_id: str) -> list[str]:
        return [name for name in names(self.store) if name.endswith(f"/{key_id}.json")]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def untouched(store: MemoryStore) -> dict[str, bytes]:
    """Everything but keys."""
    return {
        name: store.get(name)
        for name in names(store)
        if not name.startswith(("keys/", "keyring/")) and "/keys/" not in name
    }


def test_after_a_rotation_the_new_key_opens_everything_and_the_old_one_still_does(place: Place) -> None:
    assert (place.opens(place.new), place.opens(place.old)) == (0, 5)
    before = untouched(place.store)
    assert place.rotate() == Rotated("new", wrapped=5, done=0, shut=())
    assert (place.opens(place.new), place.opens(place.old)) == (5, 5)
    assert untouched(place.store) == before


def test_a_second_rotation_changes_nothing(place: Place) -> None:
    place.rotate()
    before = {name: place.store.get(name) for name in names(place.store)}
    assert place.rotate() == Rotated("new", wrapped=0, done=5, shut=())
    assert {name: place.store.get(name) for name in names(place.store)} == before


def test_a_plan_writes_nothing(place: Place) -> None:
    before = names(place.store)
    plan = plan_rotation(place.open(place.new, place.old))
    assert (plan.primary, len(plan.wraps), plan.done, plan.shut) == ("new", 5, 0, ())
    assert plan_retirement(place.open(place.new, place.old), "old").places == ()
    assert names(place.store) == before


def test_what_no_key_opens_is_told_and_the_rest_is_rotated(place: Place) -> None:
    lost = place.source("lost")
    introduce_key(place.open(place.old), Keyring([place.old, lost]), "lost", place.clock)
    theirs = take(place.open(lost), place.clock, SAMPLE, shard="s2")
    rotated = place.rotate()
    assert (rotated.wrapped, len(rotated.shut)) == (5, 1)
    (shut,) = rotated.shut
    assert (shut.shard, shut.label, shut.wrapped_by) == ("s2", theirs.label, ("lost",))
    assert shut.reason == "key lost is not configured"


def test_a_missing_and_a_damaged_wrapped_key_are_told_by_name(place: Place) -> None:
    first, second = place.manifests[0].backup, place.manifests[1].backup
    place.store.delete(layout.wrapped_key(first, "old"))
    replace(place.store, layout.wrapped_key(second, "old"), b"{broken")
    reasons = [shut.reason for shut in place.rotate().shut]
    assert reasons[0] == "its wrapped key is missing"
    assert layout.wrapped_key(second, "old") in reasons[1]


def test_a_wrapped_key_that_opens_something_else_is_told_and_never_overwritten(place: Place) -> None:
    """As who lost a race for a label may leave one behind."""
    first = place.manifests[0].backup
    place.rotate()
    name = layout.wrapped_key(first, "new")
    replace(place.store, name, wrapped_anew(place, first))
    before = place.store.get(name)
    (shut,) = place.rotate().shut
    assert f"{name} is damaged: the key in it does not open manifests/s1/{first.label}" == shut.reason
    assert place.store.get(name) == before
    assert place.opens(place.old) == 5


def wrapped_anew(place: Place, backup: BackupName) -> bytes:
    """What the key ``new`` makes of other 32 bytes for this backup."""
    repository = place.open(place.new)
    wrapped = repository.keys.primary.wrap(bytes(32), Binding(repository.repository_id, backup))
    return WrappedKey(key_id="new", wrapped=base64.b64encode(wrapped).decode()).model_dump_json().encode()


def test_the_first_key_must_be_usable(place: Place) -> None:
    unknown = place.source("unknown")
    with pytest.raises(KeyUnusable, match="does not know key unknown"):
        plan_rotation(place.open(unknown, place.old))


def killed_at_every_step(folder: Path, act: str) -> int:
    """Let ``act`` die at each of its operations; afterwards everything opens, and the next run ends it."""
    deaths, begun = 0, Place(folder)
    if act == "retire":
        begun.rotate()
    for unheard in (False, True):
        for at in range(1, 400):
            place = begun.copy()
            dying = DyingStore(place.store, at, unheard=unheard, forever=True)
            try:
                place.retire(dying) if act == "retire" else place.rotate(store=dying)
                assert dying.operations <= at
            except StoreUnreachable:
                deaths += 1
            # Both keys are still configured, and one of them opens each.
            if layout.keyring_entry("old") in names(place.store):
                assert place.opens(place.new, place.old) == 5
            if act == "retire":
                finish_retirement(place)
                assert place.wrapped_by("old") == []
                assert not [name for name in names(place.store) if name.endswith(".retiring")]
            else:
                assert place.rotate().shut == ()
            assert place.opens(place.new) == 5
            if dying.operations < at:
                break
    return deaths


def finish_retirement(place: Place) -> None:
    try:
        place.retire()
    except NotFound:
        # It had ended, and only the answer was not heard.
        return


def test_a_rotation_may_die_at_any_step(tmp_path: Path) -> None:
    assert killed_at_every_step(tmp_path, "rotate") > 40


def test_a_retirement_may_die_at_any_step(tmp_path: Path) -> None:
    assert killed_at_every_step(tmp_path, "retire") > 80


def test_two_rotations_at_once_end_as_one(place: Place) -> None:
    results: list[Rotated | ToolError] = []
    start = threading.Barrier(2)

    def run() -> None:
        repository = place.open(place.new, place.old)
        plan = plan_rotation(repository)
        start.wait()
        results.append(rotate(repository, plan))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [Rotated("new", 5, 0, ())] * 2
    assert place.opens(place.new) == 5


def test_a_rotation_that_is_stopped_is_carried_on(place: Place) -> None:
    repository = place.open(place.new, place.old)
    asked = threading.Event()
    asked.set()
    with pytest.raises(Cancelled):
        rotate(repository, plan_rotation(repository), cancelled=asked)
    assert place.rotate().wrapped == 5


def test_what_is_pruned_during_a_rotation_is_passed_over(place: Place) -> None:
    repository = place.open(place.new, place.old)
    plan = plan_rotation(repository)
    gone = place.manifests[0].backup
    for name in (layout.manifest(gone), layout.wrapped_key(gone, "old")):
        place.store.delete(name)
    assert rotate(repository, plan) == Rotated("new", 4, 0, ())


def test_a_backup_in_the_making_is_rotated_too(place: Place) -> None:
    place.store.delete(layout.manifest(place.manifests[0].backup))
    assert place.rotate() == Rotated("new", 5, 0, ())
    assert layout.wrapped_key(place.manifests[0].backup, "new") in names(place.store)


def test_a_rotation_in_the_middle_of_a_claim_costs_a_label_and_nothing_else(place: Place) -> None:
    """Whoever claims a label lets go of it when another wrapped key lies beside its own."""

    class Meanwhile(ToldStore):
        def after(self, operation: str, key: str) -> None:
            if operation == "put" and key.startswith("keys/s2/") and not claimed:
                claimed.append(key)
                place.rotate()

    claimed: list[str] = []
    repository = place.open(place.old, place.new, store=Meanwhile(place.store))  # pyright: ignore[reportArgumentType]
    manifest = take(repository, place.clock, SAMPLE, shard="s2")
    assert f"/{manifest.label}/" not in claimed[0]
    place.manifests.append(manifest)
    place.rotate()
    assert place.opens(place.new) == 6
    assert place.retire().deleted == 6


def test_a_retired_key_opens_nothing_and_the_data_is_untouched(place: Place) -> None:
    place.rotate()
    before = untouched(place.store)
    assert place.retire() == Retired("old", 5)
    assert untouched(place.store) == before
    assert place.opens(place.new) == 5
    with pytest.raises(KeyUnusable, match="does not know key old; it knows new"):
        place.open(place.old)
    assert [name for name in names(place.store) if "old" in name] == []


def test_a_key_that_is_not_there_can_be_retired_once_another_opens_everything(place: Place) -> None:
    place.rotate()
    place.old = place.new
    (place.folder / "old.key").unlink()
    assert retire(place.open(place.new), "old", place.clock).deleted == 5
    assert place.opens(place.new) == 5


def test_the_first_key_is_never_retired(place: Place) -> None:
    place.rotate()
    with pytest.raises(UsageError, match="key new is the first of the configuration"):
        place.retire(key_id="new")


def test_a_key_that_nobody_knows_is_named_with_the_nearest(place: Place) -> None:
    with pytest.raises(NotFound, match="does not know key odl, the nearest known is 'old'"):
        place.retire(key_id="odl")


def test_a_key_that_alone_opens_something_stays_whole(place: Place) -> None:
    place.rotate()
    late = take(place.open(place.old, place.new), place.clock, SAMPLE, shard="s2")
    before = names(place.store)
    with pytest.raises(
        CheckFailed, match=f"it alone opens 1 of 6 wrapped keys.* s2/{late.label}: no other key"
    ):
        place.retire()
    assert names(place.store) == before
    (alone,) = plan_retirement(place.open(place.new, place.old), "old").alone
    assert (alone.label, alone.reason) == (late.label, "no other key wraps it")


def test_the_archive_of_a_shard_that_nobody_names_any_more_counts_as_well(place: Place) -> None:
    place.rotate()
    place.store.delete(layout.archive_key("s3", 1, "new"))
    with pytest.raises(CheckFailed, match="epoch s3/archive-000001"):
        place.retire()


@pytest.mark.parametrize("content", [b"{broken", None])
def test_another_key_that_does_not_open_counts_for_nothing(place: Place, content: bytes | None) -> None:
    place.rotate()
    backup = place.manifests[0].backup
    data = content or wrapped_anew(place, backup)
    replace(place.store, layout.wrapped_key(backup, "new"), data)
    with pytest.raises(CheckFailed, match="it alone opens 1 of 5"):
        place.retire()
    assert place.opens(place.old, place.new) == 5


def test_another_key_that_is_not_usable_here_counts_for_nothing(place: Place) -> None:
    place.rotate()
    third = place.source("third")
    introduce_key(place.open(place.new), Keyring([third, place.new]), "third", place.clock)
    with pytest.raises(CheckFailed, match="key new is not configured"):
        retire(place.open(third, place.old), "old", place.clock)


def test_two_who_retire_each_others_key_lose_nothing(place: Place) -> None:
    """The second begins when the first has tried the other key, and deletes what it need no longer keep."""

    class Meanwhile(ToldStore):
        def before(self, operation: str, key: str) -> None:
            if operation == "delete" and not refused:
                refused.append(key)
                with pytest.raises(CheckFailed, match="the others are being retired"):
                    retire(place.open(place.old, place.new), "new", TickingClock())

    refused: list[str] = []
    place.rotate()
    assert place.retire(Meanwhile(place.store)) == Retired("old", 5)  # pyright: ignore[reportArgumentType]
    assert refused
    assert place.opens(place.new) == 5


def test_a_key_that_is_being_retired_stands_for_no_other_until_that_is_taken_back(place: Place) -> None:
    place.rotate()
    place.store.put(layout.retiring_mark("new"), b"{}")
    with pytest.raises(CheckFailed, match="the others are being retired"):
        place.retire()
    keyring = Keyring([place.new, place.old])
    assert introduce_key(place.open(place.new), keyring, "new", place.clock) is Introduced.TAKEN_BACK
    assert place.retire() == Retired("old", 5)


def test_a_backup_that_begins_just_before_the_mark_keeps_its_key(place: Place) -> None:
    class Meanwhile(ToldStore):
        def before(self, operation: str, key: str) -> None:
            if operation == "put" and key.endswith(".retiring"):
                late.append(take(place.open(place.old, place.new), place.clock, SAMPLE, shard="s2"))

    late: list[Manifest] = []
    place.rotate()
    with pytest.raises(CheckFailed, match="it alone opens 1 of 6"):
        place.retire(Meanwhile(place.store))  # pyright: ignore[reportArgumentType]
    place.manifests += late
    assert len(place.wrapped_by("old")) == 7, "five, the new one, and the keyring's own"
    assert place.rotate().shut == ()
    assert place.retire().deleted == 6
    assert place.opens(place.new) == 6


def test_a_key_that_wraps_something_while_it_is_retired_stays_known(place: Place) -> None:
    """As a list that was behind shows only now."""

    class Behind(ToldStore):
        def after(self, operation: str, key: str) -> None:
            if operation == "delete" and key.startswith("keys/"):
                with suppress(ObjectExists):
                    self.inner.put(
                        layout.wrapped_key(BackupName("s2", "20270101T000000Z-full"), "old"), b"{}"
                    )

    place.rotate()
    with pytest.raises(CheckFailed, match="s2/20270101T000000Z-full was wrapped by it meanwhile"):
        place.retire(Behind(place.store))  # pyright: ignore[reportArgumentType]
    assert "keyring/old.json" in names(place.store)


@pytest.mark.parametrize("ended", [True, False])
def test_who_opened_the_repository_before_writes_nothing_new_with_a_retired_key(
    place: Place, ended: bool
) -> None:
    """As an archiver that nobody started again does at the next failover."""
    place.rotate()
    before = place.open(place.old)
    if ended:
        place.retire()
    else:
        place.store.put(layout.retiring_mark("old"), b"{}")
    with pytest.raises(KeyUnusable, match="was retired" if ended else "is being retired"):
        take(before, place.clock, SAMPLE, shard="s9")
    with pytest.raises(KeyUnusable):
        ShardArchive(before, "s9", level=1).open_epoch(FIRST, place.clock)
    assert [name for name in names(place.store) if "/s9/" in name] == ["archive/s9/000001/keys/old.json"]
    if not ended:
        assert place.rotate().shut == ()
        assert place.retire().deleted == 6


def test_what_died_in_the_making_must_be_wrapped_the_same(place: Place) -> None:
    place.rotate()
    backup = place.manifests[0].backup
    place.store.delete(layout.manifest(backup))
    assert len(plan_retirement(place.open(place.new, place.old), "old").places) == 5
    with pytest.raises(CheckFailed, match="key old is not here to compare"):
        retire(place.open(place.new), "old", place.clock)
    replace(place.store, layout.wrapped_key(backup, "new"), wrapped_anew(place, backup))
    with pytest.raises(CheckFailed, match="its wrapped keys are not the same"):
        place.retire()


def test_a_retirement_that_is_stopped_is_carried_on(place: Place) -> None:
    place.rotate()
    asked = threading.Event()
    asked.set()
    with pytest.raises(Cancelled):
        retire(place.open(place.new, place.old), "old", place.clock, cancelled=asked)
    assert survey_keys(place.open(place.new, place.old), ("new", "old")).keys[1].state == "retiring"
    assert place.retire() == Retired("old", 5)


def test_names_that_are_no_wrapped_keys_are_never_deleted(place: Place) -> None:
    place.rotate()
    strange = ["keys/s1/not-a-label/old.json", "keys/old.json", "archive/s1/x/keys/old.json", "old.json"]
    for name in strange:
        place.store.put(name, b"{}")
    place.retire()
    assert set(strange) <= set(names(place.store))


def test_a_key_is_made_known_once(place: Place) -> None:
    keyring = Keyring([place.old, place.source("third")])
    repository = place.open(place.old)
    assert introduce_key(repository, keyring, "third", place.clock) is Introduced.NEW
    entry = place.store.get("keyring/third.json")
    assert introduce_key(repository, keyring, "third", place.clock) is Introduced.KNOWN
    assert place.store.get("keyring/third.json") == entry


def test_a_key_of_a_known_id_with_other_content_is_refused(place: Place, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    other = file_keyring(tmp_path / "elsewhere", "old")
    with pytest.raises(KeyUnusable, match="key old is wrong"):
        introduce_key(place.open(place.new), other, "old", place.clock)


def test_a_key_that_is_not_configured_cannot_be_made_known(place: Place) -> None:
    with pytest.raises(NotFound, match="the configuration has no key nwe, the nearest known is 'new'"):
        introduce_key(place.open(place.new), Keyring([place.new]), "nwe", place.clock)


def test_a_lost_keyring_entry_is_made_anew_for_the_very_key_alone(place: Place, tmp_path: Path) -> None:
    place.store.delete("keyring/old.json")
    (tmp_path / "elsewhere").mkdir()
    other = file_keyring(tmp_path / "elsewhere", "old")
    with pytest.raises(KeyUnusable, match=r"the keyring lost key old, which wrapped backup s2/"):
        introduce_key(place.open(place.new), other, "old", place.clock)
    assert "keyring/old.json" not in names(place.store)
    keyring = Keyring([place.new, place.old])
    assert introduce_key(place.open(place.new), keyring, "old", place.clock) is Introduced.NEW
    assert place.opens(place.old) == 5


def test_the_survey_tells_what_each_key_opens_and_what_only_it_does(place: Place) -> None:
    extra = take(place.open(place.new), place.clock, SAMPLE, shard="s2")
    survey = survey_keys(place.open(place.new, place.old), ("new", "old"), ("s3",))
    new, old = survey.keys
    assert (new.key_id, new.provider, new.primary, new.state, new.problem) == (
        "new",
        "file",
        True,
        "opens",
        None,
    )
    assert (new.backups, new.epochs, new.only_backups, new.only_epochs) == (1, 0, 1, 0)
    assert (old.backups, old.epochs, old.only_backups, old.only_epochs) == (3, 2, 3, 2)
    assert survey.lost == ()
    alone = survey_keys(place.open(place.new), ("new",), ("s3",))
    assert [(key.key_id, key.configured, key.known, key.state) for key in alone.keys] == [
        ("new", True, True, "opens"),
        ("old", False, True, "unusable"),
    ]
    assert [each.label for each in alone.lost if each.epoch is None] != [extra.label]
    assert len(alone.lost) == 5


def test_a_public_half_can_be_rotated_to_and_its_private_half_opens(place: Place) -> None:
    create_pair(place.folder / "p.key", place.folder / "p.pub")
    sealing = PairSource("p", place.folder / "p.pub", None)
    opening = PairSource("p", None, place.folder / "p.key")
    introduce_key(place.open(place.old), Keyring([sealing]), "p", place.clock)
    assert place.rotate(sealing, place.old) == Rotated("p", 5, 0, ())
    assert place.rotate(sealing, place.old) == Rotated("p", 0, 5, ())
    assert place.opens(opening) == 5
    with pytest.raises(CheckFailed, match="of key p only the public half is here"):
        retire(place.open(sealing, place.old), "old", place.clock)
    assert retire(place.open(opening, place.old), "old", place.clock) == Retired("old", 5)
    assert place.opens(opening) == 5


def test_where_only_a_public_half_is_nothing_is_rotated_or_retired(place: Place) -> None:
    create_pair(place.folder / "p.key", place.folder / "p.pub")
    sealing = PairSource("p", place.folder / "p.pub", None)
    introduce_key(place.open(place.old), Keyring([sealing]), "p", place.clock)
    with pytest.raises(KeyUnusable, match="rotation has to read what is stored"):
        plan_rotation(place.open(sealing))
    with pytest.raises(KeyUnusable, match="retiring a key has to read"):
        plan_retirement(place.open(sealing), "old")
