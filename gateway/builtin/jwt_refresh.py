"""`builtin.jwt_refresh`: takes fresh tokens of connected clients."""

from __future__ import annotations

from gateway import Context, Handler, Reject
from gateway.builtin._stays import stay_of

__all__ = ["jwt_refresh"]


def jwt_refresh() -> Handler:
    """Handler for an event with a fresh token, with which a socket outlives its former one.

    The token is checked by the `builtin.jwt` that let the socket in, and has to be of the same
    `sub` and `iss`. Its claims replace those in `socket.data["claims"]`. The ack is
    `{"expires_in": seconds}`, with `None` for a token without `exp`.
    """

    async def refresh(ctx: Context, token: str) -> dict[str, int | None]:
        stay = stay_of(ctx.socket)
        if stay is None:
            raise Reject("unauthorized", "no token has let this socket in")
        return {"expires_in": await stay.refresh(token)}

    return refresh
