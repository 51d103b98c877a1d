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
    """The way of one event behind the packet chain.

    `end` runs the handler and keeps what it returns in `ctx.reply`. `handler` is the handler's
    name, `None` on the route of everything unrouted. `timeout` is in seconds. `serial` names the
    queue whose packets finish in order: the namespace's, this route's own, or `None` for no queue.
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
        """The number of declared routes, those of gateway events and `*` included."""
        return len(self.routes) + len(self.events) + (self.fallback.handler is not None)


@dataclass(frozen=True, slots=True)
class Recipe:
    """The recipe of one service.

    Recipes with equal keys (plugin, options, sources) make the same service, so the one that
    runs is kept. `make` calls the plugin's factory; `problem` makes of a reason why it
    did not start a problem at the service's place in the YAML.
    """

    key: Hashable
    make: Callable[[Gateway], object]
    problem: Callable[[str], Problem]


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A whole gateway, ready to start.

    `digest` covers everything it was made from. `instances` holds what the factories of
    middleware and handlers made, by the same kind of key as a recipe's, for the next blueprint
    to reuse. `install` makes its plugin modules the ones that `import` finds, and returns a
    function that undoes this.
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
