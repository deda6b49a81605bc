"""``python -m benchmarks.transfer put|get|tree KEY [FOLDER]``: the store's end of a careful script.

A pipe into an object, an object into a pipe, or all files of a folder into objects below ``KEY/``. boto3's
own multipart upload, four requests at once; one download. Endpoint and keys come from the environment.
"""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config

from benchmarks.cases import BUCKET

_PART_BYTES = 16 * 1024 * 1024
_PIECE_BYTES = 1024 * 1024
FILES_AT_ONCE = 4


def main(direction: str, key: str, folder: str = "") -> None:
    """Copy standard input into the object ``key``, the object to standard output, or ``folder``."""
    client = boto3.client(
        "s3",
        endpoint_url=os.environ["BENCHMARK_ENDPOINT"],
        config=Config(
            s3={"addressing_style": "path"},
            max_pool_connections=20,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    transfer = TransferConfig(
        multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, max_concurrency=4
    )
    if direction == "put":
        client.upload_fileobj(sys.stdin.buffer, BUCKET, key, Config=transfer)
    elif direction == "tree":
        files = [path for path in Path(folder).rglob("*") if path.is_file()]
        with ThreadPoolExecutor(FILES_AT_ONCE) as threads:
            uploads = [threads.submit(_upload, client, transfer, path, key, Path(folder)) for path in files]
            for upload in uploads:
                upload.result()
    else:
        # One stream: boto3's parallel download was seen to stand still behind a slow pipe.
        for piece in client.get_object(Bucket=BUCKET, Key=key)["Body"].iter_chunks(_PIECE_BYTES):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


def _upload(client: Any, transfer: TransferConfig, path: Path, key: str, folder: Path) -> None:
    client.upload_file(str(path), BUCKET, f"{key}/{path.relative_to(folder)}", Config=transfer)


if __name__ == "__main__":
    main(*sys.argv[1:])
