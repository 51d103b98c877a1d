"""The build that serves, and the only way to replace it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import fields, replace
from math import inf
from typing import Any

from gateway.compiler import Build
from gateway.config.model import ServerConfig
from gateway.daemon.listener import Address, BoundAddress, Listener, PublicServer
from gateway.daemon.plan import RESTART_KEYS, Plan, compare
from gateway.daemon.shutdown import shut_down
from gateway.engineio.settings import Settings
from gateway.http.descriptors import descriptors_for_connections
from gateway.limits import Limits
from gateway.socketio.server import Server

__all__ = ["Serving"]

log = logging.getLogger("sockgw.server")


class Serving:
    """The listeners, and the build they serve.

    `override` takes precedence over the file's `server` block. `closed` counts the sockets whose
    namespace a reload removed. `since` is when the build began to serve, in seconds since the
    epoch.
    """

    def __init__(self, first: Build, override: Mapping[str, Any], admin: Listener) -> None:
        self.build = first
        self._override = override
        self.server = replace(first.config.server, **override)
        limits = first.config.limits
        self.sockets = Server(_settings(self.server), limits, self.server.serializer)
        self.listener = Listener(PublicServer(self.sockets.engine.http_server(self.server.path)))
        self.admin = admin
        self.closed = 0
        self.since = 0.0
        self._closing: dict[str, asyncio.Task[None]] = {}
        self._told = 0.0

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
        self.sockets.configure(_settings(self.server), build.config.limits)
        self._tell_of_descriptors(build.config.limits)
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

    def _addresses(self, build: Build) -> Iterator[tuple[Listener, Address]]:
        server = replace(build.config.server, **self._override)
        yield self.listener, Address("server", server.host, server.port, tls=server.tls)
        admin = build.config.admin
        if admin is not None:
            unix = Address("admin", path=admin.socket)
            yield self.admin, unix if admin.socket else Address("admin", admin.host, admin.port)


def _settings(server: ServerConfig) -> Settings:
    return Settings(**{each.name: getattr(server, each.name) for each in fields(Settings)})
