"""The handshake a plugin sees."""

from __future__ import annotations

import time
from collections.abc import Mapping

from gateway.api import Handshake, Value
from gateway.engineio.opening import Opening

__all__ = ["handshake_of"]


def handshake_of(opening: Opening, auth: Mapping[str, Value]) -> Handshake:
    """`opening` is of the session's first HTTP request, `auth` came with CONNECT."""
    return Handshake(
        auth=auth,
        query=opening.query,
        headers=opening.headers,
        address=opening.address,
        url=opening.url,
        time=time.time(),
        secure=opening.secure,
    )
