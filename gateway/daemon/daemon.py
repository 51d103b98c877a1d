"""The daemon: from gateway.yaml to a listening gateway, and cleanly to an end."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway.backends.sessions import Home
from gateway.config.audit import warn_of_writable
from gateway.config.model import GatewayConfig, ServerConfig
from gateway.daemon.admin import AdminApi, add_routes, admin_listener
from gateway.daemon.admin_door import AdminDoor
from gateway.daemon.api_door import ApiDoor
from gateway.daemon.fleet import START, Fleet
from gateway.daemon.last_good import LastGood, spools_of
from gateway.daemon.listener import Listener, ListenError
from gateway.daemon.loading import Loading
from gateway.daemon.log import Format, configure
from gateway.daemon.metrics import Metrics
from gateway.daemon.push_api import PushApi
from gateway.daemon.reload import Reloader, Triggers, Verdict
from gateway.daemon.serving import Serving
from gateway.daemon.signals import signals
from gateway.daemon.single import SingleProcess
from gateway.daemon.systemd import ADMIN, API, CLIENTS, Notifier, inherited_sockets
from gateway.daemon.upgrade import Listening, Predecessor, Successor, Upgrades
from gateway.daemon.watcher import Watcher
from gateway.daemon.workers import WorkerFleet
from gateway.errors import ConfigError, Place, Problem
from gateway.snapshot import Snapshot

__all__ = ["Daemon", "StartupInfo"]

log = logging.getLogger("sockgw.server")


@dataclass(frozen=True, slots=True)
class StartupInfo:
    """The parts of a daemon that has begun to listen.

    `override` takes precedence over the `server` block of the file. `degraded` are the problems of
    the file on disk when the last good configuration is served instead of it.
    """

    fleet: SingleProcess | WorkerFleet
    override: Mapping[str, Any]
    admin: Listener
    push: Listener
    watcher: Watcher
    api: AdminApi
    degraded: ConfigError | None

    @property
    def config(self) -> GatewayConfig:
        """The config that serves."""
        assert self.fleet.snapshot is not None
        assert self.fleet.snapshot.config is not None
        return self.fleet.snapshot.config

    @property
    def server(self) -> ServerConfig:
        """The `server` block that is in effect."""
        return replace(self.config.server, **self.override)

    @property
    def serving(self) -> Serving:
        """What serves in this process, which is one without workers."""
        assert isinstance(self.fleet, SingleProcess)
        return self.fleet.serving

    @property
    def url(self) -> str:
        return self.fleet.listener.url


class Daemon:
    """A gateway: one process, or a supervisor with its workers.

    `host` and `port` take precedence over those in the file, and sockets that a service manager
    passes over both; see `inherited_sockets`. `last_good` lets a start with a
    broken file serve the configuration that was accepted last.
    """

    def __init__(
        self,
        file: Path,
        *,
        environ: Mapping[str, str] = os.environ,
        host: str | None = None,
        port: int | None = None,
        log_format: Format | None = None,
        trace: bool = False,
        last_good: bool = False,
    ) -> None:
        self.file = file
        self._log_format: Format | None = log_format
        self._trace = trace
        self._override: dict[str, Any] = {
            key: value for key, value in (("host", host), ("port", port)) if value is not None
        }
        if self._override:
            self._override["socket"] = None
        self._may_fall_back = last_good
        self._last_good = LastGood(file, environ)
        self._home = Home(file.absolute(), spools_of(file, environ))
        self._loading = Loading(environ, trace=trace)
        self._environ = environ
        self._notifier = Notifier(environ)
        self._triggers = Triggers()
        self._predecessor: Predecessor | None = None
        self._upgrades: Upgrades | None = None
        self._is_replaced = False
        self._stop = asyncio.Event()

    def stop(self, signal: str = "") -> None:
        """Let `run` end; `signal` is the name of the signal that asks for it, if one does."""
        log.info("stopping%s", f": {signal}" if signal else "")
        self._stop.set()

    async def run(
        self,
        started: Callable[[StartupInfo], None],
        reloaded: Callable[[Verdict], None] | None = None,
    ) -> None:
        """Serve until `stop`, SIGINT or SIGTERM; call `started` once it listens.

        `reloaded` is called after each reload. Raises `ConfigError` when the file cannot be served
        and `ListenError` when the address cannot be listened on.
        """
        with signals(self.stop, partial(self._triggers.want, "signal"), self._upgrade):
            async with AsyncExitStack() as stack:
                try:
                    await self._unless_stopped(self._start(stack, started, reloaded))
                except (ConfigError, ListenError) as error:
                    self._refuse(error)
                    raise
                await self._stop.wait()
                if not self._is_replaced:
                    self._notifier.stopping()

    def _refuse(self, error: ConfigError | ListenError) -> None:
        """Tell the process before this one that it serves on."""
        if self._predecessor is not None:
            if isinstance(error, ListenError):
                error = ConfigError([Problem(Place(str(self.file)), "", str(error))])
            self._predecessor.refuse(error.problems)

    def _upgrade(self) -> None:
        if self._upgrades is not None:
            self._upgrades.want()

    def _replaced(self, successor: Successor) -> None:
        """Let the clients of this process go: another one serves."""
        log.info(
            "process %d takes over after %.1f s: letting clients go to it",
            *(successor.pid, successor.seconds),
        )
        self._notifier.replaced(successor.pid)
        self._is_replaced = True
        self._stop.set()

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`, but cancel it if the daemon is to stop before it is done."""
        tasks = [asyncio.create_task(work), asyncio.create_task(self._stop.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0] in done:
                tasks[0].result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _start(
        self,
        stack: AsyncExitStack,
        started: Callable[[StartupInfo], None],
        reloaded: Callable[[Verdict], None] | None,
    ) -> None:
        snapshot, app = await self._first_snapshot(), web.Application()
        given = self._given(stack)
        fleet, admin, pushes = await self._made(stack, app, snapshot, given)
        watcher = Watcher(snapshot.inputs, partial(self._triggers.want, "watch"))
        metrics = Metrics(fleet, watcher, pushes.metrics)
        doors = (admin, ApiDoor(pushes.listener))
        reloader = self._reloader(fleet, doors, watcher, metrics, reloaded)
        upgrades = Upgrades(
            self._environ,
            reloader.turn,
            partial(_listening, given, fleet, admin.listener, pushes.listener),
            partial(_longest_start, fleet),
            self._replaced,
        )
        api = AdminApi(
            self.file,
            loading=self._loading,
            fleet=fleet,
            watcher=watcher,
            reloader=reloader,
            metrics=metrics,
            upgrades=upgrades,
            is_stopping=self._stop.is_set,
        )
        add_routes(app, api)
        await self._serve_first(snapshot, reloader)
        await stack.enter_async_context(_running(watcher.run(), reloader.run()))
        where, degraded = (admin.listener, pushes.listener), reloader.degraded
        info = StartupInfo(fleet, self._override, *where, watcher, api, degraded)
        self._upgrades = upgrades
        stack.push_async_callback(upgrades.cancel)
        self._tell(info, started, reloader.summary())
        await stack.enter_async_context(_running(self._notifier.watchdog()))

    def _reloader(
        self,
        fleet: Fleet,
        doors: Sequence[AdminDoor | ApiDoor],
        watcher: Watcher,
        metrics: Metrics,
        reloaded: Callable[[Verdict], None] | None,
    ) -> Reloader:
        return Reloader(
            self.file,
            self._triggers,
            loading=self._loading,
            fleet=fleet,
            doors=doors,
            watcher=watcher,
            last_good=self._last_good,
            metrics=metrics,
            notifier=self._notifier,
            reloaded=reloaded,
        )

    def _tell(
        self, info: StartupInfo, started: Callable[[StartupInfo], None], summary: str
    ) -> None:
        """Tell all who wait for it that this process serves."""
        warn_of_writable(info.config)
        started(info)
        self._notifier.ready(summary)

    def _given(self, stack: AsyncExitStack) -> Listening:
        """Take the sockets that listen already; `stack` closes them."""
        self._predecessor = Predecessor.of(self._environ)
        if self._predecessor is None:
            given = Listening(inherited_sockets(self._environ))
        else:
            given = self._predecessor.listening
            stack.callback(self._predecessor.close)
        stack.callback(given.close)
        return given

    async def _made(
        self, stack: AsyncExitStack, app: web.Application, snapshot: Snapshot, given: Listening
    ) -> tuple[SingleProcess | WorkerFleet, AdminDoor, PushApi]:
        """Make what serves, on sockets that listen already if there are any."""
        admin = admin_listener(app, given.own.get(ADMIN))
        inherited, former = given.inherited.get(CLIENTS), given.own.get(CLIENTS)
        fleet: SingleProcess | WorkerFleet
        workers = await self._workers(snapshot)
        if workers == 1:
            fleet = SingleProcess(self._loading, self._home, self._override, inherited, former)
        else:
            log_format, verbose = self._log_format, self._trace
            fleet = WorkerFleet(
                workers,
                self._home,
                self._override,
                inherited,
                former,
                log_format=log_format,
                verbose=verbose,
            )
        stack.push_async_callback(admin.close)
        pushes = PushApi(fleet, given.own.get(API))
        stack.push_async_callback(self._close, fleet, admin, pushes.listener)
        return fleet, AdminDoor(admin, given.inherited.get(ADMIN)), pushes

    async def _close(
        self, fleet: SingleProcess | WorkerFleet, admin: Listener, api: Listener
    ) -> None:
        if self._is_replaced and self._upgrades is not None:
            await admin.give_away()
            await api.give_away()
            await fleet.give_way(self._upgrades.links)
            self._upgrades.give_way()
        await api.close()  # before what it pushes to
        await fleet.close(is_replaced=self._is_replaced)

    async def _workers(self, snapshot: Snapshot) -> int:
        """Return how many workers the file asks for, or what may be served instead of it."""
        if snapshot.config is None:
            kept = await self._fallback()
            snapshot = kept or snapshot
        return snapshot.config.server.workers if snapshot.config else 1

    async def _first_snapshot(self) -> Snapshot:
        snapshot = await self._loading.snapshot(self.file)
        if snapshot.config:  # what is wrong with the file is told as it asks for
            configure(snapshot.config.log)
        return snapshot

    async def _serve_first(self, snapshot: Snapshot, reloader: Reloader) -> None:
        """Serve the file or, when it is broken, the last good configuration if that is allowed."""
        replace = self._predecessor.replace if self._predecessor else None
        try:
            await reloader.serve(snapshot, prepared=replace)
        except ConfigError as error:
            kept = await self._fallback()
            if kept is None:
                raise
            try:
                await reloader.serve(kept, prepared=replace)
            except ConfigError:
                raise error from None
            reloader.degraded = error
        else:
            await reloader.keep(snapshot)

    async def _fallback(self) -> Snapshot | None:
        """Read the last good configuration, if there is one and it may be served."""
        kept = self._last_good.file
        if kept is None:
            return None
        snapshot = await self._loading.snapshot(kept, beside=self._last_good.beside)
        config = snapshot.config
        if config is None or not (self._may_fall_back or config.reload.last_good):
            return None
        return snapshot


def _listening(given: Listening, fleet: Fleet, admin: Listener, api: Listener) -> Listening:
    """Return the sockets that are listened on now."""
    own = {CLIENTS: fleet.listener.sock, ADMIN: admin.sock, API: api.sock}
    return Listening(
        given.inherited,
        {use: sock for use, sock in own.items() if sock and use not in given.inherited},
        len(fleet.workers) if isinstance(fleet, WorkerFleet) else 1,
    )


def _longest_start(fleet: Fleet) -> float:
    """Return the seconds that the program has to start once more."""
    config = fleet.snapshot.config if fleet.snapshot else None
    return START + (config.reload.load_timeout if config else 0.0)


@asynccontextmanager
async def _running(*loops: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run these for as long as the block lasts."""
    tasks = [asyncio.create_task(each) for each in loops]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
