"""What a sandbox is made of, before anything is started: pure."""

from __future__ import annotations

from typing import Literal, NamedTuple

from fleet.errors import UsageError

Role = Literal["primary", "replica"]
REGIONS = ("us-east", "us-west")
_LETTERS = "abcdefghij"
MOST_SHARDS = 8
MOST_REPLICAS = len(_LETTERS) - 1


class PlannedServer(NamedTuple):
    """One server to be: ``server_id`` is MySQL's, unique in the sandbox."""

    name: str
    shard: str
    role: Role
    region: str
    server_id: int


def plan_servers(*, shards: int, replicas: int, regions: int) -> tuple[PlannedServer, ...]:
    """The servers of all shards, each shard's primary first.

    The primary stands in the first region. With two regions the later half of the replicas, at least one,
    stands in the second. Raises UsageError for numbers that make no fleet.
    """
    _refuse_outside("shards", shards, 1, MOST_SHARDS)
    _refuse_outside("replicas", replicas, 0, MOST_REPLICAS)
    _refuse_outside("regions", regions, 1, len(REGIONS))
    if regions > 1 and replicas == 0:
        raise UsageError("two regions need at least one replica", hint="Try --replicas 2.")
    away = max(1, replicas // 2) if regions > 1 else 0
    return tuple(
        PlannedServer(
            name=f"s{shard}-{_LETTERS[number]}",
            shard=f"s{shard}",
            role="replica" if number else "primary",
            region=REGIONS[1 if number > replicas - away else 0],
            server_id=100 * shard + number + 1,
        )
        for shard in range(1, shards + 1)
        for number in range(replicas + 1)
    )


def _refuse_outside(what: str, value: int, lowest: int, highest: int) -> None:
    if not lowest <= value <= highest:
        raise UsageError(f"{value} {what} make no sandbox", hint=f"Choose from {lowest} to {highest}.")
