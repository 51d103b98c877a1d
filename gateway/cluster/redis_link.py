"""The link to Redis: connects, notices that it is away or frozen, and connects again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import Any

from gateway.cluster.bus import BusState
from gateway.cluster.redis_connection import Connection, Server, pack
from gateway.cluster.redis_master import Master
from gateway.cluster.retrying import Pauses, words

__all__ = ["DEADLINE", "Link", "subscribe"]

LOG = logging.getLogger("sockgw.cluster")

DEADLINE = 1.0
"""Seconds that Redis may take to answer; it counts as away then."""

LOOK = 0.2
"""Seconds between two looks at the connection."""

FOLLOW = 1.0
"""Seconds between two looks at where the master is."""

BATCH = 500
"""Channels that one command subscribes to."""


class Link:
    """A connection to Redis that is made again whenever it is lost; `None` while there is none.

    `push` gets what is published, `subscribed` returns the names and patterns to subscribe to,
    `begin` is called with each new connection. `look` is called now and then with the time of the
    loop's clock, and returns what is wrong with the connection, `""` for nothing.
    """

    def __init__(
        self,
        server: Server,
        push: Callable[[list[Any]], None],
        subscribed: Callable[[], Collection[bytes]],
        begin: Callable[[Connection], None],
        look: Callable[[float], str],
    ) -> None:
        self.connection: Connection | None = None
        self.state = BusState()
        self._server, self._push, self._subscribed = server, push, subscribed
        self._master = Master(server)
        self._begin, self._look = begin, look
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._away = asyncio.Event()

    def start(self) -> None:
        """Begin to connect, unless that has begun."""
        if self._tasks:
            return
        works = self._run(), self._watch(), self._follow()
        self._tasks = tuple(asyncio.create_task(each) for each in works)

    async def close(self) -> None:
        """Disconnect, once what was written is answered."""
        connection = self.connection
        if connection is not None:
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(DEADLINE):
                    await connection.ask(b"PING")
        self.abort()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def abort(self) -> None:
        """Disconnect at once."""
        for task in self._tasks:
            task.cancel()
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.close()
        self._master.close()

    async def _run(self) -> None:
        """Connect, and do so again whenever the connection is lost."""
        pauses = Pauses()
        while True:
            self._away.clear()
            try:
                connection = await self._connected()
            except (OSError, TimeoutError) as error:
                self._tell_away(words(error))
                await asyncio.sleep(pauses.next())
                continue
            if not connection.is_open:  # lost in the same turn of the loop
                continue
            self.connection = connection
            if self.state.set_up():
                LOG.info("connected to Redis at %s", self._server.shown)
            self._begin(connection)
            await self._away.wait()
            await asyncio.sleep(pauses.first())

    async def _connected(self) -> Connection:
        """Connect and subscribe. Raises `OSError` or `TimeoutError`."""
        connection = await self._master.connect(self._push, self._gone)
        try:
            connection.send(subscribe(self._subscribed()))
            async with asyncio.timeout(DEADLINE):
                await connection.ask(b"PING")
        except BaseException:
            connection.close()
            raise
        return connection

    def _gone(self, reason: str) -> None:
        if self.connection is not None:
            self.connection = None
            self._tell_away(reason)
            self._away.set()

    def _tell_away(self, reason: str) -> None:
        if self.state.set_away(reason):
            told = "Redis at %s is away: %s; other members miss what is sent"
            LOG.warning(told, self._server.shown, reason)

    async def _watch(self) -> None:
        """Look at the connection now and then; what is frozen, or deaf, counts as away."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LOOK
            await asyncio.sleep(LOOK)
            now, connection = loop.time(), self.connection
            fault = self._look(now)
            if connection is None or not connection.is_open:
                continue
            if fault:
                connection.close(fault)
            elif now > due + LOOK:  # we were late ourselves: what Redis has said is not read yet
                connection.heard = now
            elif connection.waits and now - connection.heard > DEADLINE:
                connection.close("it does not answer")
            elif not connection.waits and now - connection.heard > DEADLINE / 2:
                connection.send(pack((b"PING",)), None)

    async def _follow(self) -> None:
        """Leave a server that is not the master any more, though it answers."""
        while True:
            await asyncio.sleep(FOLLOW)
            if (connection := self.connection) is None:
                continue
            with suppress(OSError, TimeoutError):  # what does not answer is noticed elsewhere
                if fault := await self._master.fault(connection):
                    connection.close(fault)


def subscribe(names: Collection[bytes], undo: bytes = b"") -> bytes:
    """The commands that subscribe to channels, and to patterns, which end in `#*`.

    With `undo`, which is then `UN`, those that end that.
    """
    return b"".join(_commands(names, undo))


def _commands(names: Collection[bytes], undo: bytes) -> Iterable[bytes]:
    patterns = [name for name in names if name.endswith(b"#*")]
    others = [name for name in names if not name.endswith(b"#*")]
    for verb, kind in ((b"P" + undo + b"SUBSCRIBE", patterns), (undo + b"SUBSCRIBE", others)):
        for begin in range(0, len(kind), BATCH):
            yield pack((verb, *kind[begin : begin + BATCH]))
