"""The connection to an S3 server: boto3, set up so that the store above it decides everything itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast
from urllib.parse import urlsplit

import boto3.session
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from fleet.errors import ConfigError

Addressing = Literal["auto", "path", "virtual"]


class Events(Protocol):
    """The part of botocore's event system that we use."""

    def register(self, event_name: str, handler: Callable[..., None]) -> None: ...


class ClientMeta(Protocol):
    """What a client knows of itself."""

    events: Events
    endpoint_url: str


class S3Client(Protocol):
    """The operations of boto3's client that a store needs; parameters and answers as in the S3 API."""

    @property
    def meta(self) -> ClientMeta: ...

    def put_object(self, **parameters: Any) -> dict[str, Any]: ...

    def get_object(self, **parameters: Any) -> dict[str, Any]: ...

    def head_object(self, **parameters: Any) -> dict[str, Any]: ...

    def delete_object(self, **parameters: Any) -> dict[str, Any]: ...

    def list_objects_v2(self, **parameters: Any) -> dict[str, Any]: ...

    def get_bucket_versioning(self, **parameters: Any) -> dict[str, Any]: ...

    def get_object_lock_configuration(self, **parameters: Any) -> dict[str, Any]: ...

    def get_bucket_lifecycle_configuration(self, **parameters: Any) -> dict[str, Any]: ...

    def list_object_versions(self, **parameters: Any) -> dict[str, Any]: ...

    def put_object_retention(self, **parameters: Any) -> dict[str, Any]: ...


@dataclass(frozen=True)
class S3Connection:
    """How to reach a server.

    ``endpoint``: a URL, or None for AWS. ``access_key`` and ``secret_key``: both, or neither for AWS's own
    search (variables, profile, role). ``connections``: how many requests may run at once without waiting for
    each other.
    """

    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = None
    addressing: Addressing = "auto"
    connections: int = 64
    connect_timeout_seconds: float = 10.0
    read_timeout_seconds: float = 60.0

    def __repr__(self) -> str:
        return f"S3Connection(endpoint={self.endpoint!r}, region={self.region!r})"


def connect(connection: S3Connection) -> S3Client:
    """A client for any number of threads; nothing is sent yet. What cannot be: ``ConfigError``."""
    _check(connection)
    # A server of one's own has no regions, but a signature needs one.
    region = connection.region or ("us-east-1" if connection.endpoint else None)
    try:
        client: object = boto3.session.Session().client(
            "s3",
            endpoint_url=connection.endpoint,
            region_name=region,
            aws_access_key_id=connection.access_key,
            aws_secret_access_key=connection.secret_key,
            config=_config(connection),
        )
    except (BotoCoreError, ValueError) as error:
        raise ConfigError(f"no S3 client can be made for {connection.endpoint or 'AWS'}: {error}") from error
    return cast(S3Client, client)


def _config(connection: S3Connection) -> Config:
    return Config(
        connect_timeout=connection.connect_timeout_seconds,
        read_timeout=connection.read_timeout_seconds,
        max_pool_connections=connection.connections,
        tcp_keepalive=True,
        # One truth for retries: the wrapper, which counts them and knows how to repeat a conditional put.
        retries={"total_max_attempts": 1, "mode": "standard"},
        # Not "when_supported": that sends checksums as trailers of aws-chunked bodies, which OSS and others
        # refuse.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={
            "addressing_style": connection.addressing,
            # Each put carries a signed checksum header; to sign the body as well would hash it a second time.
            "payload_signing_enabled": False,
        },
    )


def _check(connection: S3Connection) -> None:
    if (connection.access_key is None) != (connection.secret_key is None):
        raise ConfigError(
            "the repository has only one of access_key and secret_key",
            hint="Set both, or neither to let AWS's own variables, profile or role apply.",
        )
    if connection.endpoint is None:
        return
    parts = urlsplit(connection.endpoint)
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            f"the endpoint at {parts.hostname} holds a user name or a password",
            hint="Secrets belong into access_key and secret_key.",
        )
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(
            f"the endpoint {connection.endpoint!r} is no URL",
            hint="Write it as https://host or http://host:port.",
        )
