"""How scheduled runs ended, told to all machines: the objects under ``outcomes/`` (FORMAT.md, section 19).

They say why a backup is missing, and never whether there is one.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Collection, Iterator, MutableMapping
from itertools import groupby
from typing import Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from fleet.errors import Cancelled, KeyUnusable, ToolError
from repository import layout
from repository.askers import Askers
from repository.attached import open_document
from repository.codec import encode_document
from repository.keys import Binding, WrappedKey
from repository.layout import BackupName
from repository.manifest import UtcTime, parse_document
from repository.repository import Repository
from repository.seal import (
    FORMAT_NUMBER,
    KEY_BYTES,
    BackupKey,
    Identity,
    ObjectKind,
    damaged,
    seal_object,
)
from repository.stores.interface import ObjectInfo

KEPT = 4
"""So many of each duty count."""
MAX_BYTES = 64 * 1024
MAX_TEXT = 2000

_WRAPPED_FOR = "outcomes"

Scope: TypeAlias = Literal["shard", "fleet"]


class Envelope(WrappedKey):
    """The object: a key of its own, wrapped, and what that key seals."""

    sealed: str = Field(description="The sealed object in base64.")


class OutcomeDocument(BaseModel):
    """How a run ended. Texts are without secrets."""

    model_config = ConfigDict(frozen=True)

    format: int = Field(default=FORMAT_NUMBER, description="Number of the format.")
    due_at: UtcTime | None = Field(default=None, description="When the schedule wanted it; null by hand.")
    started_at: UtcTime = Field(description="When it began.")
    ended_at: UtcTime = Field(description="When it ended.")
    outcome: Literal["done", "failed", "skipped", "cancelled"] = Field(description="How it ended.")
    exit_code: int = Field(default=0, description="That of the error.")
    message: str | None = Field(default=None, max_length=MAX_TEXT, description="What it came to.")
    hint: str | None = Field(default=None, max_length=MAX_TEXT, description="The way out.")
    label: str | None = Field(default=None, max_length=100, description="The backup that it took.")
    host: str = Field(max_length=300, description="The machine that it ran on.")


class Outcome(NamedTuple):
    """The run ``token`` of ``duty``, for the shard or the fleet ``name``."""

    scope: str
    name: str
    duty: str
    token: str
    told: OutcomeDocument


OutcomesKnown: TypeAlias = MutableMapping[ObjectInfo, Outcome | None]
"""What was read before, and None for what does not open; objects never change."""


def new_token() -> str:
    """The name of one run."""
    return secrets.token_hex(8)


class Outcomes:
    """The outcomes in a repository. Thread-safe."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def put(self, outcome: Outcome) -> None:
        """One put, and a call where the key lives in KMS. Raises ``FormatUnsupported``, ``KeyUnusable``,
        ``KeyServiceUnreachable``, and what the store raises.
        """
        self._repository.check_may("write")
        at = outcome.told.ended_at
        name = layout.outcome(outcome.scope, outcome.name, outcome.duty, at, outcome.token)
        key, kek = secrets.token_bytes(KEY_BYTES), self._repository.keys.primary
        text = outcome.told.model_dump_json(exclude_none=True).encode()
        sealed = seal_object(self._identity(name), BackupKey(key), encode_document(text, 1))
        envelope = Envelope(
            key_id=kek.key_id,
            wrapped=_base64(kek.wrap(key, self._binding(outcome.token))),
            sealed=_base64(sealed),
        )
        self._repository.store.put(name, envelope.model_dump_json().encode())

    def all(self, *, but: Collection[str] = (), known: OutcomesKnown | None = None) -> tuple[Outcome, ...]:
        """Those that count, in the order in which they ended; without those of the tokens ``but``.

        What does not open says nothing. Costs a list, and a get for each that is not ``known``, which is
        brought up to date. Raises what listing raises, and ``Cancelled``.
        """
        known = {} if known is None else known
        listed = [each for kept, _ in self._by_duty() for each in kept]
        new = [each for each in listed if each not in known and _token(each) not in but]
        for gone in known.keys() - set(listed):
            del known[gone]
        with Askers("outcomes") as askers:
            for each, said in zip(new, askers.answers(self._look_at, new), strict=True):
                if said != "later":
                    known[each] = said
        found = (known.get(each) for each in listed if _token(each) not in but)
        return tuple(sorted((each for each in found if each), key=lambda each: each.told.ended_at))

    def left_over(self) -> tuple[str, ...]:
        """Names of those that no longer count. Raises what the store raises."""
        return tuple(each.key for _, below in self._by_duty() for each in below)

    def trim(self) -> int:
        """Delete what no longer counts, and say how much that was. Raises ``FormatUnsupported``, and what
        the store raises.
        """
        names = self.left_over()
        if names:
            self._repository.check_may("delete")
        for name in names:
            self._repository.store.delete(name)
        return len(names)

    def _by_duty(self) -> Iterator[tuple[list[ObjectInfo], list[ObjectInfo]]]:
        """Of each duty those that count, and the others."""
        listed = (info for info in self._repository.store.list(layout.OUTCOMES) if _token(info))
        for _, same in groupby(sorted(listed), key=lambda info: info.key.rpartition("/")[0]):
            newest = sorted(same, key=lambda info: (info.modified_at, info.key), reverse=True)
            yield newest[:KEPT], newest[KEPT:]

    def _look_at(self, info: ObjectInfo) -> Outcome | Literal["later"] | None:
        try:
            return self._read(info)
        except Cancelled:
            raise
        except ToolError as error:
            return "later" if error.retryable else None

    def _read(self, info: ObjectInfo) -> Outcome:
        parsed = layout.parse_outcome(info.key)
        if parsed is None or info.size > MAX_BYTES:
            raise damaged(info.key, f"it has {info.size} bytes, more than {MAX_BYTES}")
        envelope = parse_document(Envelope, info.key, self._repository.store.get(info.key))
        kek = self._repository.keys.openers.get(envelope.key_id)
        if kek is None:
            raise KeyUnusable(f"{info.key} is wrapped by {envelope.key_id}, and no such key is usable here")
        key = BackupKey(kek.unwrap(_bytes(info.key, envelope.wrapped), self._binding(parsed[3])))
        sealed = _bytes(info.key, envelope.sealed)
        return Outcome(*parsed, open_document(OutcomeDocument, self._identity(info.key), key, sealed))

    def _identity(self, name: str) -> Identity:
        return Identity(self._repository.repository_id, name, ObjectKind.OUTCOME)

    def _binding(self, token: str) -> Binding:
        return Binding(self._repository.repository_id, BackupName(_WRAPPED_FOR, token))


def _token(info: ObjectInfo) -> str | None:
    parsed = layout.parse_outcome(info.key)
    return parsed[3] if parsed else None


def _base64(data: bytes | bytearray) -> str:
    return base64.b64encode(data).decode()


def _bytes(name: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise damaged(name, "it is not base64 where it should be") from None
