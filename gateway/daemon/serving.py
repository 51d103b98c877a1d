"""The build that this process serves, and the only way to replace it."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import fields, replace
from importlib.metadata import version
from math import inf
from typing import Any

from gateway.api import Socket
from gateway.backends.sessions import Home, Sessions
from gateway.backends.spool import Spool
from gateway.cluster.bus import Bus
from gateway.cluster.configurations import Configurations
from gateway.cluster.handover import Handover
from gateway.cluster.links import Links
from gateway.compiler import Build
from gateway.config.model import GatewayConfig, ServerConfig
from gateway.daemon.listener import Address, Listener, Move, PublicServer
from gateway.daemon.plan import RESTART_KEYS, Plan, compare, duration
from gateway.daemon.shutdown import let_go, shut_down
from gateway.engineio.settings import Settings
from gateway.http.descriptors import descriptors_for_connections
from gateway.http.static import Static
from gateway.limits import Limits
from gateway.push.performing import Pusher
from gateway.runtime.blueprint import Generation
from gateway.socketio.server import Server

__all__ = ["PreparedBuild", "Serving", "UnusedAddress", "public_address"]

log = logging.getLogger("sockgw.server")


class Serving:
    """The public listener, and the build it serves.

    `override` takes precedence over the file's `server` block. `inherited` is a socket for clients
    that listens already: it takes precedence over everything. `former` is as of `Listener`. `home`
    is where spools are.
    `handed` is one that the supervisor of a worker has bound, for the next build to prepare; `None`
    without one. `bus` carries messages to other members, if there can be any, and `links` are the
    ways to those on other machines; both start with the first build that serves. `configurations`
    is what the members of the cluster serve, `None` if it is in none. `closed` counts the sockets
    whose namespace a reload removed. `since` is when the build began to serve, in
    seconds since the epoch.
    """

    def __init__(
        self,
        first: Build,
        override: Mapping[str, Any],
        inherited: socket.socket | None = None,
        former: socket.socket | None = None,
        *,
        home: Home,
    ) -> None:
        self.build = first
        self.handed: socket.socket | None = None
        self._inherited = inherited
        self._override = override
        self.server = replace(first.config.server, **override)
        self.cluster = first.config.cluster
        self.bus: Bus | None = None
        self.links: Links | None = None
        self.configurations: Configurations | None = None
        limits = first.config.limits
        self.sockets = Server(_settings(self.server), limits, self.server.serializer)
        self._static = Static(self.server.path)
        self.http = self.sockets.engine.http_server(self.server.path, self._static)
        self.public = PublicServer(self.http, self._trusts)
        self.listener = Listener(self.public, former)
        self.handover = Handover(self.sockets.engine, self.http)
        self.pusher = Pusher(self.sockets.hub)
        self.sessions = Sessions(home, self._present)
        self.closed = 0
        self.since = 0.0
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._told = 0.0
        self._unused = UnusedAddress(inherited)

    @property
    def generation(self) -> int:
        """The number of the generation that serves; 0 if none does."""
        current = self.sockets.live.current
        return current.number if current else 0

    def serves(self, build: Build) -> bool:
        """True if everything in `build` is already served. Raises `ListenError`."""
        same = build.blueprint.digest == self.build.blueprint.digest
        return same and self.listener.is_at(self._address(build.config))

    async def prepare(self, build: Build, number: int | None = None) -> PreparedBuild:
        """Bind the address of `build`, open its spools and start its services.

        `number` is that of its generation; `None` is the next. Raises `ConfigError` if a service
        does not start or a spool cannot be used, and `ListenError` if the address cannot be bound.
        Nothing has changed then.
        """
        plan, move = self.plan(build), self.listener.prepare(self._address(build.config))
        async with AsyncExitStack() as undo:
            undo.callback(move.cancel)
            spools = await self.sessions.prepare(build.backends)
            undo.push_async_callback(self.sessions.discard, spools)
            generation = await self.sockets.start(build.blueprint, number)
            undo.pop_all()
        return PreparedBuild(self, build, plan, generation, move, spools)

    def swap(self, prepared: PreparedBuild) -> None:
        """Make a prepared build the one that serves."""
        build, live = prepared.build, self.sockets.live
        self._close_removed(prepared.plan.removed, build)
        live.swap(prepared.generation, build.config.reload.drain)
        self.sessions.swap(build.backends, prepared.spools)
        self.sockets.dispatcher.witness = self.sessions if self.sessions.tellers else None
        self.since = time.time()
        lasting = {key: getattr(self.server, key) for key in RESTART_KEYS}
        self.server = replace(build.config.server, **{**lasting, **self._override})
        self.build = build
        self._static.pages = build.pages
        self.sockets.configure(_settings(self.server), build.config.limits)
        self._tell_of_descriptors(build.config.limits)
        self._unused.tell(build.config.server)
        if self.links is not None:
            self.links.start()
        if self.bus is not None:
            self.bus.serve(build.config.namespaces)
            self.bus.start()
        if self.configurations is not None:
            self.configurations.serve(build.config.fingerprint, self.since, version("sockgw"))

    def _tell_of_descriptors(self, limits: Limits) -> None:
        """Log that the limit of descriptors is below `limits.connections`, once for each value.

        It is a warning only if the file asks for that many.
        """
        room, connections = descriptors_for_connections(), limits.most_connections
        if room < connections < inf and connections != self._told:
            is_default = connections == Limits().most_connections
            log.log(
                logging.DEBUG if is_default else logging.WARNING,
                "the limit of file descriptors has room for %d connections, limits.connections is "
                "%d: raise it with ulimit -n, or LimitNOFILE= of systemd",
                *(room, connections),
            )
        self._told = connections

    def _close_removed(self, removed: Collection[str], build: Build) -> None:
        """Close the sockets of removed namespaces, and spare those of namespaces that are back."""
        for name in build.config.namespaces:
            if closing := self._closing.pop(name, None):
                closing.cancel()
        former, sockets = self.sockets.live.current, self.sockets.hub.rooms.counts
        for name in removed:
            assert former is not None
            window = build.config.reload.close_window
            # It runs after the swap, but is pinned now to keep the former generation in use.
            work = self.sockets.hub.close_namespaces([name], window)
            self._closing[name] = self.sockets.live.pin(former, work)
            self.closed += sockets[name]
            _tell_of_closing(name, sockets[name], window)

    def plan(self, build: Build) -> Plan:
        """Return what serving `build` would change. Raises `ListenError`."""
        plan = compare(self.build, build, self.server, self.cluster)
        is_renewed = self.listener.is_renewed(self._address(build.config))
        renewed = ["~ server.tls: renewed"] if is_renewed else []
        return replace(plan, changes=(*renewed, *plan.changes))

    @property
    def pending(self) -> tuple[str, ...]:
        """The keys that wait for a restart."""
        return compare(self.build, self.build, self.server, self.cluster).pending

    async def give_way(self) -> None:
        """Listen no more: another process takes over."""
        self._leave_lease()
        await self.listener.give_away()
        if self.links is not None:
            self.links.give_way()

    async def let_go(self) -> None:
        """Let all clients go: another process has taken the listening socket over."""
        window = self.build.config.reload.close_window
        await let_go(self.sockets, self.http, self.server.stop_timeout, window)

    async def close(self) -> None:
        """Stop serving and listening; see `shut_down`."""
        self._leave_lease()
        window = self.build.config.reload.close_window
        tell = self.sessions.finish
        await shut_down(self.sockets, self.listener, self.server.stop_timeout, window, tell)
        if self.bus is not None:
            await self.bus.close()
        if self.links is not None:
            await self.links.close()
        self.handover.close()
        self.sockets.dispatcher.in_flight.load.stop()

    def _leave_lease(self) -> None:
        if self.bus is not None and self.bus.lease is not None:
            self.bus.lease.leave()

    def _present(self) -> list[Socket]:
        return [each.socket for each in self.sockets.hub.rooms if each.is_connected()]

    def _trusts(self, address: str) -> bool:
        return self.sockets.engine.proxies.trusts(address)

    def _address(self, config: GatewayConfig) -> Address:
        server = replace(config.server, **self._override)
        return public_address(server, self.handed or self._inherited)


def public_address(server: ServerConfig, inherited: socket.socket | None) -> Address:
    """Return where clients connect: `inherited` if there is one, else what the block says."""
    if inherited is not None:
        at = Address("server", inherited=inherited)
    elif server.socket:
        at = Address("server", path=server.socket, mode=int(server.socket_mode, 8))
    else:
        at = Address("server", server.host, server.port)
    return replace(at, tls=server.tls, proxy_protocol=server.proxy_protocol)


class UnusedAddress:
    """Tells that the file's address is not used, because a socket was passed to the daemon."""

    def __init__(self, inherited: socket.socket | None) -> None:
        self._inherited = inherited
        self._told: tuple[object, ...] = ()

    def tell(self, server: ServerConfig) -> None:
        """Log that the block's address is not used, once for each value."""
        unused = (server.host, server.port, server.socket) if self._inherited else ()
        if unused and unused != self._told:
            log.info(
                "server.host, server.port and server.socket are not used: the service manager has "
                "passed a socket for clients"
            )
        self._told = unused


class PreparedBuild:
    """A build that is ready to serve, and does not yet."""

    def __init__(
        self,
        serving: Serving,
        build: Build,
        plan: Plan,
        generation: Generation,
        move: Move,
        spools: Mapping[str, Spool],
    ) -> None:
        self.build, self.plan, self.generation, self.spools = build, plan, generation, spools
        self._serving, self._move = serving, move

    async def commit(self) -> None:
        """Serve it from now on."""
        self._serving.swap(self)
        await self._move.make()

    async def abort(self) -> None:
        """Give it up: close its address and spools, and the services that no other build uses."""
        self._move.cancel()
        await self._serving.sessions.discard(self.spools)
        await self._serving.sockets.live.discard(self.generation)


def _tell_of_closing(name: str, sockets: int, window: float) -> None:
    """Log how many sockets a removed namespace closes, within `window` seconds."""
    if sockets:
        log.warning(
            "the namespace is removed: closing %d socket%s within %s (io server disconnect)",
            *(sockets, "" if sockets == 1 else "s", duration(window)),
            extra={"namespace": name},
        )


def _settings(server: ServerConfig) -> Settings:
    return Settings(**{each.name: getattr(server, each.name) for each in fields(Settings)})
