"""Where no server of a shard can be copied from, that is told, with the reason of each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backup.archive.sources import Link, SourceFacts, Unseen
from backup.archive.survey import Survey
from drills.status.donors import judge_donors
from drills.status.judge import judge_shard
from drills.status.report import Health, Judged
from fleet.errors import ServerRefused, ServerUnreachable
from fleet.gtid import GtidSet
from fleet.model import Account, Fleet
from tests.unit.drills.test_judge import LOOK, UUID, WELL

FLEET = Fleet.model_validate(
    {
        "name": "shop",
        "regions": ["eu"],
        "shards": [
            {
                "name": "s1",
                "servers": [{"name": n, "host": f"db-{n}", "region": "eu"} for n in ("a", "b", "c")],
            }
        ],
        "accounts": {"backup": {"user": "b", "password": {"env": "P"}}},
        "repository": {"url": "file:///r"},
        "keys": [{"id": "k", "provider": "file", "file": "/k"}],
    }
)
SHARD = FLEET.shards[0]
LINK = Link(UUID, "yes", True, 0)
DEAD = Unseen(SHARD.server("c"), ServerUnreachable("c does not answer"))


def server(name: str, *links: Link) -> SourceFacts:
    return SourceFacts(SHARD.server(name), UUID, "8.4.6", not links, True, links, GtidSet(), GtidSet())


def judged(*seen: SourceFacts, unseen: tuple[Unseen, ...] = (), fleet: Fleet = FLEET) -> list[Judged]:
    return list(judge_donors(fleet, SHARD, Survey(seen, unseen)))


def test_one_replica_stopped_and_the_other_dead_is_critical_and_names_each() -> None:
    stopped = replace(LINK, receiving="no", applying=False)
    (found,) = judged(server("a"), server("b", stopped), unseen=(DEAD,))
    assert (found.health, found.code) == (Health.CRITICAL, "server-unreachable")
    assert found.message == (
        "no backup of s1 can be taken now: a: the primary, and backup.donor is 'replica'; "
        "b: the receiver of its replication does not run; c: c does not answer"
    )


@pytest.mark.parametrize(
    "ill",
    [
        replace(LINK, receiving="connecting"),
        replace(LINK, applying=False),
        replace(LINK, lag_seconds=3601),
    ],
)
def test_replicas_that_are_all_ill_are_a_matter_of_replication(ill: Link) -> None:
    (found,) = judged(server("a"), server("b", ill), server("c", ill))
    assert found.code == "replication-lag"


def test_one_replica_that_is_fit_is_enough() -> None:
    assert judged(server("a"), server("b", LINK), unseen=(DEAD,)) == []


def test_the_primary_is_enough_where_the_policy_allows_it() -> None:
    backup = FLEET.backup.model_copy(update={"donor": "prefer-replica"})
    assert judged(server("a"), unseen=(DEAD,), fleet=FLEET.model_copy(update={"backup": backup})) == []


def test_who_was_not_asked_is_not_judged() -> None:
    assert judged() == []
    assert judged(unseen=(DEAD,)) == []


def test_a_login_that_only_the_archive_is_refused_says_nothing_of_backups() -> None:
    refused = Unseen(SHARD.server("c"), ServerRefused("c refuses the login"))
    accounts = FLEET.accounts.model_copy(
        update={"archive": Account.model_validate({"user": "r", "password": {"env": "P"}})}
    )
    alone = FLEET.model_copy(update={"accounts": accounts})
    assert judged(server("a"), unseen=(refused,), fleet=alone) == []
    assert judged(server("a"), unseen=(refused,))
    assert judged(server("a"), unseen=(DEAD,), fleet=alone)


def test_a_shard_that_cannot_be_backed_up_is_judged_so() -> None:
    look = LOOK._replace(survey=Survey((server("a"),), (DEAD,)))
    (found,) = judge_shard(WELL._replace(archive=look, fleet=FLEET, shard=SHARD))
    assert "no backup of s1 can be taken now" in found.message
