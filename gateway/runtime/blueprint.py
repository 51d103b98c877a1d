"""The blueprint, which compiling produces, and the generation, which starting produces.

A blueprint has every name resolved and every chain folded, but nothing started. A generation is a
blueprint whose services run. Both are frozen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gateway.api import Gateway
from gateway.context import Context, HandshakeContext, Presence, Services, Tally
from gateway.errors import Place, Problem
from gateway.limits import Limits, NamespaceLimits
from gateway.runtime.chain import Chain, Link

__all__ = [
    "GATEWAY_EVENTS",
    "Blueprint",
    "Generation",
    "NamespaceBlueprint",
    "Recipe",
    "Resource",
    "Route",
    "Scope",
]

Scope = Literal["member", "node", "cluster"]
"""Where a service runs."""

GATEWAY_EVENTS = frozenset({"cluster", "connect", "disconnect", "disconnecting", "error"})
"""Events that the gateway itself routes; clients cannot send them."""


@dataclass(frozen=True, slots=True)
class Route:
    """The route of one event: its chain, and the handler at its end.

    `chain` is the packet chain of the namespace with the route's own middleware, `links`, behind
    it, folded into one of `length` links. `end` runs the handler and stores its return value in
    `ctx.reply`. `handler` is the handler's name, `None` for the route of events without one.
    `timeout` is in seconds; `has_own_timeout` is true if the route itself declares it, false if it
    is the namespace's. `serial` names the queue whose packets finish in order: the namespace's,
    this route's own, or `None` for no queue.
    """

    chain: Chain[Context]
    length: int
    end: Chain[Context]
    links: tuple[Link[Context], ...] = ()
    handler: str | None = None
    place: Place | None = None
    timeout: float = 60.0
    has_own_timeout: bool = False
    cancel_on_disconnect: bool = False
    serial: str | None = None


@dataclass(frozen=True, slots=True)
class NamespaceBlueprint:
    """One namespace: its chains and its routes.

    `connection` is the connection chain, folded. The packet chain is folded into each route.
    `events` are the routes of gateway events, which pass no chain, `fallback` is the route of all
    events that have none. `connect_timeout` is in seconds. `user` are the keys that lead to the
    user in a socket's data; `None` if sockets have none.
    """

    name: str
    connection_links: tuple[Link[Context], ...]
    packet_links: tuple[Link[Context], ...]
    connection: Chain[Context]
    routes: Mapping[str, Route]
    events: Mapping[str, Route]
    fallback: Route
    connect_timeout: float
    limits: NamespaceLimits = field(default_factory=NamespaceLimits)
    user: tuple[str, ...] | None = None

    @property
    def presence(self) -> Presence | None:
        """The presence that is kept, as its connection chain says; `None` for none."""
        runs = (link.run for link in self.connection_links)
        return next((run for run in runs if isinstance(run, Presence)), None)

    @property
    def route_count(self) -> int:
        """The number of declared routes, including gateway events and `*`."""
        return len(self.routes) + len(self.events) + (self.fallback.handler is not None)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The recipe of one service.

    Recipes with equal keys (plugin, options, sources) make the same service, so the running one
    is kept. `make` calls the plugin's factory. `problem` turns the reason why the service did not
    start into a problem at its place in the YAML. `place` is the plugin's line that has raised an
    exception, or for `None` where it is defined; `None` if that is not known. `scope` tells where
    it runs: on each member, on one of the machine, or on one of all.
    """

    key: Hashable
    make: Callable[[Gateway], object]
    problem: Callable[[str], Problem]
    place: Callable[[BaseException | None], Place | None] = lambda error: None
    scope: Scope = "member"


class Resource(Protocol):
    """Something that blueprints share, and that is closed with the last generation that has it."""

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A whole gateway, ready to start.

    `digest` covers everything it was made from. `instances` holds the middleware and handlers
    that factories made, under keys like those of recipes, so that the next blueprint can reuse
    them. `install` makes `import` find its plugin modules, and returns a function that undoes it.
    `handshake` is the chain of `handshake_links`, `None` if there are none. `tallies` are those of
    the instances that are new. `resources` are what its plugins use and the next blueprint may
    have, too: backends.
    """

    digest: str
    namespaces: Mapping[str, NamespaceBlueprint]
    services: Mapping[str, Recipe]
    instances: Mapping[Hashable, object]
    install: Callable[[], Callable[[], None]]
    limits: Limits = field(default_factory=Limits)
    handshake_links: tuple[Link[HandshakeContext], ...] = ()
    handshake: Chain[HandshakeContext] | None = None
    tallies: tuple[Tally, ...] = ()
    resources: tuple[Resource, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """A blueprint whose services run. `number` counts from 1.

    `gateway` is the emitter for its packets and services. `loop` is the event loop on which it was
    started: looking up the running loop costs a system call before Python 3.12.
    """

    number: int
    blueprint: Blueprint
    service: Services
    gateway: Gateway
    loop: asyncio.AbstractEventLoop
