"""``backstay proof``: restore a shard to see whether it can be done, and list what that came to."""

from __future__ import annotations

from typing import Annotated

import typer

from cli.backups import OneShard, Shards
from cli.configured import open_fleet
from cli.invocation import invocation_of
from cli.opening import open_repository
from cli.progress import Display
from cli.render import show
from cli.text_proof import ProofPlanned
from drills.proof import plan_proof, prove
from drills.proof_list import list_proofs
from drills.status.places import proof_directory
from fleet.errors import NotFound
from fleet.model import Fleet
from repository.catalog import Catalog
from repository.repository import Repository

Newest = Annotated[
    int, typer.Option("--newest", metavar="N", help="So many proofs of each shard.", min=1, max=10_000)
]


def run(
    context: typer.Context,
    shard: OneShard = None,
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep what was restored, and say where it is.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan; touch nothing.")] = False,
) -> None:
    """Restore a shard to now, prove it, measure it, and delete it again.

    What is restored is its newest backup, to the end of its archive. Without a shard: the one whose newest
    proof is oldest. Production is asked what it has executed, and nothing else. How long it took (RTO) and
    what it did not bring back (RPO) are recorded in the repository; so is that it failed. The data goes to
    proof.directory, which needs room for a whole shard.
    """
    fleet = open_fleet(context)
    repository = open_repository(fleet)
    if shard is not None:
        _check_known(fleet, repository, shard)
    directory = proof_directory(fleet)
    if dry_run:
        show(context, ProofPlanned.of(plan_proof(fleet, shard, repository=repository, directory=directory)))
        return
    with Display(shard or "proof") as display, invocation_of(context).interruption.orderly() as cancelled:
        result = prove(
            fleet,
            shard,
            repository=repository,
            directory=directory,
            keep=keep,
            progress=display,
            on_replay=display.replay,
            cancelled=cancelled,
        )
    show(context, result, result.failure())


def list_all(context: typer.Context, shards: Shards = None, newest: Newest = 10) -> None:
    """List the proofs of some shards, or of all.

    The newest come first. Every restore of a backup records a proof, too; only those of `proof run` measure
    RTO and RPO.
    """
    fleet = open_fleet(context)
    repository = open_repository(fleet)
    for shard in shards or []:
        _check_known(fleet, repository, shard)
    show(context, list_proofs(repository, shards or [], newest=newest))


def _check_known(fleet: Fleet, repository: Repository, shard: str) -> None:
    """A shard that has left the configuration has its backups still. Raises ``NotFound``."""
    try:
        fleet.shard(shard)
    except NotFound:
        if shard not in Catalog(repository).shards():
            raise
