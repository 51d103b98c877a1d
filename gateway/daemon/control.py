"""The control channel between the supervisor and one of its processes: a worker, or the zygote.

It is a pair of Unix sockets, and its end is the end of the other side. Messages are frozen
dataclasses, pickled: both sides are the same program of the same user, and nobody else can connect.
A frame is its length and the number of descriptors that come with it, then the message. Each
message has a number, and its answer has the same.
"""

from __future__ import annotations

import asyncio
import copyreg
import io
import mmap
import os
import pickle
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from prometheus_client.core import Metric

from gateway.backends.sessions import Home
from gateway.cluster.peer import receive
from gateway.daemon.plan import Plan
from gateway.errors import Problem
from gateway.push.operations import Operation
from gateway.snapshot import Snapshot

__all__ = [
    "CHUNK",
    "MOST_DESCRIPTORS",
    "Abort",
    "Ask",
    "Channel",
    "Commit",
    "Committed",
    "Compare",
    "Compared",
    "Done",
    "Ended",
    "Fork",
    "Forked",
    "Frames",
    "GiveWay",
    "Join",
    "LetGo",
    "Linked",
    "Message",
    "Metrics",
    "Prepare",
    "Push",
    "Pushed",
    "Ready",
    "Refused",
    "Start",
    "Status",
    "Stop",
    "framed",
    "operation_in",
    "packed",
    "parcel",
    "pickled",
    "unpacked",
    "unparcelled",
]

HEAD = struct.Struct("!IB")

MOST_WAITING = 2**24
"""Bytes that may wait for a process that does not read; one that is that far behind is lost."""

CHUNK = 2**16
"""Bytes that are read at once."""

INLINE = 8_000
"""Bytes of a push, or of its answer, that go in a message. More go in a file in memory."""

MOST_DESCRIPTORS = 8
"""Descriptors that go with one message at most."""


@dataclass(frozen=True, slots=True)
class Fork:
    """To the zygote: fork a worker. Its end of the control channel comes with this."""

    number: int


@dataclass(frozen=True, slots=True)
class Forked:
    """From the zygote: the worker runs."""

    pid: int


@dataclass(frozen=True, slots=True)
class Ended:
    """From the zygote: a worker has ended; `status` is its exit code, or minus a signal."""

    pid: int
    status: int


@dataclass(frozen=True, slots=True)
class Start:
    """The first message to a worker: who it is, and how it logs.

    `override` takes precedence over the file's `server` block. The memory of `ConnectionCounts`
    comes with this. `home` is where spools are.
    """

    number: int
    tag: str
    home: Home
    override: Mapping[str, Any]
    log_format: Literal["text", "json"] | None
    verbose: bool


@dataclass(frozen=True, slots=True)
class Join:
    """To a worker: a peer's tag. The two sockets to it come with this; see `Mesh.join`."""

    tag: str


@dataclass(frozen=True, slots=True)
class Prepare:
    """To a worker: get a snapshot ready to serve. Its file comes with this.

    `generation` is the number that it will have. With `anyway`, get it ready even if what it says
    is served already. With `has_socket`, a socket for clients that replaces the former comes too.
    """

    generation: int
    anyway: bool
    has_socket: bool


@dataclass(frozen=True, slots=True)
class Ready:
    """From a worker: a snapshot is ready to serve; `plan` is `None` if it is served already."""

    digest: str
    plan: Plan | None
    warnings: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """From a worker: a snapshot cannot be served.

    With `is_fault` that is the gateway's fault, and not what the snapshot says.
    """

    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...] = ()
    is_fault: bool = False


@dataclass(frozen=True, slots=True)
class Commit:
    """To a worker: serve what is ready."""


@dataclass(frozen=True, slots=True)
class Committed:
    """From a worker: it serves since `at`, in seconds of the machine's monotonic clock."""

    generation: int
    at: float


@dataclass(frozen=True, slots=True)
class Abort:
    """To a worker: give up what is ready."""


@dataclass(frozen=True, slots=True)
class Compare:
    """To a worker: compare a snapshot with what serves. Its file comes with this."""


@dataclass(frozen=True, slots=True)
class Compared:
    """From a worker: what would change."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Ask:
    """To a worker: tell your status or your metrics."""

    what: Literal["status", "metrics"]


@dataclass(frozen=True, slots=True)
class Status:
    """From a worker: what it serves, and for whom, as JSON has it."""

    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Metrics:
    """From a worker: its metrics. A worker that ends in order tells its last unasked."""

    metrics: tuple[Metric, ...]


@dataclass(frozen=True, slots=True)
class Push:
    """To a worker: do what another service asks for, an `Operation` as a `parcel`."""

    operation: bytes | None


@dataclass(frozen=True, slots=True)
class Pushed:
    """From a worker: the answer, JSON as a `parcel`, or why there is none; see `PushError`."""

    answer: bytes | None = None
    code: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Linked:
    """To a worker: the way to the process before or, unless `is_former`, after this one.

    The two sockets of a `Link` come with this.
    """

    is_former: bool


@dataclass(frozen=True, slots=True)
class GiveWay:
    """To a worker: accept no more connections, since another process is about to."""


@dataclass(frozen=True, slots=True)
class Done:
    """From a worker: that is done."""


@dataclass(frozen=True, slots=True)
class LetGo:
    """To a worker: let the clients go to the workers of another process, then answer."""


@dataclass(frozen=True, slots=True)
class Stop:
    """To a worker: stop serving, in order, and end."""


Message: TypeAlias = (
    Fork
    | Forked
    | Ended
    | Start
    | Join
    | Prepare
    | Ready
    | Refused
    | Commit
    | Committed
    | Abort
    | Compare
    | Compared
    | Ask
    | Status
    | Metrics
    | Push
    | Pushed
    | Linked
    | GiveWay
    | Done
    | LetGo
    | Stop
)

Handle: TypeAlias = Callable[[int, Message, list[int]], None]
"""Handles a message by its number. The descriptors that came with it are now its own."""


def _read_only(mapping: dict[object, object]) -> Mapping[object, object]:
    return MappingProxyType(mapping)


def pickled(value: object) -> bytes:
    """Return a value of the config, or of a message, as bytes."""
    file = io.BytesIO()
    pickler = pickle.Pickler(file, pickle.HIGHEST_PROTOCOL)
    # Configs are full of read-only mappings, which pickle does not take.
    pickler.dispatch_table = copyreg.dispatch_table.copy()
    pickler.dispatch_table[MappingProxyType] = lambda mapping: (_read_only, (dict(mapping),))
    pickler.dump(value)
    return file.getvalue()


def packed(snapshot: Snapshot) -> int:
    """Return the descriptor of a file in memory with a snapshot in it, for `unpacked`."""
    return _in_memory(pickled(snapshot))


def unpacked(descriptor: int) -> Snapshot:
    """Return the snapshot in a file of `packed`; closes the descriptor."""
    with _of_memory(descriptor) as data:
        found = pickle.loads(data)
    assert isinstance(found, Snapshot)
    return found


def parcel(data: bytes) -> tuple[bytes | None, list[int]]:
    """Return data for a message, or `None` and a file in memory that has it.

    The channel must not fill up with what is large. Close the file when the message is sent.
    """
    return (data, []) if len(data) <= INLINE else (None, [_in_memory(data)])


def unparcelled(data: bytes | None, descriptors: Sequence[int]) -> bytes:
    """Return the data of a `parcel`; closes the descriptor."""
    if data is not None:
        return data
    with _of_memory(descriptors[0]) as file:
        return bytes(file)


def operation_in(data: bytes) -> Operation:
    """Return the operation of a `Push`."""
    found: Operation = pickle.loads(data)
    return found


def _in_memory(data: bytes) -> int:
    descriptor = os.memfd_create("sockgw", os.MFD_CLOEXEC)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    return descriptor


@contextmanager
def _of_memory(descriptor: int) -> Iterator[mmap.mmap]:
    try:
        # Read at an offset of its own: the other workers share the descriptor's.
        with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as data:
            yield data
    finally:
        os.close(descriptor)


def framed(number: int, message: Message, descriptors: int = 0) -> bytes:
    """Return a message as its frame."""
    body = pickled((number, message))
    return HEAD.pack(len(body), descriptors) + body


class Frames:
    """Puts together what has been read to messages with their descriptors."""

    def __init__(self) -> None:
        self._unread = bytearray()
        self._descriptors: deque[int] = deque()

    def feed(
        self, data: bytes, descriptors: Sequence[int]
    ) -> Iterator[tuple[int, Message, list[int]]]:
        """Yield each message that is complete now: its number, itself, its descriptors."""
        self._unread += data
        self._descriptors += descriptors
        while len(self._unread) >= HEAD.size:
            size, count = HEAD.unpack_from(self._unread)
            end = HEAD.size + size
            if len(self._unread) < end:
                return
            number, message = pickle.loads(self._unread[HEAD.size : end])
            del self._unread[:end]
            yield number, message, [self._descriptors.popleft() for _ in range(count)]

    def close(self) -> None:
        """Close the descriptors of messages that never became complete."""
        while self._descriptors:
            os.close(self._descriptors.popleft())


class Channel:
    """One end of a control channel, in an event loop.

    `handle` gets each message that comes, `lost` is called once, when the other side is gone.
    """

    def __init__(self, sock: socket.socket, handle: Handle, lost: Callable[[], None]) -> None:
        self._sock, self._handle, self._lost = sock, handle, lost
        self._frames = Frames()
        self._outbox: deque[tuple[memoryview, list[int]]] = deque()
        self._waiting = 0
        self._loop = asyncio.get_running_loop()
        self.is_open = True
        sock.setblocking(False)
        self._loop.add_reader(sock, self._read)

    def send(self, number: int, message: Message, *descriptors: int) -> None:
        """Send a message with copies of descriptors; does nothing once the other side is gone."""
        if not self.is_open:
            return
        frame = framed(number, message, len(descriptors))
        self._outbox.append((memoryview(frame), [os.dup(each) for each in descriptors]))
        self._waiting += len(frame)
        self._write()
        if self._waiting > MOST_WAITING:
            self.close()

    def close(self) -> None:
        """Close this end; the other side is gone then, too."""
        if not self.is_open:
            return
        self.is_open = False
        self._loop.remove_reader(self._sock)
        self._loop.remove_writer(self._sock)
        self._sock.close()
        self._frames.close()
        for _, descriptors in self._outbox:
            _close(descriptors)
        self._outbox.clear()
        self._lost()

    def _write(self) -> None:
        try:
            while self._outbox:
                data, descriptors = self._outbox[0]
                sent = socket.send_fds(self._sock, [data], descriptors)
                _close(descriptors)
                self._waiting -= sent
                self._outbox[0] = data[sent:], []
                if sent == len(data):
                    self._outbox.popleft()
        except BlockingIOError:
            self._loop.add_writer(self._sock, self._write)
            return
        except OSError:
            pass  # reading tells the end, after what the other side has sent before it
        self._loop.remove_writer(self._sock)

    def _read(self) -> None:
        try:
            data, descriptors = receive(self._sock, CHUNK, MOST_DESCRIPTORS)
        except BlockingIOError:
            return
        except OSError:
            data, descriptors = b"", []
        if not data:
            self.close()
            return
        for number, message, own in self._frames.feed(data, descriptors):
            self._handle(number, message, own)


def _close(descriptors: list[int]) -> None:
    for each in descriptors:
        with suppress(OSError):
            os.close(each)
    descriptors.clear()
