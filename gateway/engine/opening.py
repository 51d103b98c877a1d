"""What is kept of the request that opened a session."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

__all__ = ["Opening", "opening"]


@dataclass(frozen=True, slots=True)
class Opening:
    """The first value of each query parameter; headers by their names in lower case, those that
    came more than once joined by commas; the client's address; path and query; whether it was TLS.
    """

    query: Mapping[str, str]
    headers: Mapping[str, str]
    address: str
    url: str
    secure: bool


def opening(request: web.Request) -> Opening:
    """Tell the facts of `request`, none of which holds it in memory."""
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        key = name.lower()
        headers[key] = f"{headers[key]},{value}" if key in headers else value
    query: dict[str, str] = {}
    for name, value in request.query.items():
        query.setdefault(name, value)
    return Opening(query, headers, request.remote or "", request.path_qs, request.secure)
