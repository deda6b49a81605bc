"""``backstay check``: is everything there that backups and the archive need, and what to do where not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import typer
from rich.console import RenderableType

from backup.archive.status import check_archive
from backup.preflight import check_shard
from backup.spool import check_spool
from backup.tracking import SWITCHED_ON_BY, check_tracking, switch_tracking_on
from cli.backups import Shards
from cli.configured import open_fleet
from cli.damage import damage_told, with_damage
from cli.invocation import invocation_of
from cli.render import render_text, show, show_text
from cli.tables import findings_table, lines
from fleet.clock import SystemClock
from fleet.errors import Cancelled, CheckFailed, ToolError
from fleet.figures import plural
from fleet.finding import Finding, Level, failures
from fleet.model import Fleet
from repository.bucket_survey import check_bucket
from repository.catalog import Catalog
from repository.findings import Findings
from repository.key_survey import judge_keys
from repository.keys import Keyring
from repository.repository import Repository
from repository.stores.opening import open_store
from repository.trial import try_store
from restore.diff_source import check_reader
from restore.program import check_mysqld

_SHARDS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Checked:
    """Everything that was looked at, in the order in which a backup needs it."""

    findings: tuple[Finding, ...]


@dataclass(frozen=True, slots=True)
class _Fixing:
    """What is about to run at servers that do not track their pages."""

    statements: tuple[str, ...]


def check(
    context: typer.Context,
    shards: Shards = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Switch page tracking on where it is off, for smaller reads.")
    ] = False,
) -> None:
    """Look at everything that backups and the archive need.

    The configuration, the repository, the keys, and the servers of every shard: what fails would stop one of
    them, and says what to do. The store is tried with one small object, which is deleted at once. With --fix,
    and then alone, something is changed at the servers: their page tracking is switched on, so that the donor
    of an incremental need not read and send what did not change.
    """
    fleet = open_fleet(context)
    names = [fleet.shard(name).name for name in shards or [shard.name for shard in fleet.shards]]
    findings = [
        Finding(Level.OK, "configuration", f"fleet {fleet.name}, {plural(len(fleet.shards), 'shard')}")
    ]
    repository, found = _check_repository(fleet)
    findings += [*found, check_spool(fleet.backup), check_mysqld(fleet.restore.mysqld)]
    if fix and not invocation_of(context).as_json:
        show_text(_Fixing(SWITCHED_ON_BY))
    with ThreadPoolExecutor(_SHARDS_AT_ONCE) as pool:
        for found in pool.map(partial(_check_shard, fleet, repository, fix=fix), names):
            findings += found
    failed = failures(tuple(findings))
    failure = CheckFailed(
        f"{len(failed)} of {plural(len(findings), 'check')} failed",
        hint="The lines below each `fail` name the way out." if any(one.hint for one in failed) else None,
    )
    show(context, Checked(tuple(findings)), failure if failed else None)


def _check_repository(fleet: Fleet) -> tuple[Repository | None, list[Finding]]:
    """The repository, if it is there, and what was found of it."""
    try:
        repository = Repository.look_at(open_store(fleet.repository), Keyring.from_config(fleet.keys))
    except Cancelled:
        raise
    except ToolError as error:
        return None, [_failed("repository", error)]
    description = repository.description
    found = Finding(Level.OK, "repository", f"{repository.store.describe()}, format {description.format}")
    bucket = check_bucket(fleet.repository, fleet.retention, SystemClock())
    return repository, [found, *_check_keys(fleet, repository), _check_store(repository), *bucket]


def _check_keys(fleet: Fleet, repository: Repository) -> list[Finding]:
    """Every key is tried, what none of them opens is named, and who archives must be able to read."""
    shards = [shard.name for shard in fleet.shards]
    try:
        findings = judge_keys(repository, [key.id for key in fleet.keys], shards)
    except Cancelled:
        raise
    except ToolError as error:
        return [_failed("keys", error)]
    if _archives(fleet) and (why := repository.keys.why_nothing_opens()):
        hint = "Run the archiver on another machine, whose configuration names a private_key."
        findings.append(Finding(Level.FAIL, "archive", f"the archiver has to read: {why}", hint))
    return findings


def _archives(fleet: Fleet) -> bool:
    """Does the configuration speak of an archive?"""
    return fleet.accounts.archive is not None or "archive" in fleet.model_fields_set


def _check_shard(fleet: Fleet, repository: Repository | None, name: str, *, fix: bool) -> list[Finding]:
    """Its servers as donors; and as sources of the archive, if the configuration speaks of one."""
    tracking = switch_tracking_on(fleet, name) if fix else check_tracking(fleet, name)
    donors = _check_donors(fleet, repository, name)
    found = [*donors, *tracking, *check_reader(fleet, name), *_check_damage(repository, name)]
    if not _archives(fleet):
        return found
    told = {finding.message for finding in found}
    archive = [finding for finding in check_archive(fleet, fleet.shard(name)) if finding.message not in told]
    if not archive and not failures(tuple(found)):
        archive = [Finding(Level.OK, f"archive {name}", "its binlogs can be archived")]
    return found + archive


def _check_damage(repository: Repository | None, name: str) -> list[Finding]:
    """What verify found damaged of its backups. Nothing where nothing is."""
    if repository is None:
        return []
    try:
        harms = Findings(repository).harms(name)
        return (
            list(damage_told(with_damage(Catalog(repository).survey(name).backups, harms))) if harms else []
        )
    except Cancelled:
        raise
    except ToolError as error:
        return [_failed(f"backups {name}", error)]


def _check_donors(fleet: Fleet, repository: Repository | None, name: str) -> tuple[Finding, ...]:
    try:
        return check_shard(fleet, name, clock=SystemClock(), repository=repository)
    except Cancelled:
        raise
    except ToolError as error:
        return (_failed(f"shard {name}", error),)


def _check_store(repository: Repository) -> Finding:
    try:
        may_delete = try_store(repository.store)
    except Cancelled:
        raise
    except ToolError as error:
        return _failed("store", error)
    deleted = "and deleted" if may_delete else "and cannot be deleted by this account, which is safer"
    return Finding(Level.OK, "store", f"an object was written, read {deleted}")


def _failed(subject: str, error: ToolError) -> Finding:
    return Finding(Level.FAIL, subject, error.message, error.hint)


@render_text.register
def _(fixing: _Fixing) -> RenderableType:
    return lines(
        "Where page tracking is off, this runs now:", *(f"  {each}" for each in fixing.statements), ""
    )


@render_text.register
def _(checked: Checked) -> RenderableType:
    return findings_table(checked.findings)
