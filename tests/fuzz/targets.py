"""What reads bytes of strangers, each as a function that may raise nothing.

What is refused is refused in the one way that ends a session; what is read can be used, and is
read the same when it is written and read again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

from gateway.engineio import packet as engine
from gateway.http.request import read_plain
from gateway.socketio.json import MAX_DEPTH, check
from gateway.socketio.msgpack import MsgPackPacket
from gateway.socketio.packet import BINARY_ACK, BINARY_EVENT, CONNECT, EVENT, Packet, PacketError

__all__ = ["CORPUS", "TARGETS", "corpus", "keep"]

CORPUS = Path(__file__).parent / "corpus"


def payload(data: bytes) -> None:
    """The body of a POST request."""
    try:
        packets = list(engine.decode_payload(data))
    except engine.PacketError:
        return
    assert list(engine.decode_payload(engine.encode_payload(packets))) == packets


def head(data: bytes) -> None:
    """What comes on a connection."""
    found = read_plain(data)
    if found is not None:
        assert found.body is not None
        assert data.endswith(found.body)
        assert found.method in {"GET", "POST"}


def packet(data: bytes) -> None:
    """A Socket.IO packet, the first line of `data`, and its attachments, the others."""
    first, *attachments = data.split(b"\n")
    text = first.decode(errors="replace")
    plain = Packet.plain_event(text)
    decoded = _decoded(Packet, text)
    if decoded is None:
        assert plain is None
        return
    if len(attachments) < decoded.attachment_count:
        return
    try:
        if decoded.attachment_count:
            decoded.fill(attachments[: decoded.attachment_count])
    except PacketError:
        return
    if plain is not None:
        assert plain == (decoded.data, decoded.id)
    _same(decoded)


def msgpack(data: bytes) -> None:
    """A Socket.IO packet in MessagePack."""
    decoded = _decoded(MsgPackPacket, data)
    if decoded is not None:
        _same(decoded)


def _decoded(kind: type[Packet], data: str | bytes) -> Packet | None:
    try:
        found = kind(encoded_packet=data)
        found.check_arrival()
    except PacketError:
        return None
    assert 0 <= found.packet_type <= BINARY_ACK
    assert found.id is None or 0 <= found.id < 10**15
    assert len(found.namespace) <= 256
    return found


def _same(found: Packet) -> None:
    """Written and read again, a packet is what it was."""
    kind, binary = type(found), found.packet_type in (BINARY_EVENT, BINARY_ACK)
    check(_without_bytes(found.data), MAX_DEPTH + 1)
    number = found.packet_type - (BINARY_EVENT - EVENT if binary else 0)
    data = found.data if found.packet_type != CONNECT else found.data or {}
    try:
        text, *attachments = kind(number, data, found.namespace, found.id).encode()
    except ValueError as error:
        if "_placeholder" not in str(error):  # a client's own, which is data to us
            raise
        return
    again = kind(encoded_packet=text)
    if attachments:
        again.fill([attachment for attachment in attachments if isinstance(attachment, bytes)])
    assert (again.data, again.id) == (data, found.id)


def _without_bytes(data: object) -> object:
    if isinstance(data, dict):
        return {key: _without_bytes(value) for key, value in data.items()}
    if isinstance(data, list):
        return [_without_bytes(item) for item in data]
    return None if isinstance(data, bytes) else data


TARGETS: Mapping[str, Callable[[bytes], None]] = {
    "head": head,
    "msgpack": msgpack,
    "packet": packet,
    "payload": payload,
}


def corpus(name: str) -> list[Path]:
    """The inputs that are kept for a target."""
    return sorted((CORPUS / name).glob("*"))


def keep(name: str, data: bytes) -> Path:
    """Keep an input for a target."""
    path = CORPUS / name / hashlib.sha256(data).hexdigest()[:16]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path
