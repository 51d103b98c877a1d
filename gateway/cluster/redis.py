"""The engine of the bus on Redis or Valkey, with the channels of Node's redis-adapter 8.

A broadcast goes to `NAME#NAMESPACE#`, a request to `NAME-request#NAMESPACE#`. What is for one
member goes to a channel of its own, an answer for a Node server to Node's. Members tell by *beats*
that they are there.

Source: https://github.com/socketio/socket.io-redis-adapter, lib/index.ts
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable
from typing import Any

from gateway.cluster.bus import MOST_BYTES, BusCounts, Channel, Kind, Receive
from gateway.cluster.lease import LEASE, Lease
from gateway.cluster.members import BEAT, Members
from gateway.cluster.outbox import Outbox
from gateway.cluster.redis_channels import Channels
from gateway.cluster.redis_connection import Connection, Server, pack
from gateway.cluster.redis_copies import RedisCopies
from gateway.cluster.redis_lease import RedisStore
from gateway.cluster.redis_link import DEADLINE, Link, subscribe

__all__ = ["RedisBus"]


class RedisBus:
    """The bus of a cluster on Redis; see `gateway.cluster.bus.Bus`.

    `channels` are its names there. `start` connects, in the background, and goes on doing so until
    `close`. Nobody waits for Redis: what is published meanwhile waits in the outbox for a second.
    """

    most_bytes = MOST_BYTES

    def __init__(
        self,
        tag: str,
        server: Server,
        channels: Channels,
        beat: float = BEAT,
        lease: float = LEASE,
    ) -> None:
        self.tag = tag
        self.counts = BusCounts()
        self._link = Link(server, self._push, lambda: channels.subscribed, self._begin, self._look)
        self.state = self._link.state
        self.receive: Receive = _drop
        self.on_joined: list[Callable[[str], None]] = []
        self.on_lost: list[Callable[[str], None]] = []
        self.on_beat: list[Callable[[], None]] = []
        self._channels = channels
        self.lease = Lease(tag, RedisStore(channels.cluster, self.ask), lease)
        self.on_lost.append(lambda member: self.lease.hurry())
        self._members = Members(tag, self._say, self.on_joined, self.on_lost, beat, self.counts)
        self.copies = RedisCopies(tag, channels.cluster, self.ask, lambda: self.members, beat)
        self.on_lost.append(self.copies.gone)
        self.on_again = self._members.on_again
        self._outbox = Outbox(self.counts)
        self._is_flushing = False
        self._own: deque[tuple[int, bytes, bytes]] = deque()
        self._sent = self._replied = 0

    @property
    def members(self) -> Collection[str]:
        return self._members.tags

    @property
    def beats(self) -> Members:
        """The members by what their beats tell."""
        return self._members

    @property
    def is_up(self) -> bool:
        return self._connection is not None

    @property
    def _connection(self) -> Connection | None:
        return self._link.connection

    def start(self) -> None:
        """Begin to connect, unless that has begun."""
        self._link.start()

    async def close(self) -> None:
        """Tell the others that this member leaves, and disconnect."""
        await self.lease.close()
        self._members.leave()
        self._flush()
        await self._link.close()

    def serve(self, namespaces: Iterable[str]) -> None:
        """Receive what is sent to these namespaces, and no others, from now on."""
        come, gone = self._channels.serve(namespaces)
        if self._connection is not None:
            self._connection.send(subscribe(come) + subscribe(gone, b"UN"))

    async def strangers(self, namespace: str) -> int:
        channels = self._channels
        if not channels.has_node:
            return 0
        names = channels.request(namespace), channels.ours(namespace)
        try:
            _, all_, _, ours = await self.ask(b"PUBSUB", b"NUMSUB", *names)
        except (ConnectionError, TimeoutError):
            return 0
        return max(0, int(all_) - int(ours))

    async def ask(self, *command: bytes) -> Any:
        """Send a command and return the reply. Raises `ConnectionError` or `TimeoutError`."""
        if self._connection is None:
            raise ConnectionResetError("Redis is away")
        async with asyncio.timeout(DEADLINE):
            return await self._connection.ask(*command)

    # Sending

    def publish(
        self, channel: Channel, message: bytes, to: str | None = None, *, volatile: bool = False
    ) -> None:
        if to is None or to in self._members.tags or channel.kind is Kind.ANSWER:
            is_member = to in self._members.tags
            connection = self._connection
            unwritten = None if connection is None else connection.unwritten
            if self._outbox.has_room(len(message), unwritten, volatile=volatile):
                self._put(self._channels.name(channel, to, is_member=is_member), message)
        else:
            self.counts.unpublished["gone"] += 1

    def _put(self, name: bytes, message: bytes) -> None:
        loop = asyncio.get_running_loop()
        self._outbox.put(loop.time(), name, message)
        if self._connection is not None and not self._is_flushing:
            self._is_flushing = True
            loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write all that waits at once: that costs Redis and us a tenth of many writes."""
        self._is_flushing = False
        connection = self._connection
        if connection is None or not self._outbox:
            return
        commands = []
        for each in self._outbox.take():
            commands.append(pack((b"PUBLISH", each.name, each.message)))
            if self._channels.hears(each.name):
                self._own.append((self._sent, each.name, each.message))
            self._sent += 1
        self.counts.published += len(commands)
        connection.send(b"".join(commands), *([self._confirmed] * len(commands)))

    def _say(self, beat: bytes, to: str | None) -> None:
        if self._connection is not None:
            self._put(self._channels.beats if to is None else self._channels.beats_of(to), beat)

    def _confirmed(self, reply: Any) -> None:
        """Take the reply to a message: by then, those before it have come back to us."""
        if isinstance(reply, ConnectionError):
            self.counts.unconfirmed += 1
            return
        if isinstance(reply, Exception):
            self.counts.unpublished["refused"] += 1
            if self._connection is not None:
                self._connection.close(str(reply))
            return
        self._replied += 1
        while self._own and self._own[0][0] < self._replied - 1:
            self._own.popleft()

    # Receiving

    def _push(self, push: list[Any]) -> None:
        if push[0] == b"message":
            _, name, message = push
            key = name
        elif push[0] == b"pmessage":
            _, key, name, message = push
        else:
            return
        if self._own and self._own[0][1] == name and self._own[0][2] == message:
            self._own.popleft()
        elif self._channels.is_beat(name):
            self._members.heard(message)
        elif len(message) > MOST_BYTES:
            self.counts.undecodable += 1
        elif self._channels.is_for_others(name, message):
            pass
        elif (channel := self._channels.channel(key, name)) is not None:
            self.counts.received += 1
            self.receive(channel, message)

    # The connection

    def _begin(self, connection: Connection) -> None:
        """Take a new connection: what has waited goes out."""
        self._sent = self._replied = 0
        self._own.clear()
        self._outbox.expire(asyncio.get_running_loop().time())
        self._members.arrive()
        self._flush()
        self._beat()
        self.lease.arrive()
        self.copies.arrive()

    def _look(self, now: float) -> str:
        """Do what is due now and then; returns what is wrong with the connection, or `""`."""
        if not self.is_up:
            self._outbox.expire(now)
        elif self._members.look(now):
            self._beat()
        elif self._members.is_deaf:
            return "what this member publishes does not come back"
        return ""

    def _beat(self) -> None:
        for beat in self.on_beat:
            beat()
        self.copies.beat()


def _drop(channel: Channel, message: bytes) -> None:
    """Receive for nobody: a member that has just been made."""
