"""`builtin.request_id`: a name for every packet, to find again what belongs together."""

from __future__ import annotations

import re
from itertools import count
from secrets import token_hex

from gateway import Context, Middleware, Next

__all__ = ["request_id"]

_PLAIN = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}")


def request_id(header: str | None = None) -> Middleware:
    """Packet and connection middleware: `ctx.state["request_id"]`, which is on log lines as well.

    A packet's id begins with that of its connection, if this stands in the connection chain with
    the same options: `socket.data["request_id"]`, made here or, if the client's first request had
    one in `header`, taken from there. Nothing in a packet can choose it.
    """
    prefix = token_hex(4)
    new_number = count(1).__next__
    name = header.lower() if header else ""

    async def identify(ctx: Context, next: Next) -> None:
        data = ctx.socket.data
        number = f"{new_number():x}"
        if ctx.event == "connect":  # which no client can send
            sent = ctx.socket.handshake.headers.get(name, "")
            data["request_id"] = sent if _PLAIN.fullmatch(sent) else f"{prefix}-{number}"
            ctx.state["request_id"] = data["request_id"]
        else:
            ctx.state["request_id"] = f"{data.get('request_id', prefix)}-{number}"
        await next()

    return identify
