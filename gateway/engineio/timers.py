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
    """The next ping has to be sent."""
    PONG = 1
    """The pong has to arrive."""
    UPGRADE = 2
    """The upgrade in progress has to be complete."""
    NOOP = 3
    """The first poll that came during an upgrade has to be answered."""
    LATER_NOOP = 4
    """A later poll that came during an upgrade has to be answered."""
    CLOSE = 5
    """A poll has to fetch the last packets of a closed session, or it is forgotten."""
    HANDSHAKE = 6
    """The handshake has to pass the gate, or it is refused."""
