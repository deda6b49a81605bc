"""``python -m benchmarks.transfer put|get KEY``: a pipe's end at the object store, in a careful script.

boto3's own multipart upload, four requests at once; one download. Endpoint and keys come from the
environment.
"""

from __future__ import annotations

import os
import sys

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from benchmarks.cases import BUCKET

_PART_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024


def main(direction: str, key: str) -> None:
    """Copy standard input into the object ``key``, or the object to standard output."""
    client = boto3.client(
        "s3",
        endpoint_url=os.environ["BENCHMARK_ENDPOINT"],
        config=Config(
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    transfer = TransferConfig(
        multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, max_concurrency=4
    )
    if direction == "put":
        client.upload_fileobj(sys.stdin.buffer, BUCKET, key, Config=transfer)
    else:
        # One stream: boto3's parallel download was seen to stand still behind a slow pipe.
        for piece in client.get_object(Bucket=BUCKET, Key=key)["Body"].iter_chunks(_PIECE_BYTES):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
