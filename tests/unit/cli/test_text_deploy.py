"""What ``backstay deploy`` says of what it puts onto a Prefect server."""

from __future__ import annotations

from rich.console import Console

import cli.cmd_deploy  # noqa: F401 # pyright: ignore[reportUnusedImport] - it registers the texts
from cli.render import render_text
from drills.status.deploy_report import DeploymentChange, DeployReport


def told(
    deployments: tuple[DeploymentChange, ...], automations: tuple[DeploymentChange, ...], *, done: bool = True
) -> list[str]:
    report = DeployReport(
        done=done,
        fleet="shop",
        config="/etc/backstay/backstay.toml",
        api_url="http://prefect:4200/api",
        pools=(),
        queues=(),
        deployments=deployments,
        automations=automations,
        workers=(),
    )
    console = Console(width=100)
    with console.capture() as captured:
        console.print(render_text(report))
    return [" ".join(line.split()) for line in captured.get().splitlines() if line.strip()]


def test_an_automation_is_told_from_a_deployment() -> None:
    backup = DeploymentChange("backup/shop.a", "keep", ())
    health = DeploymentChange("backstay shop: health", "change", ("actions",))
    silence = DeploymentChange("backstay shop: nobody looks", "keep", ())
    failed = DeploymentChange("backstay shop: a run failed", "delete", ())
    lines = told((backup,), (health, silence, failed))
    assert "changed automation backstay shop: health actions" in lines
    assert "deleted automation backstay shop: a run failed" in lines
    assert "1 deployment and 1 automation are as wanted." in lines
    assert "delete automation backstay shop: a run failed" in told((backup,), (failed,), done=False)


def test_one_that_is_as_wanted_is_not_many() -> None:
    backup = DeploymentChange("backup/shop.a", "keep", ())
    assert "1 deployment is as wanted." in told((backup,), ())
    assert not [line for line in told((), ()) if "as wanted" in line]
