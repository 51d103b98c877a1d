"""`sockgw routes`: lists namespaces, their middleware and their routes, with all options."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click

from gateway.cli.common import (
    BAD_CONFIG,
    build_of,
    file_argument,
    fitted,
    format_option,
    show_json,
    show_problems,
)
from gateway.cli.line import printable
from gateway.compiler import Build
from gateway.config import HIDDEN, NamespaceConfig, RouteConfig, Secrets, Use
from gateway.config.messages import dotted
from gateway.daemon.plan import duration
from gateway.errors import ConfigError
from gateway.runtime.blueprint import NamespaceBlueprint, Route
from gateway.runtime.chain import AnyContext, Link

__all__ = ["routes"]

Kind = Literal["event", "any other event", "gateway event"]

_KINDS: dict[Kind, str] = {
    "event": "",
    "any other event": ", for any other event",
    "gateway event": ", a gateway event",
}
_WORD = re.compile(r"(?!(?:true|false|null)$)[A-Za-z_/*][\w./:@*-]*")


@dataclass(frozen=True, slots=True)
class UseRow:
    """One middleware and its options, without secrets."""

    use: str
    options: dict[str, object]


@dataclass(frozen=True, slots=True)
class RouteRow:
    """One route and what applies to its packets; `timeout` is in seconds.

    `file` is the handler's, as a relative path if that is shorter. `middleware` is the route's own,
    behind the packet chain. `schema` says whether the route has a schema for the event's arguments.
    """

    event: str
    kind: Kind
    handler: str
    options: dict[str, object]
    file: str
    line: int
    middleware: tuple[UseRow, ...]
    timeout: float
    order: str
    on_disconnect: str
    schema: bool


@dataclass(frozen=True, slots=True)
class NamespaceRow:
    """One namespace: its chains and its routes."""

    namespace: str
    connection_middleware: tuple[UseRow, ...]
    packet_middleware: tuple[UseRow, ...]
    routes: tuple[RouteRow, ...]


@click.command(short_help="List the routes of FILE.")
@file_argument
@format_option()
def routes(file: Path, format: str) -> None:
    """List the routes of FILE: each event, its middleware and its handler, with their options.

    `*` matches every event that has no route. Gateway events pass no middleware. Secrets are shown
    as ***. Exits with 78 if `run` would not serve FILE.
    """
    try:
        build = build_of(file)
    except ConfigError as error:
        show_problems(error, format)
        raise SystemExit(BAD_CONFIG) from None
    uses, secrets = build.config.server.handshake_middleware, build.config.secrets
    handshake = _uses(build.blueprint.handshake_links, uses, secrets)
    rows = [_row(build, name) for name in build.blueprint.namespaces]
    if format == "json":
        answer = {
            "handshake_middleware": [asdict(each) for each in handshake],
            "namespaces": [asdict(row) for row in rows],
        }
        show_json(answer, ConfigError((), build.warnings))
        return
    blocks = [["server", *_chain("handshake_middleware", handshake)]] if handshake else []
    blocks += ([*_block(row, build.config.namespaces[row.namespace])] for row in rows)
    for number, (head, *lines) in enumerate(blocks):
        click.secho(f"{chr(10) * (number > 0)}{printable(head)}", bold=True)
        for line in lines:
            click.echo(fitted(printable(line)))


def _row(build: Build, name: str) -> NamespaceRow:
    namespace, config = build.blueprint.namespaces[name], build.config.namespaces[name]
    secrets = build.config.secrets
    return NamespaceRow(
        name,
        _uses(namespace.connection_links, config.connection_middleware, secrets),
        _uses(namespace.packet_links, config.packet_middleware, secrets),
        tuple(_routes(namespace, config, secrets)),
    )


def _uses(
    links: Sequence[Link[AnyContext]], uses: Sequence[Use], secrets: Secrets
) -> tuple[UseRow, ...]:
    pairs = zip(links, uses, strict=True)
    return tuple(UseRow(link.name, _options(use, secrets)) for link, use in pairs)


def _routes(
    namespace: NamespaceBlueprint, config: NamespaceConfig, secrets: Secrets
) -> Iterator[RouteRow]:
    kinds: list[tuple[str, Kind, Route]] = [
        *((event, "event", route) for event, route in namespace.routes.items()),
        ("*", "any other event", namespace.fallback),
        *((event, "gateway event", route) for event, route in namespace.events.items()),
    ]
    for event, kind, route in kinds:
        if (written := config.routes.get(event)) is None:
            continue
        assert route.handler is not None
        assert route.place is not None
        yield RouteRow(
            event=event,
            kind=kind,
            handler=route.handler,
            options=_options(written.use, secrets),
            file=min(os.path.relpath(route.place.file), route.place.file, key=len),
            line=route.place.line,
            middleware=_uses(route.links, written.middleware, secrets),
            timeout=route.timeout,
            order=written.order or config.order,
            on_disconnect=written.on_disconnect,
            schema=written.schema is not None,
        )


def _options(use: Use, secrets: Secrets) -> dict[str, object]:
    """Return the options of a use, without secrets."""
    hidden = {dotted(path) for path in secrets.paths}

    def shown(value: object, path: str) -> object:
        if path in hidden:
            return HIDDEN
        match value:
            case str():
                return secrets.mask(value)
            case Mapping():
                return {key: shown(each, f"{path}.{dotted((key,))}") for key, each in value.items()}
            case list():
                return [shown(each, f"{path}[{index}]") for index, each in enumerate(value)]
        return value

    return {key: shown(value, use.option_at[key].path) for key, value in use.options.items()}


def _block(row: NamespaceRow, config: NamespaceConfig) -> Iterator[str]:
    """Yield the lines of a namespace: in the words of its YAML, and to be read aloud."""
    yield row.namespace
    yield from _chain("connection_middleware", row.connection_middleware)
    yield from _chain("packet_middleware", row.packet_middleware)
    yield "  routes" if row.routes else "  no routes"
    for route in row.routes:
        handler = f"{route.handler}{_with(route.options)} in {route.file}:{route.line}"
        yield f"    {_flow(route.event)}: {handler}{_KINDS[route.kind]}"
        yield from (f"      {line}" for line in _below(route, config.routes[route.event]))


def _chain(key: str, uses: Sequence[UseRow]) -> Iterator[str]:
    if uses:
        yield f"  {key}"
    yield from (f"    {each.use}{_with(each.options)}" for each in uses)


def _below(row: RouteRow, route: RouteConfig) -> Iterator[str]:
    """Yield what a route says besides its handler, a line for each key."""
    yield from (line.removeprefix("  ") for line in _chain("middleware", row.middleware))
    if route.timeout is not None:
        yield f"timeout: {duration(route.timeout)}"
    if route.order is not None:
        yield f"order: {route.order}"
    if route.on_disconnect != "continue":
        yield f"on_disconnect: {route.on_disconnect}"
    if route.schema is not None:
        yield "schema: checks the arguments"


def _with(options: Mapping[str, object]) -> str:
    return f" with {_flow(options)[1:-1]}" if options else ""


def _flow(value: object) -> str:
    """Return a value as YAML has it in one line."""
    match value:
        case Mapping():
            return f"{{{', '.join(f'{key}: {_flow(each)}' for key, each in value.items())}}}"
        case list():
            return f"[{', '.join(map(_flow, value))}]"
        case str() if _WORD.fullmatch(value):
            return value
    return json.dumps(value, ensure_ascii=False)
