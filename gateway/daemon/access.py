"""Who may ask a listener for operators or for services: tokens, and names of hosts."""

from __future__ import annotations

import hmac
from collections.abc import Collection
from urllib.parse import urlsplit

from aiohttp import HttpVersion11, web

from gateway.config import is_loopback

__all__ = ["NOT_FOR_PAGES", "expect", "has_token", "is_named", "is_of_a_page"]

NOT_FOR_PAGES = "not for web pages"


def is_of_a_page(request: web.Request) -> bool:
    """True for a request of a web page, which a browser may send for whoever has made it."""
    return "Origin" in request.headers


def has_token(request: web.Request, token: str) -> bool:
    """True if a request has this bearer token; takes as long whatever it has."""
    given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
    return hmac.compare_digest(given, f"Bearer {token}".encode())


def is_named(request: web.Request, names: Collection[str]) -> bool:
    """True if a request asks for this machine, or for one of these names in lower case.

    A web page can have a host name of its own lead to a listener on loopback, and then ask it
    without an `Origin`.
    """
    try:
        host = urlsplit(f"//{request.headers.get('Host', '')}").hostname or ""
    except ValueError:
        return False
    return is_loopback(host) or host in names


async def expect(request: web.Request) -> None:
    """Meet `Expect`; aiohttp's own handler sends the field back, which fails for some bytes."""
    if request.headers["Expect"].lower() != "100-continue":
        raise web.HTTPExpectationFailed
    if request.version == HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0
