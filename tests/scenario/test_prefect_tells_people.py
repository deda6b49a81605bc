"""Notifications through Prefect: a real server, a block of its own that posts to an inbox of the test."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from drills.status.notify import notify
from fleet.clock import SystemClock
from fleet.model import Fleet
from flows.applying import prefect_client
from flows.automations import SILENCE, AutomationPlan, apply_automations, plan_automations
from flows.environment import environment_of, events_api_of
from flows.password import ensure_password
from tests.inbox import Inbox, inbox
from tests.scenario.doors import Door
from tests.schedulers import Scheduler, wait_until, written
from tests.unit.drills.test_notify import GAP, fleet, shard
from tests.unit.flows.scheduled_fleets import described

pytestmark = pytest.mark.slow

BLOCK = "custom-webhook/operations"
HEALTH, NOBODY, FAILED = (f"backstay shop: {what}" for what in ("health", "nobody looks", "a run failed"))
SHORTEST = timedelta(seconds=10)
"""Prefect lets nobody wait shorter for what does not come."""


class Hasty(SystemClock):
    """It waits for nothing."""

    def sleep(self, seconds: float) -> None: ...


class Prefect:
    """The embedded server of the fleet ``shop``, with its password."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.password = ensure_password(directory)
        user, _, secret = self.password.partition(":")
        self.scheduler = Scheduler(directory, (user, secret))

    def start(self) -> None:
        environment = environment_of(self.shop(), self.directory, self.directory / "no.toml", os.environ)
        self.scheduler.start(environment | {"PREFECT_SERVER_EVENTS_PROACTIVE_GRANULARITY": "PT1S"})

    def shop(self, *blocks: str, level: str = "warning") -> Fleet:
        return described(
            scheduler={"port": self.scheduler.port},
            service={"directory": str(self.directory)},
            notify={"prefect_blocks": list(blocks), "level": level},
        )

    def plan(self, fleet: Fleet, silence: timedelta = SILENCE) -> AutomationPlan:
        with self._client(fleet) as client:
            return plan_automations(client, fleet, silence=silence)

    def put(self, fleet: Fleet, silence: timedelta = SILENCE) -> dict[str, str]:
        """What became of each automation."""
        with self._client(fleet) as client:
            planned = plan_automations(client, fleet, silence=silence)
            apply_automations(client, planned, Hasty())
        return {step.name: step.step for step in planned.steps}

    @contextmanager
    def _client(self, fleet: Fleet) -> Generator[SyncPrefectClient]:
        said: dict[Any, str] = {PREFECT_API_URL: self.scheduler.url, PREFECT_API_AUTH_STRING: self.password}
        with temporary_settings(said), prefect_client(fleet) as client:
            yield client

    def make_block(self, url: str) -> None:
        """As somebody does it in Prefect's pages."""
        kinds: list[dict[str, Any]] = []

        def has_kind() -> bool:
            # The server learns its own kinds of blocks in the background of its start.
            with_name = "/block_types/slug/custom-webhook"
            answer = httpx.get(f"{self.scheduler.url}{with_name}", auth=self.scheduler.auth, timeout=30)
            if answer.status_code == 200:
                body = {"block_schemas": {"block_type_id": {"any_": [answer.json()["id"]]}}}
                kinds[:] = self.scheduler.ask("POST", "/block_schemas/filter", body)
            return bool(kinds)

        wait_until("the kind of block", has_kind)
        data = {"name": "operations", "url": url, "json_data": {"title": "{{subject}}", "text": "{{body}}"}}
        document = {"name": "operations", "data": data, "block_schema_id": kinds[0]["id"]}
        self.scheduler.ask(
            "POST", "/block_documents/", document | {"block_type_id": kinds[0]["block_type_id"]}
        )

    def automations(self) -> dict[str, dict[str, Any]]:
        return {each["name"]: each for each in self.scheduler.ask("POST", "/automations/filter", {})}

    def fail_a_run(self, message: str) -> None:
        run = self.scheduler.begin("backup/shop.a", {})
        state = {"type": "FAILED", "message": message}
        self.scheduler.ask("POST", f"/flow_runs/{run}/set_state", {"state": state, "force": True})


@pytest.fixture(scope="module")
def prefect() -> Iterator[Prefect]:
    with tempfile.TemporaryDirectory(prefix="backstay-told-") as folder:
        made = Prefect(Path(folder))
        try:
            made.start()
            yield made
        finally:
            made.scheduler.kill()


@pytest.fixture
def told() -> Iterator[Inbox]:
    with inbox() as made:
        yield made


def test_a_change_of_health_a_failed_run_and_silence_reach_somebody_through_prefect(
    prefect: Prefect, told: Inbox
) -> None:
    shop, scheduler = prefect.shop(BLOCK), prefect.scheduler
    missing = prefect.plan(shop)
    assert (missing.steps, missing.problems) == ((), {BLOCK: "the Prefect server has no such block"})
    prefect.make_block(f"{told.url}/secret")
    trigger = {"type": "event", "expect": ["other"], "posture": "Reactive", "threshold": 1, "within": 0}
    stranger = {"trigger": trigger, "actions": [{"type": "do-nothing"}]}
    # Another fleet's name begins with ours, and somebody files one of his own under our tags.
    tags = ["backstay", "fleet:shop"]
    for name, of in (("backstay shop.eu: health", ["backstay", "fleet:shop.eu"]), ("my own", tags)):
        scheduler.ask("POST", "/automations/", {**stranger, "name": name, "tags": of})
    assert set(prefect.put(shop, SHORTEST).items()) == {(name, "create") for name in (HEALTH, NOBODY, FAILED)}
    assert set(prefect.put(shop, SHORTEST).values()) == {"keep"}

    # A fleet of whose blocks one is not there: that is an error, and all else is put.
    _deploy_another(prefect)

    changed = replace(fleet(shard("a", GAP)), fleet="shop")
    api = events_api_of(shop, prefect.directory)
    assert notify(changed, shop.notify, prefect.directory / "notified.json", prefect=api) == ()
    flow = scheduler.ask("POST", "/flows/", {"name": "backup"})["id"]
    deployment = {"name": "shop.a", "flow_id": flow, "tags": ["backstay", "fleet:shop", "kind:backup"]}
    scheduler.ask("POST", "/deployments/", deployment)
    prefect.fail_a_run("the donor is busy")
    prefect.fail_a_run("it is told only once an hour")
    health, failed, silence = "shop, shard a: critical", "shop: RUN: Failed", "shop: nobody looks"
    wait_until("what changed and what failed", lambda: {health, failed} <= set(_titles(told)))
    # No run of archive-health has ever ended: it counts from when the automation was put.
    wait_until("that nobody looks", lambda: silence in _titles(told))
    texts = dict(zip(_titles(told), (body["text"] for body in told.bodies), strict=False))
    assert texts[health].splitlines()[1] == "Take a backup now."
    assert texts[failed] == "the donor is busy"
    assert texts[silence].startswith(
        "shop: no run of archive-health/shop has ended for 10 s: nothing that is due is started."
    )
    # While it lasts silence is told again; nothing else is told twice, nor by another's automation.
    assert sorted(title for title in _titles(told) if title != silence) == sorted((health, failed))

    # What somebody has switched off stays so; what is not wanted any more goes, and only that.
    scheduler.ask("PATCH", f"/automations/{prefect.automations()[NOBODY]['id']}", {"enabled": False})
    critical = prefect.put(prefect.shop(BLOCK, level="critical"))
    assert critical == {HEALTH: "keep", NOBODY: "change", FAILED: "delete"}
    after = prefect.automations()
    assert (after[NOBODY]["enabled"], after[NOBODY]["trigger"]["within"]) == (False, SILENCE.total_seconds())
    assert after[HEALTH]["enabled"] and FAILED not in after
    # Without any block that can be used, what is there waits for one.
    assert set(prefect.put(prefect.shop("custom-webhook/gone")).values()) == {"keep"}
    assert prefect.put(prefect.shop()) == {HEALTH: "delete", NOBODY: "delete"}
    left = set(prefect.automations())
    assert {"backstay shop.eu: health", "my own", "backstay other: health"} <= left
    assert not left & {HEALTH, NOBODY, FAILED}


def _titles(told: Inbox) -> list[str]:
    """Of each message; a run has the name that Prefect has given it."""
    return [re.sub(r": \S+: Failed$", ": RUN: Failed", body["title"]) for body in told.bodies]


def _deploy_another(prefect: Prefect) -> None:
    """`backstay deploy` of the fleet ``other``, which names a block that is there and one that is not."""
    secret = prefect.directory / "auth"
    secret.write_text(prefect.password)
    secret.chmod(0o600)
    other = described(
        name="other",
        scheduler={"api_url": prefect.scheduler.url, "api_auth": {"file": str(secret)}},
        service={"directory": str(prefect.directory / "other")},
        notify={"prefect_blocks": [BLOCK, "custom-webhook/gone"]},
    )
    config = written(other, prefect.directory / "other.toml")
    door, gone = Door(config, prefect.directory), "custom-webhook/gone: the Prefect server has no such block"
    planning = door.start("deploy", "--dry-run")
    out, err = planning.communicate(timeout=60)
    # All that would be done is shown, and nothing but the error is told beside it.
    assert planning.returncode == 10
    assert re.search(r"create +backup/other\.a\n", out)
    assert re.fullmatch(r"error: .*\nhint: .*\n", err)
    assert f"{gone}; nothing was changed" in err
    assert not (prefect.directory / "other").exists()
    refused = door.json("deploy", expect=10)
    assert f"{gone}; all else was put" in refused["error"]["message"]
    assert {each["step"] for each in refused["deployments"]} == {"create"}
    assert prefect.scheduler.deployment("backup/other.a")["tags"]
    assert len([name for name in prefect.automations() if name.startswith("backstay other: ")]) == 3
