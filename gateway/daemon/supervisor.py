"""The supervisor's side of the workers: starts them, watches over them and starts them again."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack, suppress
from typing import Literal

from prometheus_client.core import Metric

from gateway.daemon.accepting import ConnectionCounts
from gateway.daemon.control import (
    Ask,
    Channel,
    Join,
    Message,
    Metrics,
    Pushed,
    Start,
    Stop,
    unparcelled,
)
from gateway.daemon.membership import new_tag
from gateway.daemon.zygote import Zygote, ZygoteLost

__all__ = ["Pauses", "Supervisor", "Worker", "WorkerLost"]

log = logging.getLogger("sockgw.server")

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30.0
"""Seconds before a worker that ended is started again: the first time, and after many."""

STEADY = 60.0
"""Seconds after which a worker has served long enough for the first pause again."""

PING = 1.0
"""Seconds between two pings of a worker, which tells its metrics then."""

State = Literal["starting", "serving", "stopping", "down"]


class WorkerLost(Exception):
    """A worker ended before it has answered; the text says which, and how."""


class Worker:
    """A worker as the supervisor sees it; another process takes its number when it ends.

    `tag` and `pid` are those of the process. `generation` is what it serves, 0 for nothing.
    `restarts` counts how often it was started again. `metrics` are the last it has told.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.tag = ""
        self.pid: int | None = None
        self.state: State = "down"
        self.generation = 0
        self.restarts = 0
        self.metrics: tuple[Metric, ...] = ()
        self.gone = asyncio.Event()
        self.gone.set()
        self._channel: Channel | None = None
        self._count = 0
        self._missed = 0  # pings without an answer
        self._answers: dict[int, asyncio.Future[Message]] = {}

    def __str__(self) -> str:
        return f"worker {self.number}"

    @property
    def is_up(self) -> bool:
        """True while its process runs, as far as is known."""
        return not self.gone.is_set()

    def begin(self, pid: int, sock: socket.socket, tag: str) -> None:
        """Take up a new process, by the supervisor's end of its control channel."""
        self.pid, self.tag = pid, tag
        self.state, self.generation, self.metrics = "starting", 0, ()
        self._missed = 0
        self.gone.clear()
        self._channel = Channel(sock, self._take, self._lost)

    def tell(self, message: Message, *descriptors: int) -> None:
        """Send a message that has no answer."""
        if self._channel is not None:
            self._channel.send(0, message, *descriptors)

    async def ask(self, message: Message, *descriptors: int) -> Message:
        """Send a message and wait for its answer. Raises `WorkerLost`."""
        if self._channel is None:
            raise WorkerLost(f"{self} does not run")
        self._count += 1
        number = self._count
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._answers[number] = answer
        self._channel.send(number, message, *descriptors)
        try:
            return await answer
        finally:
            self._answers.pop(number, None)

    def ping(self) -> int:
        """Ask for its metrics; return how many pings before went without any answer."""
        missed, self._missed = self._missed, self._missed + 1
        self.tell(Ask("metrics"))
        return missed

    def kill(self) -> None:
        """End its process at once."""
        if self.pid is not None and self.is_up:
            with suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def drop(self) -> None:
        """Close the control channel, which ends its process."""
        if self._channel is not None:
            self._channel.close()

    def _take(self, number: int, message: Message, descriptors: list[int]) -> None:
        if isinstance(message, Metrics):
            self.metrics, self._missed = message.metrics, 0
        elif isinstance(message, Pushed) and not message.code:
            message = Pushed(unparcelled(message.answer, descriptors))
        if (answer := self._answers.get(number)) and not answer.done():
            answer.set_result(message)

    def _lost(self) -> None:
        self._channel = None
        self.state = "down"
        self.gone.set()
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(WorkerLost(f"{self} ended"))


class Pauses:
    """The pauses before a worker is started again: each is twice as long as the one before."""

    def __init__(self) -> None:
        self._next = FIRST_PAUSE

    def next(self, served: float) -> float:
        """Return the next, for a process that has served for so many seconds."""
        if served > STEADY:
            self._next = FIRST_PAUSE
        pause, self._next = self._next, min(2 * self._next, LONGEST_PAUSE)
        return pause


class Supervisor:
    """The workers of a gateway, each with a process, and with another one when that ends.

    `restart` is awaited with a worker whose process has ended: it calls `begin` and makes the
    worker serve. It raises `WorkerLost`, `TimeoutError`, `ZygoteLost` or `OSError`. `ended` is
    called with a worker whose process has ended. One that serves and does not answer for
    `longest_silence()` seconds is killed.
    """

    def __init__(
        self,
        count: int,
        start: Callable[[int, str], Start],
        restart: Callable[[Worker], Awaitable[None]],
        ended: Callable[[Worker], None],
        longest_silence: Callable[[], float],
    ) -> None:
        self.workers = [Worker(number) for number in range(1, count + 1)]
        self.zygote = Zygote()
        self._counts = ConnectionCounts.new(count)
        self._start, self._restart, self._ended = start, restart, ended
        self._longest_silence = longest_silence
        self._is_stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the first process of every worker, unless that was done.

        Raises `ZygoteLost` and `OSError`.
        """
        if self._tasks:
            return
        for worker in self.workers:
            if not worker.is_up:
                await self.begin(worker)
        for worker in self.workers:
            self._tasks.append(asyncio.create_task(self._keep(worker)))
            self._tasks.append(asyncio.create_task(self._watch(worker)))

    async def stop(self, timeout: float) -> None:
        """Let all workers stop, and kill those that have not after `timeout` seconds."""
        self._is_stopping = True
        up = [worker for worker in self.workers if worker.is_up]
        for worker in up:
            worker.state = "stopping"
            worker.tell(Stop())
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                for worker in up:
                    await worker.gone.wait()
        for worker in up:
            if worker.is_up:
                log.error("%s does not stop: killing it", worker)
                worker.kill()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.zygote.close()
        os.close(self._counts.descriptor)

    async def begin(self, worker: Worker) -> None:
        """Start a process for a worker, and join it with those of the others.

        Raises `ZygoteLost`, `OSError`, and `WorkerLost` if the gateway stops meanwhile.
        """
        try:
            pid, sock = await self._forked(worker.number)
        except ZygoteLost:  # the next one has not been told of this fork
            pid, sock = await self._forked(worker.number)
        if self._is_stopping:
            sock.close()
            raise WorkerLost(f"{worker} is not needed any more")
        worker.begin(pid, sock, self._tag())
        worker.tell(self._start(worker.number, worker.tag), self._counts.descriptor)
        for other in self.workers:
            if other is not worker and other.is_up:
                _join(worker, other)

    async def _forked(self, number: int) -> tuple[int, socket.socket]:
        """Fork a worker; return its pid and this end of its control channel.

        The channel is of this fork alone: its end ends a process that nobody was told of.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                return await self.zygote.fork(number, theirs), ours
            except BaseException:
                ours.close()
                raise

    def _tag(self) -> str:
        used = {worker.tag for worker in self.workers}
        while (tag := new_tag()) in used:
            pass
        return tag

    async def _keep(self, worker: Worker) -> None:
        """Start a worker again whenever it has ended, until the gateway stops."""
        pauses = Pauses()
        while True:
            since = time.monotonic()
            await worker.gone.wait()
            pause = pauses.next(time.monotonic() - since)
            self._ended(worker)
            self._counts.leave(worker.number)
            await self._tell_of_end(worker, pause)
            await asyncio.sleep(pause)
            if self._is_stopping:
                return
            worker.restarts += 1
            await self._started_again(worker)

    async def _started_again(self, worker: Worker) -> None:
        """Start a worker again. One that does not serve then is ended."""
        try:
            await self._restart(worker)
        except Exception as error:  # whatever it is, the next attempt may do
            if self._is_stopping:
                return  # `stop` ends it
            log.error("%s could not be started again: %s", worker, error or repr(error))
            worker.kill()
            worker.drop()
        else:
            if worker.state == "serving":
                log.info("%s serves again, process %d", worker, worker.pid)

    async def _tell_of_end(self, worker: Worker, pause: float) -> None:
        """Log how the process of a worker has ended, if one began."""
        pid, worker.pid = worker.pid, None
        if pid is None:
            return
        status = await self.zygote.status(pid, timeout=1.0)
        if self._is_stopping and status in (0, None):
            return
        how = "ended" if status is None else _how(status)
        again = "" if self._is_stopping else f"; it is started again in {pause:g} s"
        level = logging.INFO if status == 0 else logging.ERROR
        log.log(level, "%s, process %d, %s%s", worker, pid, how, again)

    async def _watch(self, worker: Worker) -> None:
        """Ping a worker, and kill it when it does not answer for too long.

        Pings are counted rather than time: this process may have been stopped meanwhile, too.
        """
        while True:
            await asyncio.sleep(PING)
            missed = worker.ping() if worker.is_up else 0
            if worker.state == "serving" and missed * PING >= self._longest_silence():
                log.error("%s does not answer for %g s: killing it", worker, missed * PING)
                worker.kill()


def _join(one: Worker, other: Worker) -> None:
    with ExitStack() as stack:
        streams = [stack.enter_context(each) for each in socket.socketpair()]
        kind = socket.SOCK_SEQPACKET
        channels = [stack.enter_context(each) for each in socket.socketpair(socket.AF_UNIX, kind)]
        for worker, peer, stream, channel in zip(
            (one, other), (other, one), streams, channels, strict=True
        ):
            worker.tell(Join(peer.tag), stream.fileno(), channel.fileno())


def _how(status: int) -> str:
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with exit code {status}"
