"""A request as python-socketio's connect handlers are given it.

As python-engineio's aiohttp driver makes it, but with the real address of the client, and the real
scheme: a header that anybody can send does not tell it.
"""

from __future__ import annotations

import sys

from aiohttp import web

__all__ = ["environ"]

UNPREFIXED = {"CONTENT_TYPE", "CONTENT_LENGTH"}


def environ(request: web.Request) -> dict[str, object]:
    """Make the WSGI-style dictionary of a request; `aiohttp.request` in it is the request."""
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    facts: dict[str, object] = {
        "wsgi.input": request.content,
        "wsgi.errors": sys.stderr,
        "wsgi.version": (1, 0),
        "wsgi.async": True,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "wsgi.url_scheme": request.scheme,
        "SERVER_SOFTWARE": "aiohttp",
        "SERVER_NAME": "aiohttp",
        "SERVER_PORT": "0",
        "SERVER_PROTOCOL": f"HTTP/{request.version.major}.{request.version.minor}",
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": request.path,
        "QUERY_STRING": request.query_string,
        "RAW_URI": request.path_qs,
        "REMOTE_ADDR": request.remote or "",
        "REMOTE_PORT": str(peer[1]) if isinstance(peer, tuple) else "",
        "aiohttp.request": request,
    }
    for name in request.headers:
        key = name.upper().replace("-", "_")
        if key not in UNPREFIXED:
            key = f"HTTP_{key}"
        facts[key] = ",".join(request.headers.getall(name))
    return facts
