"""The fleet as its operator describes it: shards, servers, accounts, and a model for each section.

Every model is frozen and checked when it is made, so the rooms never check again. What only the whole fleet
can tell (names that repeat, regions that are not declared) is found by ``contradictions``.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Literal, TypeVar, cast

from pydantic import Field, field_validator, model_validator

from fleet.errors import ConfigError, NotFound
from fleet.mirror_config import MirrorConfig
from fleet.nearest import nearest, or_nearest
from fleet.parallelism import Parallelism
from fleet.policy import (
    ArchiveConfig,
    BackupConfig,
    RestoreConfig,
    Retention,
    Schedule,
    ShardSchedule,
    Targets,
)
from fleet.prices import Prices
from fleet.repository_config import KeyConfig, RepositoryConfig, StoreConfig
from fleet.secrets import Secret
from fleet.section import FilePath, Flag, Name, Section, mistake, mistakes
from fleet.service_config import Alerts, Budget, Notify, ProofConfig, SchedulerConfig, ServiceConfig

__all__ = [
    "Account",
    "Accounts",
    "ArchiveConfig",
    "BackupConfig",
    "Fleet",
    "KeyConfig",
    "MirrorConfig",
    "Parallelism",
    "Prices",
    "RepositoryConfig",
    "RestoreConfig",
    "Retention",
    "Schedule",
    "Secret",
    "Server",
    "Shard",
    "Targets",
    "Tls",
]

_HOST_NAME = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?:\.(?!-)[A-Za-z0-9_-]{1,63})*\.?")


class Tls(Section):
    """How the connection to a server is encrypted, and how the server proves who it is."""

    mode: Literal["required", "verify-ca", "verify-identity", "off"] = Field(
        default="required",
        description="`required` encrypts without asking who answers; `verify-ca` asks for a certificate "
        "of `ca`, `verify-identity` also for the host's name in it; `off` sends data in clear.",
    )
    ca: FilePath | None = Field(
        default=None, description="Certificates (PEM) that sign the server's; default: those of the system."
    )
    cert: FilePath | None = Field(default=None, description="Certificate (PEM) to show to the server.")
    key: FilePath | None = Field(default=None, description="Private key (PEM) of `cert`.")

    @model_validator(mode="after")
    def _fits_together(self) -> Tls:
        if (self.cert is None) != (self.key is None):
            raise mistake("needs cert and key together, or neither")
        if self.mode == "off" and (self.ca or self.cert):
            raise mistake('has certificates, but mode = "off" uses none')
        if self.mode == "required" and self.ca:
            raise mistake(
                'has a ca, but mode = "required" does not look at it; verify-ca or verify-identity do'
            )
        return self


class Server(Section):
    """One mysqld."""

    name: Name = Field(description="Name of the server, unique in the fleet.")
    host: str = Field(description="Host name or IP address.")
    port: Annotated[int, Field(strict=True, ge=1, le=65535)] = Field(default=3306, description="TCP port.")
    region: Name = Field(description="Region it stands in, one of `regions`.")
    role: Literal["primary", "replica"] = Field(
        default="replica",
        description="What it is meant to be; a hint, the servers themselves are always asked.",
    )
    socket: FilePath | None = Field(
        default=None,
        description="Unix socket, used instead of host and port where Backstay runs on the server's machine.",
    )
    tls: Tls = Field(default=Tls(), description="Encryption of connections to it.")

    @field_validator("host")
    @classmethod
    def _is_a_host(cls, host: str) -> str:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            pass
        else:
            return host
        if not _HOST_NAME.fullmatch(host) or len(host) > 253:
            advice = "; the port belongs into port" if re.fullmatch(r"[^/]*:[0-9]+", host) else ""
            raise mistake(f"{host!r} is neither a host name nor an IP address{advice}")
        return host


class Shard(Section):
    """One slice of the data: a primary and its replicas."""

    name: Name = Field(description="Name of the shard; part of the names of its backups, so never renamed.")
    servers: tuple[Server, ...] = Field(min_length=1, description="Its servers.")
    schedule: ShardSchedule | None = Field(
        default=None, description="Where its backups are taken at other times than `[schedule]` says."
    )

    def server(self, name: str) -> Server:
        """The server of that name; raises NotFound with the nearest one."""
        return _named(name, self.servers, f"server of shard {self.name}")


NamedT = TypeVar("NamedT", Server, Shard)


class Account(Section):
    """A MySQL account."""

    user: str = Field(min_length=1, max_length=32, description="User name, without a host.")
    password: Secret = Field(description="Its password.")


class Accounts(Section):
    """The MySQL accounts that Backstay logs in with; `infra/examples/accounts.sql` makes them."""

    backup: Account = Field(description="Takes backups: it may clone, and read what describes the server.")
    archive: Account | None = Field(
        default=None, description="Archives binlogs: it may replicate; default: the account `backup`."
    )

    diff: Account | None = Field(
        default=None,
        description="Reads rows of live tables for `backstay diff`, which cannot be used without it.",
    )

    @property
    def for_archive(self) -> Account:
        """The account that archives."""
        return self.archive or self.backup


class Fleet(Section):
    """Everything that `backstay.toml` says."""

    name: Name = Field(description="Name of the fleet, for reports.")
    regions: tuple[Name, ...] = Field(min_length=1, description="Regions that servers stand in.")
    shards: tuple[Shard, ...] = Field(min_length=1, description="The shards.")
    accounts: Accounts = Field(description="MySQL accounts.")
    repository: RepositoryConfig = Field(description="Where backups are kept.")
    mirror: MirrorConfig | None = Field(
        default=None, description="Where everything in the repository is copied to; default: nowhere."
    )
    keys: tuple[KeyConfig, ...] = Field(
        min_length=1, description="Keys: the first wraps new backups, all of them open old ones."
    )
    targets: Targets = Field(default=Targets(), description="What is promised.")
    schedule: Schedule = Field(default=Schedule(), description="When backups are taken.")
    retention: Retention = Field(default=Retention(), description="Which backups are kept, and for how long.")
    backup: BackupConfig = Field(default=BackupConfig(), description="How backups are made.")
    restore: RestoreConfig = Field(default=RestoreConfig(), description="How restores are made.")
    archive: ArchiveConfig = Field(
        default=ArchiveConfig(), description="How binlogs are archived, beside the backups."
    )
    parallelism: Parallelism = Field(
        default_factory=lambda: Parallelism(),  # noqa: PLW0108 - pyright takes no class with parameters
        description="How many things happen at once; defaults from the machine.",
    )
    service: ServiceConfig = Field(default=ServiceConfig(), description="How `backstay serve` runs.")
    scheduler: SchedulerConfig = Field(
        default=SchedulerConfig(), description="The Prefect server that starts what is scheduled."
    )
    budget: Budget = Field(default=Budget(), description="What all backups may use together.")
    proof: ProofConfig = Field(default=ProofConfig(), description="When and where backups are proven.")
    alerts: Alerts = Field(default=Alerts(), description="When a finding is a warning, and when critical.")
    notify: Notify = Field(default=Notify(), description="Who is told when health changes.")
    prices: Prices | None = Field(
        default=None, description="What the store costs, for `backstay plan`; no price is built in."
    )
    allow_inline_secrets: Flag = Field(
        default=False,
        description="Allow secrets that stand in this file itself; for sandboxes, not for production.",
    )

    def shard(self, name: str) -> Shard:
        """The shard of that name; raises NotFound with the nearest one."""
        return _named(name, self.shards, f"shard of fleet {self.name}")

    def schedule_of(self, shard: Shard) -> Schedule:
        """When the backups of ``shard`` are taken: `[schedule]`, but for what the shard says itself."""
        return shard.schedule.over(self.schedule) if shard.schedule is not None else self.schedule

    def at_mirror(self) -> Fleet:
        """This fleet with its mirror as its repository, kept by the mirror's retention; the repository that
        it has is not in it. Raises ConfigError where there is no mirror.
        """
        if self.mirror is None:
            raise ConfigError(
                "there is no mirror in the configuration", hint="Name one: [mirror] with its url."
            )
        place = {name: getattr(self.mirror, name) for name in StoreConfig.model_fields}
        return self.model_copy(
            update={
                "repository": self.repository.model_copy(update={**place, "throttle_bytes_per_second": None}),
                "retention": self.mirror.retention or self.retention,
                "mirror": None,
            }
        )

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Fleet:
        if found := list(contradictions(self)):
            raise mistakes(found)
        return self


def contradictions(fleet: Fleet) -> Iterator[tuple[str, str]]:
    """What is wrong with a fleet whose sections are right by themselves: key path and text of each."""
    servers = {
        f"shards[{i}].servers[{j}]": server
        for i, shard in enumerate(fleet.shards)
        for j, server in enumerate(shard.servers)
    }
    yield from _repeated(((f"regions[{i}]", region) for i, region in enumerate(fleet.regions)), "region")
    yield from _repeated(((f"shards[{i}].name", shard.name) for i, shard in enumerate(fleet.shards)), "shard")
    yield from _repeated(((f"{path}.name", server.name) for path, server in servers.items()), "server")
    yield from _repeated(
        ((path, f"{server.host}:{server.port}") for path, server in servers.items()), "address"
    )
    yield from _repeated(((f"keys[{i}].id", key.id) for i, key in enumerate(fleet.keys)), "key")
    for path, server in servers.items():
        if server.region not in fleet.regions:
            known = or_nearest(server.region, fleet.regions)
            yield f"{path}.region", f"{server.region!r} is not one of regions{known}"
    for i, shard in enumerate(fleet.shards):
        if len(primaries := [server.name for server in shard.servers if server.role == "primary"]) > 1:
            yield f"shards[{i}]", f"has more than one primary: {', '.join(primaries)}"
    yield from _wrong_donors(fleet)
    if fleet.mirror and fleet.mirror.overlaps(fleet.repository):
        yield "mirror.url", f"{fleet.mirror.url!r} {_beside(fleet.mirror, fleet.repository)}"
    if not fleet.allow_inline_secrets:
        for path, secret in secrets_of(fleet):
            if secret.inline is not None:
                yield path, "has its secret in the file, and allow_inline_secrets is not true"


def _beside(mirror: StoreConfig, repository: StoreConfig) -> str:
    if not mirror.lies_in(repository):
        return f"is a place that the repository, {repository.url!r}, is inside of; each needs one of its own"
    if not repository.lies_in(mirror):
        return f"is inside of the repository, {repository.url!r}; each needs a place of its own"
    return "is the place of the repository itself"


def _wrong_donors(fleet: Fleet) -> Iterator[tuple[str, str]]:
    donors = fleet.backup.donors
    yield from _repeated(((f"backup.donors[{i}]", donor) for i, donor in enumerate(donors)), "donor")
    names = {server.name for shard in fleet.shards for server in shard.servers}
    for i, donor in enumerate(donors):
        if donor not in names:
            yield f"backup.donors[{i}]", f"{donor!r} is no server{or_nearest(donor, names)}"
    if donors:
        for shard in fleet.shards:
            if not any(server.name in donors for server in shard.servers):
                yield (
                    "backup.donors",
                    f"names no server of shard {shard.name}, which could so never be backed up",
                )


def _repeated(names: Iterable[tuple[str, str]], noun: str) -> Iterator[tuple[str, str]]:
    """Names that were there before. Case does not tell names apart: on some stores it cannot."""
    seen: dict[str, str] = {}
    for path, name in names:
        first = seen.setdefault(name.casefold(), path)
        if first != path:
            yield path, f"{noun} {name!r} is there already, at {first}"


def secrets_of(section: Section, path: str = "") -> Iterator[tuple[str, Secret]]:
    """Every secret below a section, with its key path."""
    for field in type(section).model_fields:
        value: object = getattr(section, field)
        items = enumerate(cast(tuple[object, ...], value)) if isinstance(value, tuple) else [(None, value)]
        for index, item in items:
            below = f"{path}.{field}".lstrip(".") + ("" if index is None else f"[{index}]")
            if isinstance(item, Secret):
                yield below, item
            elif isinstance(item, Section):
                yield from secrets_of(item, below)


def _named(name: str, known: Sequence[NamedT], noun: str) -> NamedT:
    for candidate in known:
        if candidate.name == name:
            return candidate
    names = [candidate.name for candidate in known]
    found = nearest(name, names)
    hint = f"Did you mean {found}?" if found else f"There are: {', '.join(names)}."
    raise NotFound(f"no {noun} is called {name!r}", hint=hint)
