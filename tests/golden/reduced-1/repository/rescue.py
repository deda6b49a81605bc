#!/usr/bin/env python3
"""Read a Backstay repository without Backstay.

Needs Python 3.9 or later and two packages: pip install cryptography zstandard
RESCUE.md, beside this file, says how to use it. It only reads the repository, and writes nothing but
the directory that ``restore`` is told to fill.

This is a second, independent reader of the repository format, number 1, kept in one file on purpose.
"""

from __future__ import annotations

import argparse
import base64
import getpass
import hashlib
import json
import os
import re
import struct
import sys
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

FORMAT = 1
KNOWN = {"incremental", "referring"}  # features beyond format 1 that this reader knows
PACK, INDEX_PART, MANIFEST, PROOF, SEGMENT, EPOCH, REMAINDER = 1, 2, 3, 4, 5, 6, 11
STAGES = (2, 3, 4)  # file, page, redo: a later one overwrites an earlier one
REDO = 4
LONGEST_CHAIN = 1000
HEADER_BYTES = 70
MAX_BLOCK_BYTES = 4 * 1024 * 1024
MAX_FRAME_BYTES = 8 + 16 * 65_535 + MAX_BLOCK_BYTES + 16
LAST = 0x8000_0000
RECORD = struct.Struct(">BBHIQIIIIII16s")
MOVED = struct.Struct(">9I")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
BINLOG = re.compile(r"([A-Za-z0-9._-]{1,190})\.([0-9a-f]{8})")
SEGMENT_NAME = re.compile(r"([0-9]{12})-([0-9]{12})")


@contextmanager
def naming(name: str) -> Generator[None, None, None]:
    """What cannot be understood in the document ``name`` is told with its name."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise RescueError(f"{name} is malformed: {error!r}") from None


class RescueError(Exception):
    """What is wrong, said to the user."""


class Extent(NamedTuple):
    """A run of bytes of a file, and where it begins in the data of its frame."""

    file: int
    offset: int
    length: int
    skip: int


class Span(NamedTuple):
    """Where a frame stands in its pack, its u32 length included."""

    number: int
    offset: int
    length: int


class Object:
    """A sealed object in the local copy: its file, opened by the right keys."""

    def __init__(self, repository: Repository, name: str, kind: int, backup_key: bytes) -> None:
        self.name = name
        self._prefix = f"backstay/{FORMAT}/frame/{repository.id}/{name}/{kind}/"
        self._path = repository.path(name)
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            raise RescueError(f"{name} is missing in this copy of the repository") from None
        self.size = os.fstat(self._file.fileno()).st_size
        header = self._file.read(HEADER_BYTES)
        if len(header) < HEADER_BYTES or header[:8] != b"BACKSTAY" or header[8:10] != bytes((FORMAT, kind)):
            raise self.damaged("its header is not what it should be")
        context = f"backstay/{FORMAT}/data-key/{repository.id}/{name}"
        data_key = unseal(AESGCM(backup_key), header[10:], context)
        if data_key is None:
            raise self.damaged("its data key does not unwrap")
        self._cipher = AESGCM(data_key)

    def __enter__(self) -> Object:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def damaged(self, fact: str) -> RescueError:
        return RescueError(f"{self.name} is damaged: {fact}")

    def all_frames(self) -> Iterator[tuple[Span, bytes]]:
        """Every frame's place and data, from the first to the last; checks that nothing follows."""
        offset, number, last = HEADER_BYTES, 0, False
        while not last:
            self._file.seek(offset)
            field = self._file.read(4)
            if len(field) < 4:
                raise self.damaged(f"it ends where frame {number} should begin")
            length = int.from_bytes(field, "big")
            last = bool(length & LAST)
            span = Span(number, offset, 4 + (length & ~LAST))
            yield span, self.stored_frame(span)
            offset, number = offset + span.length, number + 1
        if offset != self.size:
            raise self.damaged(f"{self.size - offset} bytes follow its last frame")

    def frame(self, span: Span) -> bytes:
        """The data of a frame of the pack that this is, or was."""
        return self.stored_frame(span)

    def stored_frame(self, span: Span) -> bytes:
        """The data of one frame of this object, unsealed and decompressed."""
        if not 20 <= span.length <= MAX_FRAME_BYTES + 4:
            raise self.damaged(f"frame {span.number} would have {span.length} bytes")
        self._file.seek(span.offset)
        stored = self._file.read(span.length)
        field = int.from_bytes(stored[:4], "big")
        if len(stored) < span.length or field & ~LAST != span.length - 4:
            raise self.damaged(f"frame {span.number} is cut off, or not where it should be")
        context = f"{self._prefix}{span.number}/{1 if field & LAST else 0}"
        nonce = struct.pack(">IQ", 0, span.number)
        try:
            plain = memoryview(self._cipher.decrypt(nonce, stored[4:], context.encode()))
        except InvalidTag:
            raise self.damaged(f"frame {span.number} does not unseal") from None
        return self._expand(span.number, plain)

    def need(self, span: Span, skip: int, length: int) -> None:
        """Raise if these bytes of a frame are not there, though the frame is; of a whole object all are."""

    def document(self) -> bytes:
        return b"".join(data for _, data in self.all_frames())

    def _expand(self, number: int, plain: memoryview) -> bytes:
        codec, _, count, length = struct.unpack_from(">BBHI", plain)
        payload = plain[8 + 16 * count :]
        if codec not in (0, 1) or length > MAX_BLOCK_BYTES:
            raise self.damaged(f"frame {number} has an unknown codec, or is too large")
        try:
            data = zstandard.ZstdDecompressor().decompress(payload) if codec else bytes(payload)
        except zstandard.ZstdError as error:
            raise self.damaged(f"frame {number} does not decompress: {error}") from None
        if len(data) != length:
            raise self.damaged(f"frame {number} has {len(data)} bytes of data instead of {length}")
        return data


class Remainder(Object):
    """What is left of a pack whose backup has expired: its frames, as far as other backups refer to them."""

    def __init__(self, repository: Repository, name: str, number: int, backup_key: bytes) -> None:
        super().__init__(repository, name, REMAINDER, backup_key)
        frames = self.all_frames()
        first, text = next(frames)
        with naming(name):
            head = check_document(name, json.loads(text))
            rows = b"".join(next(frames)[1] for _ in range(head["table_frames"]))
            self._data_offset = first.offset + first.length + int(head["table_bytes"])
            if head["pack"] != number or len(rows) != head["records"] * MOVED.size:
                raise self.damaged(f"it is not what is left of pack {number}")
        self._moved: dict[int, list[tuple[int, ...]]] = {}
        for row in MOVED.iter_unpack(rows):
            self._moved.setdefault(row[0], []).append(row)
        self._last: tuple[Span, bytes] | None = None

    def frame(self, span: Span) -> bytes:
        """The frame of the pack as it was, with zeros for what is not there; see ``need``."""
        rows = self._moved.get(span.number, [])
        if not rows:
            raise RescueError(f"{self.name} has nothing of frame {span.number}: its backup has expired")
        made = bytearray(rows[0][1])
        for _, _, skip, length, number, offset, stored, new_skip, _ in rows:
            now = Span(number, self._data_offset + offset, stored)
            if self._last is None or self._last[0] != now:
                self._last = now, self.stored_frame(now)
            made[skip : skip + length] = self._last[1][new_skip : new_skip + length]
        return bytes(made)

    def need(self, span: Span, skip: int, length: int) -> None:
        at, end = skip, skip + length
        for row in self._moved.get(span.number, []):
            if row[2] <= at < row[2] + row[3]:
                at = row[2] + row[3]
        if at < end:
            raise RescueError(f"{self.name} lacks bytes of frame {span.number}: its backup has expired")


class Repository:
    """A local copy of a repository."""

    def __init__(self, root: Path) -> None:
        self.root = root
        if not (root / "backstay.json").is_file():
            raise RescueError(f"{root} holds no backstay.json: is it the top of a copy of the repository?")
        description = self.clear_json("backstay.json")
        self.id = str(description["repository_id"])

    def path(self, name: str) -> Path:
        return self.root.joinpath(*name.split("/"))

    def remainder(self, folder: str, number: int) -> str | None:
        """The object that holds what is left of a pack: the one that was reduced most often."""
        found = sorted(self.path(folder).glob(f"r{number:08d}-[0-9][0-9]"))
        return f"{folder}/{found[-1].name}" if found else None

    def clear_json(self, name: str) -> dict[str, Any]:
        try:
            document = json.loads(self.path(name).read_bytes())
        except (OSError, ValueError) as error:
            raise RescueError(f"cannot read {name}: {error}") from None
        return check_document(name, document)

    def backups(self) -> list[tuple[str, str]]:
        """Shard and label of every manifest."""
        found = sorted((self.root / "manifests").glob("*/*"))
        names = [(path.parent.name, path.name) for path in found if path.is_file()]
        return [name for name in names if NAME.fullmatch(name[0]) and NAME.fullmatch(name[1])]

    def key_ids(self, folder: str) -> list[str]:
        return sorted(path.stem for path in self.path(folder).glob("*.json"))

    def epochs(self, shard: str) -> list[str]:
        """The epochs of a shard's archive, six digits each, oldest first."""
        found = sorted(self.path(f"archive/{shard}").glob("[0-9][0-9][0-9][0-9][0-9][0-9]"))
        return [path.name for path in found if (path / "opened").is_file()]

    def manifest(self, shard: str, label: str, backup_key: bytes) -> dict[str, Any]:
        name = f"manifests/{shard}/{label}"
        with Object(self, name, MANIFEST, backup_key) as sealed:
            text = sealed.document()
        try:
            return check_document(name, json.loads(text))
        except ValueError as error:
            raise RescueError(f"{name} is damaged: {error}") from None


class KeyPair:
    """The private half of an x25519 key: what the public half wrapped, it opens."""

    def __init__(self, private: X25519PrivateKey) -> None:
        self._private = private
        raw = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        self.public = private.public_key().public_bytes(*raw)

    def unwrap(self, wrapped: bytes, context: str) -> bytes | None:
        theirs, sealed = wrapped[:32], wrapped[32:]
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(theirs))
        except ValueError:
            return None
        derived = HKDF(hashes.SHA256(), 32, salt=theirs + self.public, info=context.encode()).derive(shared)
        return unseal(AESGCM(derived), sealed, context)


class Keys:
    """What the user gave to open the repository with."""

    def __init__(self, repository: Repository, options: argparse.Namespace) -> None:
        self._repository = repository
        self._backup_keys = [read_key(path) for path in options.backup_key or []]
        self._ciphers: dict[str, AESGCM | KeyPair] = {}
        pair = read_pair(options.key) if options.key else None
        key = read_key(options.key) if options.key and not pair else None
        passphrase = read_passphrase(options)
        for path in sorted((repository.root / "keyring").glob("*.json")):
            entry = repository.clear_json(f"keyring/{path.name}")
            with naming(f"keyring/{path.name}"):
                if entry["provider"] == "x25519":
                    if pair and base64.b64decode(entry["public_key"]) == pair.public:
                        self._ciphers[str(entry["key_id"])] = pair
                else:
                    self._try(entry, key, passphrase)
        self.given = bool(key or pair or passphrase or self._backup_keys)
        if (key or pair or passphrase) and not self._ciphers:
            known = ", ".join(path.stem for path in sorted((repository.root / "keyring").glob("*.json")))
            raise RescueError(f"this key or passphrase is none of those that the repository knows: {known}")

    def _try(self, entry: dict[str, Any], key: bytes | None, passphrase: str | None) -> None:
        key_id = str(entry["key_id"])
        if entry["provider"] == "passphrase" and passphrase is not None:
            kdf = entry["kdf"]
            salt = base64.b64decode(kdf["salt"])
            key = Scrypt(salt=salt, length=32, n=kdf["n"], r=kdf["r"], p=kdf["p"]).derive(passphrase.encode())
        elif entry["provider"] != "file" or key is None:
            return
        context = f"backstay/{FORMAT}/check/{self._repository.id}/{key_id}"
        if unseal(AESGCM(key), base64.b64decode(entry["check"]), context) == bytes(32):
            self._ciphers[key_id] = AESGCM(key)

    def backup_key(self, shard: str, label: str) -> bytes:
        keys = list(self.candidates(f"keys/{shard}/{label}", f"{shard}/{label}"))
        if not keys:
            raise self._none(f"backup {shard} {label}", f"keys/{shard}/{label}")
        # Of several backup keys that KMS unwrapped, the one that opens the manifest is this backup's.
        for key in keys[: len(keys) if len(keys) > 1 else 0]:
            try:
                with Object(self._repository, f"manifests/{shard}/{label}", MANIFEST, key):
                    return key
            except RescueError:
                continue
        return keys[0]

    def epoch_key(self, shard: str, epoch: str) -> bytes:
        """The key that opens the epoch's ``opened``; a key that does not was left by two who raced."""
        folder = f"archive/{shard}/{epoch}"
        failure = self._none(f"epoch {epoch} of {shard}", f"{folder}/keys")
        for key in self.candidates(f"{folder}/keys", f"{shard}/archive-{epoch}"):
            try:
                with Object(self._repository, f"{folder}/opened", EPOCH, key) as sealed:
                    sealed.document()
            except RescueError as error:
                failure = error
                continue
            return key
        raise failure

    def candidates(self, folder: str, bound_to: str) -> Iterator[bytes]:
        """The keys that the user's keys unwrap in ``folder``."""
        if self._backup_keys:
            yield from self._backup_keys
            return
        for key_id, cipher in self._ciphers.items():
            name = f"{folder}/{key_id}.json"
            if self._repository.path(name).exists():
                document = self._repository.clear_json(name)
                with naming(name):
                    wrapped = base64.b64decode(document["wrapped"])
                context = f"backstay/{FORMAT}/backup-key/{self._repository.id}/{bound_to}/{key_id}"
                pair = isinstance(cipher, KeyPair)
                key = cipher.unwrap(wrapped, context) if pair else unseal(cipher, wrapped, context)
                if key is None:
                    raise RescueError(f"{name} is damaged: key {key_id} does not open it")
                yield key

    def _none(self, what: str, folder: str) -> RescueError:
        wrapped_by = ", ".join(self._repository.key_ids(folder)) or "no key: it is missing in this copy"
        return RescueError(f"{what} cannot be opened: it is wrapped by {wrapped_by}")


class Backup:
    """One backup, open for reading."""

    def __init__(self, repository: Repository, keys: Keys, shard: str, label: str) -> None:
        self.repository = repository
        self.keys = keys
        self.shard = shard
        self.label = label
        self.key = keys.backup_key(shard, label)
        self.manifest = repository.manifest(shard, label, self.key)
        self._keys = {(shard, label): self.key}

    def __str__(self) -> str:
        return f"{self.shard} {self.label}"

    @property
    def base(self) -> str | None:
        """The label that an incremental continues."""
        base = self.manifest.get("base")
        return str(base["label"]) if base else None

    def chain(self) -> list[Backup]:
        """This backup, its base, and so on, down to a full."""
        links: list[Backup] = [self]
        while links[-1].base is not None:
            above, label = links[-1], str(links[-1].base)
            if not NAME.fullmatch(label):
                raise RescueError(f"{above} continues {label!r}, which is no label")
            if label in {link.label for link in links} or len(links) == LONGEST_CHAIN:
                raise RescueError(f"the chain of {self} has no end: {above} continues {label}")
            try:
                below = Backup(self.repository, self.keys, self.shard, label)
            except RescueError as error:
                raise RescueError(f"{above} continues {label}: {error}") from None
            wanted, found = above.manifest["base"]["checkpoint_lsn"], below.manifest["lsn"]["checkpoint"]
            if wanted != found:
                raise RescueError(f"{above} continues {label} from LSN {wanted}, but that has {found}")
            links.append(below)
        known = self.spaces()
        for link in links[1:]:
            # An id may come again, but from one link to the next it is the same file.
            own = link.spaces()
            known = {space: entry for space, entry in known.items() if space in own}
            for space, entry in known.items():
                if own[space]["page_size"] != entry["page_size"]:
                    raise RescueError(f"{entry['name']} has another page size in {link}")
        return links

    def spaces(self) -> dict[tuple[int, int], dict[str, Any]]:
        """The tablespace files by space id and ordinal, which mean the same in every link."""
        entries = [entry for entry in self.manifest["files"] if entry["space_id"] is not None]
        found = {(int(entry["space_id"]), int(entry["ordinal"])): entry for entry in entries}
        if len(found) < len(entries):
            raise RescueError(f"{self} has the same file of a tablespace twice")
        return found

    def missing(self) -> list[str]:
        """Backups that it needs and that are not in this copy, as far as its own manifest tells."""
        needed = [(str(each["shard"]), str(each["label"])) for each in self.manifest.get("refers_to") or []]
        needed += [(self.shard, self.base)] if self.base else []
        there = set(self.repository.backups())
        return [f"{shard} {label}" for shard, label in needed if (shard, label) not in there]

    def index_part(self, reference: dict[str, Any]) -> tuple[list[dict[str, Any]], list[bytes]]:
        """The packs that the part names, and its records: 56 bytes each."""
        name = f"data/{self.shard}/{self.label}/i{reference['number']:06d}"
        check_digest(self.repository.path(name), name, reference)
        with Object(self.repository, name, INDEX_PART, self.key) as sealed:
            frames = [data for _, data in sealed.all_frames()]
        return json.loads(frames[0])["packs"], frames[1:]

    def pack(self, reference: dict[str, Any]) -> Object:
        """A pack that its index names: its own, or one of a backup that it refers to."""
        owner = shard, label = str(reference["shard"]), str(reference["label"])
        if not NAME.fullmatch(shard) or not NAME.fullmatch(label):
            raise RescueError(f"{self} names a pack of {shard!r} {label!r}, which is no backup")
        if owner not in self._keys:
            self._keys[owner] = self.keys.backup_key(shard, label)
        number, key = int(reference["number"]), self._keys[owner]
        name = f"data/{shard}/{label}/p{number:08d}"
        if not self.repository.path(name).exists():
            left = self.repository.remainder(f"data/{shard}/{label}", number)
            if left is not None:
                return Remainder(self.repository, left, number, key)
        return Object(self.repository, name, PACK, key)

    def owns(self, reference: dict[str, Any]) -> bool:
        return (reference["shard"], reference["label"]) == (self.shard, self.label)


class BinlogFile:
    """A binlog file in the archive, cut into segments."""

    def __init__(self, archive: Archive, folder: Path, name: re.Match[str]) -> None:
        self.archive = archive
        self.server_uuid = folder.parent.name
        self.name, self.created = name[1], name[2]
        self._folder = f"{archive.folder}/binlogs/{self.server_uuid}/{folder.name}"
        found = (SEGMENT_NAME.fullmatch(path.name) for path in folder.iterdir())
        self.segments = sorted((int(each[1]), int(each[2])) for each in found if each)
        header = self._read(*self.segments[0])[0]
        self.previous_gtids = str(header["previous_gtids"])
        # Along a chain of files it only grows, whatever they are called and whichever server wrote them.
        self.order = (count_gtids(self.previous_gtids), self.created, len(self.name), self.name)

    def write(self, path: Path) -> int:
        """Put the file's bytes, from the first on, into ``path``; the position where they end."""
        at = 0
        with path.open("xb") as file:
            while True:
                # Segments may overlap: from each position on, the one that reaches farthest.
                reach = [(end, -start) for start, end in self.segments if start <= at < end]
                if not reach:
                    return at
                end, start = max(reach)
                _, data = self._read(-start, end)
                file.write(memoryview(data)[at + start :])
                at = end

    @property
    def end(self) -> int:
        return max(end for _, end in self.segments)

    def _read(self, start: int, end: int) -> tuple[dict[str, Any], bytes]:
        name = f"{self._folder}/{start:012d}-{end:012d}"
        with Object(self.archive.repository, name, SEGMENT, self.archive.key) as sealed, naming(name):
            frames = [data for _, data in sealed.all_frames()]
            header = check_document(name, json.loads(frames[0]))
            data = b"".join(frames[1 + header["index_frames"] :])
            if (len(data), hashlib.sha256(data).hexdigest()) != (end - start, header["sha256"]):
                raise sealed.damaged("its events are not those of its header")
        return header, data


class Archive:
    """One epoch of a shard's archive, open for reading."""

    def __init__(self, repository: Repository, keys: Keys, shard: str, epoch: str) -> None:
        self.repository = repository
        self.folder = f"archive/{shard}/{epoch}"
        self.epoch = epoch
        self.key = keys.epoch_key(shard, epoch)
        with Object(repository, f"{self.folder}/opened", EPOCH, self.key) as sealed:
            name = f"{self.folder}/opened"
            with naming(name):
                self.opened = check_document(name, json.loads(sealed.document()))

    def files(self) -> Iterator[BinlogFile | RescueError]:
        """Every binlog file, or what is wrong with its first segment."""
        for folder in sorted(self.repository.path(f"{self.folder}/binlogs").glob("*/*")):
            name = BINLOG.fullmatch(folder.name)
            if name and UUID.fullmatch(folder.parent.name) and any(folder.iterdir()):
                try:
                    yield BinlogFile(self, folder, name)
                except RescueError as error:
                    yield error


class Layer(NamedTuple):
    """One link of a chain: the newest link's file numbers by its own, and by those its sizes of the files."""

    backup: Backup
    numbers: dict[int, int]
    sizes: dict[int, int]


class Restore:
    """Puts the files of one backup into an empty directory.

    Links are applied whole, the oldest first: after each, the directory holds what that backup held, as far
    as the newest one has the file too. A tablespace file is told by its space id and ordinal, never by name.
    """

    def __init__(self, chain: list[Backup], directory: Path, threads: int) -> None:
        self._chain = chain
        self._directory = directory
        self._threads = threads
        newest = chain[0].manifest
        self._directories = [str(name) for name in newest["directories"]]
        self._names = {int(entry["number"]): str(entry["name"]) for entry in newest["files"]}
        # No server starts without its system tablespace, so that gets its name when all the rest is there.
        self._parked = {int(entry["number"]) for entry in newest["files"] if entry["space_id"] == 0}

    def run(self) -> None:
        for name in [*self._names.values(), *self._directories]:
            check_file_name(name)
        prepare(self._directory)
        try:
            self._fill()
        except (RescueError, OSError) as error:
            raise RescueError(f"{error}; {self._directory} is incomplete, remove it") from error

    def _fill(self) -> None:
        for name in self._directories:
            (self._directory / name).mkdir(parents=True, exist_ok=True)
        for number in self._names:
            self._path(number).parent.mkdir(parents=True, exist_ok=True)
            self._path(number).open("xb").close()
        for link in reversed(self._chain):
            self._apply_link(link)
        os.sync()
        for number in self._parked:
            self._path(number).rename(self._directory / self._names[number])

    def _path(self, number: int) -> Path:
        return self._directory / (self._names[number] + (".incomplete" if number in self._parked else ""))

    def _apply_link(self, link: Backup) -> None:
        """Make what is there what this link holds: cut and grow the files, then write its extents."""
        newest = self._chain[0]
        own = {int(entry["number"]): int(entry["size"]) for entry in link.manifest["files"]}
        numbers = {number: number for number in own}
        if link is not newest:
            theirs, ours = link.spaces(), newest.spaces()
            numbers = {
                int(entry["number"]): int(ours[space]["number"])
                for space, entry in theirs.items()
                if space in ours
            }
        layer = Layer(link, numbers, {number: own[each] for each, number in numbers.items()})
        for number in self._names:
            # What a link does not have was dropped: what comes later under that id is another file.
            os.truncate(self._path(number), layer.sizes.get(number, 0))
        for stage in STAGES:
            # The redo of an older link leads to a state that nobody wants any more.
            if link is newest or stage != REDO:
                for part in link.manifest["index"]:
                    self._apply(layer, stage, *link.index_part(part))

    def _apply(self, layer: Layer, stage: int, packs: list[dict[str, Any]], rows: list[bytes]) -> None:
        """All extents of one stage that one index part names; within a stage none overlap."""
        wanted: dict[int, dict[Span, list[Extent]]] = {}
        for row in rows:
            for record in RECORD.iter_unpack(row):
                # A file that is not in the manifest was dropped while the backup ran.
                if record[0] == stage and record[3] in layer.numbers:
                    extent = Extent(layer.numbers[record[3]], record[4], record[5], record[10])
                    if extent.offset + extent.length > layer.sizes[extent.file]:
                        name = self._names[extent.file]
                        raise RescueError(f"{layer.backup} has data beyond the end of {name}")
                    wanted.setdefault(record[6], {}).setdefault(Span(*record[7:10]), []).append(extent)
        used = sorted(wanted)
        with ThreadPoolExecutor(self._threads) as pool:
            jobs = [layer.backup] * len(used), [packs[at] for at in used], [wanted[at] for at in used]
            for name in pool.map(self._unpack, *jobs):
                say_progress(f"{layer.backup}, stage {stage} of 4: {name}")

    def _unpack(self, backup: Backup, reference: dict[str, Any], wanted: dict[Span, list[Extent]]) -> str:
        with backup.pack(reference) as pack:
            for span in sorted(wanted):
                data = memoryview(pack.frame(span))
                for extent in wanted[span]:
                    pack.need(span, extent.skip, extent.length)
                    self._write(pack, extent, data[extent.skip : extent.skip + extent.length])
            return pack.name

    def _write(self, pack: Object, extent: Extent, data: memoryview) -> None:
        if len(data) != extent.length:
            raise pack.damaged(f"data for {self._names[extent.file]} does not fit into it")
        with self._path(extent.file).open("r+b") as file:
            file.seek(extent.offset)
            file.write(data)


def unseal(cipher: AESGCM, sealed: bytes, context: str) -> bytes | None:
    try:
        return cipher.decrypt(sealed[:12], sealed[12:], context.encode())
    except (InvalidTag, ValueError):
        return None


def check_document(name: str, document: Any) -> dict[str, Any]:
    """Refuse what a newer version wrote."""
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise RescueError(f"{name} is not of format {FORMAT}: use the rescue.py of a newer version")
    needs = set((document.get("needs") or {}).get("read") or []) - KNOWN
    if needs:
        raise RescueError(f"{name} needs {', '.join(sorted(needs))}: use the rescue.py of a newer version")
    return document


def check_file_name(name: str) -> None:
    parts = name.split("/")
    if re.search(r"[\x00-\x1f\x7f\\]", name) or any(part in ("", ".", "..") for part in parts):
        raise RescueError(f"the manifest names the file {name!r}, which could lead out of the directory")


def check_digest(path: Path, name: str, reference: dict[str, Any]) -> None:
    """Size and SHA-256 of a stored object, as the object above it says."""
    if not path.is_file():
        raise RescueError(f"{name} is missing in this copy of the repository")
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(MAX_BLOCK_BYTES), b""):
            digest.update(piece)
            size += len(piece)
    if (size, digest.hexdigest()) != (reference["size"], reference["sha256"]):
        raise RescueError(f"{name} is damaged: size or SHA-256 is not what the backup says")


def prepare(directory: Path) -> None:
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise RescueError(f"{directory} is not an empty directory; nothing was written")
    directory.mkdir(mode=0o750, parents=True, exist_ok=True)


def read_key(path: str) -> bytes:
    """32 bytes from a file: raw, as 64 hex digits, or as base64."""
    try:
        content = Path(path).read_bytes()
        text = content.strip()
        if len(content) == 32:
            key = content
        elif len(text) == 64:
            key = bytes.fromhex(text.decode("ascii"))
        else:
            key = base64.b64decode(text, validate=True)
    except (OSError, ValueError) as error:
        raise RescueError(f"cannot read a key from {path}: {error}") from None
    if len(key) != 32:
        raise RescueError(f"{path} does not hold 32 bytes, nor their hex digits or base64")
    return key


def read_pair(path: str) -> KeyPair | None:
    """The private half of an x25519 key in PEM; None if the file holds another kind of key."""
    try:
        content = Path(path).read_bytes()
        if not content.startswith(b"-----BEGIN"):
            return None
        private = serialization.load_pem_private_key(content, None)
    except (OSError, ValueError, TypeError) as error:
        raise RescueError(f"cannot read a key from {path}: {error}") from None
    if not isinstance(private, X25519PrivateKey):
        raise RescueError(f"{path} holds a private key, but none for x25519")
    return KeyPair(private)


def read_passphrase(options: argparse.Namespace) -> str | None:
    if options.passphrase_file:
        try:
            return Path(options.passphrase_file).read_text("utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            raise RescueError(f"cannot read {options.passphrase_file}: {error}") from None
    return getpass.getpass("Passphrase: ") if options.passphrase else None


def choose(repository: Repository, shard: str | None, label: str | None) -> list[tuple[str, str]]:
    """The backups that are meant; at least one."""
    found = [name for name in repository.backups() if shard in (None, name[0])]
    if label == "latest":
        found = found[-1:]
    elif label is not None:
        found = [name for name in found if name[1] == label]
    if not found:
        raise RescueError(f"no backup {shard or ''} {label or ''}: see rescue.py list".replace("  ", " "))
    return found


def list_backups(options: argparse.Namespace) -> int:
    repository = Repository(Path(options.repository))
    keys = Keys(repository, options)
    unreadable = 0
    for shard, label in repository.backups():
        wrapped_by = ", ".join(repository.key_ids(f"keys/{shard}/{label}")) or "no key"
        line = f"{shard:<20} {label}  wrapped by {wrapped_by}"
        if keys.given:
            try:
                backup = Backup(repository, keys, shard, label)
                manifest = backup.manifest
                size = sum(int(entry["size"]) for entry in manifest["files"])
                line += f"  {size / 1e9:.3f} GB in {len(manifest['files'])} files"
                line += f"  MySQL {manifest['donor']['version']}"
                line += f"  continues {backup.base}" if backup.base else ""
                if missing := backup.missing():
                    unreadable += 1
                    line += f"  BROKEN: it needs {', '.join(missing)}, missing in this copy"
            except RescueError as error:
                unreadable += 1
                line += f"  UNREADABLE: {error}"
        say(line)
    for folder in sorted(repository.path("archive").glob("*/")):
        for epoch in repository.epochs(folder.name):
            names = repository.path(f"archive/{folder.name}/{epoch}/binlogs").glob("*/*/")
            wrapped_by = ", ".join(repository.key_ids(f"archive/{folder.name}/{epoch}/keys")) or "no key"
            count = sum(1 for _ in names)
            say(f"{folder.name:<20} archive, epoch {epoch}  wrapped by {wrapped_by}  {count} binlog files")
    return 1 if unreadable else 0


def write_binlogs(options: argparse.Namespace) -> int:
    repository = Repository(Path(options.repository))
    keys = need_keys(repository, options)
    epochs = [each for each in repository.epochs(options.shard) if options.epoch in (None, int(each))]
    if not epochs:
        raise RescueError(f"shard {options.shard} has no such epoch in its archive: see rescue.py list")
    directory = Path(options.directory)
    prepare(directory)
    faults = 0
    for epoch in epochs:
        archive = Archive(repository, keys, options.shard, epoch)
        say(f"epoch {epoch}: {archive.opened['reason']}, of server {archive.opened['server_uuid']}")
        for what in ("inherited", "branch", "skipped"):
            if archive.opened[what]:
                say(f"  {what}: {archive.opened[what]}")
        found = list(archive.files())
        broken = [each for each in found if isinstance(each, RescueError)]
        for file in sorted((each for each in found if isinstance(each, BinlogFile)), key=lambda f: f.order):
            broken += write_binlog(file, directory / epoch / file.server_uuid)
        for fault in broken:
            say(f"  MISSING: {fault}")
        faults += len(broken)
    say("Replay the files in this order; RESCUE.md, section 5, says how.")
    return 1 if faults else 0


def write_binlog(file: BinlogFile, folder: Path) -> list[RescueError]:
    """Write one file and say so; what kept us from writing all of it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file.name
    if path.exists():
        path = folder / f"{file.name}.{file.created}"
    try:
        end = file.write(path)
    except RescueError as error:
        return [RescueError(f"{path}: {error}; what is before it was written")]
    say(f"  {path}  {end} bytes, behind: {file.previous_gtids or 'nothing'}")
    if end < file.end:
        return [RescueError(f"{path}: bytes from {end} on are missing in this copy, up to {file.end}")]
    return []


def count_gtids(text: str) -> int:
    """How many transactions a set holds, as MySQL writes it: uuid:1-3:7:tag:1-5,uuid:..."""
    spans = re.findall(r"(?<=:)([0-9]+)(?:-([0-9]+))?(?=[:,]|$)", re.sub(r"\s", "", text))
    return sum(int(last or first) - int(first) + 1 for first, last in spans)


def restore_backup(options: argparse.Namespace) -> int:
    repository = Repository(Path(options.repository))
    keys = need_keys(repository, options)
    ((shard, label),) = choose(repository, options.shard, options.label)
    backup = Backup(repository, keys, shard, label)
    directory = Path(options.directory)
    chain = backup.chain()
    if len(chain) > 1:
        say(f"{label} is a chain of {len(chain)} links, down to {chain[-1].label}.")
    Restore(chain, directory, max(1, options.threads)).run()
    manifest = backup.manifest
    settings = manifest["settings"]
    say(f"Restored {shard} {label} into {directory}: {len(manifest['files'])} files.")
    say(f"Start it with MySQL {manifest['donor']['version']} or a later one of its series, and with:")
    say(f"  --innodb-page-size={settings['innodb_page_size']}")
    say(f"  --innodb-data-file-path='{settings['innodb_data_file_path']}'")
    say(f"  --lower-case-table-names={settings['lower_case_table_names']}")
    if settings["encrypted"]:
        say("Its tables are encrypted: the server needs a keyring component, which may be new and empty.")
    say("RESCUE.md, section 4, has the whole command.")
    return 0


def check_backups(options: argparse.Namespace) -> int:
    repository = Repository(Path(options.repository))
    keys = need_keys(repository, options)
    damages = 0
    chosen = choose(repository, options.shard, options.label)
    if options.label:
        chosen = sorted(set(chosen).union(*(links_of(repository, keys, *each) for each in chosen)))
    for shard, label in chosen:
        found = list(damages_of(repository, keys, shard, label))
        damages += len(found)
        for problem in found:
            say(f"{shard} {label}: {problem}")
        say(f"{shard} {label}: {f'{len(found)} damages' if found else 'every byte is as it was written'}")
    return 1 if damages else 0


def links_of(repository: Repository, keys: Keys, shard: str, label: str) -> list[tuple[str, str]]:
    """The chain of a backup, as far as it can be followed."""
    try:
        return [(shard, link.label) for link in Backup(repository, keys, shard, label).chain()]
    except RescueError:
        return []


def damages_of(repository: Repository, keys: Keys, shard: str, label: str) -> Iterator[str]:
    """Read every object of one link, and what it names of other backups' packs; what is wrong with them."""
    try:
        backup = Backup(repository, keys, shard, label)
        backup.chain()
        yield from (f"it needs {other}, missing in this copy" for other in backup.missing())
    except RescueError as error:
        yield str(error)
        return
    for part in backup.manifest["index"]:
        try:
            packs, rows = backup.index_part(part)
        except RescueError as error:
            yield str(error)
            continue
        # What each pack must have, by frame: the bytes that the records name.
        reach: dict[int, dict[Span, list[tuple[int, int]]]] = {}
        for record in (record for row in rows for record in RECORD.iter_unpack(row)):
            frames = reach.setdefault(record[6], {})
            frames.setdefault(Span(*record[7:10]), []).append((record[10], record[5]))
        for at, reference in enumerate(packs):
            try:
                if backup.owns(reference):
                    check_pack(backup, reference)
                else:
                    check_frames(backup, reference, reach.get(at, {}))
            except RescueError as error:
                yield str(error)


def check_pack(backup: Backup, reference: dict[str, Any]) -> None:
    """Read a whole pack."""
    with backup.pack(reference) as pack:
        say_progress(f"reading {pack.name}")
        frames = sum(1 for _ in pack.all_frames())
        if frames != reference["frames"]:
            raise pack.damaged(f"{frames} frames instead of {reference['frames']}")
        check_digest(backup.repository.path(pack.name), pack.name, reference)


def check_frames(backup: Backup, reference: dict[str, Any], reach: dict[Span, list[tuple[int, int]]]) -> None:
    """Read the frames of another backup's pack that the index names, as far as it reaches into them."""
    with backup.pack(reference) as pack:
        say_progress(f"reading {pack.name}")
        for span in sorted(reach):
            for skip, length in reach[span]:
                pack.need(span, skip, length)
            if len(pack.frame(span)) < max(skip + length for skip, length in reach[span]):
                raise pack.damaged(f"frame {span.number} does not hold what {backup} names of it")


def need_keys(repository: Repository, options: argparse.Namespace) -> Keys:
    keys = Keys(repository, options)
    if not keys.given:
        raise RescueError("give one of --key FILE, --passphrase, --passphrase-file FILE, --backup-key FILE")
    return keys


def say(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write("\r\033[K")
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def say_progress(text: str) -> None:
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    keys = argparse.ArgumentParser(add_help=False)
    keys.add_argument(
        "--key", metavar="FILE", help="the key file (provider file), or the private key (provider x25519)"
    )
    keys.add_argument(
        "--passphrase", action="store_true", help="ask for the passphrase (provider passphrase)"
    )
    keys.add_argument("--passphrase-file", metavar="FILE", help="read the passphrase from a file")
    keys.add_argument(
        "--backup-key",
        metavar="FILE",
        action="append",
        help="the backup's own key, unwrapped by KMS; again for each backup that it builds on",
    )
    parser = argparse.ArgumentParser(
        description="Read a Backstay repository without Backstay. See RESCUE.md."
    )
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="list | restore | check | binlogs"
    )
    listing = commands.add_parser("list", parents=[keys], help="what backups there are")
    listing.set_defaults(run=list_backups)
    restore = commands.add_parser("restore", parents=[keys], help="make a data directory of a backup")
    restore.set_defaults(run=restore_backup)
    check = commands.add_parser("check", parents=[keys], help="read every byte of the backups")
    check.set_defaults(run=check_backups)
    binlogs = commands.add_parser("binlogs", parents=[keys], help="write out the archived binlog files")
    binlogs.set_defaults(run=write_binlogs)
    for command in (listing, restore, check, binlogs):
        command.add_argument("repository", metavar="REPO", help="directory with a copy of the repository")
    for command, count in ((restore, None), (check, "?")):
        command.add_argument("shard", metavar="SHARD", nargs=count)
        command.add_argument("label", metavar="LABEL", nargs=count, help="a label, or: latest")
    binlogs.add_argument("shard", metavar="SHARD")
    binlogs.add_argument("--epoch", type=int, metavar="N", help="this epoch alone")
    for command in (restore, binlogs):
        command.add_argument("directory", metavar="DIR", help="an empty or new directory")
    restore.add_argument("--threads", type=int, default=min(4, os.cpu_count() or 1))
    return parser.parse_args(arguments)


def main() -> int:
    options = parse_arguments(sys.argv[1:])
    try:
        return options.run(options)
    except RescueError as error:
        sys.stderr.write(f"rescue: {error}\n")
    except OSError as error:
        sys.stderr.write(f"rescue: {error.strerror}: {error.filename}\n")
    except (AttributeError, KeyError, TypeError, ValueError, struct.error) as error:
        sys.stderr.write(f"rescue: a document in this copy is malformed: {error!r}\n")
    except KeyboardInterrupt:
        sys.stderr.write("rescue: stopped\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
