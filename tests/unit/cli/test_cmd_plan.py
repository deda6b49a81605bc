"""``backstay plan``: forecasts from a history, from options alone, and the example of the guide."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from pathlib import Path

import pytest
from door import Backstay
from test_cmd_backups import SIZE, UUID, facts

import cli.text_plan  # noqa: F401 # pyright: ignore[reportUnusedImport] - it registers the texts
from backup.capacity import Wish, plan_capacity
from cli.assuming import parse_assumptions, parse_prices
from cli.render import show_text
from cli.sizes import parse_size_option
from fleet.blocks import Extent, Stage
from fleet.clock import SystemClock
from fleet.config import load
from fleet.errors import UsageError
from fleet.figures import duration
from fleet.gtid import GtidSet
from fleet.parallelism import Parallelism
from repository.archive.archive import ShardArchive
from repository.archive.ledger import EpochFacts
from repository.catalog import Catalog
from repository.keys import FileSource, Keyring
from repository.manifest import Manifest, Proof
from repository.repository import Repository
from repository.stores.filesystem import FilesystemStore
from repository.writer import begin_backup

ROOT = Path(__file__).parents[3]
ASSUMED = ("--no-history", "--assume", "size=20TB,change=2%/day,compression=3,archive=50GB/day,rate=1.25GB/s")


class Midnight(SystemClock):
    """The first of March, all day long."""

    def now(self) -> datetime:
        return datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def repository(backstay: Backstay, home: Path) -> Repository:
    assert backstay("init", "--new-key", "k1.key").exit_code == 0
    store = FilesystemStore(home / "repository")
    return Repository.open(store, Keyring([FileSource("k1", home / "k1.key")]))


@pytest.fixture
def proven(repository: Repository) -> Manifest:
    """A full of shard s1, and a restore of it that took two seconds to fetch."""
    with begin_backup(
        repository,
        "s1",
        "full",
        parallelism=Parallelism(),
        pack_size=1024 * 1024,
        level=1,
        clock=SystemClock(),
    ) as writer:
        lane = writer.open_lane()
        for at in range(0, SIZE, 1024 * 1024):
            lane.add(Stage.FILE, (Extent(0, at, 1024 * 1024),), memoryview(bytes(1024 * 1024)))
        lane.close()
        manifest = writer.complete(facts())
    proof = Proof(
        repository_id=repository.repository_id,
        shard="s1",
        label=manifest.label,
        proven=True,
        gtid_executed=f"{UUID}:1-80",
        server_version="8.4.5",
        seconds={"fetch": 2.0, "recover": 3.0, "read": 0.5, "check": 0.5},
        finished_at=datetime.now(UTC),
        created_by="a test",
    )
    Catalog(repository).record_proof(manifest, proof)
    return manifest


def test_an_empty_repository_is_told_how_to_be_measured(backstay: Backstay, repository: Repository) -> None:
    answer = backstay("plan")
    assert answer.exit_code == 0
    assert "No forecast of storage" in answer.out
    assert "take a full backup: backstay backup full" in answer.out
    assert "assumed" not in answer.out
    for shard in backstay("plan", "--json").json["shards"]:
        assert all(figure["value"] is None for figure in shard["figures"].values())
        assert all(way["keeps"] is None for way in shard["ways"])
        # Nothing is archived: what was written since the last backup is lost.
        assert (shard["loss"]["mode"], shard["loss"]["seconds"]) == ("none", 6 * 3600)


def test_what_was_measured_is_taken_from_the_history(backstay: Backstay, proven: Manifest) -> None:
    shard = backstay("plan", "s1", "--json").json["shards"][0]
    figures = shard["figures"]
    assert (figures["size"]["value"], figures["size"]["origin"]) == (SIZE, "measured")
    assert figures["rate"]["value"] == SIZE / 2
    assert figures["start"]["value"] == 4
    assert figures["change"]["origin"] == "unknown"
    assert shard["now"]["total_bytes"] == proven.sizes.stored_bytes
    assert shard["usage"] == []


def test_one_assumption_completes_what_was_measured(backstay: Backstay, proven: Manifest) -> None:
    plan = backstay("plan", "s1", "--assume", "change=10%/day", "--days", "10", "--json").json
    assert plan["assumed"] == ["change"]
    assert [each["day"] for each in plan["usage"]] == list(range(11))
    assert plan["usage"][10]["total_bytes"] > plan["now"]["total_bytes"]
    assert plan["plateau"]["total_bytes"] >= plan["usage"][10]["total_bytes"]
    assert plan["costs"] is None and plan["fit"] is None


def test_a_source_that_does_not_answer_is_told(
    backstay: Backstay, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKSTAY_TEST_PASSWORD", "secret")
    none = GtidSet()
    ShardArchive(repository, "s1").open_epoch(
        EpochFacts("first", UUID, "s1-a", none, None, none, none), SystemClock()
    )
    plan = backstay("plan", "s1", "--json").json
    assert plan["shards"][0]["loss"]["mode"] == "async"
    assert plan["shards"][0]["loss"]["seconds"] is None
    assert plan["findings"]


def test_the_shards_make_the_total(backstay: Backstay) -> None:
    plan = backstay("plan", *ASSUMED, "--json").json
    for day, total in enumerate(plan["usage"]):
        for key in ("total_bytes", "fulls_bytes", "incrementals_bytes", "archive_bytes", "least_bytes"):
            parts = sum(shard["usage"][day][key] for shard in plan["shards"])
            assert total[key] == pytest.approx(parts)


def test_no_price_is_built_in_and_a_given_one_counts(backstay: Backstay, home: Path) -> None:
    assert "cost" not in backstay("plan", *ASSUMED).out
    option = backstay("plan", *ASSUMED, "--price", "per-gb-month=0.02", "--json").json["costs"]
    with (home / "backstay.toml").open("a") as config:
        config.write('\n[prices]\nper_gb_month = 0.02\nper_1000_requests = 0.005\ncurrency = "EUR"\n')
    costs = backstay("plan", *ASSUMED, "--json").json["costs"]
    assert costs["prices"]["currency"] == "EUR"
    for with_requests, without in zip(costs["months"], option["months"], strict=True):
        assert without["cost"] == pytest.approx(without["kept_bytes"] / 1e9 * 0.02, abs=0.01)
        assert with_requests["storage_cost"] == pytest.approx(without["storage_cost"])
        assert with_requests["cost"] > without["cost"]
    assert "EUR" in backstay("plan", *ASSUMED).out


def test_fulls_of_weeks_and_months_are_reckoned_and_told(backstay: Backstay, home: Path) -> None:
    without = backstay("plan", *ASSUMED, "--json").json
    config = home / "backstay.toml"
    config.write_text(
        config.read_text() + "\n[retention]\nkeep_weekly = 4\nkeep_monthly = 12\ngrace_hours = 24.0\n"
    )
    told = " ".join(backstay("plan", *ASSUMED).out.split())
    assert "and beyond 4 weekly, 12 monthly: " in told
    assert "fulls that nothing else keeps" in told
    plan = backstay("plan", *ASSUMED, "--json").json
    assert [plan["rules"][f"keep_{name}"] for name in ("daily", "weekly", "monthly")] == [0, 4, 12]
    shards = len(plan["shards"])
    # A week's and a month's newest may be the same full; one more waits for the end of its grace time.
    assert 13 * shards <= plan["beyond"]["fulls"] <= 18 * shards
    assert without["beyond"] == {"fulls": 0, "most_bytes": 0, "least_bytes": 0}
    more = plan["plateau"]["total_bytes"] - without["plateau"]["total_bytes"]
    assert more == pytest.approx(plan["beyond"]["most_bytes"])
    assert more == pytest.approx(sum(each["beyond"]["most_bytes"] for each in plan["shards"]))


def test_fulls_of_weeks_are_named_where_nothing_else_is_known(backstay: Backstay, home: Path) -> None:
    config = home / "backstay.toml"
    config.write_text(config.read_text() + "\n[retention]\nkeep_weekly = 4\n")
    assert "and beyond 4 weekly\n" in re.sub(" +", " ", backstay("plan", "--no-history").out)
    assert backstay("plan", "--no-history", "--json").json["beyond"] is None


def test_the_text_fits_80_columns(backstay: Backstay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    price = "per-gb-month=0.023,per-1000-requests=0.005"
    for more in ((), ("--assume", "log=9TB/day,network=1GB/s,disk=1GB/s,replay=1MB/s,start=2m,promote=1h")):
        answer = backstay("plan", *ASSUMED, *more, "--fit", "200TB", "--price", price)
        assert answer.exit_code == 0
        assert max(map(len, answer.out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("--assume", "size"), "'size' is not of the form name=value"),
        (("--assume", "sise=1TB"), "'sise' is not known"),
        (("--assume", "size=many"), "'many' is no size"),
        (("--assume", "size=0"), "'0' is not more than nothing"),
        (("--assume", "change=2GB"), "'2GB' is no part of the data"),
        (("--assume", "compression=0.5"), "'0.5' is no factor of 1 or more"),
        (("--assume", "start=soon"), "'soon' is no span of time"),
        (("--assume", "size=1TB,size=2TB"), "size is given twice"),
        (("--price", "per-gb-month=cheap"), "per-gb-month=cheap is no number"),
        (("--price", "per-gb-month=-1"), "per-gb-month"),
        (("--price", "per-1000-requests=1"), "per-gb-month"),
        (("--fit", "a-lot"), "'a-lot' is no size"),
        (("--days", "0"), "0 is not between 1 and 400"),
    ],
)
def test_what_is_no_figure_is_refused_with_the_reason(
    backstay: Backstay, arguments: tuple[str, ...], reason: str
) -> None:
    answer = backstay("plan", "--no-history", *arguments)
    assert answer.exit_code == UsageError.exit_code
    assert reason in answer.err


def example() -> tuple[list[str], list[str]]:
    """The command of the guide's example, and the lines that it prints there."""
    guide = (ROOT / "repository/README.md").read_text()
    block = re.search(r"```\n\$ (backstay plan .*?)\n\n(.*?)\n```", guide, re.DOTALL)
    assert block is not None
    return shlex.split(block[1].replace("\\\n", "")), block[2].splitlines()


def test_the_example_of_the_guide_is_what_the_command_answers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    words, shown = example()
    given = dict(zip(words[3::2], words[4::2], strict=True))
    assert words[:3] == ["backstay", "plan", "--no-history"]
    wish = Wish(
        assumed=parse_assumptions([given["--assume"]]),
        prices=parse_prices([given["--price"]]),
        fit_bytes=parse_size_option(given["--fit"], "--fit"),
    )
    plan = plan_capacity(load(ROOT / given["--config"]), repository=None, wish=wish, clock=Midnight())
    show_text(plan)
    printed = capsys.readouterr().out.splitlines()
    assert shown == printed, "\n".join(printed)
    assert len(plan.shards) == 8
    cold, _, standby = plan.shards[0].ways
    assert cold.at_least_seconds / 3600 == pytest.approx(4.44, abs=0.01)
    assert cold.keeps is False and standby.keeps is True
    on_the_wire = {**wish.assumed, "network": wish.assumed["rate"]}
    del on_the_wire["rate"]
    wish = wish._replace(assumed=on_the_wire, fit_bytes=None)
    again = plan_capacity(load(ROOT / given["--config"]), repository=None, wish=wish, clock=Midnight())
    compressed = again.shards[0].ways[0]
    assert (duration(compressed.at_least_seconds), compressed.keeps) == ("1 h 28 min", False)
    assert plan.fit is not None and not plan.fit.policies[0].fits
    daily = [each for each in plan.fit.policies if each.fits and (each.days, each.fulls) == (30, "daily")]
    assert [each.rebase_every for each in daily] == [35]
