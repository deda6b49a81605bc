"""``python -m benchmarks month``: a month of ``backstay serve``, lived in minutes while its parts are killed.

Shards of a primary and a replica under a steady load, a repository in a folder, and the service with a
schedule of minutes: half the time lies between two fulls, a sixth between two incrementals, a fifth is the
recovery window. Archivers, runner, scheduler, running flows, the supervisor and replicas are killed (SIGKILL)
at random moments; systemd's part, to start the service again, is ours. Then that stops, and the service has
ten minutes to put everything right by itself: every shard has a new backup, and no run is left unended. What
it promises is planned, some of it restored and compared with what was noted when it was written.
"""

from __future__ import annotations

import random
import shutil
import time
import tomllib
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from backup.prune import prepare_prune, prune
from benchmarks.month_kills import Kills, Say, plan_kills
from benchmarks.month_report import (
    backup_sheet,
    due_sheet,
    kill_sheet,
    outcome_sheet,
    reasons,
    status_notes,
    stuck,
)
from benchmarks.month_watch import Noted, Watch, at_once, chosen, turns_at_once
from benchmarks.promised import unplannable
from benchmarks.proving import server_on, sums_of
from benchmarks.retained import unlike
from benchmarks.served import Scheduler, Serving
from benchmarks.story import Sheet, Told
from cli.toml import to_toml
from drills.status.observe import observe_fleet
from drills.status.places import runs_file
from drills.status.report import FleetStatus
from drills.status.run_journal import RunJournal
from fleet.clock import SystemClock
from fleet.config import load
from fleet.errors import NotFound, ToolError
from fleet.gtid import GtidSet
from fleet.model import Fleet
from fleet.state_place import state_directory
from flows.environment import api_url_of
from flows.password import read_password
from infra.sandbox.files import write_private
from infra.sandbox.fleet import SandboxFleet
from infra.sandbox.ledger import check_load
from infra.sandbox.load import Load
from infra.sandbox.ports import free_ports
from repository import layout
from repository.keys import Keyring
from repository.repository import Repository
from repository.stores.opening import open_store
from restore.archived import ArchivedLine
from restore.point import RecoveryTarget
from restore.point_restore import restore_to_point
from restore.promised import plan_promised

SEED = 7
MINUTES, SHARDS = 20, 8
RATE, CLIENTS = 7.0, 2  # transactions a second of each shard
RESTORED = 5
SETTLE_MINUTES = 10.0
GRACE_MINUTES = 0.1
STAGGER_MINUTES = 2
ARCHIVE_SECONDS = 60.0
POINT_SECONDS = 2.0  # between two points of the window that are planned
PRUNE_PAUSE = timedelta(seconds=1)


class Pace(NamedTuple):
    """The month's times, in minutes."""

    full: int
    incremental: int
    duty: int
    window: float

    @classmethod
    def of(cls, minutes: float) -> Pace:
        """Two fulls at least, and three incrementals to each, where there are minutes for them."""
        full = max(2, int(minutes / 2))
        return cls(full, max(1, full // 3), max(2, full // 3), max(2.0, minutes / 5))


class Lived(NamedTuple):
    """What the month left behind."""

    sandbox: SandboxFleet
    fleet: Fleet
    repository: Repository
    watch: Watch
    kills: Kills
    serving: Serving
    runs: Sequence[Mapping[str, Any]]
    status: FleetStatus
    transactions: int
    failures: list[str]


def play(
    directory: Path, say: Say, *, minutes: int = MINUTES, shards: int = SHARDS, seed: int = SEED
) -> Told:
    """Live the month."""
    pace = Pace.of(minutes)
    with ExitStack() as stack:
        say(f"starting {shards} shards of two servers")
        sandbox = SandboxFleet.up(directory / "sandbox", shards=shards, replicas=1, store="file")
        stack.callback(sandbox.down)
        fleet = shorten(sandbox.config_path, pace, directory / "serving")
        lived = _live(sandbox, fleet, minutes * 60.0, seed, say)
        failures = lived.failures
        pruned = _prune(lived, failures)
        planned, window_from = _plan(lived, failures)
        restored = _restore(lived, window_from, random.Random(seed), directory / "proof", failures, say)
    taken = [*lived.watch.taken.values()]
    failures += at_once(taken) + turns_at_once(lived.watch.turns.values())
    kept = {shard.shard: len(shard.backups) for shard in lived.status.shards}
    sheets: tuple[Sheet, ...] = (
        kill_sheet(lived.kills.done),
        outcome_sheet(lived.runs),
        due_sheet(lived.status),
        backup_sheet(taken, kept),
    )
    journal = RunJournal(runs_file(lived.fleet)).all() if runs_file(lived.fleet).exists() else ()
    return Told(
        "month",
        {
            "a month": f"{minutes} minutes, {shards} shards",
            "full every": f"{pace.full} min",
            "incremental every": f"{pace.incremental} min",
            "window": f"{pace.window:g} min",
            "seed": str(seed),
            "service started again": f"{lived.serving.restarts} times",
        },
        (),
        sheets,
        (),
        (
            f"{lived.transactions:,} transactions acknowledged; {len(lived.watch.turns):,} turns, "
            f"{len(taken):,} backups looked at, {planned:,} points planned, {restored} restored and compared",
            pruned,
            *(f"why: {line}" for line in reasons(lived.status, journal, lived.runs)),
            *status_notes(lived.status),
        ),
        tuple(dict.fromkeys(failures)),
    )


def shorten(config: Path, pace: Pace, directory: Path) -> Fleet:
    """Give the sandbox's configuration the month's times; the fleet as it is read then."""
    page, scheduler = free_ports(2)
    duty = f"*/{pace.duty} * * * *"
    said: dict[str, Any] = {
        "service": {"directory": str(directory / "state"), "port": page, "look_seconds": 10.0},
        "scheduler": {"port": scheduler},
        "schedule": {
            "full_cron": f"*/{pace.full} * * * *",
            "incremental_cron": f"*/{pace.incremental} * * * *",
            "retention_cron": duty,
            "verify_cron": duty,
            "stagger_minutes": STAGGER_MINUTES,
        },
        "retention": {
            "days": pace.window / (24 * 60),
            "minimum_fulls": 1,
            "grace_hours": GRACE_MINUTES / 60,
        },
        "proof": {"cron": duty},
        "budget": {"wait_seconds": 60.0},
        "alerts": {"backup_overdue_seconds": 120.0 * pace.full},
    }
    directory.mkdir()
    document = tomllib.loads(config.read_text()) | said
    write_private(config, to_toml(document).encode() + b"\n")
    return load(config)


def _live(sandbox: SandboxFleet, fleet: Fleet, seconds: float, seed: int, say: Say) -> Lived:
    repository = Repository.create(
        open_store(fleet.repository), Keyring.from_config(fleet.keys), SystemClock()
    )
    serving = Serving(sandbox.config_path, sandbox.directory.parent / "serving")
    watch = Watch(sandbox, repository)
    plan = plan_kills(seconds, random.Random(seed))
    kills = Kills(plan, sandbox, serving, random.Random(seed), say)
    with _loaded(sandbox) as loads:
        try:
            say("starting the service")
            serving.start()
            watch.start()
            kills.start()
            say(f"living {seconds / 60:.0f} minutes, {len(plan)} kills")
            time.sleep(seconds)
            kills.stop()
            failures = _settle(sandbox, fleet, watch, kills, say)
            runs = Scheduler(api_url_of(fleet), read_password(state_directory(fleet))).runs()
            status = observe_fleet(fleet, repository, clock=SystemClock())
            transactions = sum(each.stop().transactions for each in loads)
            failures += _archived(sandbox, repository)
            failures += serving.stop()
            watch.stop()
        finally:
            kills.stop()
            serving.kill()
    watch.look()
    failures += watch.failures + kills.failures
    return Lived(sandbox, fleet, repository, watch, kills, serving, runs, status, transactions, failures)


@contextmanager
def _loaded(sandbox: SandboxFleet) -> Generator[list[Load]]:
    """Every shard is written to."""
    loads = [sandbox.new_load(shard.name, clients=CLIENTS, rate=RATE) for shard in sandbox.shards]
    for each in loads:
        each.prepare()
        each.start()
    try:
        yield loads
    finally:
        for each in loads:
            each.stop()


def _settle(sandbox: SandboxFleet, fleet: Fleet, watch: Watch, kills: Kills, say: Say) -> list[str]:
    """Nobody is killed any more: wait until the service has put everything right, or the time is over."""
    since = kills.last_at or datetime.now(UTC)
    calm = datetime.now(UTC)
    say("no more kills: waiting until every shard has a new backup and no run is left unended")
    scheduler, deadline = (
        Scheduler(api_url_of(fleet), read_password(state_directory(fleet))),
        time.monotonic() + SETTLE_MINUTES * 60,
    )
    while True:
        newest = {each.shard for each in [*watch.taken.values()] if each.began > since}
        missing = [shard.name for shard in sandbox.shards if shard.name not in newest]
        failures = [f"no backup of {shard} after the last kill" for shard in missing]
        failures += stuck(scheduler.runs(("RUNNING", "PENDING", "CANCELLING")), calm)
        if not failures or time.monotonic() > deadline:
            return failures
        time.sleep(2)


def _archived(sandbox: SandboxFleet, repository: Repository) -> list[str]:
    """Wait until the archives hold what the primaries executed; those that do not, in words."""
    return [line for shard in sandbox.shards for line in _archived_shard(shard.name, sandbox, repository)]


def _archived_shard(shard: str, sandbox: SandboxFleet, repository: Repository) -> list[str]:
    (row,) = sandbox.shard(shard).primary.query("SELECT @@GLOBAL.gtid_executed AS gtids")
    wanted = GtidSet.parse(str(row["gtids"]).replace("\n", ""))
    deadline = time.monotonic() + ARCHIVE_SECONDS
    while time.monotonic() < deadline:
        with suppress(NotFound):
            line = ArchivedLine.read(repository, shard)
            if wanted - line.first_gtids <= line.gtids:
                return []
        time.sleep(0.5)
    return [f"the archive of {shard} does not hold all after {ARCHIVE_SECONDS:.0f} s"]


def _prune(lived: Lived, failures: list[str]) -> str:
    """The service leaves an hour between a backup's manifest and its packs; here both go."""
    names = [shard.name for shard in lived.sandbox.shards]
    objects = freed = 0
    try:
        for _ in range(2):
            prepared = prepare_prune(
                lived.repository,
                lived.fleet.retention,
                archived=names,
                pause=PRUNE_PAUSE,
                plan_points=plan_promised,
            )
            pruned = prune(lived.repository, prepared)
            objects, freed = objects + pruned.objects, freed + pruned.freed_bytes
            time.sleep(2 * PRUNE_PAUSE.total_seconds())
    except ToolError as error:
        failures.append(f"the last prune: {error.message}")
    return f"the last prune deleted {objects:,} objects, {freed / 1e6:,.0f} MB"


def _plan(lived: Lived, failures: list[str]) -> tuple[int, datetime]:
    """Plan every point that is promised; how many, and where the window begins."""
    now = datetime.now(UTC)
    window_from = now - timedelta(days=lived.fleet.retention.days)
    count = 0
    for shard in lived.sandbox.shards:
        own = [each.ended for each in lived.watch.taken.values() if each.shard == shard.name]
        begin = max(window_from, min(own, default=now))
        moments: list[datetime] = []
        while begin < now:
            moments.append(begin)
            begin += timedelta(seconds=POINT_SECONDS)
        count += len(moments)
        lost = unplannable(lived.repository, shard.name, moments)
        failures += (f"{shard.name}: {line}" for line in lost[:3])
        manifests = sum(1 for _ in lived.repository.store.list(layout.manifests(shard.name)))
        if not manifests:
            failures.append(f"{shard.name} has no backup in the end")
    return count, window_from


def _restore(
    lived: Lived, since: datetime, chance: random.Random, folder: Path, failures: list[str], say: Say
) -> int:
    """Restore moments at random, and compare them with what was noted then."""
    points = chosen(lived.watch.noted, since, RESTORED, chance)
    if len(points) < RESTORED:
        failures.append(f"only {len(points)} moments were noted in the window")
    for noted in points:
        say(f"restoring {noted.shard} to {noted.at:%T.%f}")
        folder.mkdir()
        try:
            failures += _compare(lived, noted, folder)
        except ToolError as error:
            failures.append(f"{noted.shard}, {noted.at:%T.%f}: {error.message}")
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return len(points)


def _compare(lived: Lived, noted: Noted, folder: Path) -> list[str]:
    name = f"{noted.shard}, {noted.at:%T.%f}"
    target = RecoveryTarget.at_time(noted.at, or_end=True)
    restore_to_point(lived.fleet, noted.shard, folder / "data", target, repository=lived.repository)
    distribution = lived.sandbox.servers[0].distribution
    with server_on(folder, distribution, folder) as server:
        found = unlike(name, noted.sums, sums_of(server))
        connection = server.connect()
        try:
            check = check_load(connection, lived.sandbox.load_directory(noted.shard))
        finally:
            connection.close()
    found += (f"{name}: {line}" for line in (*check.unbalanced, *map(str, check.gaps)))
    lost = [one for one in check.lost if one.at <= noted.at]
    if lost:
        found.append(f"{name}: {len(lost)} transactions acknowledged before are not there, such as {lost[0]}")
    return found
