"""The connection options of `client` and `emit`: URL, credentials, time-out."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Literal
from urllib.parse import urlsplit

import click

from gateway.api import Value
from gateway.cli.line import document, printable
from gateway.client.socket import ConnectError, Target
from gateway.socketio.json import loads

__all__ = ["connect_error", "takes_target"]


def takes_target(run: Callable[..., None]) -> Callable[..., None]:
    """Add the connection options to a command, which gets `target`, and `timeout` in seconds."""

    @functools.wraps(run)
    def with_target(
        url: str,
        namespace: str | None,
        path: str,
        auth: dict[str, Value],
        header: dict[str, str],
        transport: tuple[Literal["polling", "websocket"], ...],
        **rest: object,
    ) -> None:
        named = urlsplit(url).path.strip("/")
        if namespace and named:
            raise click.UsageError(f"the URL already names the namespace /{named}")
        namespace = "/" + (namespace or named).removeprefix("/")
        run(target=Target(url, namespace, path, auth, header, transport), **rest)

    for parameter in reversed(_PARAMETERS):
        with_target = parameter(with_target)
    return with_target


def connect_error(error: ConnectError) -> str:
    """Format a `connect_error` on one line: the message, and the data if any."""
    data = "" if error.data is None else f" {document(error.data)}"
    return f"connect_error: {printable(error.message)}{data}"


def _url(context: click.Context, parameter: click.Parameter, value: str) -> str:
    url = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(url)
        is_valid = (
            parts.scheme in {"http", "https", "ws", "wss"} and parts.hostname and parts.port != 0
        )
    except ValueError:  # brackets and ports are parsed that late
        is_valid = False
    if not is_valid:
        raise click.BadParameter(f"{value!r} is not a server URL: write http://HOST:PORT")
    return url


def _auth(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> dict[str, Value]:
    try:
        auth = loads(value) if value else {}
    except ValueError:
        auth = None
    if not isinstance(auth, dict):
        raise click.BadParameter("""not a JSON object: write '{"token": "secret"}'""")
    return auth


def _headers(
    context: click.Context, parameter: click.Parameter, value: tuple[str, ...]
) -> dict[str, str]:
    headers = {}
    for header in value:
        name, colon, content = header.partition(":")
        if not colon:
            raise click.BadParameter(f"{header!r} has no colon: write 'X-Name: value'")
        headers[name.strip()] = content.strip()
    return headers


_PARAMETERS: tuple[Callable[[Callable[..., None]], Callable[..., None]], ...] = (
    click.argument("url", callback=_url),
    click.option("--namespace", metavar="NAME", help="Namespace; can also be the path of the URL."),
    click.option("--path", default="/socket.io/", show_default=True, help="The server's URL path."),
    click.option(
        "--auth",
        metavar="JSON",
        callback=_auth,
        help="Passed to the server as `auth`.",
    ),
    click.option(
        "--header", metavar="K:V", multiple=True, callback=_headers, help="HTTP header; repeatable."
    ),
    click.option(
        "--transport",
        type=click.Choice(["polling", "websocket"]),
        multiple=True,
        default=["polling", "websocket"],
        help="Use only this transport. Default: start with polling, then upgrade.",
    ),
    click.option(
        "--timeout",
        metavar="SECONDS",
        type=click.FloatRange(min=0, min_open=True),
        default=5.0,
        show_default=True,
        help="How long to wait for the connection, and then for answers.",
    ),
)
