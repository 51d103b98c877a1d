"""Upgrades: another process of the program takes the listening sockets over, and this one leaves.

The former process starts the command that it was started with again, which may now be another
version. The two share a pair of Unix sockets: the sockets that listen go one way with the first
message, and whether all is prepared comes back with the second. Then the former process accepts no
more and closes its end, whereupon the new one accepts. Between the two, connections wait in the
queue of the socket. Whichever of the two dies, the other serves.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from typing import Any

from gateway.cluster.handover import Link, new_links
from gateway.cluster.peer import receive
from gateway.daemon.fleet import Candidate
from gateway.errors import GatewayError, Problem

__all__ = ["Listening", "Predecessor", "Successor", "UpgradeError", "Upgrades"]

log = logging.getLogger("sockgw.server")

VARIABLE = "SOCKGW_UPGRADE_FD"
"""Names the descriptor of the new process's end."""

NOT_FOR_THE_NEXT = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID", VARIABLE)
"""Variables that are about this process alone."""

GIVING_WAY = 10.0
"""Seconds in which the former process has to stop accepting."""

MOST_SOCKETS = 128
MOST_BYTES = 2**17
"""What one message holds at most. Longer problems are told in the log of the new process alone."""


class UpgradeError(GatewayError):
    """An upgrade that failed, and changed nothing; `problems` are those of the file."""

    def __init__(self, message: str, problems: Sequence[Problem] = ()) -> None:
        self.problems = tuple(problems)
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class Successor:
    """The process that serves instead of this one, ready `seconds` after it was started."""

    pid: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Listening:
    """The sockets that a gateway listens on, by what they are for, and the number of its members.

    A service manager has passed the sockets that are `inherited`.
    """

    inherited: Mapping[str, socket.socket] = field(default_factory=dict)
    own: Mapping[str, socket.socket] = field(default_factory=dict)
    members: int = 1

    def close(self) -> None:
        for sock in (*self.inherited.values(), *self.own.values()):
            sock.close()


class Upgrades:
    """Upgrades of this process, one at a time.

    No reload runs meanwhile, nor after it has succeeded: `turn` is theirs. `listening` returns the
    sockets to hand over, and `timeout` the seconds that the new process has. `replaced` is called
    with the process that serves instead of this one.
    """

    def __init__(
        self,
        environ: Mapping[str, str],
        turn: asyncio.Lock,
        listening: Callable[[], Listening],
        timeout: Callable[[], float],
        replaced: Callable[[Successor], None],
    ) -> None:
        self._environ, self._turn = environ, turn
        self._listening, self._timeout = listening, timeout
        self._replaced = replaced
        self._task: asyncio.Task[Successor | UpgradeError] | None = None
        self.links: list[Link] = []  # on which the new process sends what it gets for this one
        self._held: socket.socket | None = None  # while the new process does not accept

    def want(self) -> asyncio.Task[Successor | UpgradeError]:
        """Begin an upgrade, unless one is under way or done; return its outcome."""
        if self._task is None:
            self._task = asyncio.create_task(self._once())
        return self._task

    async def request(self) -> Successor:
        """Upgrade, and return what serves instead of this process. Raises `UpgradeError`."""
        outcome = await asyncio.shield(self.want())
        if isinstance(outcome, UpgradeError):
            raise outcome
        return outcome

    async def cancel(self) -> None:
        """Give up an upgrade that is under way: this process stops."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def give_way(self) -> None:
        """Let the new process accept connections: this one no longer does."""
        if self._held is not None:
            self._held.close()
            self._held = None

    async def _once(self) -> Successor | UpgradeError:
        await self._turn.acquire()
        try:
            if os.getpid() == 1:
                raise UpgradeError(
                    "this is process 1, and a container ends with it: start another container"
                )
            log.info("upgrading: starting %s", " ".join(sys.orig_argv))
            found, self._held, self.links = await _successor(
                self._environ, self._listening(), self._timeout()
            )
        except BaseException as error:
            self._task = None
            self._turn.release()
            if not isinstance(error, UpgradeError):
                raise
            log.error("upgrade failed, this process serves on: %s", error)
            return error
        self._replaced(found)
        return found


async def _successor(
    environ: Mapping[str, str], listening: Listening, timeout: float
) -> tuple[Successor, socket.socket, list[Link]]:
    """Start the program again, and wait until it is ready; it is killed after `timeout` seconds.

    It serves once the returned socket is closed. Raises `UpgradeError`.
    """
    began = time.monotonic()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ExitStack() as stack:
        stack.enter_context(ours)
        with theirs:
            sockets = (*listening.inherited.values(), *listening.own.values())
            names = {
                "inherited": [*listening.inherited],
                "own": [*listening.own],
                "members": listening.members,
            }
            descriptors = [sock.fileno() for sock in sockets]
            socket.send_fds(ours, [json.dumps(names).encode()], descriptors)
            pid = _started(environ, theirs)
        try:
            async with asyncio.timeout(timeout):
                answer, links = await _answer(ours)
        except BaseException as error:
            os.kill(pid, signal.SIGKILL)
            await _exit_code(pid)
            if isinstance(error, TimeoutError):
                raise UpgradeError(f"the new process was not ready within {timeout:g} s") from None
            raise
        if "ready" not in answer:
            code = await _exit_code(pid)
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            problems = [Problem.from_dict(each) for each in answer.get("problems", ())]
            raise UpgradeError(f"the new process {how} before it was ready", problems)
        stack.pop_all()
    return Successor(pid, time.monotonic() - began), ours, links


def _started(environ: Mapping[str, str], theirs: socket.socket) -> int:
    """Start the program again. It is to outlive this process, so no loop watches it."""
    left = {name: value for name, value in environ.items() if name not in NOT_FOR_THE_NEXT}
    theirs.set_inheritable(True)
    try:
        return os.posix_spawn(
            sys.executable,
            [sys.executable, *sys.orig_argv[1:]],
            {**left, VARIABLE: str(theirs.fileno())},
            setsigdef=[signal.SIGPIPE],  # which Python ignores
        )
    except OSError as error:
        raise UpgradeError(f"{sys.executable} cannot be started: {error.strerror}") from None


async def _exit_code(pid: int) -> int:
    """Wait for the end of a process; return its exit code, or minus the signal that ended it."""
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    return os.waitstatus_to_exitcode(status)


async def _answer(ours: socket.socket) -> tuple[dict[str, Any], list[Link]]:
    """Return what the new process says, and its links; nothing if it has ended."""
    await _readable(ours)
    try:
        data, sockets = _received(ours)
    except OSError:  # it has ended without having read what came to it
        data, sockets = b"", []
    return json.loads(data or b"{}"), list(zip(sockets[::2], sockets[1::2], strict=True))


async def _readable(sock: socket.socket) -> None:
    """Wait until something has come, or the other end is closed."""
    loop = asyncio.get_running_loop()
    has_come = asyncio.Event()
    loop.add_reader(sock, has_come.set)
    try:
        await has_come.wait()
    finally:
        loop.remove_reader(sock)


def _received(sock: socket.socket) -> tuple[bytes, list[socket.socket]]:
    """Return a message, and the sockets that came with it."""
    data, descriptors = receive(sock, MOST_BYTES, MOST_SOCKETS)
    return data, [socket.socket(fileno=each) for each in descriptors]


class Predecessor:
    """The process that this one takes over from, and the sockets that it has handed over."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        data, sockets = _received(sock)
        names = json.loads(data)
        for each in sockets:
            each.setblocking(False)
        count = len(names["inherited"])
        self.listening = Listening(
            inherited=dict(zip(names["inherited"], sockets[:count], strict=True)),
            own=dict(zip(names["own"], sockets[count:], strict=True)),
            members=names["members"],
        )

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Predecessor | None:
        """Return the process that has started this one to take over; `None` if none has."""
        number = environ.get(VARIABLE, "")
        if not number:
            return None
        os.environ.pop(VARIABLE, None)  # plugins may start programs
        os.set_inheritable(int(number), False)
        return cls(socket.socket(fileno=int(number)))

    async def replace(self, candidate: Candidate) -> None:
        """Say that this process is ready, and wait until the former one accepts no more."""
        near, far = new_links(max(candidate.members, self.listening.members))
        sockets = [sock for link in far for sock in link]
        self._say({"ready": os.getpid()}, *(sock.fileno() for sock in sockets))
        for sock in sockets:
            sock.close()
        with suppress(TimeoutError):  # it is stuck
            async with asyncio.timeout(GIVING_WAY):
                await _readable(self._sock)
        await candidate.link(near)

    def refuse(self, problems: Sequence[Problem]) -> None:
        """Say what keeps this process from serving."""
        self._say({"problems": [each.as_dict() for each in problems]})

    def close(self) -> None:
        self._sock.close()

    def _say(self, answer: Mapping[str, object], *descriptors: int) -> None:
        data = json.dumps(answer).encode()
        with suppress(OSError):  # it is gone, and this process serves alone
            socket.send_fds(self._sock, [data if len(data) < MOST_BYTES else b"{}"], descriptors)
