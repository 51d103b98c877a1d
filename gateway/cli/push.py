"""`sockgw push`: has a running daemon send to sockets, change or list them."""

from __future__ import annotations

import asyncio
import functools
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

from gateway.cli.common import (
    BAD_CONFIG,
    advising,
    counted,
    fail,
    format_option,
    show_json,
    show_problems,
)
from gateway.cli.line import document, parse_argument, parse_event, printable
from gateway.client.admin import AdminError, config_of
from gateway.client.api import ApiClient, api_url
from gateway.config.model import ApiConfig
from gateway.errors import ConfigError

__all__ = ["push"]

PAGE = "500"
"""Sockets that are asked for at a time."""

_Command = Callable[..., None]


@dataclass(frozen=True, slots=True)
class _Asked:
    """The daemon that is asked, for sockets of a namespace, and how its answer is shown."""

    client: ApiClient
    namespace: str
    format: str

    def target(self, chosen: Mapping[str, Any]) -> dict[str, object]:
        """Return a target as the api has it."""
        excluded = {"rooms": chosen["except_room"], "users": chosen["except_user"]}
        return {
            "namespace": self.namespace,
            "rooms": chosen["room"],
            "users": chosen["user"],
            "sockets": chosen["socket"],
            "all": chosen["all"],
            "except": excluded,
        }

    def push(self, operation: str, chosen: Mapping[str, Any], **body: object) -> dict[str, Any]:
        """Push to the chosen sockets; returns the answer. Raises `AdminError`."""
        whole = {"target": self.target(chosen), **body}
        return asyncio.run(self.client.push(operation, whole, chosen["key"]))

    def show(self, answer: Mapping[str, Any], lines: Iterable[str]) -> None:
        """Print an answer."""
        if self.format == "json":
            show_json(answer)
            return
        for line in lines:
            click.echo(line)


def _asks(scope: Literal["push", "read"]) -> Callable[[_Command], _Command]:
    """Let a verb ask the daemon's api, which it gets as `asked`, with a token that has a scope."""

    def decorate(run: _Command) -> _Command:
        @functools.wraps(run)
        def asking(
            file: Path,
            api: str | None,
            token: str | None,
            namespace: str | None,
            format: str,
            **rest: object,
        ) -> None:
            try:
                with advising(file):
                    asked = _found(file, api, token, namespace, scope, format)
                run(asked=asked, **rest)
            except AdminError as error:
                fail(printable(str(error)), format)
            except ConfigError as error:
                show_problems(error, format)
                raise SystemExit(BAD_CONFIG) from None

        for parameter in reversed(_DAEMON):
            asking = parameter(asking)
        return format_option()(asking)

    return decorate


def _found(
    file: Path,
    url: str | None,
    token: str | None,
    namespace: str | None,
    scope: Literal["push", "read"],
    format: str,
) -> _Asked:
    """Find the daemon by its file, or by what was given. Raises `ConfigError`."""
    if url and token and namespace:
        return _Asked(ApiClient(url, token), namespace, format)
    config = config_of(file, os.environ)
    if config.api is None:
        fail(f"{file} has no api: block; add one with tokens, see docs/push.md", format)
    if namespace is None:
        if len(config.namespaces) > 1:
            fail(f"name a namespace: {', '.join(config.namespaces)}", format)
        [namespace] = config.namespaces
    full = "/" + namespace.removeprefix("/")
    token = token or _token(config.api, scope, full)
    if token is None:
        fail(f"no token in api.tokens has the scope {scope}:{full}; add it to one", format)
    return _Asked(ApiClient(url or api_url(config.api), token), full, format)


def _token(api: ApiConfig, scope: Literal["push", "read"], namespace: str) -> str | None:
    return next((each.token for each in api.tokens if each.allows(scope, namespace)), None)


_DAEMON = (
    click.option(
        "--file",
        type=click.Path(path_type=Path),
        default="gateway.yaml",
        show_default=True,
        help="The file that the daemon serves.",
    ),
    click.option(
        "--api",
        metavar="URL",
        help="Api listener to use instead of FILE's: http://HOST:PORT or unix:PATH.",
    ),
    click.option("--token", help="Token to use instead of one of FILE's."),
)

_TARGET = (
    click.option("--room", metavar="ROOM", multiple=True, help="Who is in this room; repeatable."),
    click.option("--user", metavar="USER", multiple=True, help="This user; repeatable."),
    click.option("--socket", metavar="ID", multiple=True, help="This socket; repeatable."),
    click.option("--all", is_flag=True, help="The whole namespace."),
    click.option("--except-room", metavar="ROOM", multiple=True, help="But nobody in this room."),
    click.option("--except-user", metavar="USER", multiple=True, help="But not this user."),
    click.option("--key", help="Idempotency key: with it, the same push is not done twice."),
)


def _takes_target(run: _Command) -> _Command:
    for option in reversed(_TARGET):
        run = option(run)
    return run


_namespace = click.argument("namespace")
_any_namespace = click.argument("namespace", required=False)


@click.group(short_help="Have a running daemon send to sockets, change or list them.")
def push() -> None:
    """Have a running daemon send to sockets, change or list them, through its api listener.

    Address and token are those of FILE's `api:` block. Whom it is for is said by --room, --user and
    --socket, which add up; the whole namespace is --all.
    """


@push.command(short_help="Send an event.")
@_asks("push")
@_namespace
@click.argument("event")
@click.argument("args", nargs=-1)
@_takes_target
@click.option("--volatile", is_flag=True, help="Not to clients that are not ready for it.")
def emit(asked: _Asked, event: str, args: Sequence[str], volatile: bool, **chosen: object) -> None:
    """Send EVENT with ARGS to sockets of NAMESPACE, and print how many they are.

    ARGS are parsed as JSON if possible, otherwise they are text; @FILE sends a file's bytes.
    """
    answer = asked.push(
        "emit",
        chosen,
        event=parse_event(event),
        args=[parse_argument(each) for each in args],
        volatile=volatile,
    )
    asked.show(answer, [f"sent to {counted(answer['sockets'], 'socket')}"])


@push.command(short_help="Send an event, and print what clients answer.")
@_asks("push")
@_namespace
@click.argument("event")
@click.argument("args", nargs=-1)
@_takes_target
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, 60, min_open=True),
    default=5.0,
    show_default=True,
    help="How long to wait for answers.",
)
def call(asked: _Asked, event: str, args: Sequence[str], timeout: float, **chosen: object) -> None:
    """Send EVENT with ARGS to sockets of NAMESPACE, and print what each answers, one a line.

    ARGS are parsed as JSON if possible, otherwise they are text; @FILE sends a file's bytes.

    Exits with 0 if all have answered, and with 1 if not, or if there are none.
    """
    answer = asked.push(
        "call",
        chosen,
        event=parse_event(event),
        args=[parse_argument(each) for each in args],
        timeout=timeout,
    )
    missing = [each["socket"] for each in answer["missing"]]
    asked.show(
        answer,
        [
            *(f"{each['socket']} {document(each['args'])}" for each in answer["answers"]),
            *(f"{each} no answer" for each in missing),
        ],
    )
    raise SystemExit(bool(missing or not answer["answers"]))


@push.command(short_help="Have sockets join rooms.")
@_asks("push")
@_namespace
@click.argument("rooms", nargs=-1, required=True)
@_takes_target
def join(asked: _Asked, rooms: Sequence[str], **chosen: object) -> None:
    """Have sockets of NAMESPACE join ROOMS."""
    answer = asked.push("join", chosen, rooms=rooms)
    asked.show(answer, [counted(answer["sockets"], "socket")])


@push.command(short_help="Have sockets leave rooms.")
@_asks("push")
@_namespace
@click.argument("rooms", nargs=-1, required=True)
@_takes_target
def leave(asked: _Asked, rooms: Sequence[str], **chosen: object) -> None:
    """Have sockets of NAMESPACE leave ROOMS."""
    answer = asked.push("leave", chosen, rooms=rooms)
    asked.show(answer, [counted(answer["sockets"], "socket")])


@push.command(short_help="Disconnect sockets.")
@_asks("push")
@_any_namespace
@_takes_target
@click.option("--close", is_flag=True, help="Close their connections, too.")
def disconnect(asked: _Asked, close: bool, **chosen: object) -> None:
    """Disconnect sockets of NAMESPACE, which may be left out if FILE has only one."""
    answer = asked.push("disconnect", chosen, close=close)
    asked.show(answer, [f"disconnected {counted(answer['sockets'], 'socket')}"])


@push.command(short_help="List sockets.")
@_asks("read")
@_any_namespace
@click.option("--room", metavar="ROOM", help="Only who is in this room.")
@click.option("--user", metavar="USER", help="Only this user.")
@click.option("--limit", metavar="N", type=click.IntRange(1), help="At most so many.")
def sockets(asked: _Asked, room: str | None, user: str | None, limit: int | None) -> None:
    """List the sockets of NAMESPACE, which may be left out if FILE has only one.

    A line is a socket's id, its user, its address and its rooms.
    """
    query = {"namespace": asked.namespace, "limit": PAGE}
    query |= {key: value for key, value in (("room", room), ("user", user)) if value}
    answer = asyncio.run(_pages(asked.client.sockets, query, limit))
    asked.show(answer, map(_line, answer["sockets"]))


async def _pages(
    ask: Callable[[Mapping[str, str]], Awaitable[dict[str, Any]]],
    query: dict[str, str],
    limit: int | None,
) -> dict[str, Any]:
    """Ask for one page after the other, until there are enough."""
    found: list[dict[str, Any]] = []
    while True:
        answer = await ask(query)
        found += answer["sockets"]
        if answer["next"] is None or (limit is not None and len(found) >= limit):
            return {"sockets": found[:limit], "total": answer["total"]}
        query["after"] = answer["next"]


def _line(socket: Mapping[str, Any]) -> str:
    rooms = [room for room in socket["rooms"] if room != socket["id"]]
    user = "-" if socket["user"] is None else socket["user"]
    return printable(" ".join([socket["id"], user, socket["address"] or "-", *rooms]))
