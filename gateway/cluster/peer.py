"""Peers: the other members of this machine, and the frames that go between two of them.

Two members share a stream of frames and a channel of connections, both Unix sockets that the
supervisor made: nobody else can connect to them. Those of other machines have the stream only; see
`gateway.cluster.links`. A frame is its length in four bytes and its kind
in one, then its payload. The end of the stream is the end of the peer.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import IntEnum
from functools import partial
from typing import cast

from gateway.runtime.live import FAULT

__all__ = [
    "MOST_PASSED",
    "MOST_PASSING",
    "MOST_WAITING",
    "TURN",
    "Frame",
    "Mesh",
    "Peer",
    "receive",
]

LOG = logging.getLogger("sockgw.cluster")

HEAD = struct.Struct("!IB")

MOST_WAITING = 2**24
"""Bytes that may wait for a peer that does not read; more is refused by `Peer.send`."""

MOST_UNREAD = 2**20
"""Bytes of unhandled frames with which a peer is no longer read."""

TURN = 0.002
"""Seconds of one turn of the loop in which frames are handled."""

MOST_PASSED = 2**16
"""Bytes that go with a connection at most."""

MOST_PASSING = 256
"""Connections that may wait for a peer that does not take them."""

TAKEN_AT_ONCE = 16
"""Connections of a peer that are taken in one turn of the loop."""


class Frame(IntEnum):
    """What a frame is."""

    BUS = 1
    REQUEST = 2
    ANSWER = 3
    SIGNAL = 4
    COUNTS = 5
    TALLY = 6
    PING = 7


Handle = Callable[["Peer", bytes], None]
"""Handles the payload of a frame."""

Take = Callable[["Peer", socket.socket, bytes], None]
"""Takes over a connection that a peer passes, with what goes with it."""


class Peer(asyncio.Protocol):
    """Another member, by its `tag`; `channel` is `None` if connections cannot be passed to it."""

    def __init__(self, tag: str, mesh: Mesh, channel: socket.socket | None = None) -> None:
        self.tag = tag
        self._mesh = mesh
        self._channel = channel
        self._transport: asyncio.Transport | None = None
        self._outbox: list[bytes] = []
        self._size = 0  # bytes in the outbox
        self._unread = bytearray()
        self._is_behind = False  # frames are left for the next turn
        self._is_paused = self._is_lost = False
        self._passing: deque[tuple[int, bytes]] = deque()  # descriptors that wait

    def __repr__(self) -> str:
        return f"Peer({self.tag!r})"

    @property
    def is_up(self) -> bool:
        """True until the peer is gone."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def waiting(self) -> int:
        """Bytes that the peer has yet to read."""
        buffered = self._transport.get_write_buffer_size() if self._transport else 0
        return self._size + buffered

    def send(self, kind: Frame, *payload: bytes) -> bool:
        """Send a frame; false if the peer is gone, or too much waits for it already.

        A signal is never too much: it is small, and there are a few for each request at most. All
        frames of one turn of the loop are written at once.
        """
        if not self.is_up or (self.waiting > MOST_WAITING and kind is not Frame.SIGNAL):
            return False
        size = sum(map(len, payload))
        if not self._outbox:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outbox += (HEAD.pack(size, kind), *payload)
        self._size += HEAD.size + size
        return True

    @property
    def is_full(self) -> bool:
        """True if the peer is gone, or takes no more connections for now."""
        return not self.is_up or len(self._passing) >= MOST_PASSING

    def pass_connection(self, sock: socket.socket, payload: bytes) -> bool:
        """Pass a connection; false if the peer does not take it. `sock` stays open here."""
        channel = self._channel
        if channel is None or self.is_full or len(payload) > MOST_PASSED:
            return False
        try:
            if self._passing:
                self._wait_to_pass(sock, payload)
            else:
                socket.send_fds(channel, [payload], [sock.fileno()])
        except BlockingIOError:
            self._wait_to_pass(sock, payload)
            asyncio.get_running_loop().add_writer(channel, partial(self._pass_more, channel))
        except OSError:
            return False
        return True

    def close(self) -> None:
        """End the peer, once what was sent is written."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast, because uvloop's transports are not subclasses of asyncio's.
        self._transport = cast("asyncio.Transport", transport)
        if (channel := self._channel) is not None:
            channel.setblocking(False)
            take = partial(self._take_connections, channel)
            asyncio.get_running_loop().add_reader(channel, take)

    def connection_lost(self, error: Exception | None) -> None:
        if (channel := self._channel) is not None:
            loop = asyncio.get_running_loop()
            loop.remove_reader(channel)
            loop.remove_writer(channel)
            channel.close()
        while self._passing:
            os.close(self._passing.popleft()[0])
        self._outbox.clear()
        self._size = 0
        self._is_lost = True
        if not self._is_behind:
            self._mesh.lost(self)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if not self._is_behind:
            self._run()

    # Frames

    def _flush(self) -> None:
        outbox, self._outbox, self._size = self._outbox, [], 0
        if outbox and self._transport is not None and not self._transport.is_closing():
            self._transport.write(b"".join(outbox))

    def _run(self) -> None:
        """Handle frames until the turn is over; the rest follows in the next one."""
        limit, start = time.monotonic() + TURN, 0
        self._is_behind = False
        for kind, payload, end in self._frames():
            start = end
            self._mesh.handle(self, kind, payload)
            if time.monotonic() > limit:
                self._is_behind = True
                asyncio.get_running_loop().call_soon(self._run)
                break
        del self._unread[:start]
        self._pace()
        if self._is_lost and not self._is_behind:
            self._mesh.lost(self)  # after the last of its frames

    def _frames(self) -> Iterator[tuple[Frame, bytes, int]]:
        """Yield each complete frame, with the offset of its end."""
        start, unread = 0, self._unread
        while len(unread) >= start + HEAD.size:
            size, kind = HEAD.unpack_from(unread, start)
            end = start + HEAD.size + size
            if len(unread) < end:
                return
            yield Frame(kind), bytes(unread[start + HEAD.size : end]), end
            start = end

    def _size_at(self, start: int) -> int:
        """The size of the payload of the frame there, 0 if its head is not whole yet."""
        if len(self._unread) < start + HEAD.size:
            return 0
        size: int = HEAD.unpack_from(self._unread, start)[0]
        return size

    def _pace(self) -> None:
        """Stop reading while too much is unhandled; one frame may be larger than that."""
        assert self._transport is not None
        is_full = self._is_behind and len(self._unread) > MOST_UNREAD
        if is_full != self._is_paused and not self._transport.is_closing():
            self._is_paused = is_full
            (self._transport.pause_reading if is_full else self._transport.resume_reading)()

    # Connections

    def _wait_to_pass(self, sock: socket.socket, payload: bytes) -> None:
        self._passing.append((os.dup(sock.fileno()), payload))

    def _pass_more(self, channel: socket.socket) -> None:
        while self._passing:
            descriptor, payload = self._passing[0]
            try:
                socket.send_fds(channel, [payload], [descriptor])
            except BlockingIOError:
                return
            except OSError:  # the client is told by the end of its connection
                LOG.debug("%r did not take a connection", self, exc_info=True)
            os.close(self._passing.popleft()[0])
        asyncio.get_running_loop().remove_writer(channel)

    def _take_connections(self, channel: socket.socket) -> None:
        with suppress(BlockingIOError, ConnectionError):
            for _ in range(TAKEN_AT_ONCE):
                data, descriptors = receive(channel, MOST_PASSED, 1)
                if not data:  # nothing more will come
                    asyncio.get_running_loop().remove_reader(channel)
                    return
                for descriptor in descriptors:  # none if no descriptor was left here
                    sock = socket.socket(fileno=descriptor)
                    sock.setblocking(False)
                    self._mesh.take(self, sock, data)


class Mesh:
    """The peers of the member `tag`, by their tags.

    Frames of a kind go to the function that was given for it with `on`, and connections that peers
    pass to `on_connection`, which closes them at first. The functions in `on_joined` and `on_lost`
    are called with each peer that comes, and that is gone.
    """

    def __init__(self, tag: str) -> None:
        self.tag = tag
        self.peers: dict[str, Peer] = {}
        self.on_joined: list[Callable[[Peer], None]] = []
        self.on_lost: list[Callable[[Peer], None]] = []
        self.on_connection: Take = _close
        self._handlers: dict[Frame, Handle] = {}

    def on(self, kind: Frame, handle: Handle) -> None:
        """Have all frames of a kind handled by a function."""
        self._handlers[kind] = handle

    async def join(self, tag: str, stream: socket.socket, channel: socket.socket) -> Peer:
        """Add a peer. `stream` carries the frames, `channel` (SEQPACKET) the connections."""
        loop = asyncio.get_running_loop()
        stream.setblocking(False)
        _, peer = await loop.create_unix_connection(lambda: Peer(tag, self, channel), sock=stream)
        self.add(peer)
        return peer

    def add(self, peer: Peer) -> None:
        """Add a peer whose stream is connected."""
        self.peers[peer.tag] = peer
        self._tell(peer)

    def tell(self) -> None:
        """Call the functions in `on_joined` for the peers that are there already."""
        for peer in tuple(self.peers.values()):
            self._tell(peer)

    def _tell(self, peer: Peer) -> None:
        for joined in self.on_joined:
            joined(peer)

    def close(self) -> None:
        """End all peers."""
        for peer in tuple(self.peers.values()):
            peer.close()

    # Called by peers

    def handle(self, peer: Peer, kind: Frame, payload: bytes) -> None:
        if handle := self._handlers.get(kind):
            try:
                handle(peer, payload)
            except Exception:
                LOG.exception(FAULT)

    def take(self, peer: Peer, sock: socket.socket, payload: bytes) -> None:
        try:
            self.on_connection(peer, sock, payload)
        except Exception:
            sock.close()
            LOG.exception(FAULT)

    def lost(self, peer: Peer) -> None:
        if self.peers.get(peer.tag) is peer:
            del self.peers[peer.tag]
        for lost in self.on_lost:
            lost(peer)


def receive(sock: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """Receive up to `size` bytes and up to `most` descriptors, which no program inherits.

    `socket.recv_fds` would do, but up to Python 3.13 it ignores its flags.
    """
    descriptors = array("i")
    space = socket.CMSG_LEN(most * descriptors.itemsize)
    data, ancillary, _, _ = sock.recvmsg(size, space, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    return data, list(descriptors)


def _close(peer: Peer, sock: socket.socket, payload: bytes) -> None:
    sock.close()
