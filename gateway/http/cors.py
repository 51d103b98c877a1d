"""CORS: which pages may talk to the server, and what their browsers get to know.

https://fetch.spec.whatwg.org/#http-cors-protocol; the check covers WebSockets too, which browsers
leave to the server.
"""

from __future__ import annotations

from typing import Literal

from gateway.http.request import Request
from gateway.http.response import Answer

__all__ = ["Cors", "own_origin", "preflight"]

DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class Cors:
    """The rule of `Settings.cors_origins`."""

    def __init__(self, origins: Literal["same-origin", "*"] | tuple[str, ...]) -> None:
        self._origins = origins

    def fields(self, request: Request, *, secure: bool) -> str | None:
        """The header fields for the answer; `None` if the page's origin is not allowed.

        A request without an Origin comes from no page, or from one of the server's own. Only an
        origin that was listed by name may have its visitors' cookies sent along.
        """
        if self._origins == "*":
            return "Access-Control-Allow-Origin: *\r\n"
        origin = request.headers.get("origin")
        if origin is None:
            return "Vary: Origin\r\n"
        fields = f"Vary: Origin\r\nAccess-Control-Allow-Origin: {origin}\r\n"
        if self._origins == "same-origin":
            scheme = "https" if secure else "http"
            own = own_origin(scheme, request.headers.get("host"))
            return fields if origin.lower() == own else None
        allowed = f"{fields}Access-Control-Allow-Credentials: true\r\n"
        return allowed if origin in self._origins else None


def own_origin(scheme: str, host: str | None) -> str:
    """The origin of the server as the client sees it, in lower case, without a default port."""
    return f"{scheme}://{(host or '').lower().removesuffix(DEFAULT_PORTS.get(scheme, ''))}"


def preflight(request: Request, fields: str) -> Answer:
    """The answer to a browser that asks before it sends; `fields` are those of `Cors`."""
    asked = request.headers.get("access-control-request-headers")
    fields += "Access-Control-Allow-Methods: GET, POST\r\n"
    if asked is not None:
        fields += f"Access-Control-Allow-Headers: {asked}\r\n"
    return Answer(204, fields)
