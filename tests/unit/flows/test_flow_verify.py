"""What a scheduled verification says when what it found could not be written down."""

from __future__ import annotations

import pytest

from fleet.errors import CheckFailed
from flows.verify import ended, facts_of
from repository.findings import Noted
from repository.verification import BrokenBackup, Verification

SOUND = Verification(())
BROKEN = Verification((), broken=(BrokenBackup("s1", "20260301T020000Z-full", "a pack is gone", ()),))
UNNOTED = Noted(incomplete_because="the store denies it")
WHY = "not all findings could be written down or taken away: the store denies it"


def test_a_verification_that_finds_nothing_wrong_is_sound() -> None:
    assert ended(SOUND, Noted()).message == "sound: 0 B of 0 backups"
    assert dict(facts_of(SOUND, Noted()))["Findings"] == "0 new"


def test_findings_that_could_not_be_kept_are_told() -> None:
    with pytest.raises(CheckFailed) as failed:
        ended(BROKEN, UNNOTED)
    assert failed.value.message.endswith(f"; {WHY}")
    assert ended(SOUND, UNNOTED).message.endswith(f"; {WHY}")
    assert dict(facts_of(SOUND, UNNOTED))["Findings"] == WHY


def test_what_is_damaged_fails_the_run() -> None:
    with pytest.raises(CheckFailed, match=r"^1 backup cannot be restored whole: s1/20260301T020000Z-full$"):
        ended(BROKEN, Noted())
