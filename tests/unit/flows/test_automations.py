"""Who is told by Prefect itself, and of what; what a real server does with it is a scenario."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect.events.actions import SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture

from flows.automations import SILENCE, wanted_automations
from flows.deployments import wanted_deployments
from tests.unit.flows.scheduled_fleets import described

BLOCKS = (UUID(int=1), UUID(int=2))


def wanted(*blocks: UUID, level: str = "warning") -> dict[str, AutomationCore]:
    fleet = described(notify={"level": level})
    return {each.name.removeprefix("backstay shop: "): each for each in wanted_automations(fleet, blocks)}


def trigger_of(automation: AutomationCore) -> EventTrigger:
    assert isinstance(automation.trigger, EventTrigger)
    return automation.trigger


def tags_in(automation: AutomationCore) -> list[set[str]]:
    """The tags that a run carries: one of each set."""
    matched: Any = trigger_of(automation).model_dump()["match_related"]
    return [{tag.removeprefix("prefect.tag.") for tag in each["prefect.resource.id"]} for each in matched]


def test_each_automation_notifies_through_every_block_and_without_one_there_is_none() -> None:
    assert wanted() == {}
    assert list(wanted(*BLOCKS)) == ["health", "nobody looks", "a run failed"]
    for automation in wanted(*BLOCKS).values():
        through = [act.block_document_id for act in automation.actions if isinstance(act, SendNotification)]
        assert through == list(BLOCKS)
        assert set(automation.tags) == {"backstay", "fleet:shop"}


def test_who_is_told_only_what_is_critical_is_not_told_of_single_runs() -> None:
    assert list(wanted(*BLOCKS, level="critical")) == ["health", "nobody looks"]


def test_a_look_that_finds_something_is_no_failed_run_and_no_silence() -> None:
    automations = wanted(*BLOCKS)
    silence = trigger_of(automations["nobody looks"])
    assert (silence.posture, silence.within) == (Posture.Proactive, SILENCE)
    assert silence.expect == {"prefect.flow-run.Completed", "prefect.flow-run.Failed"}
    assert tags_in(automations["nobody looks"]) == [{"backstay"}, {"fleet:shop"}, {"kind:archive-health"}]
    kinds = {tag for each in wanted_deployments(described(), in_pools=False) for tag in each.tags}
    told = {tag for tag in kinds if tag.startswith("kind:")} - {"kind:archive-health"}
    assert tags_in(automations["a run failed"]) == [{"backstay"}, {"fleet:shop"}, told]


def test_a_failed_run_is_told_once_an_hour_for_each_deployment() -> None:
    failed = trigger_of(wanted(*BLOCKS)["a run failed"])
    assert failed.for_each == {"related:deployment:prefect.resource.id"}
    assert failed.within.total_seconds() == 3600
