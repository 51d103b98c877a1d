"""`builtin.http`: lets a backend answer an event, or decide who may connect."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableMapping
from typing import Any
from urllib.parse import quote

from gateway import Backend, Context, Emission, Next, Reject, Reply

__all__ = ["http"]

EVENT = "{event}"

_GATEWAY_EVENTS = {"connect": "connected", "disconnecting": "disconnecting"} | {
    name: name for name in ("disconnect", "error")
}
"""The type of request for each event of the gateway's own; `connect` is the connection chain's."""


class HandlerOrMiddleware:
    """Asks a backend: in a route as the handler, in a connection chain as middleware."""

    def __init__(self, backend: Backend, path: str, idempotent: bool) -> None:
        self._backend = backend
        self._path = path
        self._idempotent = idempotent
        self._leaving: set[asyncio.Task[None]] = set()

    async def __call__(self, ctx: Context) -> object:
        """Let the backend answer an event."""
        try:
            reply = await self._ask(ctx, _type_of(ctx))
        except Reject:
            if ctx.is_packet:
                raise
            return None  # nobody waits for it, and the backend's own log line has told it
        await self._apply(ctx, reply)
        if reply.error is not None:
            raise reply.error
        return reply.ack or None

    async def enter(self, ctx: Context, next: Next) -> None:
        """Let the backend accept or refuse a connection."""
        reply = await self._ask(ctx, "connect")
        await self._apply(ctx, reply)
        if reply.error is not None:
            raise reply.error
        await next()

    async def _ask(self, ctx: Context, type: str) -> Reply:
        path = self._path.replace(EVENT, quote(ctx.event, safe=""))
        return await self._backend.call(ctx, path, type=type, idempotent=self._idempotent)

    async def _apply(self, ctx: Context, reply: Reply) -> None:
        socket = ctx.socket
        if reply.data:
            merge(socket.data, reply.data)
        if reply.join:
            await socket.join(*reply.join)
        if reply.leave:
            await socket.leave(*reply.leave)
        for emission in reply.emit:
            await _emit(ctx, emission)
        if reply.disconnect:
            # A task of its own, so that the ack comes first.
            task = asyncio.ensure_future(socket.disconnect())
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)


def http(backend: Backend, path: str = "/", idempotent: bool = False) -> HandlerOrMiddleware:
    """Connection middleware, and handler, that lets a backend answer.

    `backend` is the name of one of `backends`. `path` follows its URL; `{event}` in it is the name
    of the event. With `idempotent`, a request is repeated once when the connection breaks or the
    answer is 502, 503 or 504, though the backend may have got it.
    """
    if not path.startswith("/") or any(sign in path for sign in " #\r\n"):
        raise ValueError("option 'path' must begin with '/', without blanks and '#'")
    return HandlerOrMiddleware(backend, path, idempotent)


def _type_of(ctx: Context) -> str:
    return "event" if ctx.is_packet else _GATEWAY_EVENTS.get(ctx.event, "event")


async def _emit(ctx: Context, emission: Emission) -> None:
    if emission.to_socket:
        await ctx.socket.emit(emission.event, *emission.args)
        return
    target = ctx.namespace
    if emission.rooms is not None:
        target = target.to(list(emission.rooms))
    await target.except_(list(emission.excluded)).emit(emission.event, *emission.args)


def merge(target: MutableMapping[str, Any], patch: Mapping[str, Any]) -> None:
    """Apply a JSON Merge Patch (RFC 7396): `None` removes, objects are merged."""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict):
            inner = target.get(key)
            if not isinstance(inner, dict):
                inner = target[key] = {}
            merge(inner, value)
        else:
            target[key] = value
