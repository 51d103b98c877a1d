"""A connection to Redis or Valkey, in RESP3: commands out, replies and published messages in.

One connection does both: in RESP3 a message that is published to us comes as a *push*, beside the
replies, which come in the order of their commands.

Source: https://github.com/redis/redis-specifications/blob/master/protocol/RESP3.md
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import hiredis

from gateway.cluster.retrying import REFUSED, words

__all__ = ["CONNECT", "Connection", "Refused", "Server", "pack"]

Reply = Callable[[Any], None]
"""Gets the reply to a command."""

pack: Callable[[tuple[bytes, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]
"""Encodes a command; the stub of hiredis knows commands of one word only."""

MOST_READ = 4_000_000
"""Bytes of one reply that is not whole yet; a connection with more is closed."""

MOST_REPLIES = 200
"""Replies and messages that are taken in one turn of the loop."""

CONNECT = 2.0
"""Seconds that it may take to connect."""


class Refused(ConnectionError):
    """Redis has refused something, or answers as no Redis does; `str()` is what it said."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where Redis is: `path` is a Unix socket, which comes before `host` and `port`.

    With `sentinels`, these are asked where the master called `master` is. `tls` of `None` is a
    plain connection.
    """

    host: str = "127.0.0.1"
    port: int = 6379
    path: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    sentinels: tuple[tuple[str, int], ...] = ()
    master: str = ""
    sentinel_username: str = ""
    sentinel_password: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """Where it is, for the log."""
        if self.sentinels:
            return (
                f"{self.master} of {', '.join(f'{host}:{port}' for host, port in self.sentinels)}"
            )
        return self.path or f"{self.host}:{self.port}"


class Connection(asyncio.Protocol):
    """A connection that is open. `push` gets each push, `lost` is called once, with the reason.

    `heard` is when something was read last, in seconds of the loop's clock, or since when there is
    something to wait for.
    """

    def __init__(self, push: Callable[[list[Any]], None], lost: Callable[[str], None]) -> None:
        self.heard = 0.0
        self.is_open = False
        self._push, self._lost = push, lost
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader()
        self._replies: deque[Reply | None] = deque()
        self._is_paused = self._is_new_tls = False

    @classmethod
    async def open(
        cls, server: Server, push: Callable[[list[Any]], None], lost: Callable[[str], None]
    ) -> Connection:
        """Connect and log in. Raises `OSError`, also for what Redis refuses, or `TimeoutError`."""
        async with asyncio.timeout(CONNECT):
            connection = await cls._at(server, push, lost)
            try:
                await connection._log_in(server.username, server.password)
            except BaseException:
                connection.close()
                raise
        return connection

    @classmethod
    async def _at(
        cls, server: Server, push: Callable[[list[Any]], None], lost: Callable[[str], None]
    ) -> Connection:
        loop, host, tls = asyncio.get_running_loop(), server.host, server.tls
        connection: Connection
        if server.path:
            _, connection = await loop.create_unix_connection(
                lambda: cls(push, lost), server.path, ssl=tls
            )
            return connection
        try:
            _, connection = await loop.create_connection(
                lambda: cls(push, lost),
                host,
                server.port,
                ssl=tls,
                server_hostname=host if tls else None,
            )
        except UnicodeError:
            raise Refused(f"{host!r} is not the name of a host") from None
        return connection

    async def _log_in(self, username: str, password: str) -> None:
        login = (b"AUTH", (username or "default").encode(), password.encode()) if password else ()
        await self.ask(b"HELLO", b"3", *login, b"SETNAME", b"sockgw")
        self._is_new_tls = False

    @property
    def waits(self) -> int:
        """The number of commands without a reply."""
        return len(self._replies)

    @property
    def unwritten(self) -> int:
        """The number of bytes that wait to be written."""
        return self._transport.get_write_buffer_size() if self._transport else 0

    def send(self, data: bytes, *replies: Reply | None) -> None:
        """Write commands, with what gets the reply to each; `None` for a reply that is not used."""
        if self._transport is None:
            return
        if not self._replies:
            self.heard = self._loop.time()
        self._replies.extend(replies)
        self._transport.write(data)

    async def ask(self, *command: bytes) -> Any:
        """Send a command and wait for its reply. Raises `ConnectionError`."""
        future: asyncio.Future[Any] = self._loop.create_future()

        def take(reply: Any) -> None:
            if not future.done():
                future.set_result(reply)

        self.send(pack(command), take)
        if not self.is_open:
            raise ConnectionResetError("the connection is closed")
        reply = await future
        if isinstance(reply, ConnectionError):
            raise reply
        if isinstance(reply, hiredis.ReplyError):
            raise Refused(str(reply))
        return reply

    def close(self, reason: str = "") -> None:
        """Close at once; `lost` is called with the reason."""
        if self._transport is not None:
            self._transport.abort()
        self._gone(reason)

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is of no such class
        self.is_open, self.heard = True, self._loop.time()
        self._is_new_tls = transport.get_extra_info("ssl_object") is not None

    def data_received(self, data: bytes) -> None:
        self.heard = self._loop.time()
        self._reader.feed(data)
        if not self._is_paused:
            self._take()

    def connection_lost(self, error: Exception | None) -> None:
        reason = words(error) if error else "the connection was closed"
        if self._is_new_tls and not isinstance(error, ssl.SSLError):
            reason += REFUSED
        self._gone(reason)

    def _take(self) -> None:
        """Take what has come, and leave the rest for the next turn if that is much."""
        try:
            for _ in range(MOST_REPLIES):
                reply = self._reader.gets()
                if reply is False or not self.is_open:
                    break
                self._took(reply)
            else:
                self._pause()
                return
        except hiredis.ProtocolError as error:
            self.close(f"what answers is no Redis: {error}")
        if self._transport is not None and self._reader.len() > MOST_READ:
            self.close("a message is too large")
        if self._transport is not None and self._is_paused:
            self._is_paused = False
            self._transport.resume_reading()

    def _took(self, reply: Any) -> None:
        if isinstance(reply, hiredis.PushNotification):
            self._push(reply)
        elif not self._replies:
            self.close(str(reply) if isinstance(reply, hiredis.ReplyError) else "a reply too many")
        else:
            take = self._replies.popleft()
            if take is not None:
                take(reply)
            elif isinstance(reply, hiredis.ReplyError):
                self.close(str(reply))

    def _pause(self) -> None:
        """Let others have their turn before the rest is taken."""
        if self._transport is not None and not self._is_paused:
            self._is_paused = True
            self._transport.pause_reading()
        self.heard = self._loop.time()
        self._loop.call_soon(self._take)

    def _gone(self, reason: str) -> None:
        if not self.is_open:
            return
        self.is_open = False
        self._transport = None
        waiting, self._replies = self._replies, deque()
        for take in waiting:
            if take is not None:
                take(ConnectionResetError(reason))
        self._lost(reason)
