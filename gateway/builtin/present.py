"""`builtin.present`: answers who is in a room or a namespace."""

from __future__ import annotations

from gateway import Context, Handler, Reject, UsageError, Value

__all__ = ["present"]


def present() -> Handler:
    """Handler that answers who is in a room that the socket is in, or else in the namespace.

    The ack is a list as in the event `presence`: each with a `user`, or the `id` of a socket
    without one, and with its `meta`.
    """

    async def tell(ctx: Context, room: str | None = None) -> list[dict[str, Value]]:
        if room is not None and room not in ctx.socket.rooms:
            raise Reject("forbidden", "only those in a room are told who is there")
        target = ctx.namespace if room is None else ctx.namespace.to(room)
        try:
            return [each.as_dict() for each in await target.present()]
        except UsageError:
            raise Reject("not_kept", "no presence is kept of this") from None

    return tell
