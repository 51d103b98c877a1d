"""The blueprint and the generation: what compiling and starting produce, frozen.

A blueprint has every name resolved and every chain folded, and nothing started; a generation is a
blueprint whose services run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field

from gateway.api import Gateway, Services
from gateway.errors import Place, Problem
from gateway.limits import Limits, NamespaceLimits
from gateway.runtime.chain import Chain, Link

__all__ = ["GATEWAY_EVENTS", "Blueprint", "Generation", "NamespaceBlueprint", "Recipe", "Route"]

GATEWAY_EVENTS = frozenset({"disconnect", "disconnecting", "error"})
"""Routes that the gateway itself calls; a client cannot send these events."""


@dataclass(frozen=True, slots=True)
class Route:
    """What one event leads to.

    `end` runs the handler and keeps what it returned in `ctx.reply`; it is what a packet chain
    comes to. `handler` is the handler's name, `None` for the route of everything unrouted.
    `timeout` is in seconds. `serial` names the queue whose packets finish in order: the
    namespace's, this route's own, or `None` for no queue.
    """

    end: Chain
    handler: str | None = None
    place: Place | None = None
    timeout: float = 60.0
    cancel_on_disconnect: bool = False
    serial: str | None = None


@dataclass(frozen=True, slots=True)
class NamespaceBlueprint:
    """One namespace: its chains, folded and as a list, and its routes.

    `events` are the routes of gateway events, `fallback` is where every event without a route
    goes. `connect_timeout` is in seconds.
    """

    name: str
    connection_links: tuple[Link, ...]
    packet_links: tuple[Link, ...]
    connection: Chain
    packet: Chain
    routes: Mapping[str, Route]
    events: Mapping[str, Route]
    fallback: Route
    connect_timeout: float
    limits: NamespaceLimits = field(default_factory=NamespaceLimits)

    @property
    def route_count(self) -> int:
        """How many routes were declared: gateway events and `*` count too."""
        return len(self.routes) + len(self.events) + (self.fallback.handler is not None)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to make one service.

    Two recipes with an equal `key` (plugin, options, sources) make the same service, so the one
    that runs is kept. `make` calls the plugin's factory; `problem` tells the operator, at the
    service's place in the YAML, why it did not start.
    """

    key: Hashable
    make: Callable[[Gateway], object]
    problem: Callable[[str], Problem]


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A whole gateway, ready to start.

    `digest` is that of everything it was made from. `instances` holds what the factories of
    middleware and handlers made, by the same kind of key as a recipe's, for the next blueprint
    to carry on. `install` makes its plugin modules those that `import` finds, and returns what
    takes that back.
    """

    digest: str
    namespaces: Mapping[str, NamespaceBlueprint]
    services: Mapping[str, Recipe]
    instances: Mapping[Hashable, object]
    install: Callable[[], Callable[[], None]]
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True, eq=False)
class Generation:
    """A blueprint whose services run. `number` counts from 1.

    `gateway` is the emitter that its packets and services are given, `loop` the event loop that
    it was started on: asking for the running one costs a system call before Python 3.12.
    """

    number: int
    blueprint: Blueprint
    service: Services
    gateway: Gateway
    loop: asyncio.AbstractEventLoop
