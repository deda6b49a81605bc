"""How every run ends: a state with a message, a line in this machine's journal, and a word to the others.

A run that failed as something that a user can meet shows the error's text and its hint, not a traceback.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from drills.status.places import runs_file
from drills.status.run_journal import RunEnded, RunJournal
from drills.status.run_outcomes import DUTIES, tell_all
from fleet.clock import SystemClock
from fleet.config import load
from fleet.errors import ToolError
from fleet.model import Fleet
from flows.patient_lease import make_leases_patient
from flows.telling import log
from repository.outcomes import new_token

# Here, where every flow is: it counts from the import of the flow on, before Prefect asks for the first time.
make_leases_patient()


@dataclass(frozen=True, slots=True)
class Done:
    """What a run says at its end. ``skipped``: why there was nothing to do; ``label`` of the new backup."""

    message: str
    label: str | None = None
    skipped: bool = False


def recorded(flow: str, shard: str | None, work: Callable[[Fleet], Done]) -> State[None]:
    """Do the work of a run, write down how it ended, and return the state it ends in.

    Ended by Prefect (a cancellation, SIGTERM) it is written down as cancelled, and that is raised again.
    """
    clock = SystemClock()
    began = clock.now()
    try:
        fleet = load()
    except ToolError as error:
        return _failed(error)

    def write_down(**said: object) -> None:
        about = {
            "flow": flow,
            "shard": shard,
            "due_at": due_at(),
            "started_at": began,
            "ended_at": clock.now(),
            "token": new_token() if flow in DUTIES else None,
        }
        _write_down(fleet, RunEnded.model_validate({**about, **said}))

    try:
        done = work(fleet)
    except ToolError as error:
        # One that was cancelled by us took too long: that is a failure of the run.
        write_down(outcome="failed", exit_code=error.exit_code, message=error.message, hint=error.hint)
        return _failed(error)
    except TimeoutError:
        write_down(outcome="failed", exit_code=1, message="it took too long, and was ended")
        raise
    except Exception as error:
        write_down(outcome="failed", exit_code=1, message=f"a bug in Backstay: {type(error).__name__}")
        raise
    except BaseException:
        write_down(outcome="cancelled", exit_code=130, message="it was cancelled")
        raise
    write_down(outcome="skipped" if done.skipped else "done", message=done.message, label=done.label)
    return Completed(name="Skipped" if done.skipped else None, message=done.message)


def due_at() -> datetime | None:
    """When the schedule wanted this run; None for one that was asked for by hand."""
    run = _context().flow_run
    return run.expected_start_time if run is not None and run.auto_scheduled else None


def wanted_at() -> datetime:
    """When this run should have begun, by the schedule or by whoever asked for it."""
    run = _context().flow_run
    assert run is not None
    at = run.expected_start_time
    return at if at is not None else SystemClock().now()


def _context() -> FlowRunContext:
    context = FlowRunContext.get()
    assert context is not None, "only flows are recorded"
    return context


def _failed(error: ToolError) -> State[None]:
    return Failed(message=f"{error.message}. {error.hint}" if error.hint else error.message)


def _write_down(fleet: Fleet, run: RunEnded) -> None:
    """What cannot be written down must not turn a backup that exists into a failure."""
    try:
        RunJournal(runs_file(fleet)).append(run)
    except OSError as error:
        log(f"how the run ended could not be written to {runs_file(fleet)}: {error.strerror}")
    if run.token is not None and (problem := tell_all(fleet, run)):
        log(f"how the run ended is not told to other machines: {problem}")
