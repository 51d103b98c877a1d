"""Packets: what is written, what is read, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from socketio.packet import Packet as StockPacket

from gateway.socketio.packet import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    MAX_ATTACHMENTS,
    Packet,
    PacketError,
)
from tests.socketio.bad_packets import MALFORMED, MISFITS, Message

NAMES = st.text("abc\N{EURO SIGN}/\\\"'[]{}-_.0123456789 \n", max_size=20)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text("_num placeholder"), inner)
)
VALUES = st.recursive(
    LEAVES | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
    max_leaves=MAX_ATTACHMENTS,
)
EVENTS = st.builds(lambda name, args: [name, *args], NAMES, st.lists(VALUES, max_size=3))
PACKETS = st.one_of(
    st.tuples(st.just(CONNECT), st.none() | st.dictionaries(NAMES, JSON)),
    st.tuples(st.just(DISCONNECT), st.none()),
    st.tuples(st.just(EVENT), EVENTS),
    st.tuples(st.just(ACK), st.lists(VALUES, max_size=3)),
    st.tuples(st.just(CONNECT_ERROR), st.dictionaries(NAMES, JSON)),
)
NAMESPACES = st.just("/") | st.text("abcdef/.-_ \N{EURO SIGN}0123", max_size=30).map("/{}".format)
IDS = st.none() | st.integers(0, 10**15 - 1)

many = settings(max_examples=200, derandomize=True, deadline=None, database=None)

TYPED = {BINARY_EVENT: EVENT, BINARY_ACK: ACK}


def facts(packet: Any) -> tuple[Any, ...]:
    kind = TYPED.get(packet.packet_type, packet.packet_type)
    return kind, packet.namespace or "/", packet.id, packet.data


def read(messages: list[Any], packet_class: type = Packet) -> Any:
    """Decode the messages of one packet."""
    text, *attachments = messages
    packet = packet_class(encoded_packet=text)
    if isinstance(packet, Packet):
        if attachments:
            packet.fill(attachments)
        return packet
    for attachment in attachments:
        packet.add_attachment(attachment)
    return packet


def messages(packet: Any) -> list[Any]:
    encoded = packet.encode()
    return encoded if isinstance(encoded, list) else [encoded]


@many
@given(PACKETS, NAMESPACES, IDS)
def test_what_python_socketio_writes_is_read_as_it_reads_it(kind_and_data, namespace, id):
    written = messages(StockPacket(*kind_and_data, namespace, id))
    assume(len(written) <= 1 + MAX_ATTACHMENTS)
    assert facts(read(written)) == facts(read(written, StockPacket))


@many
@given(PACKETS, NAMESPACES, IDS)
def test_what_is_written_is_read_by_python_socketio(kind_and_data, namespace, id):
    packet = Packet(*kind_and_data, namespace, id)
    stock = StockPacket(*kind_and_data, namespace, id)
    written = messages(packet)
    assert facts(read(written, StockPacket)) == facts(stock)
    assert written[1:] == messages(stock)[1:]
    assert facts(read(written)) == facts(stock)


FRAGMENTS = st.sampled_from(
    [*"0123456", "51-", "62-", "/", "/a", ",", "?x=1", "12", '["a"]', '{"a":1}', "[]", "-", "null"]
) | st.text(max_size=3)


@many
@given(st.lists(FRAGMENTS, max_size=6).map("".join))
@example("2/a?b,1[1]")
def test_what_is_accepted_at_all_is_read_as_python_socketio_does(text):
    try:
        packet = Packet(encoded_packet=text)
        packet.check_arrival()
    except PacketError:
        return
    assert facts(packet) == facts(StockPacket(encoded_packet=text))


@many
@given(st.lists(FRAGMENTS, max_size=6).map("".join) | st.text() | st.binary())
def test_nothing_is_refused_but_with_a_packet_error(message):
    try:
        packet = Packet(encoded_packet=message)
        packet.check_arrival()
    except PacketError:
        return
    assert packet.packet_type != CONNECT_ERROR


def written(data_and_id):
    return messages(Packet(EVENT, data_and_id[0], "/", data_and_id[1]))[0]


TEXTS = st.lists(FRAGMENTS, max_size=6).map(lambda parts: "2" + "".join(parts))


@many
@given(TEXTS | st.binary() | st.tuples(EVENTS, IDS).map(written))
@example('2007["a"]')
@example("2" + "1" * 16 + '["a"]')
@example('2\N{SUPERSCRIPT TWO}["a"]')
@example('2["disconnect"]')
def test_the_short_way_reads_what_the_long_way_does(message):
    try:
        packet = Packet(encoded_packet=message)
        packet.check_arrival()
    except PacketError:
        expected = None
    else:
        plain = packet.packet_type == EVENT and packet.namespace == "/" and "/" not in message[:2]
        expected = (packet.data, packet.id) if plain else None
    assert Packet.plain_event(message) == expected


def short(messages: Message | list[Message]) -> str:
    return ascii(messages)[:60]


@pytest.mark.parametrize("message", MALFORMED, ids=short)
def test_a_packet_that_breaks_the_protocol_is_refused(message):
    with pytest.raises(PacketError):
        Packet(encoded_packet=message).check_arrival()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not a packet"),
        ('2-1["a"]', "payload is not JSON: .+"),
        ("1" + "null", "a payload is an array or an object"),
        ("2[1]", "an event is an array that begins with its name"),
        ('2["disconnect"]', "event 'disconnect' is reserved"),
        ("3[]", "an ack is an array with an id"),
        ("0[]", "auth must be an object"),
        ("1{}", "a DISCONNECT carries nothing"),
        ('4{"message":"x"}', "a client cannot send CONNECT_ERROR"),
        ('50-["a"]', "attachments are 1 to 10"),
        ('511-["a"]', "attachments are 1 to 10"),
        ('5["a"]', "attachments in the wrong type of packet"),
        ('21-["a"]', "attachments in the wrong type of packet"),
        ("2" + "[" * 300, "payload is not JSON: .+"),
        ('2["a",' + "[" * 200 + "]" * 200 + "]", "payload is not JSON: nested too deep"),
        ("2[0" + ",{}" * 100_000 + "]", "payload is not JSON: too many arrays and objects"),
        (b"\x00", "bytes that belong to no packet"),
    ],
    ids=lambda each: repr(each)[:60],
)
def test_the_reason_is_told(text, reason):
    with pytest.raises(PacketError, match=f"^{reason}$"):
        Packet(encoded_packet=text).check_arrival()


@pytest.mark.parametrize("messages", MISFITS, ids=short)
def test_a_placeholder_has_an_attachment_of_its_own(messages):
    with pytest.raises(PacketError, match=r"^a placeholder without its attachment$"):
        read(messages)


@pytest.mark.parametrize(
    ("text", "namespace", "id", "data"),
    [
        ("0", "/", None, None),
        ('0{"token":"123"}', "/", None, {"token": "123"}),
        ("0/admin", "/admin", None, None),
        ("0/admin,", "/admin", None, None),
        ('0/admin?a=1,{"b":2}', "/admin", None, {"b": 2}),
        ("0/" + "n" * 255, "/" + "n" * 255, None, None),
        ("1/admin,", "/admin", None, None),
        ('2["foo"]', "/", None, ["foo"]),
        ('2[""]', "/", None, [""]),
        ('2["__proto__",1,1]', "/", None, ["__proto__", 1, 1]),
        ('2/admin,["bar"]', "/admin", None, ["bar"]),
        ('20["foo"]', "/", 0, ["foo"]),
        (f'2{"9" * 15}["foo"]', "/", 10**15 - 1, ["foo"]),
        ('2/admin,007["foo"]', "/admin", 7, ["foo"]),
        ('3/admin,13["bar"]', "/admin", 13, ["bar"]),
        ("312[]", "/", 12, []),
        ('2["a",{"b":1,"b":2}]', "/", None, ["a", {"b": 2}]),
        (f'2["a",{10**25}]', "/", None, ["a", 1e25]),
        ('2["\\ud83d","\\ud83d\\ude00"]', "/", None, ["\ufffd", "\U0001f600"]),
        (
            '2["a",{"_placeholder":true,"num":0}]',
            "/",
            None,
            ["a", {"_placeholder": True, "num": 0}],
        ),
        ('2["a",' + "[" * 199 + "]" * 199 + "]", "/", None, None),
    ],
    ids=repr,
)
def test_what_is_unusual_is_read(text, namespace, id, data):
    packet = Packet(encoded_packet=text)
    packet.check_arrival()
    assert (packet.namespace, packet.id) == (namespace, id)
    assert data is None or packet.data == data


@pytest.mark.parametrize(
    ("packet", "messages"),
    [
        (Packet(CONNECT), ["0"]),
        (Packet(CONNECT, {"sid": "x"}, "/admin"), ['0/admin,{"sid":"x"}']),
        (Packet(CONNECT_ERROR, {"message": "Not authorized"}), ['4{"message":"Not authorized"}']),
        (Packet(EVENT, ["foo"]), ['2["foo"]']),
        (Packet(EVENT, ["bar"], "/admin"), ['2/admin,["bar"]']),
        (Packet(EVENT, ["foo"], id=12), ['212["foo"]']),
        (Packet(EVENT, ["foo"], id=0), ['20["foo"]']),
        (
            Packet(EVENT, ["baz", b"\1\2\3\4"]),
            ['51-["baz",{"_placeholder":true,"num":0}]', b"\1\2\3\4"],
        ),
        (
            Packet(EVENT, ["baz", b"\1\2", (bytearray(b"\3\4"),)], "/admin"),
            [
                '52-/admin,["baz",{"_placeholder":true,"num":0},[{"_placeholder":true,"num":1}]]',
                b"\1\2",
                b"\3\4",
            ],
        ),
        (Packet(ACK, ["bar"], "/admin", 13), ['3/admin,13["bar"]']),
        (Packet(ACK, [], id=12), ["312[]"]),
        (
            Packet(ACK, ["bar", b"\1"], id=15),
            ['61-15["bar",{"_placeholder":true,"num":0}]', b"\1"],
        ),
        (Packet(DISCONNECT), ["1"]),
        (Packet(DISCONNECT, None, "/admin"), ["1/admin,"]),
    ],
    ids=lambda value: repr(value) if isinstance(value, list) else "",
)
def test_the_examples_of_the_protocol_are_written_as_it_does(packet, messages):
    assert packet.encode() == messages
    text, *attachments = messages
    frames = Packet.frames(packet.packet_type, packet.data, packet.namespace, packet.id)
    assert list(frames.packets) == [f"4{text}", *attachments]


def test_more_attachments_than_clients_read_are_not_written():
    assert len(Packet(EVENT, ["a", *[b""] * 10]).encode()) == 11
    with pytest.raises(
        ValueError, match=r"^more than 10 bytes objects cannot be sent in one packet$"
    ):
        Packet(EVENT, ["a", *[b""] * 11]).encode()


@pytest.mark.parametrize("number", [0, 5])
def test_a_placeholder_that_a_client_made_up_is_not_written_beside_bytes(number):
    """It would end the connection of whoever reads it, or show what it should not."""
    made_up = {"_placeholder": True, "num": number}
    text = '"_placeholder":true'
    assert Packet(EVENT, ["a", made_up]).encode() == [f'2["a",{{{text},"num":{number}}}]']
    assert len(Packet(EVENT, ["a", text, {"_placeholder": 1}, b""]).encode()) == 2
    with pytest.raises(
        ValueError, match=r"^an object with '_placeholder' cannot be sent along with bytes$"
    ):
        Packet(EVENT, ["a", made_up, b""]).encode()
