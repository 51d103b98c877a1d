"""The engine of the bus on NATS.

What is for all goes to `NAME.all.KIND.NAMESPACE`, what is for one member to
`NAME.to.TAG.KIND.NAMESPACE`. A member subscribes to both, whatever the
namespace, and drops what is not for its own: so messages of a sender stay in order, those for all
and those for one member. Members tell by *beats* that they are there.

The client is nats-py: https://github.com/nats-io/nats.py. Its own way to connect again is not used,
as it keeps messages for minutes.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import quote

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error, NoServersError, UnexpectedEOF

from gateway.cluster.bus import MOST_BYTES, BusCounts, BusState, Channel, Kind, Receive
from gateway.cluster.lease import LEASE, Lease
from gateway.cluster.members import BEAT, Members
from gateway.cluster.nats_lease import NatsStore
from gateway.cluster.outbox import MOST_WAITING, Outbox, Outgoing
from gateway.cluster.retrying import REFUSED, Pauses, words

__all__ = ["NatsBus", "NatsServer"]

LOG = logging.getLogger("sockgw.cluster")

DEADLINE = 1.0
"""Seconds that NATS may take to answer; it counts as away then."""

LOOK = 0.2
"""Seconds between two looks at what is due."""

MOST_UNREAD = 4 * MOST_WAITING
"""Bytes that wait for a member that is slow itself; the client drops more, and it is missed."""

ALWAYS = "/"
"""The namespace of what is for members rather than for sockets."""

BEATS = "beat"
"""Stands for the kind and the namespace of a beat."""

_FAULTS = (OSError, TimeoutError, Error)


@dataclass(frozen=True, slots=True)
class NatsServer:
    """Where NATS is: the `urls` of one server or of several that are clustered, and who we are."""

    urls: tuple[str, ...] = ("nats://127.0.0.1:4222",)
    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    tls: ssl.SSLContext | None = None

    @property
    def shown(self) -> str:
        """The addresses, for the log."""
        return ", ".join(url.rpartition("@")[2].rpartition("//")[2] for url in self.urls)


class _Subjects:
    """The subjects of the cluster `name`, for the member `tag`. `heard` has those it receives."""

    def __init__(self, name: str, tag: str) -> None:
        self.tag = tag
        self._name = _token(name)
        self._known: dict[Channel, bytes] = {}
        self.heard: dict[str, Channel] = {}
        self.serve(())

    @property
    def patterns(self) -> tuple[str, str]:
        """What to subscribe to."""
        return self._at(None, ">"), self._at(self.tag, ">")

    def serve(self, namespaces: Iterable[str]) -> None:
        """Hear these namespaces, and what is for members."""
        self._known.clear()
        self.heard = {
            self.of(Channel(kind, namespace), to).decode(): Channel(kind, namespace)
            for namespace in {ALWAYS, *namespaces}
            for kind in Kind
            for to in (None, self.tag)
        }

    def of(self, channel: Channel, to: str | None) -> bytes:
        """The subject of what is on a channel, for one member or for all."""
        subject = self._known.get(channel) if to is None else None
        if subject is None:
            what = f"{channel.kind:d}.{_token(channel.namespace)}"
            subject = self._at(to, what).encode()
            if to is None:
                self._known[channel] = subject
        return subject

    def beats(self, to: str | None) -> bytes:
        """The subject of beats."""
        return self._at(to, BEATS).encode()

    def _at(self, to: str | None, what: str) -> str:
        place = "all" if to is None else f"to.{_token(to)}"
        return f"{self._name}.{place}.{what}"


class NatsBus:
    """The bus of a cluster on NATS; see `gateway.cluster.bus.Bus`.

    `name` is that of the cluster. `start` connects, in the background, and goes on doing so until
    `close`. Nobody waits for NATS: what is published meanwhile waits in the outbox for a second.
    """

    copies = None

    def __init__(
        self,
        tag: str,
        server: NatsServer,
        name: str,
        beat: float = BEAT,
        lease: float = LEASE,
    ) -> None:
        self.tag = tag
        self.most_bytes = MOST_BYTES
        self.counts = BusCounts()
        self.state = BusState()
        self.receive: Receive = _drop
        self.on_joined: list[Callable[[str], None]] = []
        self.on_lost: list[Callable[[str], None]] = []
        self.on_beat: list[Callable[[], None]] = []
        self._server, self._subjects = server, _Subjects(name, tag)
        self.beats = Members(tag, self._say, self.on_joined, self.on_lost, beat, self.counts)
        self._store = NatsStore(name, lambda: self._client)
        self.lease = Lease(tag, self._store, lease)
        self.on_lost.append(lambda member: self.lease.hurry())
        self.on_again = self.beats.on_again
        self._outbox = Outbox(self.counts)
        self._unwritten = 0
        self._client: Client | None = None
        self._task: asyncio.Task[None] | None = None
        self._due = asyncio.Event()
        self._over = asyncio.Event()
        self._told: Exception | None = None

    @property
    def members(self) -> Collection[str]:
        return self.beats.tags

    @property
    def is_up(self) -> bool:
        return self._client is not None

    def start(self) -> None:
        """Begin to connect, unless that has begun."""
        self._task = self._task or asyncio.create_task(self._run())

    async def close(self) -> None:
        """Tell the others that this member leaves, and disconnect."""
        await self.lease.close()
        client = self._client
        self.beats.leave()
        self.abort()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=DEADLINE)
        if client is not None:
            with suppress(*_FAULTS):
                await self._send(client)
            await _close(client)

    def abort(self) -> None:
        """Go on no more, without a word to the others."""
        self._client = None
        self._over.set()  # the client swallows a cancellation now and then
        if self._task is not None:
            self._task.cancel()

    async def strangers(self, namespace: str) -> int:
        return 0

    def serve(self, namespaces: Iterable[str]) -> None:
        """Receive what is sent to these namespaces, and no others, from now on."""
        self._subjects.serve(namespaces)

    # Sending

    def publish(
        self, channel: Channel, message: bytes, to: str | None = None, *, volatile: bool = False
    ) -> None:
        if to is not None and to not in self.beats.tags:
            self.counts.unpublished["gone"] += 1
            return
        unwritten = None if self._client is None else self._unwritten
        if len(message) > self.most_bytes:
            self.counts.unpublished["large"] += 1
        elif self._outbox.has_room(len(message), unwritten, volatile=volatile):
            self._put(self._subjects.of(channel, to), message)

    def _put(self, subject: bytes, message: bytes) -> None:
        self._outbox.put(asyncio.get_running_loop().time(), subject, message)
        self._due.set()

    def _say(self, beat: bytes, to: str | None) -> None:
        if self._client is not None:
            self._put(self._subjects.beats(to), beat)

    async def _send(self, client: Client) -> None:
        """Send all that waits, and wait until NATS has it. Raises `OSError` or NATS' errors."""
        batch: deque[Outgoing] = self._outbox.take()
        self._unwritten = sum(len(each.message) for each in batch)
        self.counts.published += len(batch)
        try:
            for each in batch:
                await client.publish(each.name.decode(), each.message)
            # The client writes in a task of its own, and its ping must not overtake that.
            while client.pending_data_size and client.is_connected:  # noqa: ASYNC110
                await asyncio.sleep(0)
            async with asyncio.timeout(DEADLINE):
                await client.flush(2)
        except BaseException:
            self.counts.unconfirmed += len(batch)
            raise
        finally:
            self._unwritten = 0

    # The connection

    async def _run(self) -> None:
        """Connect, and do so again whenever the connection is lost."""
        pauses = Pauses()
        while not self._over.is_set():
            try:
                client = await _connected(
                    self._server, self._subjects, self._take, self._refused, self._closed
                )
            except _FAULTS as error:
                told = self._told if isinstance(error, NoServersError) else None
                self._tell_away(_words(told or error, self._server))
                await self._wait(pauses.next())
                continue
            if self._over.is_set():
                await _close(client)
                return
            self._client, self.most_bytes = client, min(MOST_BYTES, client.max_payload)
            if self.state.set_up():
                LOG.info("connected to NATS at %s", self._server.shown)
            try:
                fault = await self._work(client)
            finally:
                self._client = None
            if self._over.is_set():
                return
            self._tell_away(fault)
            await _close(client)
            await self._wait(pauses.first())

    async def _wait(self, pause: float) -> None:
        """Wait before the next attempt to connect; what waits too long meanwhile is dropped."""
        loop = asyncio.get_running_loop()
        end = loop.time() + pause
        while (left := end - loop.time()) > 0:
            await asyncio.sleep(min(left, LOOK))
            self._outbox.expire(loop.time())

    async def _work(self, client: Client) -> str:
        """Send what is due, until the connection is lost; returns why."""
        loop = asyncio.get_running_loop()
        self._outbox.expire(loop.time())
        self.beats.arrive()
        self._beat()
        self.lease.arrive()
        confirmed = loop.time()
        while client.is_connected and not self._over.is_set():
            self._due.clear()
            now = loop.time()
            if self.beats.look(now):
                self._beat()
            elif self.beats.is_deaf:
                return "what this member publishes does not arrive"
            try:
                if self._outbox or now > confirmed + DEADLINE / 2:
                    await self._send(client)
                    confirmed = loop.time()
                    self.beats.echoed()
            except _FAULTS as error:
                return words(error)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK):
                    await self._due.wait()
        return words(client.last_error) if client.last_error else "the connection was closed"

    def _beat(self) -> None:
        for beat in self.on_beat:
            beat()

    def _tell_away(self, reason: str) -> None:
        if self.state.set_away(reason):
            told = "NATS at %s is away: %s; other members miss what is sent"
            LOG.warning(told, self._server.shown, reason)

    async def _closed(self) -> None:
        self._due.set()

    async def _refused(self, error: Exception) -> None:
        self._told = error
        if "permissions violation for publish" in str(error).lower():
            self.counts.unpublished["refused"] += 1
        self._store.refused(str(error))
        LOG.debug("NATS: %s", error)

    async def _take(self, message: Msg) -> None:
        channel = self._subjects.heard.get(message.subject)
        if channel is not None:
            self.counts.received += 1
            self.receive(channel, message.data)
        elif message.subject.endswith(f".{BEATS}"):
            self.beats.heard(message.data)


def _words(error: Exception, server: NatsServer) -> str:
    """Say why no connection could be made."""
    is_closed = isinstance(error, ConnectionResetError | BrokenPipeError | UnexpectedEOF)
    return words(error) + (REFUSED if is_closed and server.tls else "")


class _Client(Client):
    """A client that tells nothing without TLS if that is configured.

    nats-py encrypts only if the server asks for it, which is for whoever is between to say.
    """

    def _connect_command(self) -> bytes:
        if "tls" in self.options and not self._server_info.get("tls_required"):
            raise Error("it does not speak TLS")
        return super()._connect_command()


async def _connected(
    server: NatsServer,
    subjects: _Subjects,
    take: Callable[[Msg], Awaitable[None]],
    refused: Callable[[Exception], Awaitable[None]],
    closed: Callable[[], Awaitable[None]],
) -> Client:
    """Connect and subscribe. Raises `OSError`, `TimeoutError` or NATS' errors."""
    client = _Client()
    try:
        async with asyncio.timeout(2 * DEADLINE):
            await client.connect(
                servers=list(server.urls),
                user=server.username or None,
                password=server.password or None,
                token=server.token or None,
                tls=server.tls,
                name=f"sockgw {subjects.tag}",
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=1,
                no_echo=True,
                pending_size=0,
                error_cb=refused,
                closed_cb=closed,
            )
            for pattern in subjects.patterns:
                await client.subscribe(pattern, cb=take, pending_bytes_limit=MOST_UNREAD)
            await client.flush(1)
    except BaseException:
        await _close(client)
        raise
    return client


async def _close(client: Client) -> None:
    """Disconnect; a server that is frozen may leave that to the system."""
    with suppress(*_FAULTS):
        async with asyncio.timeout(DEADLINE):
            await client.close()


def _token(text: str) -> str:
    """`text` as one part of a subject, in which dots and wildcards mean something."""
    return quote(text, safe="/").replace(".", "%2E")


def _drop(channel: Channel, message: bytes) -> None:
    """Receive for nobody: a member that has just been made."""
