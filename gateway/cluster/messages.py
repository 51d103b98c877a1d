"""The messages between members: the format of Node's redis-adapter 8, with fields of our own.

A broadcast is `[uid, packet, opts, ours]` in MessagePack, of which Node reads the first three. A
request is a map with a `type`; Node knows 2 to 9 and ignores the others, as it ignores keys that it
does not know. It reads JSON as well as MessagePack; we write MessagePack and read both.

Source: https://github.com/socketio/socket.io-redis-adapter, lib/index.ts
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from msgspec import Meta, Struct, field

from gateway.api import Namespace
from gateway.socketio.listing import Listed
from gateway.socketio.presence import LARGEST_META, LONGEST_NAME, MOST_AT_ONCE

__all__ = [
    "CODING_ERRORS",
    "WIRE",
    "Answer",
    "AskPresence",
    "BadMessage",
    "Broadcast",
    "Call",
    "Confirmed",
    "Count",
    "Disconnect",
    "Encoded",
    "Entry",
    "Event",
    "Fetch",
    "FoundSocket",
    "Head",
    "Hello",
    "Join",
    "Last",
    "Leave",
    "ListRooms",
    "ListSockets",
    "Ours",
    "Presence",
    "Publish",
    "Request",
    "RoomNames",
    "Serves",
    "SocketIds",
    "decode_answer",
    "decode_broadcast",
    "decode_head",
    "decode_request",
    "encode",
    "encode_plain",
    "event",
    "found_socket",
    "options",
]

WIRE = 1
"""The version of the fields of ours, one higher when members of a former one cannot read them."""

LATEST = 1e11
"""Seconds since the epoch that a time may be: a year that still has four digits."""

UNDEFINED = 0
"""The type of the extension of MessagePack that Node's encoder has for `undefined`."""

EVENT = 2
"""The type of an event in Socket.IO's packets."""

Encoded: TypeAlias = msgspec.Raw
"""A part of a message that is encoded already."""

CODING_ERRORS = (ValueError, TypeError, OverflowError, RecursionError)
"""What msgspec raises for what it cannot encode, or decode."""

T = TypeVar("T")


class BadMessage(ValueError):
    """A message that cannot be decoded."""


class Event(Struct):
    """A packet; `data` is `[event, *args]`."""

    data: Annotated[list[Any], Meta(min_length=1)]
    nsp: str = "/"
    type: Annotated[int, Meta(ge=EVENT, le=EVENT)] = EVENT


class Flags(Struct, omit_defaults=True):
    """How to send an event; `timeout` is that of a Node server for acks, in milliseconds."""

    volatile: bool = False
    timeout: float | None = None


class Options(Struct):
    """A target: no rooms means all of its namespace."""

    rooms: list[str] = []
    excluded: list[str] = field(default_factory=list, name="except")
    flags: Flags = field(default_factory=Flags)


_OURS = {"number": "n", "time": "t", "confirm": "c", "direct": "d"}


class Ours(Struct, omit_defaults=True, rename=_OURS):
    """The fields of ours: a message's number, when it was sent, and what confirms it.

    `time` is in seconds since the epoch. `confirm` is the id of a request that the sender waits
    for, empty for none. `direct` is true if the number is of those for one member only.
    """

    number: int = 0
    direct: bool = False
    time: float = 0.0
    confirm: str = ""


class Broadcast(Struct, array_like=True):
    """An event for the sockets of a target. `uid` is the sender's tag."""

    uid: str
    packet: Event
    opts: Options = field(default_factory=Options)
    ours: Ours = field(default_factory=Ours)


class _Asked(Struct, tag_field="type", omit_defaults=True, kw_only=True, rename="camel"):
    """What all requests have in common; one without a `request_id` wants no answer."""

    uid: str = ""
    request_id: str = ""
    number: int = field(default=0, name="n")
    direct: bool = field(default=False, name="d")


class SocketIds(_Asked, tag=0):
    """A Node server asks for the ids of the sockets in rooms."""

    rooms: list[str] = []


class RoomNames(_Asked, tag=1):
    """A Node server asks for the names of all rooms."""


class Join(_Asked, tag=2):
    """Have the sockets of a target join rooms."""

    opts: Options
    rooms: list[str]


class Leave(_Asked, tag=3):
    """Have the sockets of a target leave rooms."""

    opts: Options
    rooms: list[str]


class Disconnect(_Asked, tag=4):
    """Disconnect the sockets of a target."""

    opts: Options
    close: bool = False


class Fetch(_Asked, tag=5):
    """Ask for the sockets of a target; with `brief`, without what only Node needs of them."""

    opts: Options
    brief: bool = False


class Publish(_Asked, tag=6):
    """Run the `cluster` routes of the namespace, or of all. `data` is `[event, *args]`."""

    data: Annotated[list[Any], Meta(min_length=1)]
    everywhere: bool = False


class Call(_Asked, tag=7):
    """Send an event to the sockets of a target and tell their answers, after `timeout` seconds."""

    opts: Options
    packet: Event
    timeout: Annotated[float, Meta(ge=0)] = 5.0


class Count(_Asked, tag=100):
    """Ask for the number of sockets of a target."""

    opts: Options


class Hello(_Asked, tag=101):
    """Tell who a member is, and if it leads: see `gateway.cluster.lead`."""

    worker: int
    node: str
    leads: bool = False


class Last(_Asked, tag=102):
    """Tell the last numbers of a member's messages, each `[kind, namespace, direct, number]`.

    One that is `joining` counts from them.
    """

    numbers: list[tuple[int, str, bool, int]]
    joining: bool = False


class ListSockets(_Asked, tag=103):
    """Ask for a page of the sockets of a target, and how many there are."""

    opts: Options
    limit: Annotated[int, Meta(ge=1)]
    after: str = ""


class ListRooms(_Asked, tag=104):
    """Ask for a page of the rooms of a namespace. `opts` are those of the whole namespace."""

    opts: Options
    limit: Annotated[int, Meta(ge=1)]
    after: str = ""


class Entry(Struct, array_like=True):
    """Somebody who is present, or no longer is: see `gateway.socketio.presence`.

    `room` is `None` for the namespace, `meta` is JSON, or `None` of one who is no longer there.
    """

    namespace: Annotated[str, Meta(max_length=300)]
    room: Annotated[str, Meta(max_length=LONGEST_NAME)] | None
    who: Annotated[str, Meta(max_length=300)]
    meta: Annotated[str, Meta(max_length=LARGEST_META)] | None


class Presence(_Asked, tag=105):
    """Tell who is present: what has changed, or in parts from 0 all that the sender has.

    `state` numbers the changes. Without entries, only the number of the last one is told.
    """

    state: int
    entries: Annotated[list[Entry], Meta(max_length=MOST_AT_ONCE)] = []
    part: int | None = None
    is_last: bool = False


class AskPresence(_Asked, tag=106):
    """Ask a member to tell all that are present there."""


class Serves(_Asked, tag=107):
    """Tell what a member serves: see `gateway.cluster.configurations`.

    `since` is in seconds since the epoch. `version` is that of the program, `wire` that of these
    messages.
    """

    fingerprint: Annotated[str, Meta(max_length=64)]
    since: Annotated[float, Meta(ge=0, le=LATEST)]
    version: Annotated[str, Meta(max_length=64)]
    wire: Annotated[int, Meta(ge=1)]
    worker: Annotated[int, Meta(ge=1)]
    node: Annotated[str, Meta(max_length=255)]


class Head(Struct, rename="camel"):
    """What can be read of a request of any version."""

    type: int
    uid: str = ""
    number: int = field(default=0, name="n")
    direct: bool = field(default=False, name="d")


FromNode = SocketIds | RoomNames
Request = (
    FromNode
    | Join
    | Leave
    | Disconnect
    | Fetch
    | Publish
    | Call
    | Count
    | Hello
    | Last
    | ListSockets
    | ListRooms
    | Presence
    | AskPresence
    | Serves
)
Confirmed = Join | Leave | Disconnect
"""Requests that change something, and are answered when that is done."""


class Address(Struct):
    """All that is told of a socket's handshake."""

    address: str = ""


class FoundSocket(Struct):
    """A socket of another member."""

    id: str
    rooms: list[str] = []
    user: str | None = None
    data: dict[str, Any] = {}
    handshake: Address = field(default_factory=Address)


class Answer(Struct, omit_defaults=True, rename="camel"):
    """An answer to a request. With `more`, another follows.

    `parts` is how many there are with the last one; 0 if the sender does not say. Should some not
    have arrived, or not have been sent as they are too large, the answer is not whole.

    `count` is a number of sockets, `sockets` are those of a `Fetch`, each encoded by itself.
    `answers` and `missing` are those of a `Call`, by socket id. `listed` and `rooms` are a page.

    Node servers tell no `uid`. Of theirs, `type` 8 has the number of clients that were asked, and
    9 the answer of one of them.
    """

    request_id: str
    uid: str = ""
    number: int = field(default=0, name="n")
    count: int = 0
    sockets: list[msgspec.Raw] = []
    answers: dict[str, list[Any]] = {}
    missing: list[str] = []
    more: bool = False
    parts: int = 0
    type: int = 0
    client_count: int = 0
    packet: Any = None
    listed: list[Listed] = []
    rooms: dict[str, int] = {}


# Encoding


def event(namespace: str, data: Sequence[object]) -> Event:
    """Make the packet of an event; `data` is `[event, *args]`."""
    return Event(list(data), namespace)


def options(target: Namespace) -> Options:
    """Make the options of a target, which must not be empty."""
    flags = Flags(target.is_volatile)
    return Options(list(target.rooms or ()), list(target.excluded), flags)


def encode(message: Broadcast | Request | Answer | FoundSocket) -> bytes:
    """Encode a message. Raises `TypeError`, `ValueError` or `OverflowError` for unsendable data."""
    encoded = _encoder.encode(message)
    if _may_have_time(encoded) and not isinstance(message, Answer):
        plain = msgspec.to_builtins(message, builtin_types=_BUILT_IN, enc_hook=_base)
        encoded = _encoder.encode(_as_json(plain, datetime.isoformat))  # as orjson writes them
    return encoded


def encode_plain(message: dict[str, object]) -> bytes:
    """Encode an answer to a Node server.

    Raises `TypeError`, `ValueError` or `OverflowError` for unsendable data.
    """
    encoded = _encoder.encode(message)
    if _may_have_time(encoded):
        encoded = _encoder.encode(_as_json(message, datetime.isoformat))
    return encoded


def found_socket(
    id: str, rooms: Sequence[str], user: str | None, data: object, handshake: dict[str, object]
) -> msgspec.Raw:
    """Encode a socket for others: of `data`, what has a key of text and can be sent."""
    told = {"id": id, "rooms": rooms, "user": user, "handshake": handshake}
    try:
        return msgspec.Raw(_encoder.encode({**told, "data": data}))
    except CODING_ERRORS:
        items = data.items() if isinstance(data, dict) else ()
        sendable = {key: value for key, value in items if isinstance(key, str) and _fits(value)}
        return msgspec.Raw(_encoder.encode({**told, "data": sendable}))


def _fits(value: object) -> bool:
    try:
        _encoder.encode(value)
    except CODING_ERRORS:
        return False
    return True


def _base(value: Any) -> object:
    """Return a value of a subclass as one of JSON's types."""
    bases: tuple[type, ...] = (str, int, float, dict, list, tuple)
    for base in bases:
        if isinstance(value, base):
            return base(value)
    raise TypeError(f"a value of type {type(value).__name__} cannot be sent")


# Decoding


def decode_broadcast(message: bytes) -> Broadcast:
    """Decode a broadcast. Raises `BadMessage`."""
    found = _decoded(_broadcasts, message)
    if _may_have_time(message):
        found.packet.data = _as_json(found.packet.data, _as_node)
    return found


def decode_request(message: bytes) -> Request:
    """Decode a request. Raises `BadMessage`."""
    is_json = message.startswith(b"{")
    found: Request = _decoded(_json_requests if is_json else _requests, message)
    if isinstance(found, Publish) and _may_have_time(message):
        found.data = _as_json(found.data, _as_node)
    if isinstance(found, Call) and _may_have_time(message):
        found.packet.data = _as_json(found.packet.data, _as_node)
    return found


def decode_head(message: bytes) -> Head:
    """Decode the head of a request of a member, whatever its type. Raises `BadMessage`."""
    return _decoded(_heads, message)


def decode_answer(message: bytes) -> Answer:
    """Decode an answer. Raises `BadMessage`."""
    return _decoded(_json_answers if message.startswith(b"{") else _answers, message)


def _decoded(decoder: msgspec.msgpack.Decoder[T] | msgspec.json.Decoder[T], message: bytes) -> T:
    try:
        return decoder.decode(message)
    except CODING_ERRORS as error:
        raise BadMessage(str(error)) from None


def _may_have_time(message: bytes) -> bool:
    """True if there may be a time in a message. Few have the byte that is looked for first."""
    return b"\xff" in message and _TIME.search(message) is not None


def _as_json(value: Any, text_of: Callable[[datetime], str]) -> Any:
    """`value` with times as text."""
    if isinstance(value, datetime):
        return text_of(value)
    if isinstance(value, list | tuple):
        return [_as_json(each, text_of) for each in value]
    if isinstance(value, dict):
        return {key: _as_json(each, text_of) for key, each in value.items()}
    return value


def _as_node(time: datetime) -> str:
    """Write a time as JSON.stringify does."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extension(code: int, data: memoryview) -> object:
    if code == UNDEFINED:
        return None
    raise BadMessage(f"extension type {code} is unknown")


_TIME = re.compile(rb"\xd6\xff|\xd7\xff|\xc7\x0c\xff")
"""Matches times, and perhaps other bytes that look like them."""

_BUILT_IN = (bytes, bytearray, memoryview, datetime)

_encoder = msgspec.msgpack.Encoder(enc_hook=_base)
_broadcasts = msgspec.msgpack.Decoder(Broadcast, ext_hook=_extension)
_requests: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(Request, ext_hook=_extension)
_json_requests: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Request)
_heads = msgspec.msgpack.Decoder(Head)
_answers = msgspec.msgpack.Decoder(Answer, ext_hook=_extension)
_json_answers = msgspec.json.Decoder(Answer)
