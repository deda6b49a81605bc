"""How runs ended on all machines: this one's journal, and what the others told in the repository."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from drills.status import places
from drills.status.run_journal import RunEnded, RunJournal
from fleet.errors import Cancelled, ToolError
from fleet.model import Fleet
from fleet.process import host_name
from fleet.schedule import KINDS
from repository.keys import Keyring
from repository.outcomes import MAX_TEXT, Outcome, OutcomeDocument, Outcomes, OutcomesKnown
from repository.repository import Repository
from repository.stores.opening import open_store
from repository.stores.retrying import RetryPolicy

DUTIES = frozenset({*KINDS, "retention", "verify", "proof"})
"""What is told: what somebody would miss. Runs that come every few minutes are told by what they do."""

TELL_SECONDS = 10.0
"""No run waits longer until the others know how it ended."""

_TOLD = {"due_at", "started_at", "ended_at", "outcome", "exit_code", "label"}
_TEXTS = ("message", "hint")
_AT_ONCE = RetryPolicy(
    deadline_seconds=TELL_SECONDS, first_contact_seconds=TELL_SECONDS, longest_delay_seconds=1.0
)


def tell_all(fleet: Fleet, run: RunEnded, *, seconds: float = TELL_SECONDS) -> str | None:
    """Put into the repository how ``run`` ended, or say why that could not be done within ``seconds``.

    Raises ``Cancelled`` alone.
    """
    errors: list[ToolError] = []
    done = threading.Event()

    def put() -> None:
        try:
            store = open_store(fleet.repository, policy=_AT_ONCE)
            Outcomes(Repository.open(store, Keyring.from_config(fleet.keys))).put(_outcome(fleet, run))
        except ToolError as error:
            errors.append(error)
        except Exception as error:  # noqa: BLE001 (whatever it was, nobody else knows how the run ended)
            errors.append(ToolError(f"a bug in Backstay: {type(error).__name__}"))
        finally:
            done.set()

    # A store that hangs keeps this thread, and not the run.
    threading.Thread(target=put, name="outcome", daemon=True).start()
    if not done.wait(seconds):
        return f"the store gave no answer within {seconds:g} s"
    if errors and isinstance(errors[0], Cancelled):
        raise errors[0]
    return errors[0].message if errors else None


def all_runs(
    fleet: Fleet, repository: Repository, known: OutcomesKnown | None = None
) -> tuple[RunEnded, ...]:
    """Runs of the fleet in the order in which they ended: those of this machine, and the last few of each
    duty that others told of. ``known``: what was read before. Raises ``Cancelled``.

    A store that does not tell leaves this machine's: that it is away others find out.
    """
    own = RunJournal(places.runs_file(fleet)).all()
    tokens = {run.token for run in own if run.token is not None}
    try:
        told = Outcomes(repository).all(but=tokens, known=known)
    except Cancelled:
        raise
    except ToolError:
        return own
    return tuple(sorted((*own, *_of_fleet(fleet, told)), key=lambda run: run.ended_at))


def _outcome(fleet: Fleet, run: RunEnded) -> Outcome:
    assert run.token is not None
    texts = {name: text[:MAX_TEXT] for name in _TEXTS if (text := getattr(run, name))}
    told = OutcomeDocument.model_validate(run.model_dump(include=_TOLD) | texts | {"host": host_name()})
    scope, name = ("fleet", fleet.name) if run.shard is None else ("shard", run.shard)
    return Outcome(scope, name, run.flow, run.token, told)


def _of_fleet(fleet: Fleet, outcomes: Iterable[Outcome]) -> Iterable[RunEnded]:
    shards = {shard.name for shard in fleet.shards}
    for each in outcomes:
        is_whole = each.scope == "fleet" and each.name == fleet.name
        if is_whole or (each.scope == "shard" and each.name in shards):
            yield _run(each, None if is_whole else each.name)


def _run(outcome: Outcome, shard: str | None) -> RunEnded:
    told = outcome.told
    message = None if told.message is None else _shown(told.message)
    if told.host != host_name():
        message = f"{message or told.outcome} (on {_shown(told.host)})"
    texts = {"message": message, "hint": None if told.hint is None else _shown(told.hint)}
    known = {"flow": outcome.duty, "shard": shard, "token": outcome.token}
    return RunEnded.model_validate(told.model_dump(include=_TOLD) | known | texts)


def _shown(text: str) -> str:
    """What somebody else wrote, without what a terminal would obey."""
    return "".join(each if each.isprintable() or each == "\n" else "?" for each in text)
