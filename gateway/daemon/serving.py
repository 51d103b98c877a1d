"""The build that serves, and the only way to replace it."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import fields, replace
from math import inf
from types import MappingProxyType
from typing import Any

from gateway.compiler import Build
from gateway.config.model import ServerConfig
from gateway.daemon.listener import Address, BoundAddress, Listener, ListenError, PublicServer
from gateway.daemon.plan import RESTART_KEYS, Plan, compare, duration
from gateway.daemon.shutdown import shut_down
from gateway.daemon.systemd import ADMIN, CLIENTS
from gateway.engineio.settings import Settings
from gateway.http.descriptors import descriptors_for_connections
from gateway.http.static import Static
from gateway.limits import Limits
from gateway.socketio.server import Server

__all__ = ["Serving"]

log = logging.getLogger("sockgw.server")


class Serving:
    """The listeners, and the build they serve.

    `override` takes precedence over the file's `server` block. `inherited` are sockets that listen
    already, as from `inherited_sockets`: they take precedence over everything. `closed` counts the
    sockets whose namespace a reload removed. `since` is when the build began to serve, in seconds
    since the epoch.
    """

    def __init__(
        self,
        first: Build,
        override: Mapping[str, Any],
        admin: Listener,
        inherited: Mapping[str, socket.socket] = MappingProxyType({}),
    ) -> None:
        self.build = first
        self._inherited = inherited
        self._override = override
        self.server = replace(first.config.server, **override)
        limits = first.config.limits
        self.sockets = Server(_settings(self.server), limits, self.server.serializer)
        self._static = Static(self.server.path)
        http = self.sockets.engine.http_server(self.server.path, self._static)
        self.listener = Listener(PublicServer(http, self._trusts))
        self.admin = admin
        self.closed = 0
        self.since = 0.0
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._told = 0.0
        self._unused: tuple[object, ...] = ()

    @property
    def generation(self) -> int:
        """The number of the generation that serves; 0 if none does."""
        current = self.sockets.live.current
        return current.number if current else 0

    def serves(self, build: Build) -> bool:
        """True if everything in `build` is already served. Raises `ListenError`."""
        same = build.blueprint.digest == self.build.blueprint.digest
        return same and all(listener.is_at(address) for listener, address in self._addresses(build))

    async def apply(self, build: Build) -> Plan:
        """Make `build` the one that serves.

        Raises `ConfigError` if a service does not start and `ListenError` if an address cannot be
        bound. In both cases nothing changes.
        """
        live, plan = self.sockets.live, self.plan(build)
        with ExitStack() as stack:
            moves: list[tuple[Listener, BoundAddress]] = []
            for listener, address in self._addresses(build):
                if not listener.is_at(address):
                    moves.append((listener, listener.bind(address)))
                    stack.callback(moves[-1][1].sock.close)
            generation = await self.sockets.start(build.blueprint)
            stack.pop_all()
        self._close_removed(plan.removed, build)
        live.swap(generation, build.config.reload.drain)
        self.since = time.time()
        lasting = {key: getattr(self.server, key) for key in RESTART_KEYS}
        self.server = replace(build.config.server, **lasting, **self._override)
        self.build = build
        self._static.pages = build.pages
        self.sockets.configure(_settings(self.server), build.config.limits)
        self._tell_of_descriptors(build.config.limits)
        self._tell_of_unused(build)
        for listener, bound in moves:
            await listener.serve(bound)
        if build.config.admin is None:
            await self.admin.stop_accepting()
        return plan

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

    def _tell_of_unused(self, build: Build) -> None:
        """Log that the file's address is not used, once for each value."""
        server, admin = build.config.server, build.config.admin
        unused = (server.host, server.port, server.socket) if CLIENTS in self._inherited else ()
        if unused and unused != self._unused:
            log.info(
                "server.host, server.port and server.socket are not used: the service manager has "
                "passed a socket for clients"
            )
        if ADMIN in self._inherited and admin is None:
            log.warning("the socket %r was passed, but there is no admin: block", ADMIN)
        self._unused = unused

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
        plan = compare(self.build, build, self.server)
        renewed = (
            f"~ {address.block}.tls: renewed"
            for listener, address in self._addresses(build)
            if listener.is_renewed(address)
        )
        return replace(plan, changes=(*renewed, *plan.changes))

    @property
    def pending(self) -> tuple[str, ...]:
        """The keys that wait for a restart."""
        return compare(self.build, self.build, self.server).pending

    async def close(self) -> None:
        """Stop serving and listening; see `shut_down`."""
        window = self.build.config.reload.close_window
        await shut_down(self.sockets, self.listener, self.server.stop_timeout, window)
        self.sockets.dispatcher.in_flight.load.stop()
        await self.admin.close()

    def _trusts(self, address: str) -> bool:
        return self.sockets.engine.proxies.trusts(address)

    def _addresses(self, build: Build) -> Iterator[tuple[Listener, Address]]:
        """Yield each listener and where it is to listen. Raises `ListenError`."""
        server = replace(build.config.server, **self._override)
        if CLIENTS in self._inherited:
            at = Address("server", inherited=self._inherited[CLIENTS])
        elif server.socket:
            at = Address("server", path=server.socket, mode=int(server.socket_mode, 8))
        else:
            at = Address("server", server.host, server.port)
        yield self.listener, replace(at, tls=server.tls, proxy_protocol=server.proxy_protocol)
        admin = build.config.admin
        if admin is None:
            return
        if ADMIN in self._inherited:
            if admin.token is None:
                raise ListenError("a socket that was passed to the daemon needs a token", "admin")
            yield self.admin, Address("admin", inherited=self._inherited[ADMIN])
        elif admin.socket:
            yield self.admin, Address("admin", path=admin.socket)
        else:
            yield self.admin, Address("admin", admin.host, admin.port)


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
