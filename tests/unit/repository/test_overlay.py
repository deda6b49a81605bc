"""The overlay against the plainest reading: links applied whole, one over the other, from the full on."""

from __future__ import annotations

import random

import pytest
from chained import Donor, Taken, by_overlay, oldest_first, take_link, take_referring
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sealed_backups import TickingClock, differing, file_keyring

from repository.repository import Repository
from repository.stores.memory import MemoryStore

PAGES = (1024, 4096, 8192, 16384)


def live(donor: Donor) -> None:
    """Some of what happens to a server between two backups."""
    chance = donor.chance
    for file in list(donor.files):
        deed = chance.choice(("change", "change", "grow", "shrink", "rename", "truncate", "drop", "rest"))
        if deed == "change":
            for _ in range(chance.randrange(1, 9)):
                donor.change(file, chance.randrange(len(file.pages)))
        elif deed == "grow":
            donor.change(file, len(file.pages) + chance.randrange(9))
        elif deed == "shrink":
            # No writer goes on from such a base; a reader must still not bring back what was cut off.
            del file.pages[max(1, len(file.pages) - chance.randrange(9)) :]
        elif deed == "rename":
            file.name = f"renamed/{file.space_id}.{chance.getrandbits(40)}.ibd"
        elif deed == "truncate":
            donor.drop(file)
            donor.create(donor.unused_id(), chance.randrange(1, 9), page_size=file.page_size).name = file.name
        elif deed == "drop":
            donor.drop(file)
    for _ in range(chance.randrange(3)):
        donor.create(donor.unused_id(), chance.randrange(1, 40), page_size=chance.choice(PAGES))


@given(seed=st.integers(0, 2**32), kinds=st.lists(st.sampled_from("iiir"), max_size=5))
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_each_backup_of_any_history_is_what_the_donor_was(
    tmp_path_factory: pytest.TempPathFactory, seed: int, kinds: list[str]
) -> None:
    clock = TickingClock()
    repository = Repository.create(MemoryStore(), file_keyring(tmp_path_factory.getbasetemp()), clock)
    donor = Donor(random.Random(seed))
    for ordinal in (0, 1):
        donor.create(0, 12, ordinal=ordinal)
    for number in range(3):
        donor.create(donor.unused_id(), 4 + 30 * number, page_size=PAGES[number])
    taken: list[Taken] = [take_link(repository, clock, donor)]
    for kind in kinds:
        live(donor)
        step = take_link if kind == "i" else take_referring
        taken.append(step(repository, clock, donor, taken[-1].manifest))
    for each in taken:
        assert differing(by_overlay(repository, each.manifest), dict(each.content)) == []
        assert differing(oldest_first(repository, each.manifest), dict(each.content)) == []
