"""The stays of sockets that were let in by a token: each lasts as long as its token is valid."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from time import time
from typing import Any, Protocol, TypeAlias

from gateway import Context, Reject, Socket

__all__ = ["Claims", "Door", "Stay", "stay", "stay_of"]

Claims: TypeAlias = dict[str, Any]
"""The claims of a valid token; `exp`, if there is one, is a number or the digits of one."""

LONGEST = 60.0
"""Seconds after which the clock is read again, which somebody may have set."""

SOON = 1.0
"""Seconds until a socket whose connection chain still runs is looked at again."""

NEVER = 2**53
"""Seconds since the epoch from which on a token is valid for ever; a float has no more digits."""


class Door(Protocol):
    """What lets sockets in; its clock may be `leeway` seconds behind others."""

    leeway: float
    ends_with_token: bool

    async def claims(self, token: str | None) -> Claims:
        """Return the claims of a valid token. Raises `Reject`."""

    def log(self, ctx: Context, text: str) -> None:
        """Log what clients can have happen as often as they like."""


class Stay:
    """One socket's stay. It has one timer at most, and none for a token without `exp`."""

    def __init__(self, ctx: Context, door: Door, claims: Claims) -> None:
        self._ctx = ctx
        self._door = door
        self._subject = _subject(claims)
        self._timer: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None
        self._is_over = False
        self._expires: int | None = None
        self._set(claims)

    async def refresh(self, token: str) -> int | None:
        """Go on with a fresh token. Returns the seconds until it expires; `None` if it does not.

        Raises `Reject` for a token that is not valid, or not of the same subject.
        """
        claims = await self._door.claims(token)
        if _subject(claims) != self._subject:
            raise Reject("unauthorized", "the token is of another subject")
        if not self._is_over:
            self._set(claims)
        return None if self._expires is None else max(0, int(self._expires - time()))

    def end(self) -> None:
        """End the stay: the socket is gone."""
        self._is_over = True
        self._stop()

    def _set(self, claims: Claims) -> None:
        self._ctx.socket.data["claims"] = claims
        self._expires = min(int(claims["exp"]), NEVER) if "exp" in claims else None
        self._stop()
        if self._expires is not None and self._door.ends_with_token:
            self._wait(self._expires)

    def _wait(self, expires: int) -> None:
        left = expires + self._door.leeway - time()
        if left <= 0 and self._ctx.socket.connected:
            self._ending = asyncio.create_task(self._disconnect())
            return
        seconds = min(left, LONGEST) if left > 0 else SOON
        self._timer = asyncio.get_running_loop().call_later(seconds, self._wait, expires)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _disconnect(self) -> None:
        ctx = self._ctx
        self._door.log(ctx, "the token has expired, the socket is disconnected")
        error = {"code": "token_expired", "message": "the token has expired"}
        await ctx.socket.emit("error", {"error": error, "event": ctx.event})
        await ctx.socket.disconnect()


_STAYS: dict[Socket, Stay] = {}


def stay_of(socket: Socket) -> Stay | None:
    """The stay of a socket; `None` if no token has let it in."""
    return _STAYS.get(socket)


@contextmanager
def stay(ctx: Context, door: Door, claims: Claims) -> Iterator[None]:
    """Keep the stay of a socket until it is gone."""
    begun = _STAYS[ctx.socket] = Stay(ctx, door, claims)
    try:
        yield
    finally:
        begun.end()
        if _STAYS.get(ctx.socket) is begun:
            del _STAYS[ctx.socket]


def _subject(claims: Claims) -> tuple[object, object]:
    """Whom a token is about: a `sub` is unique to its issuer (RFC 7519, section 4.1.2)."""
    return claims.get("iss"), claims.get("sub")
