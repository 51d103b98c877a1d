"""Views of sockets that other members have."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.api import Emitter, Handshake, Namespace, Socket, Value
from gateway.cluster.messages import CODING_ERRORS, BadMessage, FoundSocket
from gateway.errors import UsageError

__all__ = ["socket_views"]


def socket_views(encoded: Iterable[msgspec.Raw], scope: Namespace) -> Iterator[Socket[Any]]:
    """Make views of a namespace's sockets, as other members have told them.

    Raises `BadMessage`.
    """
    for each in encoded:
        try:
            found = (_json_decoder if bytes(each).startswith(b"{") else _decoder).decode(each)
        except CODING_ERRORS as error:
            raise BadMessage(str(error)) from None
        wire = _RemoteWire(found.id, frozenset(found.rooms), scope)
        handshake = Handshake(address=found.handshake.address)
        view: Socket[Any] = Socket(found.id, scope, handshake, wire)
        view.data, view.user = MappingProxyType(found.data), found.user
        yield view


class _RemoteWire:
    """The wire to a socket of another member: the room that is named after its id."""

    __slots__ = ("_emitter", "_id", "_rooms", "_target")

    def __init__(self, id: str, rooms: frozenset[str], scope: Namespace) -> None:
        self._id = id
        self._rooms = rooms
        self._emitter: Emitter = scope._emitter
        self._target = scope.to(id)

    async def emit(self, event: str, args: Sequence[object], volatile: bool = False) -> None:
        target = self._target.volatile if volatile else self._target
        await self._emitter.broadcast(target, event, args)

    async def drained(self) -> None:
        raise UsageError("drained() is for a socket of this member")

    async def call(self, event: str, args: Sequence[object], timeout: float) -> list[Value]:
        found = await self._emitter.call(self._target, event, args, timeout)
        if self._id in found.answers:
            return found.answers[self._id]
        if found.missing or found.missing_members:
            raise TimeoutError
        raise ConnectionError("the client is gone")

    async def join(self, rooms: Sequence[str]) -> None:
        await self._emitter.join(self._target, rooms)

    async def leave(self, rooms: Sequence[str]) -> None:
        await self._emitter.leave(self._target, rooms)

    async def disconnect(self, close: bool = False) -> None:
        await self._emitter.disconnect_sockets(self._target, close)

    def room_names(self) -> frozenset[str]:
        return self._rooms

    def is_connected(self) -> bool:
        return True

    def transport(self) -> None:
        return None

    def siblings(self) -> tuple[Socket, ...]:
        return ()


_decoder = msgspec.msgpack.Decoder(FoundSocket)
_json_decoder = msgspec.json.Decoder(FoundSocket)
