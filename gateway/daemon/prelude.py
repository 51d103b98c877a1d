"""Connections with a prelude: a PROXY header, a TLS handshake, or one after the other.

Connections whose prelude is under way count against `limits.connections`. asyncio's servers shake
hands on their own, and tell nobody when a handshake begins or fails.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections.abc import Callable

from gateway.daemon.accepting import AcceptRule
from gateway.http.addresses import UNIX
from gateway.http.connection import HttpConnection, HttpServer
from gateway.http.proxy_protocol import FIRST, BadHeader, client_in, size_of_rest

__all__ = ["PreludeSite"]

HANDSHAKE = 10.0
"""Longest time for a TLS handshake, in seconds: after that the connection is dropped."""

ACCEPTED_AT_ONCE = 64
"""Connections that are accepted per turn of the loop."""

RETRY = 1.0
"""Seconds until connections are accepted again after the system refused one, as in asyncio."""

PAUSE = 0.01
"""Seconds for which a worker that has more than its share, or lags, lets others accept."""

HTTP_SPOKEN = "HTTP where TLS is spoken: use https://, or take server.tls away"


class PreludeSite:
    """Accepts connections on a socket that listens, and hands each on after its prelude.

    `context` is for TLS, `None` for none. `has_header` says of a peer's address whether its
    connections begin with a PROXY header. `preludes` gets the task of each prelude, and loses it
    when that is over. `rule` is that of a socket which workers share.
    """

    def __init__(
        self,
        server: HttpServer,
        sock: socket.socket,
        context: ssl.SSLContext | None,
        preludes: set[asyncio.Task[None]],
        has_header: Callable[[str], bool],
        rule: AcceptRule | None = None,
    ) -> None:
        self._rule = rule
        self._server, self._sock, self._context = server, sock, context
        self._preludes, self._has_header = preludes, has_header
        self._loop = asyncio.get_running_loop()
        self._queue = select.poll()
        self._queue.register(sock, select.POLLIN)
        if rule is not None:
            rule.begin(server.count)
        self._loop.add_reader(sock, self._accept)

    def close(self) -> None:
        """Stop accepting; preludes under way go on."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._sock.close()

    def _accept(self) -> None:
        rule = self._rule
        for _ in range(ACCEPTED_AT_ONCE):
            if rule is not None and not rule.allows(self._server.count):
                rule.pause()
                self._pause(PAUSE, self._end_pause)
                return
            if not self._accept_one():
                return

    def _accept_one(self) -> bool:
        """Accept a connection; false if none waits, or none can be accepted."""
        try:
            sock, peer = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError:  # no descriptor is left, or no memory
            self._pause(RETRY, self._go_on)
            return False
        self._begin(sock, str(peer[0]) if isinstance(peer, tuple) else UNIX)
        return True

    def _pause(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._sock)
        self._loop.call_later(seconds, then)

    def _end_pause(self) -> None:
        if self._rule is not None and self._sock.fileno() >= 0 and self._queue.poll(0):
            self._rule.not_taken()
        self._go_on()

    def _go_on(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock, self._accept)

    def _begin(self, sock: socket.socket, address: str) -> None:
        if not self._server.has_room(address):
            sock.close()
            return
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self._server()
        self._server.handshakes.add(connection)
        task = self._loop.create_task(self._go_through(sock, address, connection))
        self._preludes.add(task)
        task.add_done_callback(self._preludes.discard)

    async def _go_through(
        self, sock: socket.socket, address: str, connection: HttpConnection
    ) -> None:
        goes_on = False
        try:
            goes_on = not self._has_header(address) or await self._read_header(
                sock, address, connection
            )
            if goes_on:
                await self._loop.connect_accepted_socket(
                    lambda: connection,
                    sock,
                    ssl=self._context,
                    ssl_handshake_timeout=HANDSHAKE if self._context else None,
                )
        except OSError as error:  # not TLS, or the client is gone or too slow
            if isinstance(error, ssl.SSLError) and error.reason == "HTTP_REQUEST":
                self._server.bad_request(address, HTTP_SPOKEN)
        finally:
            self._server.handshakes.discard(connection)
            if not goes_on:
                sock.close()

    async def _read_header(
        self, sock: socket.socket, address: str, connection: HttpConnection
    ) -> bool:
        """Read the PROXY header of a connection; false if there is none."""
        server = self._server
        try:
            async with asyncio.timeout(server.bounds().request_timeout):
                first = await self._read(sock, FIRST)
                rest = await self._read(sock, size_of_rest(first))
            connection.announced = client_in(first, rest)
        except BadHeader as error:
            server.bad_request(address, str(error))
        except TimeoutError:
            server.limit_met("request_timeout", address, "no PROXY header arrived")
        except (OSError, EOFError):  # the proxy is gone: it may have looked whether anyone listens
            pass
        else:
            return True
        return False

    async def _read(self, sock: socket.socket, size: int) -> bytes:
        """Read so many bytes, and no more: what follows is the client's. Raises `EOFError`."""
        data = b""
        while len(data) < size:
            more = await self._loop.sock_recv(sock, size - len(data))
            if not more:
                raise EOFError
            data += more
        return data
