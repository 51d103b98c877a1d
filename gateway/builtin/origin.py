"""`builtin.origin`: accepts pages from these origins only."""

from __future__ import annotations

import re
from typing import Literal

from gateway import Context, Middleware, Next, Reject

__all__ = ["origin"]

_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<any>\*\.)?"
    r"(?P<host>[a-z0-9_-]+(\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])(?P<port>:[0-9]{1,5})?"
)
_DEFAULT_PORTS = {"https://": ":443", "http://": ":80"}  # browsers leave them out
_SUBDOMAINS = r"(?:[a-z0-9_-]+\.)+"


def origin(allow: list[str], missing: Literal["allow", "refuse"] = "allow") -> Middleware:
    """Connection middleware that checks `Origin`: a page's scheme, host and port.

    Pages of the origins in `allow` may connect; `https://*.example.com` allows subdomains at any
    depth, not `example.com` itself. `missing` says what to do with a client that sends no `Origin`:
    programs send none, and browsers send none when a page polls its own origin. Such a client is
    not a page from another origin, and a program can send any origin.
    """
    if not allow:
        raise ValueError("option 'allow' is empty: no page could connect")
    allowed = re.compile("|".join(map(_pattern, allow)))

    async def check(ctx: Context, next: Next) -> None:
        sent = ctx.socket.handshake.headers.get("origin")
        fits = missing == "allow" if sent is None else allowed.fullmatch(sent.lower())
        if not fits:
            reject = Reject("forbidden", "origin not allowed")
            reject.add_note("it sent no origin" if sent is None else f"add {sent!r} to allow")
            raise reject
        await next()

    return check


def _pattern(written: str) -> str:
    found = _ORIGIN.fullmatch(written.lower())
    if found is None:
        message = (
            f"option 'allow': {written!r} is not an origin: "
            "write https://example.com or https://*.example.com"
        )
        raise ValueError(message)
    scheme, port = found["scheme"], found["port"] or ""
    if port == _DEFAULT_PORTS.get(scheme):
        port = ""
    subdomains = _SUBDOMAINS if found["any"] else ""
    return re.escape(scheme) + subdomains + re.escape(found["host"] + port)
