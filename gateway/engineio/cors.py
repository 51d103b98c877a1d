"""Which pages may talk to the server, and what their browsers are told.

https://fetch.spec.whatwg.org/#http-cors-protocol; the check covers WebSockets too, which browsers
leave to the server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from aiohttp import hdrs, web

__all__ = ["Cors", "preflight"]

DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Cors:
    """The rule made of `Settings.cors_origins`."""

    def __init__(self, origins: Literal["same-origin", "*"] | tuple[str, ...]) -> None:
        self._origins = origins

    def headers(
        self, origin: str | None, scheme: str, host: str | None
    ) -> Mapping[str, str] | None:
        """The headers for the answer, `None` if the page's origin is not allowed.

        `origin` and `host` are headers of the request, `scheme` is how it came.

        A request without an Origin comes from no page, or from one of the server's own. Only an
        origin that was listed by name may have its visitors' cookies sent along.
        """
        if self._origins == "*":
            return {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*"}
        headers: dict[str, str] = {hdrs.VARY: hdrs.ORIGIN}
        if origin is None:
            return headers
        headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
        if self._origins == "same-origin":
            return headers if origin.lower() == own_origin(scheme, host) else None
        headers[hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"
        return headers if origin in self._origins else None


def own_origin(scheme: str, host: str | None) -> str:
    """The origin of the server as the client sees it, in lower case, without a default port."""
    return f"{scheme}://{(host or '').lower().removesuffix(DEFAULT_PORTS.get(scheme, ''))}"


def preflight(request: web.Request, headers: Mapping[str, str]) -> web.Response:
    """Answer a browser that asks before it sends."""
    asked = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS)
    allowed: dict[str, str] = {hdrs.ACCESS_CONTROL_ALLOW_METHODS: "GET, POST"}
    if asked is not None:
        allowed[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = asked
    return web.Response(status=204, headers={**headers, **allowed})
