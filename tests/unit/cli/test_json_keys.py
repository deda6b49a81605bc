"""``cli/README.md`` lists the keys of every JSON object: a promise, so it is compared with the code."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from pydantic import BaseModel

from backup.archive.report import ArchiveStatus
from backup.capacity_report import CapacityPlan
from backup.consolidate import ConsolidatePlan, ConsolidateResult
from backup.expire import Expiry
from backup.keeping import Held, Released, TakenBack
from backup.mirror.report import MirrorOutcome, MirrorStatus
from backup.prune_plan import PrunePlan, PruneResult
from cli.cmd_archive_branches import BranchesShown
from cli.cmd_archive_export import BranchSql
from cli.cmd_archive_purge import Purged, PurgesPlanned
from cli.cmd_archive_run import Archived
from cli.cmd_archive_verify import ArchiveVerified
from cli.cmd_backup_list import BackupsListed
from cli.cmd_backup_show import BackupShown
from cli.cmd_check import Checked
from cli.cmd_config import ConfigChecked
from cli.cmd_init import RepositoryCreated
from cli.cmd_keys import KeysAdded, PairGenerated
from cli.cmd_sandbox import SandboxGone
from cli.cmd_sandbox_load import Loaded
from cli.cmd_sandbox_sql import SqlDone
from cli.text_backup_taken import BackupsPlanned, BackupsTaken
from cli.text_diff import TableCompared
from cli.text_find import TransactionsFound
from cli.text_fleet import FleetPlanned, FleetRestored
from cli.text_point import PointPlanned
from cli.text_proof import ProofPlanned
from cli.text_restore import RestorePlanned
from cli.text_show import TransactionShown, TransactionSql
from cli.text_tables import TablesPlanned
from cli.text_verify import AllVerified, ChainVerified
from drills.proof import ProofResult
from drills.proof_list import ProofList
from drills.status.deploy_report import DeployReport
from drills.status.report import FleetStatus
from drills.status.service_report import Served, ServicePlan
from fleet.transaction import Gtid
from infra.sandbox.status import SandboxStatus
from repository.key_survey import KeysSeen
from repository.manifest import Manifest, Proof
from repository.retirement import Retired, RetirementPlan
from repository.rotation import Rotated, RotationPlan
from repository.undelete import Undeletion
from restore.full import RestoreResult
from restore.point_restore import PointResult
from restore.standby_status import StandbyStatus
from restore.table_delivery import TablesResult

README = Path(__file__).parents[3] / "cli/README.md"
ANSWERS: dict[str, type] = {
    "config check": ConfigChecked,
    "init": RepositoryCreated,
    "check": Checked,
    "status": FleetStatus,
    "backup full, backup incremental": BackupsTaken,
    "backup full --dry-run, backup incremental --dry-run": BackupsPlanned,
    "backup consolidate": ConsolidateResult,
    "backup consolidate --dry-run": ConsolidatePlan,
    "backup list": BackupsListed,
    "backup show": BackupShown,
    "backup hold": Held,
    "backup release": Released,
    "archive run": Archived,
    "archive status": ArchiveStatus,
    "archive branches": BranchesShown,
    "archive purge": Purged,
    "archive purge --dry-run": PurgesPlanned,
    "restore": RestoreResult,
    "restore --dry-run": RestorePlanned,
    "restore to a point, standby promote": PointResult,
    "restore to a point --dry-run": PointPlanned,
    "restore --table": TablesResult,
    "restore --table --dry-run": TablesPlanned,
    "restore --all": FleetRestored,
    "restore --all --dry-run": FleetPlanned,
    "diff": TableCompared,
    "standby, standby status": StandbyStatus,
    "proof run": ProofResult,
    "proof run --dry-run": ProofPlanned,
    "proof list": ProofList,
    "archive export": BranchSql,
    "archive verify": ArchiveVerified,
    "find": TransactionsFound,
    "show": TransactionShown,
    "show --sql": TransactionSql,
    "verify": ChainVerified,
    "verify --all": AllVerified,
    "expire, expire --dry-run": Expiry,
    "expire --take-back": TakenBack,
    "prune": PruneResult,
    "prune --dry-run": PrunePlan,
    "mirror run": MirrorOutcome,
    "mirror status": MirrorStatus,
    "undelete, undelete --dry-run": Undeletion,
    "keys list": KeysSeen,
    "keys add": KeysAdded,
    "keys generate": PairGenerated,
    "keys rotate": Rotated,
    "keys rotate --dry-run": RotationPlan,
    "keys retire": Retired,
    "keys retire --dry-run": RetirementPlan,
    "serve": Served,
    "serve --dry-run": ServicePlan,
    "deploy, deploy --dry-run": DeployReport,
    "plan": CapacityPlan,
    "sandbox up, sandbox status": SandboxStatus,
    "sandbox down": SandboxGone,
    "sandbox sql": SqlDone,
    "sandbox load": Loaded,
}


def section(command: str, answer: type) -> str:
    """The part of the README that speaks of one command."""
    indent = " " * 30
    rows = [
        textwrap.fill(f"{path:<29} {' '.join(keys)}", 110, subsequent_indent=indent)
        for path, keys in objects(answer)
    ]
    return f"### {command}\n\n```\n" + "\n".join(rows) + "\n```\n"


def objects(answer: type, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Every object within the answer, by its path: ``[]`` is a list, ``{}`` has keys of its own."""
    hints = get_type_hints(answer)
    names = fields_of(answer)
    yield path or "(top)", names
    for name in names:
        mark, inner = unwrapped(hints[name])
        if isinstance(inner, type) and fields_of(inner):
            yield from objects(inner, f"{path}.{name}{mark}".lstrip("."))


def fields_of(kind: type) -> list[str]:
    if kind in {Manifest, Proof}:
        return []  # described by the repository's format
    if kind is Gtid:
        return []  # written as text
    if issubclass(kind, BaseModel):
        return list(kind.model_fields)
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    return list(getattr(kind, "_fields", ()))


def unwrapped(hint: Any) -> tuple[str, Any]:
    if get_origin(hint) is tuple:
        return "[]", get_args(hint)[0]
    if get_origin(hint) is Mapping:
        return "{}", get_args(hint)[1]
    parts = [part for part in get_args(hint) if part is not type(None)]
    return "", parts[0] if len(parts) == 1 and get_origin(hint) is not None else hint


@pytest.mark.parametrize("command", ANSWERS)
def test_the_readme_lists_the_keys_of_every_answer(command: str) -> None:
    expected = section(command, ANSWERS[command])
    assert expected in README.read_text(), f"cli/README.md should say:\n\n{expected}"
