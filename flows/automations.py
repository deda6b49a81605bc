"""The automations of a fleet on its Prefect server, which tell through the blocks of `notify.prefect_blocks`.

As with deployments, ``plan_automations`` only reads, what is the same is not touched, what is ours and no
longer wanted is deleted, and others are left alone. One that somebody has disabled stays disabled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.events.actions import ActionTypes, SendNotification
from prefect.events.filters import AutomationFilter, AutomationFilterTags
from prefect.events.schemas.automations import Automation, AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import ResourceSpecification
from prefect.exceptions import ObjectNotFound

from drills.status.notify_prefect import AGAIN_EVENT, FLEET_LABEL, HEALTH_EVENTS
from fleet.clock import Clock
from fleet.figures import duration
from fleet.model import Fleet
from flows.applying import PutStep
from flows.deployments import ENTRYPOINTS, tags_of

SILENCE = timedelta(minutes=20)
"""So long after a run of ``archive-health`` ended, somebody is told that no other did: four were due."""

_PAGE = 200
_PARTS = ("description", "tags", "trigger", "actions")
_TAKING_SECONDS = 3.0
"""A server has stored an automation a moment before it listens for it."""
_OFTEN = timedelta(hours=1)
"""Failed runs of one deployment are told once in that time."""


@dataclass(frozen=True, slots=True)
class AutomationPlan:
    """What has to be done. ``problems``: why blocks cannot be used, by the name that the configuration has.

    While no block can be used, what is there stays as it is.
    """

    steps: tuple[PutStep, ...]
    problems: Mapping[str, str]
    wanted: Mapping[str, AutomationCore] = field(repr=False)
    there: Mapping[str, Automation] = field(repr=False)

    @property
    def tells_somebody_new(self) -> bool:
        """Changes of health reach somebody who did not hear of them until now."""
        return any(step.step in ("create", "change") and step.name.endswith(_HEALTH) for step in self.steps)


def plan_automations(
    client: SyncPrefectClient, fleet: Fleet, *, silence: timedelta = SILENCE
) -> AutomationPlan:
    """What ``apply_automations`` would do now."""
    blocks: dict[str, UUID] = {}
    problems: dict[str, str] = {}
    for name in fleet.notify.prefect_blocks:
        found = _block(client, name)
        if isinstance(found, str):
            problems[name] = found
        else:
            blocks[name] = found
    there = {each.name: each for each in _existing(client, fleet)}
    wanted = {each.name: each for each in wanted_automations(fleet, tuple(blocks.values()), silence=silence)}
    if problems and not blocks:
        return AutomationPlan(tuple(PutStep("keep", name) for name in there), problems, {}, there)
    steps = [_step(each, there.get(each.name)) for each in wanted.values()]
    steps += [PutStep("delete", name) for name in there if name not in wanted]
    return AutomationPlan(tuple(steps), problems, wanted, there)


def apply_automations(client: SyncPrefectClient, planned: AutomationPlan, clock: Clock) -> None:
    """Do it, and wait until the server listens. What is done twice is done once."""
    steps = {step.name: step.step for step in planned.steps}
    for name, step in steps.items():
        there = planned.there.get(name)
        if step == "create":
            client.create_automation(planned.wanted[name])
        elif step == "change" and there is not None:
            wanted = planned.wanted[name].model_copy(update={"enabled": there.enabled})
            client.update_automation(there.id, wanted)
        elif step == "delete" and there is not None:
            client.delete_automation(there.id)
    if set(steps.values()) & {"create", "change"}:
        clock.sleep(_TAKING_SECONDS)


_HEALTH, _NOBODY, _FAILED = "health", "nobody looks", "a run failed"
_RUN = "prefect.flow-run."
_NAME = "event.resource['prefect.resource.name']"


def wanted_automations(
    fleet: Fleet, blocks: tuple[UUID, ...], *, silence: timedelta = SILENCE
) -> tuple[AutomationCore, ...]:
    """All that the configuration asks for; each notifies through all ``blocks``, by their ids. Pure."""
    if not blocks:
        return ()
    always = (_health(fleet, blocks), _nobody_looks(fleet, blocks, silence))
    return (*always, _run_failed(fleet, blocks)) if fleet.notify.level == "warning" else always


def _health(fleet: Fleet, blocks: tuple[UUID, ...]) -> AutomationCore:
    return _automation(
        fleet,
        _HEALTH,
        "Tells that the health of a shard, or of the fleet itself, has changed.",
        trigger=EventTrigger(
            match=ResourceSpecification({FLEET_LABEL: [fleet.name]}),
            expect={f"{HEALTH_EVENTS}*", AGAIN_EVENT},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=_notify(
            blocks,
            f"{{{{ {_NAME} }}}}: {{{{ event.payload.changes[0].health or 'told again' }}}}",
            "{{ event.payload.text }}",
        ),
    )


def _nobody_looks(fleet: Fleet, blocks: tuple[UUID, ...], silence: timedelta) -> AutomationCore:
    ends = {f"{_RUN}Completed", f"{_RUN}Failed"}
    return _automation(
        fleet,
        _NOBODY,
        "Tells that no run looks at the fleet any more: the service, or its workers, are gone.",
        trigger=EventTrigger(
            match=ResourceSpecification({"prefect.resource.id": [f"{_RUN}*"]}),
            match_related=_related(fleet, "archive-health"),
            # Each end begins the wait anew. Prefect itself begins one when it takes the automation, and one
            # as long after it has told of silence.
            after=ends,
            expect=ends,
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=_notify(
            blocks,
            f"{fleet.name}: nobody looks",
            f"{fleet.name}: no run of archive-health/{fleet.name} has ended for "
            f"{duration(silence.total_seconds())}: nothing that is due is started.\n"
            "Does the service run, or the worker of that pool? backstay status",
        ),
    )


def _run_failed(fleet: Fleet, blocks: tuple[UUID, ...]) -> AutomationCore:
    return _automation(
        fleet,
        _FAILED,
        "Tells that a run failed, crashed or took too long, once an hour for each deployment.",
        trigger=EventTrigger(
            match=ResourceSpecification({"prefect.resource.id": [f"{_RUN}*"]}),
            # A look that finds something has failed, too: that is told as health.
            match_related=_related(fleet, *sorted(set(ENTRYPOINTS) - {"archive-health"})),
            expect={f"{_RUN}{state}" for state in ("Failed", "Crashed", "TimedOut")},
            for_each={"related:deployment:prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
            within=_OFTEN,
        ),
        actions=_notify(
            blocks,
            f"{fleet.name}: {{{{ {_NAME} }}}}: {{{{ event.resource['prefect.state-name'] }}}}",
            "{{ event.resource['prefect.state-message'] }}",
        ),
    )


def _automation(
    fleet: Fleet, what: str, description: str, *, trigger: EventTrigger, actions: list[ActionTypes]
) -> AutomationCore:
    return AutomationCore(
        name=_name(fleet, what),
        description=description,
        enabled=True,
        tags=sorted(tags_of(fleet)),
        trigger=trigger,
        actions=actions,
    )


def _notify(blocks: tuple[UUID, ...], subject: str, body: str) -> list[ActionTypes]:
    """Subject and body are templates, filled in by Prefect."""
    return [SendNotification(block_document_id=block, subject=subject, body=body) for block in blocks]


def _name(fleet: Fleet, what: str) -> str:
    return f"backstay {fleet.name}: {what}"


def _tags(fleet: Fleet, *kinds: str) -> list[str]:
    """As an event of a run names the tags of its deployment."""
    return [f"prefect.tag.{tag}" for tag in (*sorted(tags_of(fleet)), *(f"kind:{kind}" for kind in kinds))]


def _related(fleet: Fleet, *kinds: str) -> list[ResourceSpecification | dict[str, str | list[str]]]:
    """Runs of the fleet that are of one of these kinds."""
    every = len(tags_of(fleet))
    tags = _tags(fleet, *kinds)
    groups = [*([tag] for tag in tags[:every]), tags[every:]]
    return [ResourceSpecification({"prefect.resource.id": list(group)}) for group in groups]


def _existing(client: SyncPrefectClient, fleet: Fleet) -> Iterator[Automation]:
    """Those that carry the fleet's tags and are named as ours are."""
    ours = AutomationFilter(tags=AutomationFilterTags(all_=sorted(tags_of(fleet))))
    offset = 0
    while page := client.read_automations(automations=ours, limit=_PAGE, offset=offset):
        yield from (each for each in page if each.name.startswith(_name(fleet, "")))
        offset += len(page)


def _step(wanted: AutomationCore, there: Automation | None) -> PutStep:
    if there is None:
        return PutStep("create", wanted.name)
    before, after = there.model_dump(), wanted.model_dump()
    what = tuple(part for part in _PARTS if before[part] != after[part])
    return PutStep("change" if what else "keep", wanted.name, what)


def _block(client: SyncPrefectClient, name: str) -> UUID | str:
    """The id of a notification block; or why it cannot be used."""
    kind, _, block = name.partition("/")
    try:
        found = client.read_block_document_by_name(block, kind, include_secrets=False)
    except ObjectNotFound:
        return "the Prefect server has no such block"
    schema = found.block_schema
    if schema is None or "notify" not in schema.capabilities:
        return "the block is not one that notifies"
    return found.id
