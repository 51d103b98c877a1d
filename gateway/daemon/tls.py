"""Connections over TLS. Their handshakes count against `limits.connections`.

asyncio's servers shake hands on their own, and tell nobody when a handshake begins or fails.
"""

from __future__ import annotations

import asyncio
import socket
import ssl

from gateway.http.connection import HttpConnection, HttpServer

__all__ = ["SecureSite"]

HANDSHAKE = 10.0
"""Longest time for a TLS handshake, in seconds: after that the connection is dropped."""

ACCEPTED_AT_ONCE = 64
"""Connections that are accepted per turn of the loop."""

RETRY = 1.0
"""Seconds until connections are accepted again after the system refused one, as in asyncio."""

HTTP_SPOKEN = "HTTP where TLS is spoken: use https://, or take server.tls away"


class SecureSite:
    """Accepts connections on a socket that listens, and shakes hands with each.

    `handshakes` gets the task of each handshake, and loses it when the handshake is over.
    """

    def __init__(
        self,
        server: HttpServer,
        sock: socket.socket,
        context: ssl.SSLContext,
        handshakes: set[asyncio.Task[None]],
    ) -> None:
        self._server, self._sock, self._context = server, sock, context
        self._handshakes = handshakes
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock, self._accept)

    def close(self) -> None:
        """Stop accepting; handshakes under way go on."""
        if self._sock.fileno() >= 0:
            self._loop.remove_reader(self._sock)
            self._sock.close()

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                sock, peer = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no descriptor is left, or no memory
                self._loop.remove_reader(self._sock)
                self._loop.call_later(RETRY, self._go_on)
                return
            self._begin(sock, str(peer[0]))

    def _go_on(self) -> None:
        if self._sock.fileno() >= 0:
            self._loop.add_reader(self._sock, self._accept)

    def _begin(self, sock: socket.socket, address: str) -> None:
        if not self._server.has_room(address):
            sock.close()
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = self._server()
        self._server.handshakes.add(connection)
        task = self._loop.create_task(self._shake_hands(sock, connection, address))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    async def _shake_hands(
        self, sock: socket.socket, connection: HttpConnection, address: str
    ) -> None:
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection, sock, ssl=self._context, ssl_handshake_timeout=HANDSHAKE
            )
        except OSError as error:  # not TLS, or the client is gone or too slow
            if isinstance(error, ssl.SSLError) and error.reason == "HTTP_REQUEST":
                self._server.bad_request(address, HTTP_SPOKEN)
        finally:
            self._server.handshakes.discard(connection)
