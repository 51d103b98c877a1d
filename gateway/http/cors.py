"""CORS: the pages that may talk to the server, and the header fields that tell their browsers.

See https://fetch.spec.whatwg.org/#http-cors-protocol. The check covers WebSockets too: browsers
leave their origin to the server.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import Literal

from gateway.http.proxies import Peer, TrustedProxies
from gateway.http.request import Request
from gateway.http.response import Answer

__all__ = ["Cors", "preflight"]

MAX_AGE = 7200
"""Seconds for which a browser need not ask again: the most that Chromium keeps."""

LONGEST = 300
"""Characters of the longest origin that is compared with patterns; a host name has up to 253."""

SUBDOMAIN = re.compile(r"([a-z][a-z0-9+.-]*://)((?:[a-z0-9_-]+\.)+[a-z0-9_-]+(?::[0-9]{1,5})?)")
"""An origin whose host is a name of several labels: its scheme, its host with the port."""

DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Cors:
    """The setting `cors_origins`, applied to requests.

    An origin such as `https://*.example.com` stands for all subdomains, at any depth, but not for
    `https://example.com`. Scheme and port must be the same. The server's own origin is the one that
    the client asked, as `proxies` have it.
    """

    def __init__(
        self,
        origins: Literal["same-origin", "*"] | tuple[str, ...],
        proxies: TrustedProxies | None = None,
    ) -> None:
        self._proxies = proxies or TrustedProxies()
        self._allows_all = origins == "*"
        listed = frozenset(() if isinstance(origins, str) else origins)
        self._patterns = frozenset(each for each in listed if "://*." in each)
        self._listed = listed - self._patterns

    def fields(self, request: Request, peer: Peer) -> str | None:
        """The header fields for the answer to `peer`; `None` if the page's origin is not allowed.

        A request without an Origin does not come from a page of another origin. Only pages of
        origins that are listed may send cookies.
        """
        if self._allows_all:
            return "Access-Control-Allow-Origin: *\r\n"
        origin = request.headers.get("origin")
        if origin is None:
            return "Vary: Origin\r\n"
        fields = f"Vary: Origin\r\nAccess-Control-Allow-Origin: {origin}\r\n"
        if origin in self._listed or (self._patterns and _fits(origin, self._patterns)):
            return f"{fields}Access-Control-Allow-Credentials: true\r\n"
        own = _own_origin(*self._proxies.origin(request, peer))
        return fields if origin.lower() == own else None


def _fits(origin: str, patterns: AbstractSet[str]) -> bool:
    """True if one of the patterns stands for the origin; looks each parent domain up."""
    found = SUBDOMAIN.fullmatch(origin) if len(origin) <= LONGEST else None
    if found is None:
        return False
    scheme, rest = found.groups()
    while rest:
        rest = rest.partition(".")[2]
        if f"{scheme}*.{rest}" in patterns:
            return True
    return False


def _own_origin(is_secure: bool, host: str) -> str:
    """The server's origin as the client sees it, in lower case and without a default port."""
    scheme = "https" if is_secure else "http"
    return f"{scheme}://{host.lower().removesuffix(DEFAULT_PORTS[scheme])}"


def preflight(request: Request, fields: str) -> Answer:
    """The answer to a preflight request; `fields` are those that `Cors` gave."""
    asked = request.headers.get("access-control-request-headers")
    fields += f"Access-Control-Allow-Methods: GET, POST\r\nAccess-Control-Max-Age: {MAX_AGE}\r\n"
    if asked is not None:
        fields += f"Access-Control-Allow-Headers: {asked}\r\n"
    return Answer(204, fields)
