"""The alert rules as Prometheus itself reads them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from drills.status.exporter import exposition
from tests.programs import program
from tests.unit.drills import seen_fleets as fleets

PROMETHEUS = Path(__file__).parents[2] / "infra" / "prometheus"
GRAFANA = Path(__file__).parents[2] / "infra" / "grafana" / "backstay.json"


def promtool(
    *words: str, given: bytes | None = None, at: Path = PROMETHEUS
) -> subprocess.CompletedProcess[bytes]:
    command = [str(program("promtool")), *words]
    return subprocess.run(command, input=given, capture_output=True, timeout=60, check=False, cwd=at)


def test_the_rules_and_the_example_configuration_are_taken() -> None:
    for words in (("check", "rules", "rules.yml"), ("check", "config", "prometheus.yml")):
        done = promtool(*words)
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_fires_when_it_should_and_not_before() -> None:
    done = promtool("test", "rules", "rules.test.yml")
    assert done.returncode == 0, done.stdout + done.stderr


def test_what_is_exported_follows_the_conventions() -> None:
    for status in (fleets.fleet_that_is_ill(), fleets.fleet_that_nobody_can_ask()):
        done = promtool("check", "metrics", given=exposition(status, fleets.NOW))
        assert done.returncode == 0, done.stdout + done.stderr


def test_every_query_of_the_dashboard_can_be_asked(tmp_path: Path) -> None:
    panels = json.loads(GRAFANA.read_text())["panels"]
    queries = [target["expr"] for panel in panels for target in panel["targets"]]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
    (tmp_path / "queries.yml").write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}))
    done = promtool("check", "rules", "queries.yml", at=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
