"""`builtin.presence`: keeps who is in a room or a namespace."""

from __future__ import annotations

from gateway import Middleware, Presence

__all__ = ["presence"]


def presence(
    rooms: bool | list[str] = True,
    namespace: bool = False,
    grace: float = 15,
    meta: str | None = None,
) -> Middleware:
    """Connection middleware that keeps who is in the rooms of its namespace, on all members.

    It is kept of all `rooms`, of none, or of those in a list, in which `*` stands for any text.
    With `namespace`, it is also kept who is in the whole namespace. Somebody without a socket there
    for `grace` seconds has left. A key of `socket.data`, or keys joined by dots, leads to the
    `meta` that others are told.
    """
    if grace < 0 or grace > 3600:
        raise ValueError("option 'grace' must be 0 to 3600 seconds")
    return Presence(rooms if isinstance(rooms, bool) else tuple(rooms), namespace, grace, meta)
