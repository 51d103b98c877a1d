"""Greetings: two members of different machines prove to each other that they know the secret.

The one that connects sends who it is, whom it looks for, what for, and a nonce. The other answers
with a nonce of its own and its proof, gets the proof of the first, and says that it is content. A
proof is the HMAC-SHA256 of its side, the greeting and both nonces, so the secret does not go over
the wire, and nothing of one greeting is of use for another. All parts have a fixed size.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
import ssl
import struct
from enum import IntEnum
from typing import Literal, cast, get_args

from gateway.cluster.retrying import REFUSED, words

__all__ = [
    "NONCE",
    "REASONS",
    "GreetingError",
    "Line",
    "Purpose",
    "Reason",
    "greet",
    "message",
    "welcome",
]

MAGIC = b"sockgw link 1\n"
NONCE = 32
PROOF = 32
CONTENT = b"\x01"
TAG = 5

_GREETING = struct.Struct(f"!{len(MAGIC)}sB{TAG}s{TAG}s{NONCE}s")
_SIZE = struct.Struct("!I")

MOST_UNREAD = 2**18
"""Bytes that may wait on a connection that is still greeting."""

MOST_MESSAGE = 2**18
"""Bytes of the request that begins a relayed connection."""

Reason = Literal["crowded", "cut", "garbage", "member", "secret", "timeout"]
"""Why a connection was refused.

`crowded`: too many others were greeting. `cut`: it ended early. `garbage`: it does not speak this
protocol. `member`: it looks for another member. `secret`: its proof is wrong. `timeout`: it took
too long.
"""

REASONS: tuple[Reason, ...] = get_args(Reason)


class Purpose(IntEnum):
    """What a connection is for: frames between two members, or one connection of a client."""

    FRAMES = 1
    CLIENT = 2


class GreetingError(Exception):
    """The other end is not whom it should be; `reason` is why."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class Line(asyncio.Protocol):
    """A connection whose other end is not known yet. It ends if it sends too much."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._unread = bytearray()
        self._is_over = self._has_heard = self._is_tls = False
        self._why = "the other end has closed the connection"
        self._more: asyncio.Future[None] | None = None

    @property
    def is_made(self) -> bool:
        """True once there is a connection, also if it is over."""
        return self._transport is not None

    @property
    def transport(self) -> asyncio.Transport:
        """The transport. Raises `ConnectionError` if the connection is over, or not made yet."""
        if self._transport is None or self._is_over or self._transport.is_closing():
            raise ConnectionResetError(self._why)
        return self._transport

    async def read(self, size: int) -> bytes:
        """Read so many bytes. Raises `ConnectionError` if fewer come."""
        while len(self._unread) < size:
            if self._is_over:
                raise ConnectionResetError(self._why)
            self._more = asyncio.get_running_loop().create_future()
            await self._more
        found = bytes(self._unread[:size])
        del self._unread[:size]
        return found

    async def read_message(self) -> bytes:
        """Read a message with its size in front. Raises `GreetingError` if it is too large."""
        (size,) = _SIZE.unpack(await self.read(_SIZE.size))
        if size > MOST_MESSAGE:
            raise GreetingError("garbage", f"a message of {size} bytes")
        return await self.read(size)

    def write(self, *parts: bytes) -> None:
        """Write bytes. Raises `ConnectionError` if the connection is over."""
        self.transport.write(b"".join(parts))

    def hand_over(self, protocol: asyncio.Protocol) -> None:
        """Give the connection to a protocol. Raises `ConnectionError` if it is over."""
        transport = self.transport
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        self.leave(protocol)

    def leave(self, protocol: asyncio.Protocol) -> None:
        """Give what came early to the protocol that has the connection now."""
        if self._unread:
            protocol.data_received(bytes(self._unread))

    def abort(self) -> None:
        """Drop the connection."""
        if self._transport is not None:
            self._transport.abort()

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        self._is_tls = transport.get_extra_info("ssl_object") is not None

    def data_received(self, data: bytes) -> None:
        self._has_heard = True
        self._unread += data
        if len(self._unread) > MOST_UNREAD:
            self.abort()
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._is_over = True
        if isinstance(error, ssl.SSLError):
            self._why = words(error)
        elif not self._has_heard and self._is_tls:
            self._why += REFUSED
        self._wake()

    def _wake(self) -> None:
        if self._more is not None and not self._more.done():
            self._more.set_result(None)


def message(payload: bytes) -> bytes:
    """A message with its size in front."""
    return _SIZE.pack(len(payload)) + payload


async def greet(line: Line, own: str, other: str, purpose: Purpose, secret: bytes) -> None:
    """Prove to the member `other` that this is the member `own`, once it has proved itself.

    Raises `GreetingError` or `ConnectionError`.
    """
    nonce = secrets.token_bytes(NONCE)
    greeting = _GREETING.pack(MAGIC, purpose, own.encode(), other.encode(), nonce)
    line.write(greeting)
    answer = await line.read(NONCE)
    if not hmac.compare_digest(await line.read(PROOF), _proof(secret, b"owner", greeting, answer)):
        raise GreetingError("secret", "it has another cluster.listen.secret")
    line.write(_proof(secret, b"other", greeting, answer))
    if await line.read(1) != CONTENT:
        raise GreetingError("garbage", "it does not speak this protocol")


async def welcome(line: Line, own: str, secret: bytes) -> tuple[str, Purpose]:
    """Learn which member has connected, and what for. It has proved that it knows the secret.

    Raises `GreetingError` or `ConnectionError`.
    """
    greeting = await line.read(_GREETING.size)
    magic, purpose, other, wanted, _ = _GREETING.unpack(greeting)
    if magic != MAGIC or purpose not in set(Purpose):
        raise GreetingError("garbage", "it does not speak this protocol")
    nonce = secrets.token_bytes(NONCE)
    line.write(nonce, _proof(secret, b"owner", greeting, nonce))
    if not hmac.compare_digest(await line.read(PROOF), _proof(secret, b"other", greeting, nonce)):
        raise GreetingError("secret", "it has another cluster.listen.secret")
    if wanted != own.encode():
        raise GreetingError("member", "it looks for a member that is not here")
    line.write(CONTENT)
    return other.decode("ascii", "replace"), Purpose(purpose)


def _proof(secret: bytes, side: bytes, greeting: bytes, nonce: bytes) -> bytes:
    return hmac.digest(secret, side + greeting + nonce, "sha256")
