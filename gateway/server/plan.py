"""The plan: what a new build changes, in the words of its gateway.yaml."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TypeVar

from gateway.compiler import Build
from gateway.config.model import GatewayConfig, NamespaceConfig, RouteConfig, ServerConfig, Use
from gateway.runtime.blueprint import Recipe

__all__ = ["RESTART_KEYS", "Plan", "compare"]

T = TypeVar("T")

BLOCKS = ("server", "reload", "admin")
SECRETS = ("token",)

RESTART_KEYS = ("path", "serializer")
"""Keys of `server` that only a restart can change: clients hold on to what they began with."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What changes from one build to the next.

    `changes` are lines such as `+ /news`, `- /chat route 'old'`, `~ service store`. `removed` are
    the namespaces whose sockets are closed, `pending` the keys that wait for a restart.
    """

    changes: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    pending: tuple[str, ...] = ()


def compare(old: Build, new: Build, server: ServerConfig) -> Plan:
    """What serving `new` instead of `old` changes, where `server` is in effect."""
    before, after = old.config.namespaces, new.config.namespaces
    return Plan(
        changes=(
            *_blocks(old.config, new.config),
            *_mapping("service", old.blueprint.services, new.blueprint.services, _recipe_key),
            *_mapping("", before, after, lambda _: None),
            *(
                line
                for name in after
                if name in before
                for line in _namespace(name, before[name], after[name])
            ),
            *new.plugins.changes_since(old.plugins),
        ),
        removed=tuple(name for name in before if name not in after),
        pending=tuple(
            f"server.{key}"
            for key in RESTART_KEYS
            if getattr(server, key) != getattr(new.config.server, key)
        ),
    )


def _blocks(old: GatewayConfig, new: GatewayConfig) -> Iterator[str]:
    for block in BLOCKS:
        before, after = getattr(old, block), getattr(new, block)
        if before is None or after is None:
            yield from _mapping(
                "", {block: before} if before else {}, {block: after} if after else {}, repr
            )
            continue
        for key in (each.name for each in fields(after)):
            was, now = getattr(before, key), getattr(after, key)
            if was != now and key in SECRETS:
                yield f"~ {block}.{key}"
            elif was != now:
                yield f"~ {block}.{key}: {was} -> {now}"


def _namespace(name: str, old: NamespaceConfig, new: NamespaceConfig) -> Iterator[str]:
    for chain in ("connection_middleware", "packet_middleware"):
        before, after = _names(getattr(old, chain)), _names(getattr(new, chain))
        if before != after:
            yield f"~ {name} {chain}: [{before}] -> [{after}]"
        elif [use.options for use in getattr(old, chain)] != [
            use.options for use in getattr(new, chain)
        ]:
            yield f"~ {name} {chain}: options"
    for key in ("connect_timeout", "packet_timeout", "order"):
        if getattr(old, key) != getattr(new, key):
            yield f"~ {name} {key}: {getattr(old, key)} -> {getattr(new, key)}"
    yield from _mapping(f"{name} route", old.routes, new.routes, _route_facts)


def _names(chain: tuple[Use, ...]) -> str:
    return ", ".join(use.name for use in chain)


def _recipe_key(recipe: Recipe) -> object:
    return recipe.key


def _route_facts(route: RouteConfig) -> object:
    """All but where it stands."""
    use = route.use
    return (use.name, dict(use.options), route.timeout, route.on_disconnect, route.order)


def _mapping(
    what: str, before: Mapping[str, T], after: Mapping[str, T], facts: Callable[[T], object]
) -> Iterator[str]:
    label = f"{what} '{{}}'" if what else "{}"
    yield from (f"- {label.format(name)}" for name in before if name not in after)
    yield from (f"+ {label.format(name)}" for name in after if name not in before)
    for name in after:
        if name in before and facts(before[name]) != facts(after[name]):
            yield f"~ {label.format(name)}"
