"""Packets, payloads and frames as bytes."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engineio.frames import Frames, deflated_frame, frame
from gateway.engineio.packet import Packet, PacketError, decode_payload, encode_payload

WITHOUT_SEPARATOR = st.text(st.characters(exclude_characters="\x1e", exclude_categories=["Cs"]))


@pytest.mark.parametrize(
    ("packets", "body"),
    [
        (["4hello"], b"4hello"),
        (["4hello", "2", "4world"], b"4hello\x1e2\x1e4world"),
        (["4hello", b"\x01\x02\x03\x04"], b"4hello\x1ebAQIDBA=="),
        ([b""], b"b"),
        (["4€"], b"4\xe2\x82\xac"),
    ],
)
def test_payload_is_what_the_protocol_shows(packets: list[Packet], body: bytes) -> None:
    assert encode_payload(packets) == body
    assert list(decode_payload(body)) == packets


@given(st.lists(WITHOUT_SEPARATOR.map("4{}".format) | st.binary(), min_size=1))
def test_payload_comes_back_as_it_went(packets: list[Packet]) -> None:
    assert list(decode_payload(encode_payload(packets))) == packets


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"4\xff", "the body is not UTF-8"),
        (b"b!", "a binary packet is not base64"),
        (b"bAQIDB", "a binary packet is not base64"),
        (b"bAQ I=", "a binary packet is not base64"),
        (b"bAQ==AQ==", "a binary packet is not base64"),
        (b"b\xc2\xbd", "a binary packet is not base64"),
    ],
)
def test_body_that_is_no_payload_is_named(body: bytes, problem: str) -> None:
    with pytest.raises(PacketError) as raised:
        list(decode_payload(body))
    assert str(raised.value) == problem


def test_half_a_surrogate_pair_spoils_itself_alone() -> None:
    assert encode_payload(["4a\ud800b", "4c"]) == b"4a?b\x1e4c"
    assert frame("4a\ud800b") == b"\x81\x044a?b"


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (0, b"\x82\x00"),
        (125, b"\x82\x7d"),
        (126, b"\x82\x7e\x00\x7e"),
        (65535, b"\x82\x7e\xff\xff"),
        (65536, b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_frame_is_headed_by_its_size(size: int, head: bytes) -> None:
    assert frame(b"x" * size) == head + b"x" * size


def test_size_of_text_is_the_same_once_a_poll_has_taken_it() -> None:
    """An outbox takes off what it has added, whatever the other recipients did meanwhile."""
    frames = Frames.of_text('2["é€"]'.encode())
    size = frames.size
    assert frames.packets == ('42["é€"]',)
    assert frames.wire.endswith('42["é€"]'.encode())
    assert frames.size == size == len('2["é€"]'.encode())


def test_frame_of_text_counts_bytes() -> None:
    assert frame("4€") == b"\x81\x044\xe2\x82\xac"


@pytest.mark.parametrize(("packet", "first"), [("4" + "text " * 500, 0xC1), (b"x" * 2000, 0xC2)])
def test_deflated_frame_needs_nothing_before_it(packet: Packet, first: int) -> None:
    encoded = deflated_frame(packet, 15)
    assert encoded[0] == first
    data = encoded[2:] if encoded[1] < 126 else encoded[4:]
    whole = zlib.decompressobj(wbits=-15).decompress(data + b"\x00\x00\xff\xff")
    assert whole == (packet.encode() if isinstance(packet, str) else packet)


@pytest.mark.parametrize("text", ["", "2[1]", "€" * 100])
def test_frames_of_encoded_text_are_those_of_the_text(text: str) -> None:
    frames = Frames.of_text(text.encode())
    assert frames.packets == Frames([text]).packets
    assert frames.wire == Frames([text]).wire


def test_frames_of_many_are_encoded_once() -> None:
    frames = Frames(["51-", b"\x00", "x"])
    assert frames.packets == ("451-", b"\x00", "4x")
    assert frames.wire == frame("451-") + frame(b"\x00") + frame("4x")
    assert frames.wire is frames.wire
