"""What leaves this machine over TLS: requests are caught where they would be sent."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from repository.stores.oss import OssStore, connect_oss
from repository.stores.s3 import S3Store
from repository.stores.s3_client import S3Client, S3Connection, connect

KEYS = {"access_key": "AK", "secret_key": "very-secret"}
DATA = b"some data"
MD5 = hashlib.md5(DATA, usedforsecurity=False)
SHA256 = hashlib.sha256(DATA).digest()


class _NoBody:
    def stream(self, *_: Any, **__: Any) -> Any:
        return iter([b""])


class Wire:
    """Answers every request as a server that has stored it, and keeps what was sent."""

    def __init__(self, client: S3Client) -> None:
        self.sent: list[Any] = []
        client.meta.events.register("before-send.s3", self._answer)

    def _answer(self, request: Any, **_: Any) -> Any:
        self.sent.append(request)
        status = {"HEAD": 404, "PUT": 200}[request.method]
        if len([each for each in self.sent if each.method == "PUT"]) > 1:
            status = 412
        return AWSResponse(request.url, status, {"etag": f'"{MD5.hexdigest()}"'}, _NoBody())

    def put(self) -> tuple[str, dict[str, str]]:
        """URL and headers of the first put."""
        request = next(each for each in self.sent if each.method == "PUT")
        headers = {name.lower(): _text(value) for name, value in request.headers.items()}
        assert request.body.getvalue() == DATA
        assert headers["content-length"] == str(len(DATA))
        return request.url, headers


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def test_a_put_to_s3_has_a_signed_checksum_header_and_no_trailer() -> None:
    client = connect(S3Connection(region="eu-central-1", **KEYS))
    wire = Wire(client)
    store = S3Store(client, "bucket", "prefix")
    store.put("data/p", DATA, sha256=SHA256)
    url, headers = wire.put()
    assert url == "https://bucket.s3.eu-central-1.amazonaws.com/prefix/data/p"
    assert headers["x-amz-checksum-sha256"] == base64.b64encode(SHA256).decode()
    assert headers["if-none-match"] == "*"
    assert headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert "if-none-match" in headers["authorization"]
    assert "x-amz-checksum-sha256" in headers["authorization"]
    assert not {"content-encoding", "x-amz-trailer", "transfer-encoding"} & set(headers)


@pytest.mark.parametrize("region", ["cn-hangzhou", "oss-cn-hangzhou"])
def test_a_put_to_oss_has_its_own_headers_and_none_that_it_refuses(region: str) -> None:
    client = connect_oss(S3Connection(region=region, **KEYS))
    wire = Wire(client)
    OssStore(client, "bucket", "prefix").put("data/p", DATA, sha256=SHA256)
    url, headers = wire.put()
    assert url == "https://bucket.s3.oss-cn-hangzhou.aliyuncs.com/prefix/data/p"
    assert headers["x-oss-forbid-overwrite"] == "true"
    assert "x-oss-forbid-overwrite" in headers["authorization"]
    assert "/cn-hangzhou/s3/aws4_request" in headers["authorization"]
    assert headers["content-md5"] == base64.b64encode(MD5.digest()).decode()
    assert headers["x-amz-content-sha256"] == "UNSIGNED-PAYLOAD"
    assert not [name for name in headers if "checksum" in name or "trailer" in name]
    assert not {"if-none-match", "content-encoding", "transfer-encoding"} & set(headers)


def test_a_server_of_ones_own_is_addressed_as_the_config_says() -> None:
    for addressing, expected in (
        ("path", "https://minio.example/bucket/a"),
        ("virtual", "https://bucket.minio.example/a"),
    ):
        client = connect(
            S3Connection(endpoint="https://minio.example", addressing=addressing, **KEYS)  # type: ignore[arg-type]
        )
        wire = Wire(client)
        S3Store(client, "bucket").put("a", DATA)
        assert wire.put()[0] == expected
