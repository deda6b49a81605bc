"""Which keys there are, what each opens, and what none opens any more (FORMAT.md, sections 4 and 5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from fleet.errors import Cancelled, ToolError
from fleet.figures import plural
from fleet.finding import Finding, Level
from repository import layout
from repository.key_places import PlaceSeen, Shut, find_places, open_place, why_not
from repository.keys import KeyringEntry
from repository.repository import Repository, is_there

NAMED = 3
"""So many of what nothing opens are named in a finding."""

_Entries: TypeAlias = dict[str, KeyringEntry | ToolError]


@dataclass(frozen=True, slots=True)
class KeySeen:
    """A key that the configuration, the keyring or a wrapped key names.

    ``provider`` is None where only wrapped keys name it. ``state``: ``opens``, ``seals`` (the public half
    alone), ``retiring``, or ``unusable``, and then ``problem`` says why. ``backups`` and ``epochs`` count
    what it wraps, ``only_backups`` and ``only_epochs`` what no other key wraps.
    """

    key_id: str
    provider: str | None
    primary: bool
    configured: bool
    known: bool
    state: str
    problem: str | None
    backups: int
    epochs: int
    only_backups: int
    only_epochs: int


@dataclass(frozen=True, slots=True)
class KeysSeen:
    """All keys, those of the configuration first; and what no configured key opens."""

    keys: tuple[KeySeen, ...]
    lost: tuple[Shut, ...]


def survey_keys(repository: Repository, configured: Sequence[str], shards: Iterable[str] = ()) -> KeysSeen:
    """Go by what wraps what; nothing is opened. ``configured``: ids, the first key first.

    Raises what the store raises.
    """
    seen = [each for each in find_places(repository, shards) if each.exists]
    entries = repository.keyring()
    named = {key_id for each in seen for key_id in each.key_ids}
    ids = [*configured, *sorted({*entries, *named} - set(configured))]
    keys = tuple(_key(repository, key_id, configured, entries, seen) for key_id in ids)
    return KeysSeen(keys, find_lost(repository, seen))


def find_lost(repository: Repository, seen: Iterable[PlaceSeen]) -> tuple[Shut, ...]:
    """Backups and epochs that no usable key of the configuration wraps.

    What a public half wraps is not lost: it opens where the private one is.
    """
    lost = (each for each in seen if each.exists and not set(each.key_ids) & set(repository.keys.keks))
    # What was deleted meanwhile is not lost either.
    return tuple(
        Shut.of(each, why_not(repository, each, ()))
        for each in lost
        if is_there(repository.store, each.place.sealed)
    )


def judge_keys(
    repository: Repository, configured: Sequence[str], shards: Iterable[str] = ()
) -> list[Finding]:
    """A finding for each key of the configuration, and one for all that none of them opens.

    The first key must be usable; without another one only old backups cannot be read. Each that opens
    something is tried on the newest that it wraps. Where nothing can be opened nothing is looked for either:
    such a machine need not be allowed to. Raises what a retry can cure.
    """
    blind = repository.keys.why_nothing_opens() is not None
    seen = [] if blind else [each for each in find_places(repository, shards) if each.exists]
    findings = [
        _judge_key(repository, key_id, seen, is_first=number == 0) for number, key_id in enumerate(configured)
    ]
    lost = find_lost(repository, seen)
    return [*findings, _lost_finding(lost)] if lost else findings


def _judge_key(repository: Repository, key_id: str, seen: Sequence[PlaceSeen], *, is_first: bool) -> Finding:
    subject = f"key {key_id}"
    error = repository.keys.failures.get(key_id) or _try_newest(repository, key_id, seen)
    if error:
        level = Level.FAIL if is_first else Level.WARN
        return Finding(level, subject, error.message, error.hint)
    if key_id not in repository.keys.openers:
        role = "wraps new backups, and opens none: " if is_first else "opens no old backups: "
        return Finding(Level.OK, subject, f"{role}only its public half is here")
    return Finding(Level.OK, subject, "wraps new backups" if is_first else "opens old backups")


def _try_newest(repository: Repository, key_id: str, seen: Sequence[PlaceSeen]) -> ToolError | None:
    wrapped = [each for each in seen if key_id in each.key_ids]
    if not wrapped or key_id not in repository.keys.openers:
        return None
    newest = max(wrapped, key=lambda each: (each.place.epoch is None, each.place.label))
    try:
        open_place(repository, newest, key_id)
    except ToolError as error:
        if error.retryable or isinstance(error, Cancelled):
            raise
        # What was deleted meanwhile says nothing of the key.
        return error if is_there(repository.store, newest.place.sealed) else None
    return None


def _lost_finding(lost: Sequence[Shut]) -> Finding:
    backups = sum(each.epoch is None for each in lost)
    counts = [(backups, "backup"), (len(lost) - backups, "epoch")]
    what = " and ".join(plural(count, noun) for count, noun in counts if count)
    named = ", ".join(str(each.place) for each in lost[-NAMED:])
    more = "such as " if len(lost) > NAMED else ""
    ids = sorted({key_id for each in lost for key_id in each.wrapped_by})
    return Finding(
        Level.FAIL,
        "keys",
        f"{what} cannot be opened by any key of the configuration: {more}{named}",
        f"Put the key back, or name it under [[keys]]: {', '.join(ids)}. `backstay keys list` tells more."
        if ids
        else "Put their wrapped keys back from another copy of the repository.",
    )


def _key(
    repository: Repository,
    key_id: str,
    configured: Sequence[str],
    entries: _Entries,
    seen: Sequence[PlaceSeen],
) -> KeySeen:
    entry = entries.get(key_id)
    state, problem = _state(repository, key_id, configured)
    wrapped = [each for each in seen if key_id in each.key_ids]
    alone = [each for each in wrapped if len(each.key_ids) == 1]
    return KeySeen(
        key_id,
        entry.provider if isinstance(entry, KeyringEntry) else None,
        key_id == configured[0],
        key_id in configured,
        entry is not None,
        state,
        problem,
        *_count(wrapped),
        *_count(alone),
    )


def _count(seen: Sequence[PlaceSeen]) -> tuple[int, int]:
    backups = sum(each.place.epoch is None for each in seen)
    return backups, len(seen) - backups


def _state(repository: Repository, key_id: str, configured: Sequence[str]) -> tuple[str, str | None]:
    if is_there(repository.store, layout.retiring_mark(key_id)):
        return "retiring", "its retirement was begun and not ended; run it again, or take it back by keys add"
    if key_id not in configured:
        return "unusable", "it is not in the configuration"
    if failure := repository.keys.failures.get(key_id):
        return "unusable", failure.message
    return ("opens", None) if key_id in repository.keys.openers else ("seals", "only its public half is here")
