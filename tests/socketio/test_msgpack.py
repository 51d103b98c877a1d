"""Packets in MessagePack: what is written, what is read, and what is refused."""

from __future__ import annotations

import enum
import math
import tracemalloc
from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from socketio.msgpack_packet import MsgPackPacket as StockPacket

from gateway.socketio.msgpack import MsgPackPacket
from gateway.socketio.packet import (
    ACK,
    CONNECT,
    DISCONNECT,
    EVENT,
    PacketError,
)

many = settings(max_examples=100, derandomize=True, deadline=None, database=None)

TEXT = st.text("abc \0é€🦄")
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
    | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=10,
)
EVENTS = st.builds(lambda name, args: [name, *args], st.text("abc €"), st.lists(VALUES))
PACKETS = st.one_of(
    st.tuples(st.just(CONNECT), st.dictionaries(TEXT, VALUES)),
    st.tuples(st.just(EVENT), EVENTS),
    st.tuples(st.just(ACK), st.lists(VALUES)),
)
NAMESPACES = st.text("abcdef/.-_ ,€0123", max_size=30).map("/{}".format)
IDS = st.none() | st.integers(0, 10**15 - 1)


def facts(packet: Any) -> tuple[Any, ...]:
    return packet.packet_type, packet.namespace, packet.id, packet.data


def read(fields: Any) -> MsgPackPacket:
    """Let a client's packet arrive."""
    packet = MsgPackPacket(encoded_packet=msgpack.packb(fields))
    packet.check_arrival()
    return packet


def event(value: Any) -> dict[str, Any]:
    return {"type": EVENT, "nsp": "/", "data": ["a", value]}


@many
@given(PACKETS, NAMESPACES, IDS)
def test_what_python_socketio_writes_is_read_as_it_reads_it(kind_and_data, namespace, id):
    stock = StockPacket(*kind_and_data, namespace, id)
    assert facts(MsgPackPacket(encoded_packet=stock.encode())) == facts(stock)


@many
@given(PACKETS, NAMESPACES, IDS)
def test_what_is_written_is_read_by_python_socketio(kind_and_data, namespace, id):
    packet = MsgPackPacket(*kind_and_data, namespace, id)
    (message,) = packet.encode()
    assert facts(StockPacket(encoded_packet=message)) == facts(packet)
    assert MsgPackPacket.frames(*kind_and_data, namespace, id).packets == (message,)


@pytest.mark.parametrize(
    ("packet", "fields"),
    [
        (MsgPackPacket(DISCONNECT), {"type": 1, "nsp": "/"}),
        (
            MsgPackPacket(CONNECT, {"sid": ""}, "/a"),
            {"type": 0, "nsp": "/a", "data": {"sid": ""}},
        ),
        (MsgPackPacket(EVENT, ["a", b"\0"]), {"type": 2, "nsp": "/", "data": ["a", b"\0"]}),
        (MsgPackPacket(EVENT, ["a"], id=0), {"type": 2, "nsp": "/", "data": ["a"], "id": 0}),
        (MsgPackPacket(ACK, [], "/", 7), {"type": 3, "nsp": "/", "data": [], "id": 7}),
    ],
    ids=["disconnect", "connect", "event", "event with an id", "ack"],
)
def test_f16_absent_keys_are_absent(packet, fields):
    (message,) = packet.encode()
    assert msgpack.unpackb(message) == fields


class Colour(enum.Enum):
    RED = "red"


def test_what_json_would_write_as_text_is_text():
    values = (1, [b"\0", bytearray(b"\1"), memoryview(b"\2")])
    when = datetime(2020, 1, 2, tzinfo=UTC)
    (message,) = MsgPackPacket(EVENT, ["a", values, when, Colour.RED]).encode()
    written = ["a", [1, [b"\0", b"\1", b"\2"]], "2020-01-02T00:00:00Z", "red"]
    assert msgpack.unpackb(message)["data"] == written


def nested(depth: int) -> Any:
    value: Any = []
    for level in range(1, depth):
        value = {"a": value} if level % 2 else [value]
    return value


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (math.nan, ValueError, "nan cannot be sent: JSON has no such number"),
        (math.inf, ValueError, "inf cannot be sent: JSON has no such number"),
        (2**64, ValueError, "an integer beyond 64 bits cannot be sent: send it as text"),
        ({1: 2}, TypeError, "a key of type int cannot be sent: use text"),
        (object(), TypeError, "a value of type object cannot be sent"),
        (nested(254), ValueError, "data that nests too deep, or contains itself, cannot be sent"),
        (nested(5000), ValueError, "data that nests too deep, or contains itself, cannot be sent"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_clients_cannot_read_is_not_written(value, error, message):
    with pytest.raises(error) as caught:
        MsgPackPacket(EVENT, ["a", value]).encode()
    assert str(caught.value) == message


def test_half_an_emoji_is_not_written():
    with pytest.raises(ValueError, match="surrogates not allowed"):
        MsgPackPacket(EVENT, ["a", "\ud83d"]).encode()


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"type": 0, "nsp": "/"}, (CONNECT, "/", None, None)),
        ({"type": 0, "nsp": "/a?b=1", "data": {"c": 1}}, (CONNECT, "/a", None, {"c": 1})),
        (
            {"type": 2, "data": ["a"], "options": {"compress": True}, "id": 1, "nsp": "/"},
            (EVENT, "/", 1, ["a"]),
        ),
        ({"type": 3, "nsp": "/", "data": [], "id": 0}, (ACK, "/", 0, [])),
        # as notepack writes `undefined`, and Python's clients None
        ({"type": 0, "nsp": "/", "data": msgpack.ExtType(0, b"\0")}, (CONNECT, "/", None, None)),
        ({"type": 1, "nsp": "/", "data": None}, (DISCONNECT, "/", None, None)),
        (event(nested(199)), (EVENT, "/", None, ["a", nested(199)])),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_what_clients_write_is_read(fields, expected):
    assert facts(read(fields)) == expected


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"\0", None),
        (b"\1", b"\1"),
        (b"", b""),
        (b"\0" * 7, b"\0" * 7),
        (b"\0" * 300, b"\0" * 300),
        ((1577923200000).to_bytes(8), "2020-01-02T00:00:00Z"),
        ((-1).to_bytes(8, signed=True), "1969-12-31T23:59:59.999000Z"),
    ],
    ids=repr,
)
def test_notepacks_extension_is_read_as_json_would_carry_it(data, value):
    assert read(event(msgpack.ExtType(0, data))).data == ["a", value]


def test_a_timestamp_is_read_as_json_would_carry_it():
    assert read(event(msgpack.Timestamp(0))).data == ["a", "1970-01-01T00:00:00Z"]


BAD: dict[str, Any] = {
    "a list": [2, "/", ["a"]],
    "a number": 2,
    "nil": None,
    "no type": {"nsp": "/", "data": ["a"]},
    "no namespace": {"type": 2, "data": ["a"]},
    "an unknown type": {"type": 7, "nsp": "/", "data": ["a"]},
    "a type of other parsers": {"type": 5, "nsp": "/", "data": ["a"]},
    "a negative type": {"type": -1, "nsp": "/", "data": ["a"]},
    "a type that is text": {"type": "2", "nsp": "/", "data": ["a"]},
    "a type that is true": {"type": True, "nsp": "/", "data": ["a"]},
    "a type with a fraction": {"type": 2.5, "nsp": "/", "data": ["a"]},
    "nil for a namespace": {"type": 2, "nsp": None, "data": ["a"]},
    "bytes for a namespace": {"type": 2, "nsp": b"/", "data": ["a"]},
    "a namespace too long": {"type": 0, "nsp": "/" + "n" * 256},
    "an event without data": {"type": 2, "nsp": "/"},
    "an event of nothing": {"type": 2, "nsp": "/", "data": []},
    "an event of a map": {"type": 2, "nsp": "/", "data": {}},
    "an event of text": {"type": 2, "nsp": "/", "data": "a"},
    "an event of bytes": {"type": 2, "nsp": "/", "data": b"a"},
    "an event without a name": {"type": 2, "nsp": "/", "data": [1]},
    "an event whose name is bytes": {"type": 2, "nsp": "/", "data": [b"a"]},
    "a reserved event": {"type": 2, "nsp": "/", "data": ["disconnect"]},
    "nil for an id": {"type": 2, "nsp": "/", "data": ["a"], "id": None},
    "a negative id": {"type": 2, "nsp": "/", "data": ["a"], "id": -1},
    "an id with a fraction": {"type": 2, "nsp": "/", "data": ["a"], "id": 1.5},
    "an id that is text": {"type": 2, "nsp": "/", "data": ["a"], "id": "1"},
    "an id too large": {"type": 2, "nsp": "/", "data": ["a"], "id": 10**15},
    "an ack without an id": {"type": 3, "nsp": "/", "data": []},
    "an ack without data": {"type": 3, "nsp": "/", "id": 1},
    "an ack of a map": {"type": 3, "nsp": "/", "id": 1, "data": {}},
    "auth that is a list": {"type": 0, "nsp": "/", "data": []},
    "auth that is text": {"type": 0, "nsp": "/", "data": "x"},
    "a DISCONNECT with data": {"type": 1, "nsp": "/", "data": {}},
    "a CONNECT_ERROR": {"type": 4, "nsp": "/", "data": {"message": "x"}},
    "NaN": event(math.nan),
    "infinity": event({"b": [-math.inf]}),
    "a key that is a number": event({1: 2}),
    "a key that is bytes": event({b"b": 2}),
    "a key that is nil": event({None: 2}),
    "another extension": event(msgpack.ExtType(1, b"\0")),
    "a date beyond all years": event(msgpack.ExtType(0, (2**62).to_bytes(8))),
    "nesting": event(nested(200)),
    "more nesting": {"type": 0, "nsp": "/", "data": {"a": nested(300)}},
}


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD)
def test_a_packet_that_breaks_the_protocol_is_refused(fields):
    with pytest.raises(PacketError):
        read(fields)


HEAD = b"\x83\xa4type\x02\xa3nsp\xa1/\xa4data"


@pytest.mark.parametrize(
    "message",
    [
        '2["a"]',
        "",
        b"",
        b"\xc1",
        b"\x80",
        HEAD,
        HEAD + b"\x91\xa1",
        HEAD + b"\x91\xa1a\x00",
        HEAD + b"\x91\xa1\xff",
        HEAD + b"\xdd\xff\xff\xff\xff\xa1a",
        HEAD + b"\xdf\xff\xff\xff\xff\xa1a",
        HEAD + b"\xdb\xff\xff\xff\xffa",
        HEAD + b"\x92\xa1a\xc9\xff\xff\xff\xff\x00",
        HEAD + b"\x91" * 100_000 + b"\x01",
        HEAD + b"\x92\xa1a\x81\x80\x01",
    ],
    ids=lambda message: repr(message[:40]),
)
def test_what_is_no_messagepack_is_refused(message):
    with pytest.raises(PacketError):
        MsgPackPacket(encoded_packet=message)


LARGEST = b"\xff\xff\xff\xff"
ANNOUNCED = {
    "an array": HEAD + b"\xdd" + LARGEST + b"\xa1a",
    "an array in an array": HEAD + b"\x92\xa1a\xdd" + LARGEST,
    "arrays in arrays": HEAD + (b"\xdd" + LARGEST) * 100,
    "a map": HEAD + b"\x92\xa1a\xdf" + LARGEST,
    "text": HEAD + b"\x92\xa1a\xdb" + LARGEST,
    "a key": HEAD + b"\x92\xa1a\x81\xdb" + LARGEST,
    "bytes": HEAD + b"\x92\xa1a\xc6" + LARGEST,
    "an extension": HEAD + b"\x92\xa1a\xc9" + LARGEST + b"\x00",
    "the packet": b"\xdf" + LARGEST,
    "its namespace": b"\x82\xa4type\x02\xa3nsp\xdb" + LARGEST,
    "a field nobody knows": b"\x84\xa4type\x02\xa3nsp\xa1/\xa1x\xc6" + LARGEST,
}


@pytest.mark.parametrize("message", ANNOUNCED.values(), ids=ANNOUNCED)
def test_no_room_is_made_for_what_is_only_announced(message):
    tracemalloc.start()
    try:
        with pytest.raises(PacketError):
            MsgPackPacket(encoded_packet=message)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


@pytest.mark.parametrize("code", [*range(1, 128, 9), *range(-128, 0, 9), -1])
@pytest.mark.parametrize("size", [1, 2, 4, 8, 16, 3, 300, 70_000])
def test_no_extension_but_notepacks_and_the_timestamp_is_read(code, size):
    extension = msgpack.packb(msgpack.ExtType(code, bytes(size))) if code >= 0 else None
    if extension is None:
        fixed = {1: 0xD4, 2: 0xD5, 4: 0xD6, 8: 0xD7, 16: 0xD8}
        head = bytes([fixed[size]]) if size in fixed else b"\xc9" + size.to_bytes(4)
        extension = head + code.to_bytes(1, signed=True) + bytes(size)
    message = HEAD + b"\x92\xa1a" + extension
    if code == -1 and size in (4, 8):
        assert MsgPackPacket(encoded_packet=message).data == ["a", "1970-01-01T00:00:00Z"]
    else:
        with pytest.raises(PacketError):
            MsgPackPacket(encoded_packet=message)


@many
@given(st.binary() | VALUES.map(msgpack.packb) | VALUES.map(event).map(msgpack.packb))
def test_nothing_is_refused_but_with_a_packet_error(message):
    try:
        packet = MsgPackPacket(encoded_packet=message)
        packet.check_arrival()
    except PacketError:
        return
    assert isinstance(packet.data, list)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_large_packet_is_held_to_the_same(value: float) -> None:
    """It is not walked through, so its client hears less of why."""
    large = [None] * 100_000
    assert read(event(large)).data == ["a", large]
    with pytest.raises(PacketError, match="a number that is not finite"):
        read(event([*large, value]))


def test_bytes_that_look_like_nan_are_none() -> None:
    assert read(event([None, b"\xcb\x7f\xff", None])).data == ["a", [None, b"\xcb\x7f\xff", None]]
