"""The flow ``verify``: a part of all that is stored is read again, each time another one."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from drills.reading import page_check, reading_threads
from fleet import figures
from fleet.clock import Clock, SystemClock
from fleet.errors import CheckFailed
from fleet.model import Fleet
from fleet.state_place import state_directory
from flows.opening import open_repository
from flows.recorded import Done, recorded
from flows.running import HowFar
from flows.telling import Teller, show_table
from repository.catalog import Catalog
from repository.findings import Findings, Noted
from repository.verification import Verification, verify_all
from repository.verify import Reading
from repository.verify_sample import SampleState

_NAMED = 3


@flow(name="verify", flow_run_name="verify", retries=0, persist_result=False)
def verify() -> State[None]:
    """Read, compare, and write down what is damaged."""
    return recorded("verify", None, _work)


def _work(fleet: Fleet) -> Done:
    """In the main thread, for nothing is held: a cancellation may strike anywhere."""
    repository = open_repository(fleet)
    shards = sorted({*Catalog(repository).shards(), *(shard.name for shard in fleet.shards)})
    state = SampleState(state_directory(fleet) / "verify.sample.json")
    state_directory(fleet).mkdir(parents=True, exist_ok=True, mode=0o700)
    sample = state.begin(fleet.schedule.verify_percent)
    reading = Reading(reading_threads(fleet), page_check, sample)
    found = verify_all(repository, shards, reading, _Display(SystemClock()))
    noted = Findings(repository).settle(found, reading, quick=False)
    state.finish(sample)
    show_table("verify", facts_of(found, noted))
    return ended(found, noted)


def ended(found: Verification, noted: Noted) -> Done:
    """What the run says at its end, also of what could not be written down. Raises ``CheckFailed``."""
    if not found.is_sound:
        said = "; ".join([_what_is_damaged(found), *_not_noted(noted)])
        raise CheckFailed(said, hint="See: backstay verify --all")
    read = f"{figures.size(_read_bytes(found))} of {figures.plural(len(found.backups), 'backup')}"
    return Done("; ".join([f"sound: {read}", *_not_noted(noted)]))


class _Display:
    """Who watches, as verification tells it."""

    def __init__(self, clock: Clock) -> None:
        self._tell = Teller("verify", clock)
        self._stage = "beginning"

    def stage(self, name: str, total_bytes: int | None = None) -> None:
        self._stage = name
        self._tell(HowFar(name, 0, total_bytes, ()))

    def reach(self, done_bytes: int, total_bytes: int) -> None:
        self._tell(HowFar(self._stage, done_bytes, total_bytes, ()))


def _what_is_damaged(found: Verification) -> str:
    bad = [str(each.backup) for each in found.broken]
    bad += [f"{each.shard}/{each.label}" for each in found.unreadable]
    if not bad:
        return "what is stored is damaged, and no backup is broken by what was read"
    some = ", ".join(bad[:_NAMED]) + (" ..." if len(bad) > _NAMED else "")
    return f"{figures.plural(len(bad), 'backup')} cannot be restored whole: {some}"


def _read_bytes(found: Verification) -> int:
    return sum(each.stored_bytes for each in (*found.backups, *found.archives))


def _not_noted(noted: Noted) -> list[str]:
    why = noted.incomplete_because
    return [f"not all findings could be written down or taken away: {why}"] if why else []


def facts_of(found: Verification, noted: Noted) -> list[tuple[str, str]]:
    """What the table of a run shows."""
    return [
        ("Backups", f"{len(found.backups):,}"),
        ("Read", figures.size(_read_bytes(found))),
        ("Damaged objects", f"{sum(len(each.damages) for each in found.backups):,}"),
        ("Broken backups", ", ".join(str(each.backup) for each in found.broken)),
        ("Unreadable", ", ".join(f"{each.shard}/{each.label}" for each in found.unreadable)),
        ("Findings", "; ".join(_not_noted(noted)) or f"{len(noted.recorded):,} new"),
    ]
