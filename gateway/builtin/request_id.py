"""`builtin.request_id`: gives every packet an id for the logs."""

from __future__ import annotations

import re
from itertools import count
from secrets import token_hex

from gateway import Context, Middleware, Next

__all__ = ["request_id"]

_new_number = count(1).__next__  # one for all, as a connection's id begins those of several routes
_PLAIN = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def request_id(header: str | None = None) -> Middleware:
    """Packet and connection middleware that sets `ctx.state["request_id"]`, shown on log lines.

    If this is in the connection chain with the same options, a packet's id begins with the id of
    its connection, `socket.data["request_id"]`. The id of a connection is generated, or taken from
    `header` of the client's first request if present. Nothing in a packet can choose it.
    """
    prefix = token_hex(4)
    name = header.lower() if header else ""

    async def identify(ctx: Context, next: Next) -> None:
        data = ctx.socket.data
        number = f"{_new_number():x}"
        if ctx.event == "connect":  # no client can send this
            sent = ctx.socket.handshake.headers.get(name, "")
            data["request_id"] = sent if _PLAIN.fullmatch(sent) else f"{prefix}-{number}"
            ctx.state["request_id"] = data["request_id"]
        else:
            ctx.state["request_id"] = f"{data.get('request_id', prefix)}-{number}"
        await next()

    return identify
