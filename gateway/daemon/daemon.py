"""The daemon: from gateway.yaml to a listening gateway, through reloads, and cleanly to an end."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from gateway.compiler import Build, load
from gateway.config import find_place
from gateway.config import load as load_config
from gateway.config.model import AdminConfig, ServerConfig
from gateway.config.permissions import warn_of_writable
from gateway.daemon.admin import admin_application, verdict_json
from gateway.daemon.inputs import find_inputs
from gateway.daemon.last_good import LastGood
from gateway.daemon.listener import ListenError
from gateway.daemon.loading import load_within
from gateway.daemon.log import hide
from gateway.daemon.metrics import Metrics
from gateway.daemon.notify import Notifier
from gateway.daemon.plan import Plan
from gateway.daemon.reloader import Reloader, Verdict
from gateway.daemon.serving import Serving
from gateway.daemon.signals import signals
from gateway.daemon.watcher import Watcher
from gateway.errors import ConfigError

__all__ = ["Daemon", "Started"]

log = logging.getLogger("sockgw.server")


@dataclass(frozen=True, slots=True)
class Started:
    """What a daemon that listens has to say: what it serves, how and where.

    `degraded` are the problems of the file on disk when the last good configuration is served in
    its place.
    """

    build: Build
    server: ServerConfig
    url: str
    degraded: ConfigError | None = None


class Daemon:
    """One gateway process. `host` and `port` stand before what the file says.

    `last_good` lets a start with a broken file serve the configuration accepted last.
    """

    def __init__(
        self,
        file: Path,
        *,
        environ: Mapping[str, str] = os.environ,
        host: str | None = None,
        port: int | None = None,
        trace: bool = False,
        last_good: bool = False,
    ) -> None:
        self.file = file
        self._environ = environ
        self._override = {
            key: value for key, value in (("host", host), ("port", port)) if value is not None
        }
        self._load = partial(load, environ=environ, trace=trace)
        self._last_good = LastGood(file, environ)
        self._may_fall_back = last_good
        self._notifier = Notifier(environ)
        self._degraded: ConfigError | None = None
        self._verdict: Verdict | None = None
        self._started = time.time()
        self._stop = asyncio.Event()
        self._loading = asyncio.Lock()
        self._reloader = Reloader(
            self._reload, lambda: self._serving.generation, self._heard, str(self.file)
        )

    def stop(self, signal: str = "") -> None:
        """Let `run` end; `signal` is the name of the one that asks for it."""
        log.info("stopping%s", f": {signal}" if signal else "")
        self._stop.set()

    async def run(
        self, started: Callable[[Started], None], reloaded: Callable[[Verdict], None] | None = None
    ) -> None:
        """Serve until `stop`, SIGINT or SIGTERM; call `started` once it listens.

        `reloaded` is called after each reload. Raises `ConfigError` when the file cannot be served
        and `ListenError` when its address cannot be had.
        """
        # Looks at the files before they are read, so that no change of them goes unnoticed.
        self._watcher = Watcher(
            partial(find_inputs, self.file, self._environ),
            partial(self._reloader.want, "watch"),
        )
        self._reloaded = reloaded
        with signals(self.stop, partial(self._reloader.want, "signal")):
            async with AsyncExitStack() as stack:
                await self._unless_stopped(self._start(started, stack))
                await self._stop.wait()
                self._notifier.stopping()

    async def _start(self, started: Callable[[Started], None], stack: AsyncExitStack) -> None:
        first = await self._first()
        self._serving = Serving(first, self._override, admin_application(self))
        self._metrics = Metrics(self._serving, self._watcher)
        stack.push_async_callback(self._serving.close)
        await self._apply(first)
        await self._applied(first)
        await stack.enter_async_context(self._taking_over())
        warn_of_writable(first.config)
        started(Started(first, self._serving.server, self._url, self._degraded))
        self._notifier.ready(self._summary())

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Do `work`; it is cancelled when the daemon is to stop before it is done."""
        tasks = [asyncio.create_task(work), asyncio.create_task(self._stop.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if tasks[0] in done:
                tasks[0].result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def _taking_over(self) -> AsyncIterator[None]:
        """Take over changes as they come."""
        tasks = [asyncio.create_task(each.run()) for each in (self._watcher, self._reloader)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    # Reload

    async def _reload(self) -> Plan | None:
        """One reload, of whatever trigger; see `Reloader`."""
        self._notifier.reloading()
        build = await self._loaded(self.file)
        with self._placing(self.file):
            if self._serving.serves(build) and not self._degraded:
                return None
            plan = await self._apply(build)
        if self._degraded:
            log.info("%s is good again, and served instead of the last good one", self.file)
        self._degraded = None
        await self._applied(build)
        return plan

    async def _apply(self, build: Build) -> Plan:
        """Serve a build. What it must not show is hidden before a service of it can fail."""
        hide(self._serving.build.config.secrets, build.config.secrets)
        return await self._serving.apply(build)

    @contextmanager
    def _placing(self, file: Path) -> Iterator[None]:
        """Have what is wrong with an address be a problem at its place in `file`."""
        try:
            yield
        except ListenError as error:
            at = find_place(file, self._environ, *error.keys)
            raise ConfigError([at.problem(str(error))]) from None

    async def _loaded(self, file: Path) -> Build:
        """Load `file` as what comes after what is served, one load at a time."""
        async with self._loading:
            former = self._serving.build
            limit = former.config.reload.load_timeout
            return await load_within(limit, partial(self._load, file, former=former), str(file))

    async def _first(self) -> Build:
        try:
            return await load_within(None, partial(self._load, self.file), str(self.file))
        except ConfigError as error:
            build = await self._fallback()
            if build is None:
                raise
            self._degraded = error
            return build

    async def _fallback(self) -> Build | None:
        """The last good configuration, when there is one and it may be served."""
        kept = self._last_good.file
        if kept is None:
            return None
        try:
            beside = self._last_good.beside
            config = load_config(kept, self._environ, beside)
            if not (self._may_fall_back or config.reload.last_good):
                return None
            build = await load_within(None, partial(self._load, kept, beside=beside), str(kept))
        except ConfigError:
            return None
        return replace(build, config=self._last_good.in_place(build.config))

    async def _applied(self, build: Build) -> None:
        """What follows once a build serves."""
        reload = build.config.reload
        self._watcher.set(reload.watch, reload.quiet, reload.poll_interval)
        if self._degraded is None:
            try:
                await asyncio.to_thread(self._last_good.keep, build)
            except OSError as error:
                log.warning("the accepted configuration could not be kept: %s", error)

    def _heard(self, verdict: Verdict) -> None:
        """Tell everyone who listens what came of a reload."""
        self._verdict = verdict
        self._metrics.saw(verdict)
        self._notifier.ready(self._summary())
        if verdict.result == "unchanged":
            log.info("reload: nothing has changed")
        elif verdict.result == "failed":
            lines = "\n".join(f"  {problem}" for problem in verdict.problems)
            log.error("reload failed, generation %d stays:\n%s", verdict.generation, lines)
        else:
            lines = "".join(f"\n  {change}" for change in verdict.plan.changes)
            ms = verdict.seconds * 1000
            log.info("generation %d serves after %.0f ms%s", verdict.generation, ms, lines)
            if verdict.plan.pending:
                log.warning("pending restart: %s", ", ".join(verdict.plan.pending))
        if self._reloaded is not None:
            self._reloaded(verdict)

    # What the admin listener asks

    @property
    def admin(self) -> AdminConfig | None:
        return self._serving.build.config.admin

    @property
    def ready(self) -> bool:
        return self._serving.generation > 0 and not self._stop.is_set()

    def metrics(self) -> bytes:
        return self._metrics.text()

    async def reload(self) -> Verdict:
        return await self._reloader.request("admin")

    async def plan(self, file: Path | None) -> tuple[Plan, int]:
        file = file or self.file
        build = await self._loaded(file)
        with self._placing(file):
            plan = self._serving.plan(build)
        sockets = self._serving.sockets.hub.rooms.counts
        return plan, sum(sockets[name] for name in plan.removed)

    def status(self) -> dict[str, Any]:
        serving = self._serving
        live = serving.sockets.live
        return {
            "file": str(self.file.absolute()),
            "url": self._url,
            "started": self._started,
            "generation": serving.generation,
            "since": serving.since,
            "digest": serving.build.blueprint.digest,
            "degraded": [str(problem) for problem in self._degraded.problems]
            if self._degraded
            else [],
            "last_reload": verdict_json(self._verdict) if self._verdict else None,
            "generations": live.alive,
            "sockets": dict(serving.sockets.hub.rooms.counts),
            "services": sorted(serving.build.blueprint.services),
            "pending": serving.pending,
            "watcher": {"mode": self._watcher.mode, "up": self._watcher.up},
            "outcomes": serving.sockets.dispatcher.outcomes,
            "time": time.time(),
        }

    @property
    def _url(self) -> str:
        return self._serving.listener.url

    def _summary(self) -> str:
        summary = f"generation {self._serving.generation} serves at {self._url}"
        if self._verdict and self._verdict.result == "failed":
            return f"{summary}; the last reload failed: {self._verdict.problems[0]}"
        return summary
