"""The peers: how a careful administrator backs MySQL up, and restores it, with the tools that are there."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote

from benchmarks.cases import BUCKET, Case, Group, Workplace
from benchmarks.dataset import SCHEMA
from benchmarks.measuring import size_of_tree

_CIPHER = "-aes-256-ctr -pbkdf2"


@dataclass(frozen=True)
class _Home:
    """Where a peer keeps its backup: a file or folder, or the objects below a prefix."""

    suffix: str
    backup: Group
    restore: Group
    durable: Path | None
    clear: Callable[[], None]
    stored: Callable[[], int]


def peer_cases(place: Workplace) -> Iterator[Case]:
    """Every case of a peer whose tools are all there."""
    if have(place, "zstd", "openssl"):
        yield from _tar(place)
    if have(place, "restic"):
        yield from _restic(place)
    if have(place, "zstd"):
        yield _mysqldump(place)
    if have(place, "mydumper"):
        yield _mydumper(place)


def have(place: Workplace, *names: str) -> bool:
    """Are these tools all there?"""
    return all(place.tools[name].path for name in names)


def _tar(place: Workplace) -> Iterator[Case]:
    clone, file, target = (place.scratch(name) for name in ("clone", "clone.tar.zst.enc", "untarred"))
    zstd, openssl = program(place, "zstd"), program(place, "openssl")
    secret = quote(f"file:{place.secret}")
    pack = f"tar -C {quote(str(clone))} -cf - . | {zstd} -q -1 -T2 | {openssl} enc {_CIPHER} -pass {secret}"
    unpack = f"{openssl} enc -d {_CIPHER} -pass {secret} | {zstd} -q -d | tar -C {quote(str(target))} -xf -"
    transfer = f"{quote(sys.executable)} -m benchmarks.transfer"
    for home in _homes(place, file, "tar/"):
        put, get = f" | {transfer} put tar/{file.name}", f"{transfer} get tar/{file.name} | "
        if home.durable:
            put, get = f" > {quote(str(file))}", f"< {quote(str(file))} "
        yield Case(
            f"tar-{home.suffix}", "clone + tar + zstd -1 + openssl", home.backup,
            bash(f"{clone_command(place, clone)}\n{pack}{put}"), environ=place.environ(),
            before=_all(partial(clear, clone), home.clear), after=partial(clear, clone),
            durable=home.durable, stored=home.stored,
        )  # fmt: skip
        yield Case(
            f"untar-{home.suffix}", "openssl + zstd + untar", home.restore, bash(f"{get}{unpack}"),
            environ=place.environ(), before=partial(_empty, target), after=partial(clear, target),
            durable=target, stored=partial(size_of_tree, target), needs=f"tar-{home.suffix}",
        )  # fmt: skip


def _restic(place: Workplace) -> Iterator[Case]:
    clone, folder, target = (place.scratch(name) for name in ("clone", "restic", "restic-restored"))
    environ = place.environ(
        RESTIC_PASSWORD_FILE=str(place.secret), RESTIC_CACHE_DIR=str(place.scratch("restic-cache"))
    )
    for home in _homes(place, folder, "restic/"):
        repository = quote(str(folder)) if home.durable else f"s3:{place.store.endpoint}/{BUCKET}/restic"
        restic = f"{program(place, 'restic')} -q -r {repository}"
        begin = partial(_run, f"{restic} init", environ)
        yield Case(
            f"restic-{home.suffix}", "clone + restic, fastest", home.backup,
            bash(f"{clone_command(place, clone)}\n{restic} backup --compression fastest {quote(str(clone))}"),
            environ=environ, before=_all(partial(clear, clone), home.clear, begin),
            after=partial(clear, clone), durable=home.durable, stored=home.stored,
        )  # fmt: skip
        yield Case(
            f"restic-restore-{home.suffix}", "restic restore", home.restore,
            bash(f"{restic} restore latest --target {quote(str(target))}"), environ=environ,
            before=partial(clear, target), after=partial(clear, target), durable=target,
            stored=partial(size_of_tree, target), needs=f"restic-{home.suffix}",
        )  # fmt: skip


def _homes(place: Workplace, path: Path, prefix: str) -> tuple[_Home, _Home]:
    return (
        _Home(
            "files", Group.BACKUP_FILES, Group.RESTORE_FILES, path,
            partial(clear, path), partial(size_of_tree, path),
        ),
        _Home(
            "s3", Group.BACKUP_S3, Group.RESTORE_S3, None,
            partial(place.empty_store, prefix), partial(place.bytes_in_store, prefix),
        ),
    )  # fmt: skip


def _mysqldump(place: Workplace) -> Case:
    file = place.scratch("dump.sql.zst")
    mysqldump = quote(str(place.donor.server.distribution.tool("mysqldump")))
    login = f"-uroot -S {quote(str(place.donor.server.socket))}"
    dump = f"{mysqldump} {login} --single-transaction --databases {SCHEMA}"
    return Case(
        "mysqldump", "mysqldump + zstd -1", Group.BACKUP_FILES,
        bash(f"{dump} | {program(place, 'zstd')} -q -1 > {quote(str(file))}"), encrypted=False,
        environ=place.environ(), before=partial(clear, file), after=partial(clear, file), durable=file,
        stored=partial(size_of_tree, file),
    )  # fmt: skip


def _mydumper(place: Workplace) -> Case:
    folder = place.scratch("mydumper")
    login = f"-u root -S {quote(str(place.donor.server.socket))}"
    dump = f"{program(place, 'mydumper')} {login} -B {SCHEMA} -t 2 -c -r 200000 -o {quote(str(folder))}"
    return Case(
        "mydumper", "mydumper, 2 threads, gzip", Group.BACKUP_FILES, bash(dump), encrypted=False,
        environ=place.environ(), before=partial(clear, folder), after=partial(clear, folder),
        durable=folder, stored=partial(size_of_tree, folder),
    )  # fmt: skip


def clone_command(place: Workplace, target: Path) -> str:
    """The shell command that copies the donor into ``target``, which must not be there yet."""
    server = place.donor.server
    mysql = quote(str(server.distribution.tool("mysql")))
    statement = f"CLONE LOCAL DATA DIRECTORY = '{target}'"
    return f"{mysql} -uroot -S {quote(str(server.socket))} -e {quote(statement)}"


def program(place: Workplace, name: str) -> str:
    """The path of a peer's program, for a shell."""
    return quote(str(place.tools[name].path))


def bash(script: str) -> tuple[str, ...]:
    """The command that runs a script, and fails where any part of it fails."""
    return ("bash", "-euo", "pipefail", "-c", script)


def _run(script: str, environ: dict[str, str]) -> None:
    subprocess.run(bash(script), env=environ, check=True, capture_output=True)


def _all(*steps: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        for step in steps:
            step()

    return run


def clear(path: Path) -> None:
    """Remove a file or tree, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _empty(path: Path) -> None:
    clear(path)
    path.mkdir()
