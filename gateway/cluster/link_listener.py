"""The port on which a member listens for those of other machines."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable

from gateway.cluster.link_greeting import REASONS, GreetingError, Line, Purpose, Reason, welcome
from gateway.cluster.retrying import words

__all__ = ["GREETING", "MOST_GREETING", "LinkListener"]

LOG = logging.getLogger("sockgw.cluster")

GREETING = 5.0
"""Seconds that a connection has to prove itself, TLS included."""

MOST_GREETING = 64
"""Connections that have not proved themselves yet; one more, and the oldest is dropped."""

PAUSES = 0.05, 1.0
"""Seconds until the first attempt to bind the port again, and at most until the next."""

PATIENCE = 20
"""Attempts to bind the port before the log tells: a former process may give way."""

QUIET = 10.0
"""Seconds between two lines of the log about connections that were refused."""

BACKLOG = 128

Take = Callable[[Line, str, Purpose], Awaitable[None]]
"""Takes a connection of a member that has proved itself, and what for it is."""


class LinkListener:
    """Listens at `host` and `port`, and gives connections that know the secret to `take`.

    `port` 0 is any free one. `listening` is called with the port once it is bound, which is tried
    until it works. `refused` counts connections by why they were refused.
    """

    def __init__(
        self,
        own: str,
        address: tuple[str, int],
        secret: bytes,
        tls: ssl.SSLContext | None,
        take: Take,
        listening: Callable[[int], None],
    ) -> None:
        self.refused: Counter[Reason] = Counter(dict.fromkeys(REASONS, 0))
        self.port = 0
        self._own, self._secret, self._tls = own, secret, tls
        self._host, self._wanted = address
        self._take, self._listening = take, listening
        self._binding: asyncio.Task[None] | None = None
        self._socket: socket.socket | None = None
        self._resuming: asyncio.TimerHandle | None = None
        self._greeting: dict[asyncio.Task[None], None] = {}  # the oldest first
        self._told = -QUIET

    def start(self) -> None:
        """Begin to listen, unless that has begun."""
        if self._binding is None:
            self._binding = asyncio.create_task(self._run())

    def stop(self) -> None:
        """Listen no more; connections that were taken stay."""
        if self._binding is not None:
            self._binding.cancel()
        if self._resuming is not None:
            self._resuming.cancel()
        if (sock := self._socket) is not None:
            self._socket = None
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()
        self.port = 0

    async def close(self) -> None:
        """Listen no more, and drop those that are still greeting."""
        self.stop()
        tasks = [*self._greeting, *([self._binding] if self._binding else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self) -> None:
        sock = self._socket = await self._bound()
        self.port = sock.getsockname()[1]
        LOG.debug("listening for other members at port %d", self.port)
        self._listening(self.port)
        self._watch(sock)

    def _watch(self, sock: socket.socket) -> None:
        asyncio.get_running_loop().add_reader(sock, self._accept, sock)

    def _accept(self, sock: socket.socket) -> None:
        """Accept a connection. Not `loop.sock_accept`: it loses one if it is cancelled then."""
        try:
            connection, (host, *_) = sock.accept()
        except BlockingIOError:
            return
        except OSError as error:  # such as no descriptors left
            LOG.debug("cannot accept: %s", error)
            loop = asyncio.get_running_loop()
            loop.remove_reader(sock)
            self._resuming = loop.call_later(PAUSES[1], self._watch, sock)
            return
        self._begin(connection, host)

    async def _bound(self) -> socket.socket:
        """Bind the port, and try again until it works: the former process may still have it."""
        pause, attempts = PAUSES[0], 0
        while True:
            try:
                return self._bind()
            except OSError as error:
                attempts += 1
                if attempts == PATIENCE:
                    words = os.strerror(error.errno) if error.errno else str(error)
                    at = f"{self._host}:{self._wanted}"
                    told = "cluster.listen: cannot listen at %s: %s; other machines cannot reach "
                    LOG.error(told + "the sessions here; trying on", at, words.lower())
            await asyncio.sleep(pause)
            pause = min(2 * pause, PAUSES[1])

    def _bind(self) -> socket.socket:
        is_six = ":" in self._host
        sock = socket.create_server(
            (self._host, self._wanted),
            family=socket.AF_INET6 if is_six else socket.AF_INET,
            backlog=BACKLOG,
            dualstack_ipv6=self._host == "::" and socket.has_dualstack_ipv6(),
        )
        sock.setblocking(False)
        return sock

    def _begin(self, connection: socket.socket, host: str) -> None:
        if len(self._greeting) >= MOST_GREETING:
            oldest = next(iter(self._greeting))
            del self._greeting[oldest]
            oldest.cancel()
            self._refuse("crowded", host, "too many others are greeting")
        line = Line()
        task = asyncio.create_task(self._welcome(line, connection, host))
        self._greeting[task] = None

        def end(task: asyncio.Task[None]) -> None:
            self._greeting.pop(task, None)
            if not line.is_made:  # it was cancelled before it began
                connection.close()

        task.add_done_callback(end)

    async def _welcome(self, line: Line, connection: socket.socket, host: str) -> None:
        try:
            async with asyncio.timeout(GREETING):
                await self._connect(line, connection)
                other, purpose = await welcome(line, self._own, self._secret)
                await self._take(line, other, purpose)
        except BaseException as error:
            line.abort()
            if not isinstance(error, Exception):  # cancelled
                raise
            self._note(error, host)

    async def _connect(self, line: Line, connection: socket.socket) -> None:
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(lambda: line, connection, ssl=self._tls)
        except BaseException:
            connection.close()
            raise

    def _note(self, error: Exception, host: str) -> None:
        if isinstance(error, GreetingError):
            self._refuse(error.reason, host, str(error))
        elif isinstance(error, TimeoutError):
            self._refuse("timeout", host, f"it did not prove itself in {GREETING:g} s")
        elif isinstance(error, ssl.SSLError):
            self._refuse("secret", host, words(error))
        else:
            self._refuse("cut", host, str(error))

    def _refuse(self, reason: Reason, host: str, why: str) -> None:
        self.refused[reason] += 1
        now = asyncio.get_running_loop().time()
        if now >= self._told + QUIET:
            self._told = now
            LOG.warning("cluster.listen: a connection of %s was refused: %s", host, why)
