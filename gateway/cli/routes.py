"""`sockgw routes`: lists events, their middleware and their handlers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click

from gateway.cli.common import BAD_CONFIG, file_argument, show_problems
from gateway.compiler import load
from gateway.config import NamespaceConfig, RouteConfig
from gateway.errors import ConfigError
from gateway.runtime.blueprint import NamespaceBlueprint, Route
from gateway.runtime.chain import AnyContext, Link

__all__ = ["routes"]

HEAD = ("NAMESPACE", "EVENT", "CONNECTION CHAIN", "PACKET CHAIN", "HANDLER", "FILE")
Kind = Literal["event", "any other event", "gateway event"]


@dataclass(frozen=True, slots=True)
class Row:
    """One route. `file` is the handler's, as a relative path if that is shorter.

    `middleware` is the route's own, behind the packet chain. `schema` says whether the route has a
    schema for the event's arguments.
    """

    event: str
    kind: Kind
    handler: str
    file: str
    line: int
    middleware: tuple[str, ...]
    schema: bool


@dataclass(frozen=True, slots=True)
class Table:
    """The routes of one namespace, and the names of their middleware."""

    namespace: str
    connection_chain: tuple[str, ...]
    packet_chain: tuple[str, ...]
    routes: tuple[Row, ...]


@click.command(short_help="List the routes of FILE.")
@file_argument
@click.option(
    "--format",
    type=click.Choice(["text", "json"]),
    default="text",
    help="Output for people or programs.",
)
def routes(file: Path, format: str) -> None:
    """List the routes of FILE: each event, its middleware and its handler.

    `*` matches every event that has no route. Gateway events pass no middleware. Exits with 78 if
    `run` would not serve FILE.
    """
    try:
        build = load(file, os.environ)
    except ConfigError as error:
        show_problems(error)
        raise SystemExit(BAD_CONFIG) from None
    namespaces = build.config.namespaces
    tables = [_table(namespaces[name], each) for name, each in build.blueprint.namespaces.items()]
    handshake = _names(build.blueprint.handshake_links)
    if format == "json":
        entries = [asdict(table) for table in tables]
        told = {"handshake_chain": handshake, "namespaces": entries}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        if handshake:
            click.echo(f"{click.style('HANDSHAKE CHAIN', bold=True)}  {' -> '.join(handshake)}\n")
        _show([line for table in tables for line in _lines(table)])


def _table(config: NamespaceConfig, namespace: NamespaceBlueprint) -> Table:
    kinds: list[tuple[str, Kind, Route]] = [
        *((event, "event", route) for event, route in namespace.routes.items()),
        ("*", "any other event", namespace.fallback),
        *((event, "gateway event", route) for event, route in namespace.events.items()),
    ]
    rows = [_row(*each, config.routes[each[0]]) for each in kinds if each[0] in config.routes]
    return Table(
        namespace.name,
        _names(namespace.connection_links),
        _names(namespace.packet_links),
        tuple(rows),
    )


def _row(event: str, kind: Kind, route: Route, config: RouteConfig) -> Row:
    assert route.handler is not None
    assert route.place is not None
    file = min(os.path.relpath(route.place.file), route.place.file, key=len)
    own, is_checked = _names(route.links), config.schema is not None
    return Row(event, kind, route.handler, file, route.place.line, own, is_checked)


def _names(links: Sequence[Link[AnyContext]]) -> tuple[str, ...]:
    return tuple(link.name for link in links)


def _lines(table: Table) -> Iterator[tuple[str, ...]]:
    connection = " -> ".join(table.connection_chain) or "-"
    if not table.routes:
        yield table.namespace, "-", connection, " -> ".join(table.packet_chain) or "-", "-", "-"
    for row in table.routes:
        event = row.event if row.kind == "event" else f"{row.event} ({row.kind})"
        packet = (
            " -> ".join((*table.packet_chain, *row.middleware, *["schema"] * row.schema)) or "-"
        )
        chains = ("-", "-") if row.kind == "gateway event" else (connection, packet)
        yield table.namespace, event, *chains, row.handler, f"{row.file}:{row.line}"


def _show(lines: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(HEAD, *lines, strict=True)]
    for number, line in enumerate((HEAD, *lines)):
        cells = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
        click.secho("  ".join(cells).rstrip(), bold=number == 0)
