"""A worker: one of the processes that serve, told by the supervisor what and when."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from gateway.cluster.emitter import ClusterEmitter
from gateway.cluster.forward import Forwarding
from gateway.cluster.handover import Link
from gateway.cluster.peer import Mesh
from gateway.cluster.shares import Shares
from gateway.cluster.tallies import Tallies
from gateway.compiler import Build
from gateway.config import Secrets
from gateway.daemon import process
from gateway.daemon.accepting import AcceptRule, ConnectionCounts
from gateway.daemon.control import (
    Abort,
    Ask,
    Channel,
    Commit,
    Committed,
    Compare,
    Compared,
    Done,
    GiveWay,
    Join,
    LetGo,
    Linked,
    Message,
    Metrics,
    Prepare,
    Push,
    Pushed,
    Ready,
    Refused,
    Start,
    Status,
    Stop,
    operation_in,
    parcel,
    unpacked,
    unparcelled,
)
from gateway.daemon.loading import Loading
from gateway.daemon.log import configure, hide, set_up
from gateway.daemon.membership import join
from gateway.daemon.metrics import ServingMetrics
from gateway.daemon.reload import placed
from gateway.daemon.serving import PreparedBuild, Serving
from gateway.daemon.single import serving_status
from gateway.errors import ConfigError, Place, Problem
from gateway.push.problems import PushError
from gateway.runtime.live import FAULT
from gateway.snapshot import Snapshot

__all__ = ["main"]

log = logging.getLogger("sockgw.server")

_Work: TypeAlias = Callable[[], Awaitable[Message | None]]
"""Does what a message says, and returns the answer to it; `None` without one."""


def main(control: socket.socket) -> None:
    """Be a worker until the supervisor says stop; `control` is the channel to it."""
    # A terminal sends these to all processes of the daemon: the supervisor says what they mean.
    for told in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(told, lambda number, frame: None)

    async def serve(started: Callable[[str], None]) -> None:
        await Worker(control, started).run()

    try:
        process.run(serve, lambda digest: None)
    except Exception:
        log.exception(FAULT)
        raise SystemExit(os.EX_SOFTWARE) from None
    finally:
        control.detach()  # its end tells the supervisor that this process has ended


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A snapshot that is ready to serve; `undo` gives back the socket that came with it."""

    serving: Serving
    build: PreparedBuild
    snapshot: Snapshot
    undo: ExitStack


class Worker:
    """This process as a worker; `started` gets the digest of what it serves first."""

    def __init__(self, control: socket.socket, started: Callable[[str], None]) -> None:
        self._channel = Channel(control, self._take, self._lost)
        self._started = started
        self._loading = Loading(os.environ, trace=False)
        self._start: Start | None = None
        self._mesh = Mesh("")
        self._counts: ConnectionCounts | None = None
        self._forwarding: Forwarding | None = None
        self._emitter: ClusterEmitter | None = None
        self._serving: Serving | None = None
        self._snapshot: Snapshot | None = None
        self._metrics: ServingMetrics | None = None
        self._prepared: _Prepared | None = None
        self._turn = asyncio.Lock()
        self._stop = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Do what the supervisor says until it says stop, or SIGTERM does."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        await self._stop.wait()
        if self._emitter is not None:
            self._emitter.lead.leave()
        async with self._turn:
            await self._abort()
        if self._serving is not None:
            await self._serving.close()
        self._channel.send(0, self._told("metrics"))
        if self._forwarding is not None:
            self._forwarding.close()
        self._mesh.close()

    def _lost(self) -> None:
        # There is nobody left to start another worker, or to close the socket for clients.
        os._exit(os.EX_UNAVAILABLE)

    def _take(self, number: int, message: Message, descriptors: list[int]) -> None:
        match message:
            case Start():
                self._begin(message, descriptors[0])
            case Join(tag):
                stream, channel = (socket.socket(fileno=each) for each in descriptors)
                self._do(number, partial(self._join, tag, stream, channel))
            case Prepare():
                self._do_in_turn(number, partial(self._prepare, message, descriptors))
            case Commit() | Abort():
                work = self._commit if isinstance(message, Commit) else self._abort
                self._do_in_turn(number, work)
            case Compare():
                self._do(number, partial(self._compare, descriptors[0]))
            case Push(operation):
                asked = unparcelled(operation, descriptors)
                self._do(number, partial(self._push, number, asked))
            case Ask(what):
                self._channel.send(number, self._told(what))
            case Linked(is_former):
                link = (socket.socket(fileno=descriptors[0]), socket.socket(fileno=descriptors[1]))
                self._do(number, partial(self._link, link, is_former=is_former))
            case GiveWay():
                self._do(number, self._give_way)
            case LetGo():
                self._do(number, self._let_go)
            case Stop():
                self._stop.set()

    def _told(self, what: str) -> Message:
        if what == "metrics":
            return Metrics(tuple(self._metrics.collect()) if self._metrics else ())
        assert self._serving is not None
        return Status(serving_status(self._serving))

    def _do(self, number: int, work: _Work) -> None:
        """Do `work` in a task of its own, and send what it returns as the answer."""

        async def answer() -> None:
            try:
                found = await work()
            except Exception as error:
                log.exception(FAULT)
                where = Place(str(self._snapshot.file if self._snapshot else Path()))
                found = Refused((Problem(where, "", f"{FAULT}: {error!r}"),), is_fault=True)
            if found is not None:
                self._channel.send(number, found)

        task = asyncio.create_task(answer())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    def _do_in_turn(self, number: int, work: _Work) -> None:
        """Do `work` after what came before it: what is given up may take a while to close.

        A worker that stops does none of it, and does not answer.
        """

        async def in_turn() -> Message | None:
            async with self._turn:
                return None if self._stop.is_set() else await work()

        self._do(number, in_turn)

    def _begin(self, start: Start, counts: int) -> None:
        set_up(start.log_format, start.verbose, start.number)
        Path("/proc/self/comm").write_text(f"sockgw worker {start.number}")
        self._start = start
        self._loading = Loading(os.environ, trace=start.verbose)
        self._mesh = Mesh(start.tag)
        self._counts = ConnectionCounts(counts)

    def _assembled(self, build: Build) -> Serving:
        """Make what serves, and connect it with the other members."""
        assert self._start is not None
        assert self._counts is not None
        serving = Serving(build, self._start.override, home=self._start.home)
        mesh = self._mesh
        load = serving.sockets.dispatcher.in_flight.load
        serving.public.rule = AcceptRule(self._counts, self._start.number, lambda: load.is_high)
        mesh.on_joined.clear()  # what was made of a snapshot that was refused
        mesh.on_lost.clear()
        self._forwarding = Forwarding(serving.sockets.engine, serving.http, mesh)
        self._emitter = join(serving, mesh, self._start.number)
        Shares(serving.sockets.engine, serving.sockets.hub.rooms, mesh)
        Tallies(serving.sockets.live, mesh)
        mesh.on_lost.append(lambda peer: serving.sessions.look())
        mesh.tell()
        return serving

    async def _join(self, tag: str, stream: socket.socket, channel: socket.socket) -> None:
        await self._mesh.join(tag, stream, channel)

    async def _prepare(self, asked: Prepare, descriptors: list[int]) -> Message:
        snapshot = unpacked(descriptors[0])
        sock = socket.socket(fileno=descriptors[1]) if asked.has_socket else None
        self._apply_log(snapshot)
        if self._prepared is not None:
            await self._abort()
        try:
            return await self._prepare_with(asked, snapshot, sock)
        except ConfigError as error:
            return Refused(error.problems, error.warnings)

    async def _prepare_with(
        self, asked: Prepare, snapshot: Snapshot, sock: socket.socket | None
    ) -> Message:
        former = self._serving
        build = await self._loading.build(snapshot, former.build if former else None)
        digest = build.blueprint.digest
        serving = former or self._assembled(build)
        with ExitStack() as undo, placed(snapshot):
            undo.callback(setattr, serving, "handed", serving.handed)
            if sock is not None:
                serving.handed = undo.enter_context(sock)
            if former and not asked.anyway and former.serves(build):
                return Ready(digest, None, ())
            prepared = await serving.prepare(build, asked.generation)
            self._prepared = _Prepared(serving, prepared, snapshot, undo.pop_all())
        return Ready(digest, prepared.plan, tuple(build.warnings))

    def _apply_log(self, snapshot: Snapshot) -> None:
        config, former = snapshot.config, self._snapshot
        known = former.config if former else None
        hidden: list[Secrets] = [each.secrets for each in (known, config) if each]
        hide(*hidden)
        if config is not None and former is None:
            configure(config.log)

    async def _commit(self) -> Message:
        assert self._prepared is not None
        ready, self._prepared = self._prepared, None
        await ready.build.commit()
        at = time.monotonic()
        is_first = self._serving is None
        self._serving, self._snapshot = ready.serving, ready.snapshot
        if ready.snapshot.config is not None:
            configure(ready.snapshot.config.log)
        if is_first:
            self._metrics = ServingMetrics(self._serving, self._forwarding)
            self._started(ready.build.build.blueprint.digest)
        return Committed(self._serving.generation, at)

    async def _link(self, link: Link, *, is_former: bool) -> Message:
        ready = self._prepared.serving if self._prepared else None
        serving = self._serving or ready
        assert serving is not None
        join = serving.handover.to_former if is_former else serving.handover.from_successor
        await join(link)
        return Done()

    async def _give_way(self) -> Message:
        assert self._serving is not None
        await self._serving.listener.give_away()
        return Done()

    async def _let_go(self) -> Message:
        assert self._serving is not None
        await self._serving.let_go()
        return Done()

    async def _abort(self) -> None:
        if self._prepared is not None:
            ready, self._prepared = self._prepared, None
            with ready.undo:
                await ready.build.abort()

    async def _compare(self, descriptor: int) -> Message:
        snapshot, serving = unpacked(descriptor), self._serving
        assert serving is not None
        try:
            with placed(snapshot):
                plan = serving.plan(await self._loading.build(snapshot, serving.build))
        except ConfigError as error:
            return Refused(error.problems, error.warnings)
        return Compared(plan)

    async def _push(self, number: int, operation: bytes) -> Message | None:
        assert self._serving is not None
        try:
            answer = await self._serving.pusher.perform(operation_in(operation))
        except PushError as error:
            return Pushed(None, error.code, error.detail)
        data, descriptors = parcel(answer)
        try:
            self._channel.send(number, Pushed(data), *descriptors)
        finally:
            for each in descriptors:
                os.close(each)
        return None
