"""The zygote: a process that has imported everything, runs nothing, and is forked into workers.

A worker shares the memory of what is imported with all others. The zygote has no event loop and no
threads, since neither survives a fork. It ends when the supervisor does, and ends its workers
then; when it ends alone, its workers stay, and the next fork starts another one.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import subprocess
import sys
import typing
from contextlib import suppress

from gateway.cluster.peer import receive
from gateway.daemon import worker
from gateway.daemon.control import (
    CHUNK,
    MOST_DESCRIPTORS,
    Channel,
    Ended,
    Fork,
    Forked,
    Frames,
    Message,
    framed,
)
from gateway.runtime.tasks import import_event_loop

__all__ = ["Zygote", "ZygoteLost", "main"]

CODE = """\
import sys
descriptor, *sys.path = sys.argv[1:]
from gateway.daemon.zygote import main
main(int(descriptor))
"""


FORK = 30.0
"""Seconds in which the zygote has to fork, its own start included; it is killed then."""


PATIENCE = 2.0
"""Seconds in which the zygote has to end; it is killed then."""


class ZygoteLost(Exception):
    """The zygote ended before it has forked."""

    def __str__(self) -> str:
        return "the process that forks workers has ended"


class Zygote:
    """The zygote as the supervisor sees it, started when it is needed."""

    def __init__(self) -> None:
        self._channel: Channel | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._starting = asyncio.Lock()
        self._count = 0
        self._forks: dict[int, asyncio.Future[int]] = {}
        self._statuses: dict[int, asyncio.Future[int]] = {}

    @property
    def pid(self) -> int | None:
        """The zygote's process; `None` if it does not run."""
        return self._process.pid if self._process else None

    async def fork(self, number: int, sock: socket.socket) -> int:
        """Fork worker `number`, with its end of the control channel; return its pid.

        Raises `ZygoteLost`, also if the zygote hangs, and `OSError`.
        """
        channel = await self._running()
        self._count += 1
        number_of_fork = self._count
        forked: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._forks[number_of_fork] = forked
        channel.send(number_of_fork, Fork(number), sock.fileno())
        try:
            async with asyncio.timeout(FORK):
                return await forked
        except TimeoutError:
            self._kill()
            raise ZygoteLost from None
        finally:
            del self._forks[number_of_fork]

    async def status(self, pid: int, timeout: float) -> int | None:
        """Wait for the exit code of a worker, or minus the signal that ended it.

        `None` if it is not known: its zygote is gone, or it has not ended after `timeout` seconds.
        """
        ended = self._statuses.get(pid)
        if ended is None or self._channel is None:
            return _reaped(pid)
        await asyncio.wait({ended}, timeout=timeout)
        self._statuses.pop(pid, None)
        return ended.result() if ended.done() else None

    async def close(self) -> None:
        """End the zygote."""
        process = self._process
        if process is not None and self._channel is not None:
            self._channel.close()  # it waits for its workers
            await asyncio.to_thread(_end, process)

    def _kill(self) -> None:
        """Kill the zygote, which hangs."""
        process = self._process
        if process is not None:
            process.kill()
        if self._channel is not None:
            self._channel.close()

    async def _running(self) -> Channel:
        async with self._starting:
            if self._channel is None:
                ours, theirs = socket.socketpair()
                with theirs:
                    self._process = await asyncio.to_thread(_started, theirs.fileno())
                self._channel = Channel(ours, self._take, self._lost)
            return self._channel

    def _take(self, number: int, message: Message, descriptors: list[int]) -> None:
        match message:
            case Forked(pid):
                self._statuses[pid] = asyncio.get_running_loop().create_future()
                if (forked := self._forks.get(number)) and not forked.done():
                    forked.set_result(pid)
            case Ended(pid, status):
                if (ended := self._statuses.get(pid)) and not ended.done():
                    ended.set_result(status)

    def _lost(self) -> None:
        process, self._process, self._channel = self._process, None, None
        self._statuses.clear()
        for forked in self._forks.values():
            if not forked.done():
                forked.set_exception(ZygoteLost())
        if process is not None:
            asyncio.get_running_loop().run_in_executor(None, process.wait)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)
    process.kill()
    process.wait()


def _started(descriptor: int) -> subprocess.Popen[bytes]:
    flags = ["-X", "dev"] if sys.flags.dev_mode else []
    flags += [f"-W{each}" for each in sys.warnoptions]
    # The path is ours, and nothing of the working folder that is not in it.
    command = [sys.executable, "-P", *flags, "-c", CODE, str(descriptor), *sys.path]
    return subprocess.Popen(command, pass_fds=[descriptor], stdin=subprocess.DEVNULL)


def _reaped(pid: int) -> int | None:
    """Reap a worker that has come to this process, as the orphans of a container do."""
    with suppress(ChildProcessError):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
    return None


# In the zygote


def main(descriptor: int) -> None:
    """Fork workers as the supervisor asks for them, until it is gone; then end them."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(ignored, signal.SIG_IGN)
    os.set_inheritable(descriptor, False)
    _freeze()
    sock = socket.socket(fileno=descriptor)
    children: set[int] = set()
    try:
        control = _serve(sock, children)
    except OSError:
        control = None  # the supervisor is gone
    if control is not None:
        worker.main(control)
        return
    sock.close()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for pid in children:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _freeze() -> None:
    """Import and forget what each worker would, in memory of its own; freeze what is left."""
    import_event_loop()
    for forget in getattr(typing, "_cleanups", ()):  # as `Placed` does after every load
        forget()
    gc.collect()
    gc.freeze()


def _serve(sock: socket.socket, children: set[int]) -> socket.socket | None:
    """Fork until the supervisor is gone.

    Returns `None` then, and in each worker its end of the control channel.
    """

    def reap(*_: object) -> None:
        for pid in tuple(children):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                children.discard(pid)
                sock.sendall(framed(0, Ended(pid, os.waitstatus_to_exitcode(status))))

    frames = Frames()
    while True:
        # It interrupts a wait only, so it never meets a message that is half written.
        signal.signal(signal.SIGCHLD, reap)
        reap()
        data, descriptors = receive(sock, CHUNK, MOST_DESCRIPTORS)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if not data:
            return None
        for number, message, (descriptor,) in frames.feed(data, descriptors):
            assert isinstance(message, Fork)
            pid = os.fork()
            if not pid:
                sock.close()
                return socket.socket(fileno=descriptor)
            os.close(descriptor)
            children.add(pid)
            sock.sendall(framed(number, Forked(pid)))
