"""The clone protocol's requests and responses: bytes to frozen dataclasses and back, little endian, strict.

A request is ``u8 command, payload``, a response ``u8 type, payload``; each command is answered by any
number of responses, the last of them COMPLETE or ERROR. What InnoDB describes is in ``descriptors``.
Source: plugin/clone/src/clone_server.cc and clone_client.cc of MySQL 8.0 to 9.7.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from fleet.errors import ProtocolViolation
from wire.clone.descriptors import Descriptor, Locator, State, decode_descriptor, encode_descriptor
from wire.packet import Reader, counted

COM_CLONE = 32
"""The command byte that turns a session of the classic protocol into one of the clone protocol."""

INNODB = 12
"""The only storage engine that takes part (its ``db_type``)."""

OLDEST_VERSION = 0x0100
NEWEST_VERSION = 0x0103

_LEAVE_BACKUP_LOCK = 1 << 31
_VERSION_LOCATOR_BYTES = 128


class Command(IntEnum):
    """Requests of the recipient."""

    INIT = 1
    ATTACH = 2
    REINIT = 3
    EXECUTE = 4
    ACK = 5
    EXIT = 6


class ResponseType(IntEnum):
    """First byte of what the donor sends."""

    LOCATORS = 1
    DESCRIPTOR = 2
    DATA = 3
    PLUGIN = 4
    CONFIG = 5
    COLLATION = 6
    PLUGIN_V2 = 7
    CONFIG_V3 = 8
    CONFIG_V4 = 9
    COMPLETE = 99
    ERROR = 100


_CONFIG_VERSIONS = {ResponseType.CONFIG: 1, ResponseType.CONFIG_V3: 3, ResponseType.CONFIG_V4: 4}
_CONFIG_TYPES = {version: kind for kind, version in _CONFIG_VERSIONS.items()}


@dataclass(frozen=True, slots=True)
class Begin:
    """INIT, ATTACH or REINIT: ``locator`` goes out as it is (a donor's own bytes, or ``version_locator``).

    ``block_ddl`` asks the donor for its backup lock; ``ddl_timeout_seconds`` 0 lets any DDL abort the clone.
    """

    command: Command
    version: int
    ddl_timeout_seconds: int
    block_ddl: bool
    locator: bytes


@dataclass(frozen=True, slots=True)
class Ack:
    """Confirms the end of a state (``descriptor``); with ``error`` set, ends the whole clone."""

    error: int
    locator: bytes
    descriptor: Descriptor | None


@dataclass(frozen=True, slots=True)
class Plain:
    """EXECUTE or EXIT."""

    command: Command


Request = Begin | Ack | Plain


@dataclass(frozen=True, slots=True)
class Locators:
    """The version that both sides speak, and the locator of each engine as ``(db_type, bytes)``."""

    version: int
    locators: tuple[tuple[int, bytes], ...]


@dataclass(frozen=True, slots=True)
class Described:
    """A descriptor; a DataBlock is followed by one DATA response with its bytes."""

    descriptor: Descriptor
    locator_index: int = 0


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a file; what they are was said by the DataBlock before."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Plugin:
    """An active plugin of the donor; ``library`` is ``None`` from a donor that speaks version 0x0100."""

    name: str
    library: str | None


@dataclass(frozen=True, slots=True)
class Collation:
    name: str


@dataclass(frozen=True, slots=True)
class Config:
    """A setting of the donor. ``since`` is 1, 3 or 4: the protocol version that brought it."""

    key: str
    value: str
    since: int = 1


@dataclass(frozen=True, slots=True)
class Complete:
    """The command is done."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The command failed with the server's error ``number``."""

    number: int
    text: str


Response = Locators | Described | Data | Plugin | Collation | Config | Complete | Failed


def version_locator() -> bytes:
    """What INIT carries: a locator that says only which descriptors we read, padded as the server pads it."""
    return encode_descriptor(Locator(0, 0, 0, State.NONE)).ljust(_VERSION_LOCATOR_BYTES, b"\0")


def response_type(number: int) -> ResponseType:
    """Raises ProtocolViolation for a type that this version of the protocol does not have."""
    try:
        return ResponseType(number)
    except ValueError:
        raise ProtocolViolation(f"a response of unknown type {number}") from None


def decode_response(data: bytes | memoryview) -> Response:
    """The response in ``data`` (type and payload); raises ProtocolViolation naming what is wrong."""
    if not data:
        raise ProtocolViolation("a response without a type")
    kind = response_type(data[0])
    reader = Reader(data[1:], f"a {kind.name} response", "little")
    response = _decode_body(kind, reader)
    reader.end()
    return response


def _decode_body(kind: ResponseType, reader: Reader) -> Response:  # noqa: PLR0911 (a table of types)
    match kind:
        case ResponseType.DATA:
            return Data(reader.rest())
        case ResponseType.DESCRIPTOR:
            _engine(reader.number(1))
            index = reader.number(1)
            return Described(decode_descriptor(reader.rest()), index)
        case ResponseType.LOCATORS:
            return _decode_locators(reader)
        case ResponseType.PLUGIN:
            return Plugin(_text(reader), None)
        case ResponseType.PLUGIN_V2:
            return Plugin(_text(reader), _text(reader))
        case ResponseType.COLLATION:
            return Collation(_text(reader))
        case ResponseType.CONFIG | ResponseType.CONFIG_V3 | ResponseType.CONFIG_V4:
            return Config(_text(reader), _text(reader), _CONFIG_VERSIONS[kind])
        case ResponseType.COMPLETE:
            return Complete()
        case ResponseType.ERROR:
            return Failed(reader.number(4), reader.rest().decode("utf-8", "replace"))


def _decode_locators(reader: Reader) -> Locators:
    version = reader.number(4)
    if not OLDEST_VERSION <= version <= NEWEST_VERSION:
        raise ProtocolViolation(f"the donor speaks version {version:#06x} of the clone protocol")
    locators: list[tuple[int, bytes]] = []
    while reader.remaining:
        engine = _engine(reader.number(1))
        locators.append((engine, reader.counted()))
    return Locators(version, tuple(locators))


def _engine(number: int) -> int:
    if number != INNODB:
        raise ProtocolViolation(f"storage engine {number} takes part, not only InnoDB ({INNODB})")
    return number


def _text(reader: Reader) -> str:
    try:
        return reader.counted().decode("utf-8")
    except UnicodeDecodeError as error:
        raise ProtocolViolation(f"a name or value that is not UTF-8: {error.object!r}") from None


def encode_response(response: Response) -> bytes:  # noqa: PLR0911 (a table of types)
    """What a donor would send; the inverse of ``decode_response``."""
    match response:
        case Locators(version, locators):
            parts = b"".join(bytes((engine,)) + counted(locator) for engine, locator in locators)
            return _typed(ResponseType.LOCATORS, version.to_bytes(4, "little") + parts)
        case Described(descriptor, index):
            return _typed(ResponseType.DESCRIPTOR, bytes((INNODB, index)) + encode_descriptor(descriptor))
        case Data(payload):
            return _typed(ResponseType.DATA, payload)
        case Plugin(name, library):
            if library is None:
                return _typed(ResponseType.PLUGIN, counted(name.encode()))
            return _typed(ResponseType.PLUGIN_V2, counted(name.encode()) + counted(library.encode()))
        case Collation(name):
            return _typed(ResponseType.COLLATION, counted(name.encode()))
        case Config(key, value, since):
            return _typed(_CONFIG_TYPES[since], counted(key.encode()) + counted(value.encode()))
        case Complete():
            return _typed(ResponseType.COMPLETE, b"")
        case Failed(number, text):
            return _typed(ResponseType.ERROR, number.to_bytes(4, "little") + text.encode())


def _typed(kind: ResponseType, payload: bytes) -> bytes:
    return bytes((kind,)) + payload


def encode_request(request: Request) -> bytes:
    """Command byte and payload."""
    match request:
        case Begin(command, version, timeout, block_ddl, locator):
            lock = timeout if block_ddl else timeout | _LEAVE_BACKUP_LOCK
            payload = version.to_bytes(4, "little") + lock.to_bytes(4, "little")
            return bytes((command,)) + payload + bytes((INNODB,)) + counted(locator)
        case Ack(error, locator, descriptor):
            described = encode_descriptor(descriptor) if descriptor is not None else b""
            payload = error.to_bytes(4, "little") + bytes((INNODB,)) + counted(locator) + counted(described)
            return bytes((Command.ACK,)) + payload
        case Plain(command):
            return bytes((command,))


def decode_request(data: bytes | memoryview) -> Request:
    """The inverse of ``encode_request``, for the donor's side of a test."""
    reader = Reader(data, "a request", "little")
    number = reader.number(1)
    try:
        command = Command(number)
    except ValueError:
        raise ProtocolViolation(f"a request of unknown type {number}") from None
    request = _decode_request_body(command, reader)
    reader.end()
    return request


def _decode_request_body(command: Command, reader: Reader) -> Request:
    if command in (Command.EXECUTE, Command.EXIT):
        return Plain(command)
    if command is Command.ACK:
        error = reader.number(4)
        _engine(reader.number(1))
        locator, described = reader.counted(), reader.counted()
        return Ack(error, locator, decode_descriptor(described) if described else None)
    version, lock = reader.number(4), reader.number(4)
    _engine(reader.number(1))
    block_ddl = not lock & _LEAVE_BACKUP_LOCK
    return Begin(command, version, lock & ~_LEAVE_BACKUP_LOCK, block_ddl, reader.counted())
