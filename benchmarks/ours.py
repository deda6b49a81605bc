"""Backstay's own cases, each in a process as the command line would be: ``benchmarks.child`` runs them."""

from __future__ import annotations

import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from benchmarks.cases import BUCKET, Case, Group, Workplace
from benchmarks.measuring import size_of_tree
from infra.sandbox.files import write_private

SHARD = "donor"
_CONFIG = """\
name = "benchmark"
regions = ["here"]

[[shards]]
name = "{shard}"

[[shards.servers]]
name = "donor"
host = "127.0.0.1"
port = {port}
region = "here"
role = "primary"
{socket}

[accounts.backup]
user = "{user}"
password = {{ file = "{account}" }}

[repository]
{repository}

[[keys]]
id = "benchmark"
provider = "file"
file = "{key}"

[backup]
donor = "primary"
spool_directory = "{spool}"
{backup}
[restore]
mysqld = "{mysqld}"
"""
_S3 = """\
url = "s3://{bucket}/{prefix}"
endpoint = "{endpoint}"
region = "us-east-1"
addressing = "path"
access_key = {{ env = "AWS_ACCESS_KEY_ID" }}
secret_key = {{ env = "AWS_SECRET_ACCESS_KEY" }}"""


def our_cases(place: Workplace) -> Iterator[Case]:
    """Backups over TCP with TLS, as from another host, and over the socket, as the peers; two restores."""
    make_key(place)
    files = place.scratch("repository")
    yield _backup(place, "backstay-files", "Backstay, TCP + TLS", Group.BACKUP_FILES, files)
    yield _backup(
        place, "backstay-socket-files", "Backstay, socket", Group.BACKUP_FILES, place.scratch("by-socket")
    )
    yield _backup(place, "backstay-s3", "Backstay, TCP + TLS", Group.BACKUP_S3, None)
    yield _backup(place, "backstay-socket-s3", "Backstay, socket", Group.BACKUP_S3, None)
    for needs, group in (("backstay-files", Group.RESTORE_FILES), ("backstay-s3", Group.RESTORE_S3)):
        yield _restore(place, "fetch", "Backstay, fetch alone", group, needs)
        yield _restore(place, "restore", "Backstay, with recovery and proof", group, needs)


def _backup(place: Workplace, name: str, title: str, group: Group, folder: Path | None) -> Case:
    config, report = place.scratch(f"{name}.toml"), place.scratch(f"{name}.json")
    prefix = f"{name}/"
    repository = f'url = "file://{folder}"' if folder else in_store(place, name)
    write_private(config, config_text(place, repository, by_socket="socket" in name).encode())

    def before() -> None:
        if folder:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            place.empty_store(prefix)
        subprocess.run(
            child_words("init", config, report), env=place.environ(), check=True, capture_output=True
        )

    return Case(
        name, title, group, child_words("backup", config, report), ours=True, environ=place.environ(),
        before=before, durable=folder, report=report,
        stored=partial(size_of_tree, folder) if folder else partial(place.bytes_in_store, prefix),
    )  # fmt: skip


def _restore(place: Workplace, verb: str, title: str, group: Group, needs: str) -> Case:
    suffix = needs.rpartition("-")[2]
    target, report = place.scratch(f"{verb}-target"), place.scratch(f"{verb}-{suffix}.json")
    clear = partial(shutil.rmtree, target, ignore_errors=True)
    words = child_words(verb, place.scratch(f"{needs}.toml"), report, str(target))
    return Case(
        f"{verb}-{suffix}", title, group, words, ours=True, environ=place.environ(), before=clear,
        after=clear, durable=target, stored=partial(size_of_tree, target), needs=needs, report=report,
    )  # fmt: skip


def make_key(place: Workplace) -> None:
    """The repository key of all cases, made once."""
    key = place.scratch("backstay.key")
    if not key.exists():
        write_private(key, secrets.token_hex(32).encode())


def in_store(place: Workplace, prefix: str) -> str:
    """The lines of a config that name a place in the run's object store."""
    return _S3.format(bucket=BUCKET, prefix=prefix, endpoint=place.store.endpoint)


def config_text(place: Workplace, repository: str, *, by_socket: bool, backup: str = "") -> str:
    """The config of a case: lines of its section ``repository``, and more ones of ``backup``."""
    server = place.donor.server
    return _CONFIG.format(
        shard=SHARD,
        port=server.port,
        socket=f'socket = "{server.socket}"\ntls = {{ mode = "off" }}' if by_socket else "",
        user=place.donor.account.user,
        account=place.scratch("account"),
        repository=repository,
        key=place.scratch("backstay.key"),
        spool=place.directory,
        backup=backup,
        mysqld=server.distribution.mysqld,
    )


def child_words(verb: str, config: Path, report: Path, *more: str) -> tuple[str, ...]:
    """The command that does one verb in a process of its own."""
    return (sys.executable, "-m", "benchmarks.child", verb, str(config), str(report), *more)
