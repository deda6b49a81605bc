"""The one path of every backup: decide, copy, and try again what passes by itself."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from traceback import clear_frames

from backup.copying import CANCELLED_HINT
from backup.decision import decide
from backup.in_turn import ShardTurn, decided_in_turn, in_turn
from backup.one_copy import Unfit, copy_from
from backup.order import Order
from backup.result import BackupPlan, BackupResult
from fleet.errors import Cancelled, ToolError, TurnTaken
from wire import admin

FIRST_PAUSE_SECONDS = 5.0


def plan_backup(order: Order) -> BackupPlan:
    """What ``take_backup`` would do now. Raises what it would raise before the first byte."""
    decision = decide(order)
    choice = decision.donor
    with closing(order.connect(choice)) as session:
        size = admin.data_bytes(session)
    return BackupPlan(
        shard=order.shard.name,
        kind=decision.kind,
        donor=choice.server.name,
        reason=choice.reason,
        passed_over=choice.passed_over,
        data_bytes=size,
        repository=order.repository.store.describe(),
        findings=choice.candidate.findings,
        base=decision.base,
        built_on=decision.built_on,
        became_full_because=decision.became_full_because,
        saving=decision.saving,
    )


def take_backup(order: Order) -> BackupResult:
    """A backup that exists. What may pass by itself is tried again ``backup.retries`` times.

    Where the copy shows that it must not be built on its base, or the base is gone by then, all is copied
    once more, without one. Raises ``TurnTaken`` while somebody else backs up the shard.
    """
    with in_turn(order) as (order_in_turn, turn):
        return _take(order_in_turn, turn)


def _take(order: Order, turn: ShardTurn) -> BackupResult:
    interruptions: list[str] = []
    unfit: Unfit | None = None
    while True:
        try:
            with decided_in_turn(order, no_base_because=unfit and unfit.reason) as decision:
                taken = copy_from(decision, order, check_turn=turn.check)
            if isinstance(taken, BackupResult):
                return replace(taken, interruptions=tuple(interruptions))
            unfit = taken
        except ToolError as error:
            _let_go(error)
            if not _may_pass(error) or order.cancelled.is_set() or len(interruptions) >= order.policy.retries:
                raise
            interruptions.append(error.message)
            order.progress.stage("waiting to try again")
            _pause(order, FIRST_PAUSE_SECONDS * 2 ** (len(interruptions) - 1))


def _let_go(error: BaseException | None) -> None:
    """Who waits for the next try, or tells of this one, must not hold its buffers: they hang on the error by
    the frames that it passed, and it on them.
    """
    while error is not None:
        clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _may_pass(error: ToolError) -> bool:
    """Who has waited for its turn in vain, or lost it, does not get it by trying again at once."""
    return error.retryable and not isinstance(error, TurnTaken)


def _pause(order: Order, seconds: float) -> None:
    """Wait in short steps. Raises ``Cancelled``."""
    until = order.clock.monotonic() + seconds
    while (left := until - order.clock.monotonic()) > 0:
        if order.cancelled.is_set():
            raise Cancelled("the backup was cancelled", hint=CANCELLED_HINT)
        order.clock.sleep(min(left, 0.2))
