"""Small sealed documents that are put beside a finished backup: marks and holds (FORMAT.md, section 14).

They are sealed under the key that opens the backup's manifest, and under no other that somebody may have put
beside it: who may only put objects can make none that opens.
"""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel

from fleet.errors import Cancelled, KeyUnusable, ObjectDamaged, ObjectMissing, ToolError
from repository.codec import FrameDecoder, encode_document
from repository.key_places import KeyPlace, PlaceSeen, open_place
from repository.layout import BackupName
from repository.manifest import parse_document
from repository.repository import Repository
from repository.seal import BackupKey, Identity, ObjectKind, seal_object, unseal_object

Document = TypeVar("Document", bound=BaseModel)


def key_of_manifest(repository: Repository, backup: BackupName) -> BackupKey:
    """The key that opens the manifest of ``backup``.

    Raises ``ObjectMissing`` if the manifest is gone, ``KeyUnusable`` or ``ObjectDamaged`` if no key here
    opens it, and what the store raises.
    """
    place = KeyPlace(*backup)
    repository.store.stat(place.sealed)
    seen = PlaceSeen(place, (), exists=True)
    failure: ToolError | None = None
    for key_id in repository.keys.openers:
        try:
            return BackupKey(open_place(repository, seen, key_id))
        except ObjectMissing:
            continue
        except (KeyUnusable, ObjectDamaged) as error:
            failure = failure or error
    # Who has no key that opens anything is told so; else this names the keys that would do.
    repository.backup_key(backup)
    raise failure or ObjectMissing(f"{place.sealed} went away while it was read")


def put_attached(
    repository: Repository, backup: BackupName, name: str, kind: ObjectKind, document: BaseModel
) -> None:
    """Seal ``document`` and put it. Raises ``ObjectExists``, and as ``key_of_manifest``."""
    key = key_of_manifest(repository, backup)
    identity = Identity(repository.repository_id, name, kind)
    sealed = seal_object(identity, key, encode_document(document.model_dump_json().encode(), 1))
    repository.store.put(name, sealed)


def read_attached(
    repository: Repository, backup: BackupName, name: str, kind: ObjectKind, model: type[Document]
) -> Document:
    """The document in the object ``name``. Raises ``ObjectMissing``, ``ObjectDamaged``,
    ``FormatUnsupported``, and as ``key_of_manifest``.
    """
    key = key_of_manifest(repository, backup)
    identity = Identity(repository.repository_id, name, kind)
    return open_document(model, identity, key, repository.store.get(name))


def open_document(model: type[Document], identity: Identity, key: BackupKey, data: bytes) -> Document:
    """The document in a whole sealed object. Raises ``ObjectDamaged``, ``FormatUnsupported``."""
    decoder = FrameDecoder()
    text = b"".join(
        bytes(decoder.decode(plaintext, identity.name, number).data)
        for number, plaintext in enumerate(unseal_object(identity, key, data))
    )
    return parse_document(model, identity.name, text)


def raise_what_passes(error: ToolError) -> None:
    """What a retry can cure says nothing of the object."""
    if error.retryable or isinstance(error, Cancelled):
        raise error
