"""Real stores of every kind, each as ``open_store``'s callers meet them but without retries."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faulty_front import FaultyFront
from oss_front import REGION, OssFront

from repository.stores.filesystem import FilesystemStore
from repository.stores.interface import Store
from repository.stores.memory import MemoryStore
from repository.stores.oss import OssStore, connect_oss
from repository.stores.s3 import S3Store
from repository.stores.s3_client import S3Client, S3Connection, connect

if TYPE_CHECKING:
    from infra.sandbox.objectstore import SeaweedServer


@pytest.fixture(scope="session")
def bucket(seaweed: SeaweedServer) -> str:
    """A bucket with versioning; each test takes a prefix of its own."""
    seaweed.create_bucket("contract", versioning=True)
    return "contract"


@pytest.fixture(scope="session")
def plain_bucket(seaweed: SeaweedServer) -> str:
    """A bucket without versioning."""
    seaweed.create_bucket("contract-plain", versioning=False)
    return "contract-plain"


@pytest.fixture(scope="session")
def oss_front(seaweed: SeaweedServer) -> Iterator[OssFront]:
    front = OssFront(seaweed.endpoint, seaweed.access_key, seaweed.secret_key)
    yield front
    front.stop()


@pytest.fixture(scope="session")
def faulty_front(seaweed: SeaweedServer) -> Iterator[FaultyFront]:
    front = FaultyFront(seaweed.endpoint, seaweed.access_key, seaweed.secret_key)
    yield front
    front.stop()


@pytest.fixture(scope="session")
def s3_connection(seaweed: SeaweedServer) -> S3Connection:
    return S3Connection(
        endpoint=seaweed.endpoint, access_key=seaweed.access_key, secret_key=seaweed.secret_key
    )


@pytest.fixture(scope="session")
def s3_client(s3_connection: S3Connection) -> S3Client:
    return connect(s3_connection)


@pytest.fixture(scope="session")
def oss_client(oss_front: OssFront, s3_connection: S3Connection) -> S3Client:
    """A client of the front."""
    # boto3 reads the proxy when a client is made; all other clients go on without it.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("http_proxy", oss_front.address)
        return connect_oss(replace(s3_connection, endpoint=oss_front.endpoint, region=REGION))


@pytest.fixture
def prefix() -> str:
    """A place in a bucket that no other test knows."""
    return f"suite/{uuid.uuid4().hex}"


@pytest.fixture(
    params=[
        "memory",
        "filesystem",
        pytest.param("s3", marks=pytest.mark.s3),
        pytest.param("s3-md5", marks=pytest.mark.s3),
        pytest.param("oss", marks=pytest.mark.s3),
    ]
)
def store(request: pytest.FixtureRequest, tmp_path: Path, prefix: str) -> Store:
    """An empty store of each kind."""
    if request.param == "memory":
        return MemoryStore()
    if request.param == "filesystem":
        return FilesystemStore(tmp_path / "repository")
    if request.param == "oss":
        client: S3Client = request.getfixturevalue("oss_client")
        return OssStore(client, request.getfixturevalue("plain_bucket"), prefix)
    client = request.getfixturevalue("s3_client")
    checksum = "md5" if request.param == "s3-md5" else "sha256"
    return S3Store(client, request.getfixturevalue("bucket"), prefix, checksum=checksum)
