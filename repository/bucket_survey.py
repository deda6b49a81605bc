"""Does the bucket let a repository live? A lifecycle rule that deletes backups is found before it does."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from fleet.clock import Clock
from fleet.errors import Cancelled, CheckFailed, StoreDenied, StoreUnreachable, ToolError
from fleet.finding import Finding, Level
from fleet.policy import Retention
from fleet.repository_config import StoreConfig
from repository import layout
from repository.stores.opening import open_bucket

if TYPE_CHECKING:
    from repository.stores.s3_bucket import BucketSeen, LifecycleRule

UNREADABLE_CLASSES = frozenset({"GLACIER", "DEEP_ARCHIVE", "Archive", "ColdArchive", "DeepColdArchive"})
"""Storage classes of S3 and OSS whose objects must be restored for hours before they can be read."""

_SUBJECT = "bucket"
_PASSING = (layout.TRIALS, layout.LEASES, layout.TURNS, layout.OUTCOMES)
_RIGHTS = "`repository/README.md` lists the rights of each role."


def check_bucket(config: StoreConfig, retention: Retention, clock: Clock) -> list[Finding]:
    """Ask the bucket of ``config``, and judge it; nothing for a folder. What goes wrong is a finding."""
    try:
        return _look(config, retention, clock)
    except Cancelled:
        raise
    except ToolError as error:
        return [Finding(Level.FAIL, _SUBJECT, error.message, error.hint)]


def refuse_bucket(config: StoreConfig, retention: Retention, clock: Clock) -> None:
    """Raise ``CheckFailed`` for a bucket in which backups would be refused, or would not last."""
    try:
        findings = _look(config, retention, clock)
    except (StoreDenied, StoreUnreachable):
        # Whoever uses the store next is told so with more patience.
        return
    for found in findings:
        if found.level is Level.FAIL:
            raise CheckFailed(f"{config.url} cannot be a repository: {found.message}", hint=found.hint)


def _look(config: StoreConfig, retention: Retention, clock: Clock) -> list[Finding]:
    store = open_bucket(config, clock=clock)
    if store is None:
        return []
    from repository.stores.s3_bucket import look_at_bucket  # noqa: PLC0415 - loads boto3

    return judge_bucket(look_at_bucket(store, layout.TRIALS), config, retention)


def judge_bucket(seen: BucketSeen, config: StoreConfig, retention: Retention) -> list[Finding]:
    """What of the bucket's settings stands against backups. Never empty."""
    found = [*_rules(seen), *_locks(seen, config, retention), *_versions(seen)]
    if all(each.level is Level.OK for each in found):
        found.insert(0, Finding(Level.OK, _SUBJECT, "no lifecycle rule touches what is stored"))
    return found


def _rules(seen: BucketSeen) -> Iterator[Finding]:
    if seen.rules is None:
        yield _warn(
            "its lifecycle rules may not be asked for, so whether one deletes backups is not known",
            f"Grant s3:GetLifecycleConfiguration to one account, and check with that. {_RIGHTS}",
        )
        return
    for rule in seen.rules:
        if rule.by_tag or not _touches(rule, seen.prefix):
            continue
        what = f"lifecycle rule {rule.name} " + (
            f"(prefix {rule.prefix})" if rule.prefix else "(all objects)"
        )
        if rule.expires is not None:
            yield _fail(
                f"{what} deletes objects {rule.expires}, whatever needs them",
                "Remove the rule, or give it another prefix: `backstay expire` and `backstay prune` delete "
                "what is free.",
            )
        if moved := [each for each in rule.moves if each in UNREADABLE_CLASSES]:
            yield _fail(
                f"{what} moves objects to {moved[0]}, where nothing can be read before hours have passed",
                "Remove the rule, or move to a class that is read at once, as STANDARD_IA or GLACIER_IR.",
            )


def _touches(rule: LifecycleRule, prefix: str) -> bool:
    """Can it apply to an object that is to stay?"""
    if not rule.prefix.startswith(prefix):
        return prefix.startswith(rule.prefix)
    return not rule.prefix[len(prefix) :].startswith(_PASSING)


def _locks(seen: BucketSeen, config: StoreConfig, retention: Retention) -> Iterator[Finding]:
    if seen.default_lock is not None:
        yield _warn(
            f"it locks whatever is put {seen.default_lock}: leases, turns and trials too, which then pile up",
            "Take the default retention away from the bucket, and set lock_days: that locks what is to stay.",
        )
    if config.lock_days is None:
        return
    if seen.object_lock is None:
        yield _warn(
            "lock_days is set, and whether it has Object Lock may not be asked for",
            f"Grant s3:GetBucketObjectLockConfiguration. {_RIGHTS}",
        )
    elif not seen.object_lock:
        yield _fail(
            "lock_days is set, and it has no Object Lock: every backup would be refused",
            "Enable Object Lock for the bucket (on AWS that can be done later, too), or leave lock_days out.",
        )
        return
    kept = retention.days + retention.grace_hours / 24
    if config.lock_days < kept:
        yield _warn(
            f"lock_days is {config.lock_days:g}, and backups are kept for {kept:g} days: retention.days and "
            "the grace time",
            f"With lock_days = {-(-kept // 1):g} nobody can delete what the recovery window needs.",
        )
    else:
        yield Finding(
            Level.OK, _SUBJECT, f"what is stored is locked for {config.lock_days:g} days ({config.lock_mode})"
        )


def _versions(seen: BucketSeen) -> Iterator[Finding]:
    if seen.versioning is None:
        yield _warn(
            "whether it keeps versions may not be asked for; where it does, what is deleted is not freed",
            f"Grant s3:GetBucketVersioning. {_RIGHTS}",
        )
    if not seen.versioning or seen.frees_versions:
        return
    # A rule that may not be asked for was told already.
    rules = seen.rules or ()
    if any(rule.frees_versions and seen.prefix.startswith(rule.prefix) for rule in rules):
        yield Finding(
            Level.OK, _SUBJECT, "this account deletes no versions; a lifecycle rule frees what is deleted"
        )
        return
    yield _warn(
        "it keeps versions, and this account cannot delete them: what is deleted is hidden, and not freed",
        "Grant s3:ListBucketVersions and s3:DeleteObjectVersion to the account that prunes, or add a "
        "lifecycle rule with NoncurrentVersionExpiration. An account that only takes backups needs neither.",
    )


def _warn(message: str, hint: str) -> Finding:
    return Finding(Level.WARN, _SUBJECT, message, hint)


def _fail(message: str, hint: str) -> Finding:
    return Finding(Level.FAIL, _SUBJECT, message, hint)
