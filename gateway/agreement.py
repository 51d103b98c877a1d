"""Where a config and its plugins must agree: schemas with arguments, event names with routes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from gateway.api import Handler
from gateway.builtin._schema import unknown_keywords
from gateway.config.messages import KeyPath, choice
from gateway.config.model import NamespaceConfig, Schema, Use
from gateway.context import Backend, Context, HandshakeContext
from gateway.errors import ConfigError, Problem, did_you_mean
from gateway.loader import (
    Arguments,
    Plugin,
    doubts,
    first_annotation,
    middleware_fault,
    parameters_of,
    unchecked,
)
from gateway.runtime.blueprint import GATEWAY_EVENTS

__all__ = [
    "as_middleware",
    "backend_faults",
    "backends_in",
    "chain_fault",
    "event_doubts",
    "event_faults",
    "handler_doubts",
    "lonely_doubts",
    "option_doubts",
    "schema_doubts",
    "schema_faults",
]

T = TypeVar("T")

_SAMPLES: Mapping[str, tuple[object, ...]] = {
    "array": ([],),
    "boolean": (True,),
    "integer": (0,),
    "null": (None,),
    "number": (0, 0.5),
    "object": ({},),
    "string": ("",),
}
"""A value of each type that a JSON Schema can ask for."""


def chain_fault(run: Callable[..., object], kind: type) -> str | None:
    """Return why middleware is not for a chain with contexts of a `kind`, or `None`."""
    annotated = first_annotation(run)
    if kind is HandshakeContext and annotated is Context:
        return "it needs a socket, so it is for connection_middleware or packet_middleware"
    if kind is Context and annotated is HandshakeContext:
        return "it takes a handshake, so it is for server.handshake_middleware"
    return None


def as_middleware(made: Callable[..., T]) -> Callable[..., T]:
    """Return what stands in a chain: the method `enter` of a handler that has one for that."""
    enter: Callable[..., T] | None = getattr(made, "enter", None)
    if enter is None or not middleware_fault(made) or middleware_fault(enter):
        return made
    return enter


def backends_in(
    plugin: Plugin, use: Use, backends: Mapping[str, T], names: frozenset[str]
) -> dict[str, T]:
    """Return the backends that options name, by option; `names` are all that the file has.

    Raises `ConfigError` for a name that there is not.
    """
    try:
        parameters = parameters_of(plugin.target)
    except (TypeError, ValueError):  # written in C
        return {}
    found = {}
    for option in (each.name for each in parameters if each.annotation is Backend):
        name = use.options.get(option)
        if not isinstance(name, str):
            continue
        if name in names and name not in backends:
            raise ConfigError([])  # its block has a problem of its own
        if name not in backends:
            guess = did_you_mean(name, names) or "; add it to 'backends:'"
            raise ConfigError([use.option_at[option].problem(f"no backend {name!r}{guess}")])
        found[option] = backends[name]
    return found


def backend_faults(namespace: NamespaceConfig) -> Iterator[Problem]:
    """Find places where `builtin.http` can do nothing."""
    chains = [namespace.packet_middleware, *(each.middleware for each in namespace.routes.values())]
    for use in (each for chain in chains for each in chain):
        if use.name == "builtin.http":
            message = "a backend answers in a route, or in connection_middleware"
            yield use.at.problem(message)
    for event, route in namespace.routes.items():
        use = route.use
        if use.name != "builtin.http":
            continue
        if event == "cluster":
            message = "a 'cluster' route has no socket, which backends are told about"
            yield use.at.problem(message)
        elif event == "*" and "{event}" in str(use.options.get("path")):
            message = "with '*' clients would choose the path: write a route for each event"
            yield use.option_at["path"].problem(message)


def event_faults(name: str, namespace: NamespaceConfig) -> Iterator[Problem]:
    """Find events of built-ins that no packet of their chain has, in the namespace `name`."""
    for event, route in namespace.routes.items():
        for use, other in _events(route.middleware):
            if event == "*" and other in namespace.routes:
                message = f"'*' takes events without a route, and {other!r} has one"
                yield use.option_at["events"].problem(message)
            elif other != event != "*":
                message = f"this route meets {event!r} only, never {other!r}"
                yield use.option_at["events"].problem(message)
    if not namespace.is_whole or "*" in namespace.routes:
        return
    known = sorted(namespace.routes.keys() - GATEWAY_EVENTS)
    routes = f"; routes: {choice(known, 'and')}" if known else ""
    for use, event in _events(namespace.packet_middleware):
        if event not in known:
            guess = did_you_mean(event, known) or routes
            yield use.option_at["events"].problem(f"no route {event!r} in {name}{guess}")


def event_doubts(namespace: NamespaceConfig) -> Iterator[Problem]:
    """Find events of built-ins in a connection chain, which knows one event only."""
    for use, event in _events(namespace.connection_middleware):
        if event != "connect":
            message = f"a connection chain meets 'connect' only, never {event!r}"
            yield use.option_at["events"].warning(message)


def lonely_doubts(name: str, namespace: NamespaceConfig) -> Iterator[Problem]:
    """Find built-ins in the namespace `name` that do nothing where they are.

    A fresh token is checked by what let the socket in; presence is kept by a connection chain.
    """
    if not namespace.is_whole:
        return
    connection = {use.name for use in namespace.connection_middleware}
    for route in namespace.routes.values():
        needed, then = _NEEDED.get(route.use.name, ("", ""))
        if needed and needed not in connection:
            message = f"no '{needed}' in the connection chain of {name}: {then}"
            yield route.use.at.warning(message)
    chains = [namespace.packet_middleware, *(each.middleware for each in namespace.routes.values())]
    for use in (each for chain in chains for each in chain):
        if use.name == "builtin.presence":
            message = "'builtin.presence' does nothing here: name it in connection_middleware"
            yield use.at.warning(message)


_NEEDED = {
    "builtin.jwt_refresh": ("builtin.jwt", "every token is refused"),
    "builtin.present": ("builtin.presence", "nobody is told who is there"),
}
"""Handlers that need a built-in in the connection chain, and what becomes of them without it."""


def _events(chain: Iterable[Use]) -> Iterator[tuple[Use, str]]:
    """Yield the events that the built-ins of a chain are told to look for."""
    for use in chain:
        events = use.options.get("events") if use.name.startswith("builtin.") else None
        for event in events if isinstance(events, list | dict) else ():
            if isinstance(event, str):
                yield use, event


def schema_faults(schema: Schema, arguments: Arguments, name: str) -> Iterator[Problem]:
    """Find what no arguments of the handler `name` can meet in the schema of its route."""
    written: Any = schema.written
    if isinstance(written, list):
        if not arguments.takes(len(written)):
            message = f"this is for {len(written)}, and '{name}' takes {arguments.wanted}"
            yield schema.at[()].problem(message)
        yield from _parts_faults(written, (), schema, arguments, name)
        return
    if "array" not in _types(written):
        message = "arguments are a list: write 'type: array', or a list with a schema for each"
        yield schema.at[("type",)].problem(message)
    for key, fits in _bounds(written, arguments):
        if not fits:
            message = f"'{name}' takes {arguments.wanted}"
            yield schema.at[(key,)].problem(message)
    prefix = written.get("prefixItems")
    if isinstance(prefix, list):
        yield from _parts_faults(prefix, ("prefixItems",), schema, arguments, name)


def schema_doubts(schema: Schema) -> Iterator[Problem]:
    """Find keywords in the schema of a route that mean nothing, and are near to one that does."""
    for path, guess in unknown_keywords(schema.written):
        message = f"unknown keyword {path[-1]!r}, did you mean {guess!r}?"
        yield schema.at[path].warning(message)


def _bounds(written: Mapping[str, Any], arguments: Arguments) -> Iterator[tuple[str, bool]]:
    """Yield the bounds of the schema, and whether a handler's number of arguments meets them."""
    if arguments.takes_all:
        return
    least, most = written.get("minItems"), written.get("maxItems")
    if isinstance(least, int) and arguments.more is None:
        yield "minItems", least <= len(arguments.names)
    if isinstance(most, int):
        yield "maxItems", most >= arguments.least


def _parts_faults(
    parts: list[Any], path: KeyPath, schema: Schema, arguments: Arguments, name: str
) -> Iterator[Problem]:
    for position, part in enumerate(parts):
        if not isinstance(part, dict) or "type" not in part:
            continue
        samples = [value for kind in _types(part) for value in _SAMPLES.get(kind, ())]
        misfits = [arguments.misfit(position, sample) for sample in samples]
        if misfits and all(misfits):
            at = schema.at[(*path, position, "type")]
            yield at.problem(f"nothing fits both this and '{name}': {misfits[0]}")


def _types(schema: Mapping[str, Any]) -> list[str]:
    kinds = schema.get("type", "array")
    return kinds if isinstance(kinds, list) else [kinds]


def handler_doubts(plugin: Plugin, handler: Handler, arguments: Arguments) -> Iterator[str]:
    """Yield what is most likely not meant in a handler that can be used."""
    if plugin.is_hidden:
        yield (
            f"its arguments go unchecked, as the decorator at {plugin.place} hides them: write "
            "'@functools.wraps(function)' above the function that it returns"
        )
        return
    yield from doubts(handler, "handler")
    reasons = unchecked(handler)
    for name in (*arguments.names, *([arguments.more] if arguments.more else [])):
        if name in reasons:
            yield f"argument '{name}' goes unchecked: {reasons[name]}"


def option_doubts(plugin: Plugin, options: Mapping[str, object]) -> Iterator[str]:
    """Yield the options whose values cannot be checked."""
    reasons = unchecked(plugin.target)
    for name in options:
        if name in reasons:
            yield f"option '{name}' goes unchecked: {reasons[name]}"
