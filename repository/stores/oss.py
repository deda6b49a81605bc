"""A store in a bucket of Alibaba Cloud OSS, through its S3-compatible endpoint.

Where OSS differs, by its own documentation ("Access OSS with AWS SDKs", "PutObject", "Range download"): only
virtual-hosted addressing; no aws-chunked bodies, so no checksum trailers, and no x-amz-checksum headers;
``x-oss-forbid-overwrite: true`` instead of ``If-None-Match: *``, refused with 409 FileAlreadyExists, and
ignored in buckets with versioning (the first put finds that out); a range behind the end gives the whole
object, unless ``x-oss-range-behavior: standard`` asks for what HTTP says. The ETag of a put object is its
MD5.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any

from fleet.errors import ConfigError
from repository.stores.s3 import S3Store
from repository.stores.s3_client import S3Client, S3Connection, connect


class OssStore(S3Store):
    """Objects of an OSS bucket whose names start with ``prefix``; checked by MD5, which OSS knows."""

    scheme = "oss"

    def __init__(self, client: S3Client, bucket: str, prefix: str = "") -> None:
        super().__init__(client, bucket, prefix, checksum="md5")


def connect_oss(connection: S3Connection) -> S3Client:
    """A client that speaks OSS's dialect. Without an endpoint, that of the region is taken."""
    if connection.addressing == "path":
        raise ConfigError(
            "OSS refuses path-style addressing", hint='Leave addressing out, or set it to "virtual".'
        )
    region = (connection.region or "").removeprefix("oss-") or None
    endpoint = connection.endpoint or (f"https://s3.oss-{region}.aliyuncs.com" if region else None)
    if endpoint is None:
        raise ConfigError(
            "an oss:// repository needs an endpoint or a region", hint='For example: region = "cn-hangzhou".'
        )
    client = connect(replace(connection, endpoint=endpoint, region=region, addressing="virtual"))
    client.meta.events.register("before-call.s3.PutObject", _forbid_overwrite)
    client.meta.events.register("before-call.s3.GetObject", _ask_for_standard_ranges)
    return client


def _forbid_overwrite(params: dict[str, Any], **_: Any) -> None:
    headers: MutableMapping[str, str] = params["headers"]
    if headers.pop("If-None-Match", None) is not None:
        headers["x-oss-forbid-overwrite"] = "true"


def _ask_for_standard_ranges(params: dict[str, Any], **_: Any) -> None:
    headers: MutableMapping[str, str] = params["headers"]
    if "Range" in headers:
        headers["x-oss-range-behavior"] = "standard"
