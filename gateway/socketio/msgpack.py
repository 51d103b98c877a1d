"""Socket.IO packets in MessagePack, as socket.io-msgpack-parser writes and reads them.

A packet is one binary message: a map of `type`, `nsp` and, if it has them, `data` and `id`. Bytes
stay in place. Source: https://github.com/socketio/socket.io-msgpack-parser and, for its extension
types, https://github.com/darrachequesne/notepack.
"""

from __future__ import annotations

import re
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.engineio.frames import Frames
from gateway.socketio import json
from gateway.socketio.packet import CONNECT_ERROR, Packet, PacketError

__all__ = ["MsgPackPacket", "plain"]

BINARY = (bytes, bytearray, memoryview)
NOTEPACK = 0
"""The only extension type of notepack."""
DATE_SIZE = 8
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Wire(msgspec.Struct):
    """A packet on the wire; fields that are `UNSET` are absent."""

    type: Annotated[int, Meta(ge=0, le=CONNECT_ERROR)]
    nsp: Annotated[str, Meta(max_length=256)]
    data: Any = UNSET
    id: Annotated[int, Meta(ge=0, lt=10**15)] | UnsetType = UNSET


class MsgPackPacket(Packet):
    """A packet in MessagePack; `data` contains its bytes, so it has no attachments."""

    __slots__ = ()

    def encode(self) -> list[str | bytes]:
        """The packet as a single message.

        Raises `TypeError` or `ValueError` for data that cannot be sent.
        """
        wire = _Wire(self.packet_type, self.namespace)
        if self.data is not None:
            wire.data = plain(self.data)
        if self.id is not None:
            wire.id = self.id
        return [msgspec.msgpack.encode(wire)]

    @classmethod
    def frames(
        cls, packet_type: int, data: object, namespace: str, id: int | None = None
    ) -> Frames:
        return Frames(cls(packet_type, data, namespace, id).encode())

    @staticmethod
    def plain_event(message: str | bytes) -> None:
        """Return `None`: there is no fast way to read MessagePack."""

    def _decode(self, message: str | bytes) -> None:
        if isinstance(message, str):
            raise PacketError("text where MessagePack is expected")
        is_large = len(message) >= json.LARGE
        is_finite = _NOT_FINITE.search(message) is None
        try:
            with json.without_collections() if is_large else nullcontext():
                wire = _decoder.decode(message)
                data = None if wire.data is UNSET else _arrived(wire.data, is_finite, is_large)
        except (ValueError, TypeError, OverflowError) as error:
            raise PacketError(f"not a packet: {error}") from None
        except RecursionError:
            raise PacketError("not a packet: nested too deep") from None
        self.packet_type = wire.type
        self.namespace = wire.nsp.partition("?")[0]
        self.data = data
        self.id = None if wire.id is UNSET else wire.id


_NOT_FINITE = re.compile(rb"\xca[\x7f\xff][\x80-\xff]|\xcb[\x7f\xff][\xf0-\xff]")
"""Matches NaN and infinity, and perhaps other bytes that look like them."""


def _arrived(data: object, is_finite: bool, is_large: bool) -> object:
    """`data` of a client in the types of JSON, plus bytes.

    A walk through `is_large` data could find out what is wrong with them, but would take a second.
    """
    if json.is_plain(data, json.MAX_DEPTH, is_finite=is_finite):
        return data
    plain = _built_in(data)
    if not json.is_plain(plain, json.MAX_DEPTH, is_finite=is_finite):
        if is_large:
            raise ValueError("a number that is not finite, or data that nests too deep")
        json.check(plain, json.MAX_DEPTH)
    return plain


def plain(data: object) -> Any:
    """Copy `data` in the types of JSON, plus bytes: plugins get the same with either serializer."""
    copy = _built_in(data)
    json.check(copy)
    return copy


def _built_in(data: object) -> object:
    try:
        plain: object = msgspec.to_builtins(data, builtin_types=BINARY, enc_hook=_refuse)
    except RecursionError:
        plain = data  # the check refuses it
    return plain


def _refuse(value: object) -> object:
    raise TypeError(f"a value of type {type(value).__name__} cannot be sent")


def _extension(code: int, data: memoryview) -> object:
    """Read `undefined`, a Date or an ArrayBuffer.

    notepack uses one type for all three, so an ArrayBuffer of eight bytes is read as a Date.
    """
    if code != NOTEPACK:
        raise PacketError(f"extension type {code} is unknown")
    if data.tobytes() == b"\0":
        return None
    if len(data) != DATE_SIZE:
        return data.tobytes()
    return EPOCH + timedelta(milliseconds=int.from_bytes(data, signed=True))


_decoder = msgspec.msgpack.Decoder(_Wire, ext_hook=_extension)
