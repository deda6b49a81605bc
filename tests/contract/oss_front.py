"""Alibaba Cloud OSS as far as a store can tell, before a SeaweedFS.

The rules are those of OSS's documentation: virtual-hosted requests only; no aws-chunked bodies, trailers or
x-amz-checksum headers; ``x-oss-forbid-overwrite`` and not ``If-None-Match``; a range that leaves the object
is ignored unless the standard behaviour is asked for. A client reaches it as its HTTP proxy, so that names of
buckets need no DNS.
"""

from __future__ import annotations

import re
import threading

from front import Answer, Front, Request, refusal

REGION = "oss-test-1"
HOST = f"s3.{REGION}.example"


class OssFront(Front):
    """``versioned_buckets``: where OSS ignores ``x-oss-forbid-overwrite``."""

    endpoint = f"http://{HOST}"

    def __init__(self, upstream: str, access_key: str, secret_key: str) -> None:
        super().__init__(upstream, access_key, secret_key)
        self.versioned_buckets: set[str] = set()
        self._access_key = access_key
        self._lock = threading.Lock()

    def answer(self, request: Request) -> Answer:
        bucket, _, domain = request.host.partition(".")
        if request.host == HOST or domain != HOST:
            return refusal(403, "SecondLevelDomainForbidden", "Please use virtual hosted style to access.")
        if f"Credential={self._access_key}/" not in request.headers.get("authorization", ""):
            return refusal(403, "InvalidAccessKeyId", "The OSS Access Key Id you provided does not exist.")
        refused = self._refuse_headers(request.headers)
        if refused is not None:
            return refused
        if request.method == "PUT":
            return self._put(request, bucket)
        if "range" in request.headers and request.headers.get("x-oss-range-behavior") != "standard":
            return self._get_range_in_its_own_way(request, bucket)
        return self.pass_on(request, bucket=bucket, without=("x-oss-range-behavior",))

    def _refuse_headers(self, headers: dict[str, str]) -> Answer | None:
        if "aws-chunked" in headers.get("content-encoding", "") or "x-amz-trailer" in headers:
            return refusal(400, "InvalidArgument", "aws-chunked encoding is not supported")
        if headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
            return refusal(400, "InvalidArgument", "aws-chunked encoding is not supported")
        if any(name.startswith(("x-amz-checksum", "x-amz-sdk-checksum")) for name in headers):
            return refusal(400, "InvalidArgument", "x-amz-checksum is not supported")
        if "if-none-match" in headers:
            return refusal(501, "NotImplemented", "A header implies functionality that is not implemented.")
        return None

    def _put(self, request: Request, bucket: str) -> Answer:
        forbidden = request.headers.pop("x-oss-forbid-overwrite", "false") == "true"
        if not forbidden or bucket in self.versioned_buckets:
            return self.pass_on(request, bucket=bucket)
        request.headers["if-none-match"] = "*"
        answer = self.pass_on(request, bucket=bucket)
        if answer.status == 412:
            return refusal(409, "FileAlreadyExists", "The object you specified already exists.")
        return answer

    def _get_range_in_its_own_way(self, request: Request, bucket: str) -> Answer:
        whole = self.pass_on(request, bucket=bucket, without=("range",))
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers["range"])
        if whole.status != 200 or found is None or int(found[2]) >= len(whole.body):
            return whole
        return self.pass_on(request, bucket=bucket)
