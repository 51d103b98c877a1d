"""The states of a session."""

from __future__ import annotations

from enum import Enum

__all__ = ["OPEN", "State"]


class State(Enum):
    """Opening until the handshake is accepted, closing while a poll has yet to hear of it."""

    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


OPEN = State.OPEN
"""For the one place that asks for every message: a member of an enumeration is slow to get."""
