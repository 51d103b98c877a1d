"""The handshake a plugin sees, read from the WSGI-style facts Engine.IO keeps of a session."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

from gateway.api import Handshake, Value

__all__ = ["handshake_of"]


def handshake_of(environ: Mapping[str, Any], auth: Mapping[str, Value]) -> Handshake:
    """`environ` is that of the session's first HTTP request, `auth` came with CONNECT."""
    query: dict[str, str] = {}
    for name, value in parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True):
        query.setdefault(name, value)
    headers = {
        name[5:].replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    return Handshake(
        auth=auth,
        query=query,
        headers=headers,
        address=environ.get("REMOTE_ADDR", ""),
        url=environ.get("RAW_URI", ""),
        time=time.time(),
        secure=environ.get("wsgi.url_scheme") == "https",
    )
