"""The deadlines of a session."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Due"]


class Due(IntEnum):
    """A session's deadlines.

    "At a given interval the server sends a ping packet and the client has a few seconds to send a
    pong packet back. If the server does not receive a pong packet back, then it SHOULD consider
    that the connection is closed."
    """

    PING = 0
    """Sending a ping."""
    PONG = 1
    """Having received the pong to it."""
    UPGRADE = 2
    """Having completed an upgrade that a client began."""
    NOOP = 3
    """Ending the first poll that came during an upgrade."""
    LATER_NOOP = 4
    """Ending a further one."""
    CLOSE = 5
    """Being forgotten, after the server closed it and no poll came to hear of that."""
