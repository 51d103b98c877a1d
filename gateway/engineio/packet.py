"""Engine.IO packets and the payloads that carry several of them over HTTP.

https://github.com/socketio/socket.io/blob/main/docs/engine.io-protocol/v4-current.md#packet-encoding
"""

from __future__ import annotations

import binascii
import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TypeAlias

from gateway.engineio.settings import Settings, Transport

__all__ = [
    "BASE64",
    "CLOSE",
    "MESSAGE",
    "NOOP",
    "OPEN",
    "PING",
    "PONG",
    "PROBE_PING",
    "PROBE_PONG",
    "UPGRADE",
    "Message",
    "Packet",
    "PacketError",
    "decode_base64",
    "decode_payload",
    "encode_base64",
    "encode_payload",
    "handshake",
    "utf8",
]

OPEN, CLOSE, PING, PONG, MESSAGE, UPGRADE, NOOP = "0123456"
PROBE_PING, PROBE_PONG = PING + "probe", PONG + "probe"

UPGRADES: dict[Transport, list[Transport]] = {"polling": ["websocket"], "websocket": []}
SEPARATOR = "\x1e"
BASE64 = "b"

Message: TypeAlias = str | bytes
"""The payload of a message packet: text or bytes."""

Packet: TypeAlias = str | bytes
"""A packet as a WebSocket carries it: text led by its type, or the bytes of a binary message."""


class PacketError(ValueError):
    """A packet that cannot be read, or that a client may not send."""


def handshake(id: str, transport: Transport, settings: Settings) -> Packet:
    """The open packet of a session, with times in milliseconds. `id` is ASCII."""
    upgrades = tuple(name for name in UPGRADES[transport] if name in settings.transports)
    times = settings.ping_interval, settings.ping_timeout
    return f'{OPEN}{{"sid":"{id}",{_facts(upgrades, *times, settings.max_payload)}'


@lru_cache
def _facts(
    upgrades: tuple[Transport, ...], ping_interval: float, ping_timeout: float, max_payload: int
) -> str:
    """The part of a handshake after the id, in JSON."""
    facts = {
        "upgrades": upgrades,
        "pingInterval": round(ping_interval * 1000),
        "pingTimeout": round(ping_timeout * 1000),
        "maxPayload": max_payload,
    }
    return json.dumps(facts, separators=(",", ":"))[1:]


def encode_payload(packets: Iterable[Packet]) -> bytes:
    """Join packets into the body of a poll's answer."""
    return utf8(SEPARATOR.join(map(encode_base64, packets)))


def decode_payload(body: bytes) -> Iterator[Packet]:
    """Yield the packets in the body of a POST request.

    Raises `PacketError` at the first packet that cannot be read.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise PacketError("the body is not UTF-8") from None
    start = 0
    while (end := text.find(SEPARATOR, start)) >= 0:
        yield _decoded(text[start:end])
        start = end + 1
    yield _decoded(text[start:] if start else text)


def utf8(text: str) -> bytes:
    """Encode text; a lone surrogate, which has no encoding, becomes a question mark."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace")


def encode_base64(packet: Packet) -> str:
    """Encode a packet as text: a binary one becomes base64, led by `b`."""
    if isinstance(packet, str):
        return packet
    return BASE64 + binascii.b2a_base64(packet, newline=False).decode("ascii")


def _decoded(packet: str) -> Packet:
    return decode_base64(packet) if packet.startswith(BASE64) else packet


def decode_base64(packet: str) -> bytes:
    """Decode a binary packet that a client sent as text, led by `b`. Raises `PacketError`.

    As in Node, there may be line ends, which Java's clients always send, and the padding may be
    missing; anything else that is not base64 is refused.
    """
    text = packet[1:].replace("\n", "").replace("\r", "")
    try:
        return binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        raise PacketError("a binary packet is not base64") from None
